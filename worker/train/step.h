// One training step of one worker's lanes: the hot path.
//
// Step t of a worker that owns lanes [first, first + lane_count): the lanes' ids are deduplicated
// in MixId order (Prepare, on the reader's thread) and announced to the shards ahead (Announce, on
// the step's). Run gathers the pulled rows into the network's input, runs forward and backward
// slice by slice on the compute threads, and then sums rows' gradients over lanes and pushes them;
// while the shards apply those it sums dense gradients over slices, lanes and workers and applies
// the dense rule. The push's reply carries the rows of t + 1. At steady state only messages'
// headers allocate.
//
//   method           passes, optimizers and what they own; step_setup hands it to the parts below
//   step_ids         unique ids, their order on the wire, where rows come from and gradients go
//   step_embeddings  rows -> network input, its gradient -> rows' gradients
//   step_losses      what each example weighs
//   step_weighting   what each task weighs
//   step_network     forward and backward of lanes, predictions
//   step_dense       dense parameters, sums of their gradients
//   step_average     moving averages of the dense parameters
//   step_update      sums over workers, the dense optimizers
//   step_tasks       each task's dense gradients by themselves, and their combination
//   step_push        rows' gradients by table and optimizer
//   step_exchange    messages with the shards
//   step_threads     compute threads
//
// All passes of a step start from the same weights. A pass none of whose tasks has weight in the
// step does not run; an optimizer that owns nothing that a task with weight reaches does not move:
// no gradient of it is pushed, and its clock stands. Weight sums of the whole step, and what a
// weighting of losses makes of them, decide that, so all workers agree.
//
// Bits depend on the lanes alone: not on threads, workers, shards. All sums are taken along one
// fixed tree: slices of a lane, lanes of a worker, workers; a lane without examples adds zeros to
// the dense gradients and nothing to the rows'.
//
// Prepare: Thread-safe. The rest: **Confined to the step thread.**
#ifndef PAGODA_WORKER_TRAIN_STEP_H_
#define PAGODA_WORKER_TRAIN_STEP_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/checkpoint/safetensors.h"
#include "common/group/group.h"
#include "common/net/client.h"
#include "proto/wire.pb.h"
#include "worker/data/batch.h"
#include "worker/graph/program.h"
#include "worker/train/method.h"
#include "worker/train/step_weighting.h"

namespace pagoda {

struct StepOptions {
  int threads = 1;                // Compute threads, the step thread included.
  int lane_count = 1;             // Owned lanes; a power of two.
  std::vector<TaskConfig> tasks;  // Weights, normalisation; in the order of the batch's tasks.
  TrainingMethod method;          // Its optimizers are those of the schema.
  // [optimizer]: steps that it has taken already (resume); empty: none.
  std::vector<int64_t> steps_taken;
  StepWeightingOptions weighting;
  double ema_decay = 0;  // Of the dense parameters' averages; 0: none.
  uint64_t seed = 1;
};

// Seconds spent by the step thread, summed over steps, for --profile.
struct StepProfile {
  double pull_wait = 0;  // Waiting for rows.
  double gather = 0;     // Rows into the network's input; a thread's mean.
  double forward_backward = 0;
  double dense_sync = 0;   // Losses and dense gradients over workers.
  double dense_apply = 0;  // Summing slices and lanes, the dense rule.
  double sparse_sum = 0;
  double push = 0;  // Sending; with shards in this thread, their work too.
};

struct StepResult {
  // [task]: unweighted loss of the whole global step, normalised; the same at every worker. 0 for a
  // task of weight 0 or without examples.
  std::vector<double> losses;
  // [task]: what the weighting made of them, and what it found that with; empty: fixed weights.
  std::vector<double> weights;
  std::vector<NamedValue> weighting;
};

// A step's batches with their unique ids and where each id's row goes.
struct PreparedStep;
struct PreparedStepDeleter {
  void operator()(PreparedStep* step) const;
};
using PreparedStepPtr = std::unique_ptr<PreparedStep, PreparedStepDeleter>;

class Stepper {
 public:
  // `group`: the workers. `shards`: one client a shard, in shard order. `program`, `schema` and
  // `group` outlive this.
  Stepper(const StepOptions& options, const Program* program, const Schema* schema,
          const InputLayout& input, Group* group, std::vector<std::unique_ptr<ShardClient>> shards);
  ~Stepper();

  // batches [lane_count]; some may be empty (rows = 0, columns or not). `only_task`: whose turn it
  // is; for the losses of others the examples weigh nothing. kAllTasks: everyone's.
  static constexpr int kAllTasks = -1;
  PreparedStepPtr Prepare(int64_t step, std::vector<Batch> batches,
                          int only_task = kAllTasks) const;

  // Steps that are announced ahead of the one that runs: t + 2 rides on the push of t, and its rows
  // are fetched while t + 1 is computed.
  static constexpr size_t kStepsAhead = 2;
  // Tells the shards, by the next push or pull at the latest, the ids of a step that Run will come
  // to. Steps are announced in order, at most kStepsAhead of the running one.
  absl::Status Announce(const PreparedStep& step);

  // Before the first Run (of a start, or after one without `next`): rows of `step`, which was
  // announced.
  absl::Status PullFirst(PreparedStep& step);

  // Computes `step` (its rows were pulled); pushes it; pulls `next`'s rows in the same exchange if
  // it is not null (it was announced). All workers call it alike. A loss that is not finite is a
  // DataError that names the task, before anything is pushed; after any error this object is only
  // good for destroying.
  absl::StatusOr<StepResult> Run(PreparedStep& step, PreparedStep* next);

  // Predictions of one batch at the current weights, the dense ones' averages if there are any;
  // changes nothing, asks no other worker.
  // predictions[head][row], heads as Program::heads().
  absl::Status Predict(const Batch& batch, std::vector<std::vector<float>>* predictions);
  // [embedding feature]: values of the last Predict's batch for which the tables have no row, never
  // trained or imported: zeros stood for it.
  absl::Span<const int64_t> unseen() const;

  // Dense parameters, their averages and their optimizers' states as named tensors: "NAME",
  // "NAME.ema" and "NAME.state0", ..., or "NAME.OPTIMIZER.state0" where several have states;
  // weights [rows, columns], biases [columns].
  std::vector<Tensor> DenseTensors() const;
  // Any order. With require_states every parameter, average and state must be there; without
  // (--init), what is missing keeps its value, and averages start at the weights. DataError for a
  // shape, dtype or value that does not fit, UsageError for a name that is not in the model;
  // nothing changes then.
  absl::Status LoadDense(const std::vector<Tensor>& tensors, bool require_states);

  // [optimizer]: steps taken, those before this start included.
  absl::Span<const int64_t> steps_taken() const;
  // Of the tasks' weighting, to go on with.
  absl::Span<const double> weighting_state() const;
  // Of rows' gradients, by this worker since this object was made.
  uint64_t bytes_pushed() const;
  // What an optimizer will learn by in its next step.
  double learning_rate(int optimizer) const;

  ShardClient& shard(int index);
  int shard_count() const;
  const StepProfile& profile() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace pagoda

#endif  // PAGODA_WORKER_TRAIN_STEP_H_
