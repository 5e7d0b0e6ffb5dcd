// The columns of the network's input by name, and what a configuration lets any model do with them.
//
// Embedding features may be embedded more than once: an embedding set is one more row a value. The
// ordinary set, "", always is there; the configuration's `wide` and some models (STEM) ask for
// more. The input's columns are the ordinary set's features, the dense features, then each further
// set's.
//
//   input columns --(sequences pooled)--(reads: some features)-------> a block that names them
//                 \-(interaction: DCN-v2, FM)-> what models see as x -> all other blocks
//
// Thread-safe (values and pure functions).
#ifndef PAGODA_WORKER_MODELS_MODEL_INPUT_H_
#define PAGODA_WORKER_MODELS_MODEL_INPUT_H_

#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "proto/config.pb.h"
#include "worker/graph/graph.h"

namespace pagoda {

// One feature of one set. Dense features are in no set but seen with each.
struct FeatureColumns {
  std::string set;
  std::string feature;
  ColumnRange columns;
  ColumnRange mask = {};  // Of a sequence: T columns of 1 or 0; else of no column.
  bool is_dense = false;
  // Further features of its field, whose vectors are added to its own in these columns: each of
  // their names stands for all of the field.
  std::vector<std::string> added = {};

  bool IsCalled(const std::string& name) const;
};

struct ModelInput {
  int width = 0;
  std::vector<FeatureColumns> features;  // In column order.
};

// An input of one feature of `width` columns and of one more like it for each embedding set of
// `config`: for tests and benchmarks of models alone.
absl::StatusOr<ModelInput> NamelessInput(const Config& config, int width);

// What the configuration embeds features into besides the ordinary tables: `wide`, then the model's
// own sets. UsageError: an unknown model, or what `wide` cannot be.
absl::StatusOr<std::vector<EmbeddingSet>> EmbeddingSetsOf(const Config& config);

// Before a task's name: the set of its wide part.
inline constexpr char kWidePrefix[] = "wide/";

// The order in which a configuration lists its tasks must change no bit.
std::vector<TaskConfig> TasksByName(const Config& config);

// The input as the blocks of one model see it while its graph is made.
// **Confined to one thread.**
class BlockInputs {
 public:
  // `input` names the columns of `value` (sequences.h). All but the value outlive this.
  BlockInputs(const ModelConfig& config, const ModelInput& input, Value value, Graph* graph);

  // The set's embeddings and the dense features, behind the interaction if there is one.
  Value Input(const std::string& set = "");
  // What the block `name` reads in place of x: some features, if x is an Input and a `reads` names
  // the block; else x.
  Value Read(const std::string& name, Value x);
  // What a tower reads: x, and beside it the features that a `reads` names for it.
  Value ReadBeside(const std::string& name, Value x);
  // The task's wide part, [B, logits]; node -1: the configuration has none.
  Value Wide(const std::string& task, int logits);

  // UsageError: features or blocks that are not there, a `reads` that no block came for, an
  // interaction that does not fit. To be asked once the graph is made.
  absl::Status Finish() const;

 private:
  // Of the features in `only`; null: all.
  std::vector<ColumnRange> RangesOf(const std::string& set,
                                    const std::set<std::string>* only = nullptr) const;
  // Columns of the features that the first `reads` of `name` lists, of one set; empty: there is no
  // such `reads`.
  std::vector<ColumnRange> FindReads(const std::string& name, const std::string& set);
  Value Interact(const std::string& set, Value x);
  Value Cross(const std::string& prefix, Value x);
  Value AppendPairs(const std::string& set, Value x);
  void Refuse(const std::string& what);
  absl::Status CheckFeatures(const google::protobuf::RepeatedPtrField<std::string>& wanted,
                             const char* field) const;

  const ModelConfig& config_;
  const ModelInput& input_;
  const Value value_;
  Graph& graph_;
  std::map<std::string, Value> inputs_;      // By set.
  std::map<int, std::string> set_of_input_;  // By node.
  std::vector<bool> reads_used_;             // [config.reads]
  absl::Status status_;
};

}  // namespace pagoda

#endif  // PAGODA_WORKER_MODELS_MODEL_INPUT_H_
