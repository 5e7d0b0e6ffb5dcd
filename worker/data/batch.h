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
  int table;  // Index in Schema.table.
  int dim;
  uint32_t slot;  // 0 or the salt already folded into the batch's ids (common/hash.h).
  FeatureConfig::Pooling pooling;
  bool is_list;      // False: exactly one id an example.
  int input_offset;  // First column in the network's input.
};

// A dense feature: one float an example.
struct DenseFeature {
  std::string name;
  int input_offset;
};

// Columns of the network's input x [B, width]: embedding features in configuration order, then
// dense ones.
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
  };
  std::vector<IdColumn> ids;    // One an embedding feature, in InputLayout's order.
  std::vector<float> dense;     // [B, InputLayout.dense.size()] row-major
  std::vector<float> labels;    // [task, B]
  std::vector<float> weights;   // [task, B]: sample weight, 0 outside the task's sample space
  std::vector<int64_t> record;  // [B] record numbers in the split, for predictions.
};

}  // namespace pagoda

#endif  // PAGODA_WORKER_DATA_BATCH_H_
