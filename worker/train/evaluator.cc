#include "worker/train/evaluator.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "common/errors.h"
#include "glog/logging.h"
#include "worker/graph/gates.h"
#include "worker/train/task_rules.h"

namespace pagoda {
namespace {

// Enough for a smearing factor: its standard error is about 1/256 of the residuals' spread.
constexpr int64_t kSmearingRows = 65536;

// Which blocks of a split are predicted, and what of each block travels.
class BlockPlan {
 public:
  BlockPlan(int64_t rows, const DataSchema& schema, const std::vector<Graph::HeadSpec>& heads,
            const PredictOptions& options)
      : rows_(rows),
        tasks_(static_cast<int>(schema.tasks.size())),
        features_(static_cast<int>(schema.input.embeddings.size())),
        has_groups_(options.group_feature >= 0) {
    const int64_t all = (rows + Program::kTileRows - 1) / Program::kTileRows;
    const int64_t wanted =
        options.max_rows > 0
            ? std::min(all, std::max<int64_t>(1, options.max_rows / Program::kTileRows))
            : all;
    for (int64_t i = 0; i < wanted; ++i) blocks_.push_back(i * all / wanted);
    for (size_t h = 0; h < heads.size(); ++h) {
      (IsGateElement(heads[h]) ? gates_ : values_).push_back(static_cast<int>(h));
    }
    head_count_ = heads.size();
  }

  size_t block_count() const { return blocks_.size(); }
  int64_t first_record(size_t i) const { return blocks_[i] * Program::kTileRows; }
  int block_rows(size_t i) const {
    return static_cast<int>(std::min<int64_t>(Program::kTileRows, rows_ - first_record(i)));
  }
  const std::vector<int>& values() const { return values_; }  // Heads whose rows travel ...
  const std::vector<int>& gates() const { return gates_; }    // ... and whose sums do.
  size_t head_count() const { return head_count_; }
  int tasks() const { return tasks_; }
  int features() const { return features_; }  // That have embeddings.
  bool has_groups() const { return has_groups_; }

 private:
  const int64_t rows_;
  const int tasks_;
  const int features_;
  const bool has_groups_;
  std::vector<int64_t> blocks_;
  std::vector<int> values_, gates_;
  size_t head_count_ = 0;
};

template <typename T>
void Append(const T* values, size_t count, std::string* out) {
  out->append(reinterpret_cast<const char*>(values), sizeof(T) * count);
}

// One worker's blocks: of each block of R rows, predictions [value head, R], labels [task, R],
// weights [task, R] (floats), groups [R] (u64), sums over rows [gate head] (doubles), values
// without a row [embedding feature] (i64).
absl::StatusOr<std::string> PredictBlocks(Group& workers, const Dataset& dataset, Split split,
                                          Stepper& stepper, const BlockPlan& plan,
                                          int group_feature) {
  std::string out;
  Batch batch;
  std::vector<std::vector<float>> predictions;
  for (size_t i = workers.rank(); i < plan.block_count(); i += workers.size()) {
    std::vector<int64_t> records(plan.block_rows(i));
    std::iota(records.begin(), records.end(), plan.first_record(i));
    RETURN_IF_ERROR(dataset.Fill(split, records, &batch));
    RETURN_IF_ERROR(stepper.Predict(batch, &predictions));
    for (const int head : plan.values()) Append(predictions[head].data(), batch.rows, &out);
    Append(batch.labels.data(), batch.labels.size(), &out);
    Append(batch.weights.data(), batch.weights.size(), &out);
    if (plan.has_groups()) Append(batch.ids[group_feature].ids.data(), batch.rows, &out);
    for (const int head : plan.gates()) {
      const double sum = std::accumulate(predictions[head].begin(), predictions[head].end(), 0.0);
      Append(&sum, 1, &out);
    }
    Append(stepper.unseen().data(), stepper.unseen().size(), &out);
  }
  return out;
}

// All workers' blocks put together, in the blocks' order.
class Assembler {
 public:
  Assembler(const BlockPlan& plan, const std::vector<std::string>& texts)
      : plan_(plan), texts_(texts), at_(texts.size(), 0) {}

  absl::StatusOr<SplitPredictions> Run() {
    SplitPredictions split;
    split.predictions.resize(plan_.head_count());
    split.labels.resize(plan_.tasks());
    split.weights.resize(plan_.tasks());
    split.gate_means.assign(plan_.head_count(), 0.0);
    split.unseen.assign(plan_.features(), 0);
    int64_t rows = 0;
    for (size_t i = 0; i < plan_.block_count(); ++i) {
      const int count = plan_.block_rows(i);
      source_ = i % texts_.size();
      for (const int head : plan_.values()) Take(count, &split.predictions[head]);
      for (auto& column : split.labels) Take(count, &column);
      for (auto& column : split.weights) Take(count, &column);
      if (plan_.has_groups()) Take(count, &split.groups);
      for (const int head : plan_.gates()) {
        std::vector<double> sum;
        Take(1, &sum);
        if (!sum.empty()) split.gate_means[head] += sum[0];
      }
      std::vector<int64_t> unseen;
      Take(plan_.features(), &unseen);
      for (size_t f = 0; f < unseen.size(); ++f) split.unseen[f] += unseen[f];
      rows += count;
    }
    for (double& mean : split.gate_means) mean /= static_cast<double>(std::max<int64_t>(rows, 1));
    for (size_t worker = 0; worker < texts_.size(); ++worker) {
      if (!is_short_ && at_[worker] == texts_[worker].size()) continue;
      return DataError(absl::StrCat("worker ", worker, " sent ", texts_[worker].size(),
                                    " bytes of predictions, not those of its blocks: do all ",
                                    "workers read the same data?"));
    }
    return split;
  }

