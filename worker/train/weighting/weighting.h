// The registry of task weightings: how much each task's gradient counts in a step.
//
// The step of K tasks moves shared parameters along sum_k c_k g_k, g_k being the gradient of task
// k's loss (times the fixed weight of its configuration). A weighting finds the c_k. Some know them
// before the backward pass (fixed, schedule, dwa, uwl), some want the step's losses first (famo),
// some the K x K matrix of inner products of the g_k over what the tasks share (pcgrad, mgda) or
// over one named group (gradnorm): `WeightingNeeds` says which, and the step arranges for it.
// Dense parameters that one task alone reaches move along that task's own gradient, times c_k where
// c_k weighs a loss (HeadScales), plainly where it combines gradients. Rows are shared whichever
// tasks reach them: a shard that combines gradients does not know who reads a table, so rows of one
// task (a wide part's, STEM's own) are in the inner products and move along c_k times its gradient.
//
// All numbers that come in are the same at every worker, and so is what comes out: every worker
// holds a copy and none sends it. State is a list of doubles; it is checkpointed and digested.
//
// A task that has no weight in a step (no example in its sample space) is absent: it gets c = 0 and
// nothing of its state moves.
//
// To add one: a file NAME.cc here that ends in PAGODA_REGISTER_WEIGHTING; nothing else changes.
//
// **Confined to the step thread.**
#ifndef PAGODA_WORKER_TRAIN_WEIGHTING_WEIGHTING_H_
#define PAGODA_WORKER_TRAIN_WEIGHTING_WEIGHTING_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/optim/rule.h"
#include "proto/config.pb.h"

namespace pagoda {

struct WeightingTask {
  std::string name;
  bool is_regression;  // Its loss is of a number (MSE, Huber, log-normal), not of a class.
};

// What a weighting is made from.
struct WeightingArgs {
  std::vector<WeightingTask> tasks;          // [K]
  std::map<std::string, double> parameters;  // Declared ones, resolved.
  uint64_t seed = 1;
  int64_t steps_per_epoch = 1;
  // Of `schedule`: see config.proto.
  std::vector<WeightingPoint> points;
  // Moves weights that are learned (uwl): the rule of the dense parameters without its decay.
  std::shared_ptr<const Rule> rule;
};

enum class WeightingNeeds {
  kNothing,     // The weights are known before the step.
  kLosses,      // Of the step's batch, before the backward pass, and again after the update.
  kGroupGram,   // Inner products over one named group of dense parameters; before the next step.
  kSharedGram,  // Inner products over all rows and all dense that tasks share; before the update.
};

// One step, as every worker sees it. Spans are empty where the weighting does not ask for them.
struct WeightingStep {
  int64_t step = 0;                       // From 0.
  double learning_rate = 0;               // Of the dense optimizer, now.
  absl::Span<const bool> present;         // [K]: the task has weight in this step.
  absl::Span<const double> losses;        // [K]: unweighted, at the weights before the update.
  absl::Span<const double> losses_after;  // [K]: of the same batch, after it.
  absl::Span<const double> gram;          // [K, K]: <g_i, g_j>
};

class Weighting {
 public:
  virtual ~Weighting() = default;

  virtual WeightingNeeds needs() const { return WeightingNeeds::kNothing; }
  // True: c_k weighs task k's loss, for its own parameters too. False: c combines gradients of what
  // is shared and of rows, and a task's own dense parameters take its plain gradient.
  virtual bool weighs_losses() const { return true; }

  // c [K]. Called once a step, with what needs() asks for that comes before the update.
  virtual void Weights(const WeightingStep& step, absl::Span<double> c) = 0;
  // Called once a step after it, with everything.
  virtual void Observe(const WeightingStep&) {}

  // What must be kept to go on; its length is fixed by the arguments.
  absl::Span<double> state() { return absl::MakeSpan(state_); }
  // Names of state() for the log, such as "s/income"; empty: nothing to log beside the weights.
  virtual std::vector<std::string> state_names() const { return {}; }

 protected:
  std::vector<double> state_;
};

struct WeightingInfo {
  std::string name;
  std::string help;    // One line.
  std::string source;  // Paper.
  std::vector<ParameterSpec> parameters;
  std::unique_ptr<Weighting> (*make)(const WeightingArgs& args);
  bool learns_by_rule = false;  // Moves its state by WeightingArgs::rule.
};

// By name; filled before main.
const std::map<std::string, WeightingInfo>& Weightings();
// CHECKs that the name is new.
bool RegisterWeighting(WeightingInfo info);
#define PAGODA_REGISTER_WEIGHTING(...) \
  static const bool registered_ [[maybe_unused]] = ::pagoda::RegisterWeighting(__VA_ARGS__)

// UsageError: an unknown name or parameter, a value out of range, a point of no task. `args` needs
// no parameters and points: they are config's.
absl::StatusOr<std::unique_ptr<Weighting>> MakeWeighting(const WeightingConfig& config,
                                                         WeightingArgs args);

}  // namespace pagoda

#endif  // PAGODA_WORKER_TRAIN_WEIGHTING_WEIGHTING_H_
