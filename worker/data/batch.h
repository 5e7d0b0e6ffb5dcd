// One lane's examples of one step, as the network and the sparse side want them.
//
// **Needs external lock** (a value; filled by one thread, then read by many).
#ifndef PAGODA_WORKER_DATA_BATCH_H_
#define PAGODA_WORKER_DATA_BATCH_H_

#include <cstdint>
#include <string>
#include <vector>

#include "proto/config.pb.h"

namespace pagoda {

// An embedding feature: where its rows come from and where its pooled vector stands in the input.
struct EmbeddingFeature {
  std::string name;
  int table;  // Index in Schema.table; -1: no task reads its rows, only ids are wanted.
  int dim;
  uint32_t slot;  // 0 or the salt already folded into the batch's ids (common/hash.h).
  FeatureConfig::Pooling pooling;
  bool is_list;              // False: exactly one id an example.
  int input_offset;          // First column in the network's input.
  bool is_weighted = false;  // Lists: Batch::IdColumn::weights is there.
  // A later feature of a `field`: its vector is added to what stands in its columns.
  bool adds = false;
  // Sequences (a list that is not pooled): T places of `dim` columns, those without an id 0, and
  // behind them the mask, T columns of 1 or 0. Otherwise 0.
  int length = 0;
  int mask_offset = 0;
  // Of an embedding set besides the ordinary one (ModelConfig.embedding_set): its name, and the
  // index in Batch::ids of the ordinary feature's column, whose ids it embeds again. -1: its own.
  std::string set = {};
  int column = -1;

  // Columns that the values take in the input, the mask not counted.
  int width() const { return length > 0 ? length * dim : dim; }
};

// A dense feature: one float an example.
struct DenseFeature {
  std::string name;
  int input_offset;
};

// Columns of the network's input x [B, width]: embedding features in configuration order, those of
// one field in the same columns, where the first of them stands; then dense ones; then each further
// embedding set's, placed as the ordinary ones.
struct InputLayout {
  std::vector<EmbeddingFeature> embeddings;
  std::vector<DenseFeature> dense;
  int width = 0;
};

// B = rows examples. Ids are stored ids (salted). A missing value of an `id` feature is an id of
// its own.
struct Batch {
  int rows = 0;
  struct IdColumn {
    std::vector<uint64_t> ids;  // [B], or for lists [offsets[B]]
    // Lists only: [B + 1]; example b has ids [offsets[b], offsets[b + 1]).
    std::vector<uint32_t> offsets;
    std::vector<float> weights;  // Weighted lists only: [ids.size()].
  };
  std::vector<IdColumn> ids;  // One an ordinary embedding feature, in InputLayout's order.
  std::vector<float> dense;   // [B, InputLayout.dense.size()] row-major
  std::vector<float> labels;  // [task, B]
  // [task, B]. TRAIN: what the example weighs in the task's loss. VALID and TEST: 1 in the task's
  // sample space, 0 outside; weights touch losses only.
  std::vector<float> weights;
  std::vector<int64_t> record;  // [B] record numbers in the split, for predictions.
};

}  // namespace pagoda

#endif  // PAGODA_WORKER_DATA_BATCH_H_
