// Predictions of a whole split by all workers together, and a task's metrics from them.
//
// The split is cut into blocks of Program::kTileRows rows at aligned record numbers, dealt to the
// workers in turn. A prediction is then computed in the same tile whoever computes it, so any
// number of workers gives the same bytes.
//
// **Confined to the step thread.**
#ifndef PAGODA_WORKER_TRAIN_EVALUATOR_H_
#define PAGODA_WORKER_TRAIN_EVALUATOR_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/group/group.h"
#include "common/metrics/metrics.h"
#include "proto/checkpoint.pb.h"
#include "proto/config.pb.h"
#include "worker/data/dataset.h"
#include "worker/graph/program.h"
#include "worker/train/step.h"

namespace pagoda {

// N = rows of the split, in record order. All of it is in worker 0's memory: 4 (heads + 2 tasks)
// bytes a row, and 8 more with groups.
struct SplitPredictions {
  // [head][N], heads as Program::heads(), as the network gives them; empty for gates' elements.
  std::vector<std::vector<float>> predictions;
  std::vector<std::vector<float>> labels;   // [task][N], label units
  std::vector<std::vector<float>> weights;  // [task][N]; 0: outside the task's sample space
  std::vector<uint64_t> groups;             // [N], or empty
  std::vector<double> gate_means;           // [head]; of gates' elements only, else 0
  std::vector<int64_t> unseen;              // [embedding feature]: values without a row
};

struct PredictOptions {
  int group_feature = -1;  // Of InputLayout::embeddings: whose ids are `groups`; -1: none.
  // Stop at about so many rows, in blocks evenly spaced over the split; 0: all rows.
  int64_t max_rows = 0;
};

// The feature `name`'s column in Batch::ids, or -1. Further embedding sets have none of their own.
int FindGroupFeature(const InputLayout& input, const std::string& name);

// All workers call it; the result is at worker 0, empty elsewhere.
absl::StatusOr<SplitPredictions> PredictSplit(Group& workers, const Dataset& dataset, Split split,
                                              Stepper& stepper,
                                              const std::vector<Graph::HeadSpec>& heads,
                                              const PredictOptions& options = {});

struct MetricValue {
  std::string name;
  double value;
};

struct TaskMetrics {
  std::string task;
  TaskConfig::Loss loss = TaskConfig::BCE;
  int64_t rows = 0;       // In the sample space.
  int64_t positives = 0;  // Binary tasks.
  // Under the names of metrics.jsonl, in its order. Of numbers: in label units.
  std::vector<MetricValue> values;
  // Of numbers that the network learns in units of its own.
  std::vector<MetricValue> training_units;
  std::vector<CalibrationBucket> buckets;
  double score = 0;  // What best_by adds up; config.proto says which metric it is.

  double Value(absl::string_view name) const;  // NaN when there is none.
};

// Where every row's gate goes on average.
struct GateUse {
  struct Share {
    std::string expert;
    double weight;  // Mean over rows; a gate's add up to 1.
  };
  std::string gate;
  std::vector<Share> experts;
};

// Values of a feature for which its table has no row: neither trained nor imported, they
// count as rows of zeros.
struct UnseenValues {
  std::string feature;
  int64_t values = 0;  // Above 0.
};

// Metrics of a split, at worker 0.
struct Evaluation {
  std::vector<TaskMetrics> tasks;  // In configuration order.
  std::vector<GateUse> gates;
  std::vector<UnseenValues> unseen;  // Of features that have some.
};

std::vector<UnseenValues> CollectUnseen(const SplitPredictions& split, const InputLayout& input);

// What the evaluations of a job have in common.
struct Evaluator {
  Group* workers;
  const Dataset* dataset;
  const Config* config;  // Resolved.
  const std::vector<Graph::HeadSpec>* heads;

  // All workers call each.
  // Predictions with groups, if the configuration names them.
  absl::StatusOr<SplitPredictions> Predict(Split split, Stepper& stepper) const;
  absl::StatusOr<Evaluation> Evaluate(Split split, Stepper& stepper, const TrainState& state) const;
  // The smearing factors at the stepper's weights, from some training rows, into *state at worker
  // 0. Nothing happens when no task needs one.
  absl::Status UpdateSmearing(Stepper& stepper, TrainState* state) const;
};

// With predictions in label units, calibrated where a task asks for it. REQUIRES: each task has a
// head of its name.
std::vector<TaskMetrics> ComputeMetrics(const SplitPredictions& split, const Config& config,
                                        const std::vector<Graph::HeadSpec>& heads,
                                        const TrainState& state = {});

// Predictions -> label units, in place. A probability beside the tasks that makes one of them out
// of another (pCVR = pCTCVR / pCTR) follows the two where they are calibrated.
void ConvertPredictions(const Config& config, const std::vector<Graph::HeadSpec>& heads,
                        const TrainState& state, SplitPredictions* split);

// train.best_by: a task's score, or the sum over all tasks.
double Score(const std::vector<TaskMetrics>& metrics, const std::string& best_by);
// What to tell a person of a score that is not a number: whose it is; empty otherwise.
std::string ScoreWarning(const std::vector<TaskMetrics>& metrics, const std::string& best_by);

}  // namespace pagoda

#endif  // PAGODA_WORKER_TRAIN_EVALUATOR_H_
