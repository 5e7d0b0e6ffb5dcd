// What a task's configuration does to labels and weights before training, and to predictions after
// it: transforms, positive weights, calibration.
//
// Units. A label y in label units is what the data says. The network may learn another number
// ("training units"): log(1 + y) with label_transform: LOG1P, log y with LOG_NORMAL (whose head
// gives e^x, so its predictions are in label units already). The way back from an estimate t:
//   MEDIAN  expm1(t) or e^t: the median of y, when errors in training units are symmetric;
//   MEAN    S e^t (- 1 for LOG1P), S = mean over training rows of exp(label - t), Duan's smearing
//           factor (Duan, JASA 1983): the mean of y, whatever the errors' distribution is.
//
// Calibration. Keeping negatives at rate r divides the odds of y = 1 by r's inverse, weighing
// positives w times multiplies them by w; so odds' = odds r / w, or
//   p' = p / (p + (1 - p) w / r).
//
// Thread-safe (pure functions).
#ifndef PAGODA_WORKER_TRAIN_TASK_RULES_H_
#define PAGODA_WORKER_TRAIN_TASK_RULES_H_

#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "proto/checkpoint.pb.h"
#include "proto/config.pb.h"
#include "worker/data/batch.h"
#include "worker/data/dataset.h"

namespace pagoda {

// Labels of TRAIN -> training units; weights of positives times positive_weight. In place; tasks in
// the batch's order.
void PrepareTrainingBatch(absl::Span<const TaskConfig> tasks, Batch* batch);

// Each auto_positive_weight becomes the positive_weight that it stands for, from the training rows:
// max(1, auto_positive_weight * negatives / positives), of the rows that train the task.
void ResolvePositiveWeights(const Dataset& dataset, Config* config);
// Each becomes what it was found to be when the model was trained, by the configuration in its
// checkpoint; so that another data set's rows do not change what predictions mean. UsageError: a
// task that was not trained.
absl::Status TakePositiveWeights(const Config& trained, Config* config);

// True for tasks whose predictions need a smearing factor.
bool NeedsSmearing(const TaskConfig& task);
// The task's factor; 1 when there is none.
double SmearingOf(const TrainState& state, const TaskConfig& task);
// S from rows of TRAIN: predictions as the network gives them, labels in label units, rows of
// weight 0 left out; 1 when no row is left. All [n].
double SmearingFactor(const TaskConfig& task, absl::Span<const float> predictions,
                      absl::Span<const float> labels, absl::Span<const float> weights);

// The network's predictions [n] -> label units, calibrated if the task asks for it; in place.
void ToLabelUnits(const TaskConfig& task, double smearing, absl::Span<float> predictions);

// Labels in training units; predictions as the network gives them -> training units.
float TrainingLabel(const TaskConfig& task, float label);
float TrainingPrediction(const TaskConfig& task, float prediction);
// True when training units are not label units.
bool HasTrainingUnits(const TaskConfig& task);

}  // namespace pagoda

#endif  // PAGODA_WORKER_TRAIN_TASK_RULES_H_
