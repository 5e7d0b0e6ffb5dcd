#include "worker/train/evaluator.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "common/errors.h"
#include "common/metrics/metrics.h"
#include "glog/logging.h"

namespace pagoda {
namespace {

int64_t BlockCount(int64_t rows) { return (rows + Program::kTileRows - 1) / Program::kTileRows; }
int BlockRows(int64_t rows, int64_t block) {
  return static_cast<int>(std::min<int64_t>(Program::kTileRows, rows - block * Program::kTileRows));
}

void AppendFloats(const float* values, int count, std::string* out) {
  out->append(reinterpret_cast<const char*>(values), sizeof(float) * count);
}

// One worker's blocks: of each block, predictions [head, R], labels [task, R], weights [task, R].
absl::StatusOr<std::string> PredictBlocks(Group& workers, const Dataset& dataset, Split split,
                                          Stepper& stepper) {
  const int64_t rows = dataset.rows(split);
  std::string out;
  Batch batch;
  std::vector<std::vector<float>> predictions;
  for (int64_t block = workers.rank(); block < BlockCount(rows); block += workers.size()) {
    std::vector<int64_t> records(BlockRows(rows, block));
    std::iota(records.begin(), records.end(), block * Program::kTileRows);
    RETURN_IF_ERROR(dataset.Fill(split, records, &batch));
    RETURN_IF_ERROR(stepper.Predict(batch, &predictions));
    for (const auto& head : predictions) AppendFloats(head.data(), batch.rows, &out);
    AppendFloats(batch.labels.data(), static_cast<int>(batch.labels.size()), &out);
    AppendFloats(batch.weights.data(), static_cast<int>(batch.weights.size()), &out);
  }
  return out;
}

// Takes the blocks of one worker apart again.
absl::Status Scatter(const std::string& text, int worker, int workers, int64_t rows,
                     SplitPredictions* split) {
  size_t at = 0;
  const auto take = [&](int64_t begin, int count, std::vector<std::vector<float>>& columns) {
    for (auto& column : columns) {
      if (at + count * sizeof(float) > text.size()) return false;
      std::memcpy(column.data() + begin, text.data() + at, count * sizeof(float));
      at += count * sizeof(float);
    }
    return true;
  };
  bool fits = true;
  for (int64_t block = worker; fits && block < BlockCount(rows); block += workers) {
    const int64_t begin = block * Program::kTileRows;
    const int count = BlockRows(rows, block);
    fits = take(begin, count, split->predictions) && take(begin, count, split->labels) &&
           take(begin, count, split->weights);
  }
  if (fits && at == text.size()) return absl::OkStatus();
  return DataError(absl::StrCat("worker ", worker, " sent ", text.size(), " bytes of predictions, ",
                                "not those of its blocks: do all workers read the same data?"));
}

}  // namespace

absl::StatusOr<SplitPredictions> PredictSplit(Group& workers, const Dataset& dataset, Split split,
                                              Stepper& stepper, int head_count) {
  ASSIGN_OR_RETURN(const std::string mine, PredictBlocks(workers, dataset, split, stepper));
  ASSIGN_OR_RETURN(const auto all, workers.Gather(0, mine));
  SplitPredictions result;
  if (workers.rank() != 0) return result;
  const int64_t rows = dataset.rows(split);
  const size_t tasks = dataset.schema().tasks.size();
  result.predictions.assign(head_count, std::vector<float>(rows));
  result.labels.assign(tasks, std::vector<float>(rows));
  result.weights.assign(tasks, std::vector<float>(rows));
  for (int worker = 0; worker < workers.size(); ++worker) {
    RETURN_IF_ERROR(Scatter(all[worker], worker, workers.size(), rows, &result));
  }
  return result;
}

std::vector<TaskMetrics> ComputeMetrics(const SplitPredictions& split, const Config& config,
                                        const std::vector<Graph::HeadSpec>& heads) {
  std::vector<TaskMetrics> all;
  for (int t = 0; t < config.dataset().task_size(); ++t) {
    const TaskConfig& task = config.dataset().task(t);
    const auto head = std::find_if(heads.begin(), heads.end(), [&](const Graph::HeadSpec& one) {
      return one.name == task.name() && one.has_loss;
    });
    CHECK(head != heads.end()) << "no head for task " << task.name();
    const auto& predictions = split.predictions[head - heads.begin()];
    TaskMetrics metrics;
    metrics.task = task.name();
    metrics.loss = task.loss();
    if (task.loss() == TaskConfig::BCE) {
      const BinaryMetrics m = ComputeBinary(predictions, split.labels[t], split.weights[t]);
      metrics.rows = m.rows;
      metrics.positives = m.positives;
      metrics.auc = m.auc;
      metrics.logloss = m.logloss;
      metrics.pcoc = m.pcoc;
    } else {
      const NumberMetrics m = ComputeNumber(predictions, split.labels[t], split.weights[t]);
      metrics.rows = m.rows;
      metrics.mse = m.mse;
      metrics.mae = m.mae;
    }
    all.push_back(metrics);
  }
  return all;
}

double Score(const std::vector<TaskMetrics>& metrics, const std::string& best_by) {
  double sum = 0;
  for (const TaskMetrics& one : metrics) {
    if (best_by != "SUM" && best_by != one.task) continue;
    sum += one.loss == TaskConfig::BCE ? one.auc : -one.mse;
  }
  return sum;
}

}  // namespace pagoda