 private:
  template <typename T>
  void Take(int count, std::vector<T>* column) {
    const std::string& text = texts_[source_];
    size_t& at = at_[source_];
    const size_t bytes = count * sizeof(T);
    is_short_ |= bytes > text.size() - at;
    if (is_short_) return;
    column->resize(column->size() + count);
    std::memcpy(column->data() + column->size() - count, text.data() + at, bytes);
    at += bytes;
  }

  const BlockPlan& plan_;
  const std::vector<std::string>& texts_;
  std::vector<size_t> at_;  // [worker] bytes taken
  size_t source_ = 0;
  bool is_short_ = false;
};

std::vector<GateUse> CollectGates(const SplitPredictions& split,
                                  const std::vector<Graph::HeadSpec>& heads) {
  std::vector<GateUse> gates;
  for (size_t h = 0; h < heads.size(); ++h) {
    if (!IsGateElement(heads[h])) continue;
    const GateElementName name = SplitGateElementName(heads[h].name);
    if (gates.empty() || gates.back().gate != name.gate) gates.push_back({name.gate, {}});
    gates.back().experts.push_back({name.expert, split.gate_means[h]});
  }
  return gates;
}

}  // namespace

std::vector<UnseenValues> CollectUnseen(const SplitPredictions& split, const InputLayout& input) {
  std::vector<UnseenValues> unseen;
  for (size_t f = 0; f < input.embeddings.size(); ++f) {
    // Other embedding sets have the same values.
    if (!input.embeddings[f].set.empty() || split.unseen[f] == 0) continue;
    unseen.push_back({input.embeddings[f].name, split.unseen[f]});
  }
  return unseen;
}

absl::StatusOr<SplitPredictions> PredictSplit(Group& workers, const Dataset& dataset, Split split,
                                              Stepper& stepper,
                                              const std::vector<Graph::HeadSpec>& heads,
                                              const PredictOptions& options) {
  const BlockPlan plan(dataset.rows(split), dataset.schema(), heads, options);
  ASSIGN_OR_RETURN(const std::string mine,
                   PredictBlocks(workers, dataset, split, stepper, plan, options.group_feature));
  ASSIGN_OR_RETURN(const auto all, workers.Gather(0, mine));
  if (workers.rank() != 0) return SplitPredictions();
  return Assembler(plan, all).Run();
}

int FindGroupFeature(const InputLayout& input, const std::string& name) {
  for (size_t f = 0; f < input.embeddings.size(); ++f) {
    const EmbeddingFeature& feature = input.embeddings[f];
    if (feature.set.empty() && feature.name == name) return static_cast<int>(f);
  }
  return -1;
}

absl::StatusOr<SplitPredictions> Evaluator::Predict(Split split, Stepper& stepper) const {
  PredictOptions options;
  const std::string& group = config->train().gauc_by();
  options.group_feature = FindGroupFeature(dataset->schema().input, group);
  // The configuration was checked: it is an ID feature, and those have ids, read or not.
  CHECK(group.empty() || options.group_feature >= 0) << "train.gauc_by: " << group;
  return PredictSplit(*workers, *dataset, split, stepper, *heads, options);
}

absl::StatusOr<Evaluation> Evaluator::Evaluate(Split split, Stepper& stepper,
                                               const TrainState& state) const {
  ASSIGN_OR_RETURN(const SplitPredictions predictions, Predict(split, stepper));
  Evaluation evaluation;
  if (workers->rank() != 0) return evaluation;
  evaluation.tasks = ComputeMetrics(predictions, *config, *heads, state);
  evaluation.gates = CollectGates(predictions, *heads);
  evaluation.unseen = CollectUnseen(predictions, dataset->schema().input);
  return evaluation;
}

absl::Status Evaluator::UpdateSmearing(Stepper& stepper, TrainState* state) const {
  const auto& tasks = config->dataset().task();
  if (std::none_of(tasks.begin(), tasks.end(), NeedsSmearing)) return absl::OkStatus();
  PredictOptions options;
  options.max_rows = kSmearingRows;
  ASSIGN_OR_RETURN(const SplitPredictions train,
                   PredictSplit(*workers, *dataset, TRAIN, stepper, *heads, options));
  if (workers->rank() != 0) return absl::OkStatus();
  state->clear_smearing();
  for (int t = 0; t < tasks.size(); ++t) {
    if (!NeedsSmearing(tasks[t])) continue;
    for (size_t h = 0; h < heads->size(); ++h) {
      if ((*heads)[h].name != tasks[t].name()) continue;
      TaskSmearing* const one = state->add_smearing();
      one->set_task(tasks[t].name());
      one->set_factor(
          SmearingFactor(tasks[t], train.predictions[h], train.labels[t], train.weights[t]));
    }
  }
  return absl::OkStatus();
}

}  // namespace pagoda
