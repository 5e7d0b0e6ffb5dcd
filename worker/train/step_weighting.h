// The weighting of a step's tasks at work: what it is told of a step, and where its weights go.
//
// Weights c_k of losses multiply the losses' weights in the backward pass (head_scales): whatever
// task k's loss reaches moves along c_k times its gradient. Those of gradients (pcgrad, mgda) want
// one pass a task, and combine what the passes leave (step_tasks.h, ps/shard_gram.cc). A step
// without a weighting, or with "fixed", is computed as if this were not there.
//
// All numbers are the same at every worker (weighting/weighting.h).
//
// **Confined to the step thread.**
#ifndef PAGODA_WORKER_TRAIN_STEP_WEIGHTING_H_
#define PAGODA_WORKER_TRAIN_STEP_WEIGHTING_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "proto/checkpoint.pb.h"
#include "proto/config.pb.h"
#include "worker/graph/graph.h"
#include "worker/train/method.h"
#include "worker/train/step_losses.h"
#include "worker/train/weighting/weighting.h"

namespace pagoda {

// Gives *method, which is the configuration's, the passes that its weighting wants. UsageError: an
// unknown weighting or parameter, one that the method or the graph does not allow.
absl::Status ArrangeWeighting(const Config& config, const Graph& graph, TrainingMethod* method);

// UsageError: the state in a checkpoint is not what the configuration's weighting keeps: another
// weighting's, or of other tasks.
absl::Status CheckWeightingState(const Config& config, const TrainingMethod& method,
                                 const Manifest& stored);

struct StepWeightingOptions {
  WeightingConfig config;
  int64_t steps_per_epoch = 1;
  std::vector<double> state;  // Of a checkpoint; empty: as training begins.
};

struct NamedValue {
  std::string name;
  double value;
};

class StepWeighting {
 public:
  // The options were checked.
  StepWeighting(const StepWeightingOptions& options, const std::vector<TaskConfig>& tasks,
                const TrainingMethod& method, uint64_t seed);

  // False: all weights are 1, and nothing below need be called.
  bool is_active() const { return weighting_ != nullptr; }
  WeightingNeeds needs() const { return weighting_->needs(); }
  // The optimizer of dense parameters whose rate learned weights follow.
  int dense_optimizer() const { return dense_optimizer_; }

  // Begins step `step`; weight_sums as SumWeights leaves them.
  void Begin(int64_t step, absl::Span<const double> weight_sums, double learning_rate);
  // What needs() asks for, once it is known.
  void SetLosses(absl::Span<const double> losses);  // [K]: unweighted
  void SetLossesAfter(absl::Span<const double> losses);
  void SetGram(absl::Span<const double> triangle);  // [GramSize(K)]: common/gram.h
  // c [K], from what is known by now.
  absl::Span<const double> FindWeights();
  // The weights by heads: [loss head].
  std::vector<float> HeadScales(absl::Span<const LossHead> heads) const;
  // Ends the step.
  void Observe();

  absl::Span<const double> weights() const { return weights_; }  // [K]
  // What FindWeights found them with, for the log.
  const std::vector<NamedValue>& logged() const { return logged_; }
  absl::Span<const double> state() const;

 private:
  WeightingStep Facts() const;

  const std::vector<TaskConfig> tasks_;
  int dense_optimizer_ = 0;
  std::unique_ptr<Weighting> weighting_;  // Null: fixed.

  // Of the step under way.
  int64_t step_ = 0;
  double learning_rate_ = 0;
  std::unique_ptr<bool[]> present_;  // [K]
  std::vector<double> losses_, losses_after_, gram_;
  std::vector<double> weights_;
  std::vector<NamedValue> logged_;
};

}  // namespace pagoda

#endif  // PAGODA_WORKER_TRAIN_STEP_WEIGHTING_H_
