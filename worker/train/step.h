// One training step of one worker's lanes: the hot path.
//
// Step t of a worker that owns lanes [first_lane, first_lane + lane_count): ids of the lanes are deduplicated in MixId order and announced to the
// shards ahead (Prepare on the reader's thread, Announce on the step's); Run gathers the pulled rows into the network's input, runs forward and backward
// slice by slice on the compute threads, sums dense gradients along the tree of slices, lanes and workers, applies the dense rule, sums sparse gradients
// along the tree of lanes and pushes them; the push's reply carries the rows of t + 1. At steady state nothing is allocated.
//
// Bits depend on the lanes alone: not on threads, workers, shards.
//
// Prepare: Thread-safe. The rest: **Confined to the step thread.**
#ifndef PAGODA_WORKER_TRAIN_STEP_H_
#define PAGODA_WORKER_TRAIN_STEP_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/checkpoint/safetensors.h"
#include "common/group/group.h"
#include "common/net/client.h"
#include "proto/wire.pb.h"
#include "worker/data/batch.h"
#include "worker/graph/program.h"

namespace pagoda {

struct StepOptions {
  int threads = 1;             // Compute threads, the step thread included.
  int lane_count = 1;          // Owned lanes.
  std::vector<TaskConfig> tasks;   // Weights, normalisation; in order of the batch's tasks.
  OptimizerConfig dense_optimizer; // Parameters resolved.
  uint32_t dense_clock = 0;        // Its index in Schema.optimizer ...
  uint32_t sparse_clock = 0;       // ... and that of the rows' optimizer.
  double sparse_learning_rate = 0;
  int64_t schedule_step = 0;       // Steps that both optimizers have taken already (resume).
  uint64_t seed = 1;
};

// Seconds spent, summed over steps, for --profile.
struct StepProfile {
  double pull_wait = 0, gather = 0, forward_backward = 0, dense_sync = 0, dense_apply = 0, sparse_sum = 0, push = 0;
};

struct StepResult {
  std::vector<double> losses;  // [task]: unweighted loss of the whole global step, normalised; the same at every worker.
};

// A step's batches with their unique ids and where each id's row goes.
struct PreparedStep;
struct PreparedStepDeleter {
  void operator()(PreparedStep* step) const;
};
using PreparedStepPtr = std::unique_ptr<PreparedStep, PreparedStepDeleter>;

class Stepper {
 public:
  // `group`: the workers. `shards`: one client a shard, in shard order. `program` and `schema` outlive this.
  Stepper(const StepOptions& options, const Program* program, const Schema* schema, const InputLayout& input,
          Group* group, std::vector<std::unique_ptr<ShardClient>> shards);
  ~Stepper();

  // batches [lane_count], some may be empty.
  PreparedStepPtr Prepare(int64_t step, std::vector<Batch> batches) const;

  // Tells the shards the ids of a step that Run will come to. Steps are announced in order, at most one ahead of the running one.
  absl::Status Announce(const PreparedStep& step);

  // Before the first Run (of a start, or after PushOnly): rows of `step`, which was announced.
  absl::Status PullFirst(PreparedStep& step);

  // Computes `step` (its rows were pulled); pushes it; pulls `next`'s rows in the same exchange if it is not null (it was announced).
  absl::StatusOr<StepResult> Run(PreparedStep& step, PreparedStep* next);

  // Predictions of one batch at the current weights; changes nothing. predictions[head][row], heads as Program::heads().
  absl::Status Predict(const Batch& batch, std::vector<std::vector<float>>* predictions);

  // Dense parameters and their optimizer's states as named tensors: "NAME" and "NAME.state0", ...; any order on the way in, UsageError /
  // DataError when a name or shape does not fit. Loading without states (--init) is allowed.
  std::vector<Tensor> DenseTensors() const;
  absl::Status LoadDense(const std::vector<Tensor>& tensors, bool require_states);

  ShardClient& shard(int index);
  int shard_count() const;
  const StepProfile& profile() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace pagoda

#endif  // PAGODA_WORKER_TRAIN_STEP_H_
