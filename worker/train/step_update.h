// The dense half of a step's update: gradients summed over slices, lanes and workers, and the rules
// of the optimizers that move applied along them.
//
// A worker alone sums and applies chunk by chunk, in one pass over memory; several sum their own
// lanes, add the sums of all workers, and then apply. A limit on the norm of the gradient, which is
// that of all that an optimizer owns, also wants all sums before the first is applied, and a pass
// over them of its own. An optimizer that does not move in a step (none of its tasks has weight)
// neither sums nor sends. After an error, weights may be half applied. Optimizers that own a
// parameter in common are applied to all of theirs one after the other, in the order of the
// configuration: a worker alone does so in rounds, each again one pass over memory.
//
// **Confined to the step thread**, but for the threads that it uses.
#ifndef PAGODA_WORKER_TRAIN_STEP_UPDATE_H_
#define PAGODA_WORKER_TRAIN_STEP_UPDATE_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "common/group/group.h"
#include "common/optim/rule.h"
#include "worker/train/step_array.h"
#include "worker/train/step_dense.h"
#include "worker/train/step_threads.h"

namespace pagoda {

// An optimizer in one step.
struct OptimizerMove {
  bool moves = true;
  RuleStep rule_step;  // With this step counted.
};

class DenseUpdate {
 public:
  // gradients [pass]. All outlive this.
  DenseUpdate(DenseParameters* parameters, std::vector<DenseGradients>* gradients, Group* group,
              ComputeThreads* threads);

  // Before the waves of a step; moves [optimizer].
  void SetMoves(absl::Span<const OptimizerMove> moves);
  // Adds a wave that is not the last; slices [lane of the wave].
  void AddWave(int wave, absl::Span<const int> slices);

  // Starts with the last wave on the other threads; Finish ends it on this one too. No other work
  // may use the threads in between.
  void Start(absl::Span<const int> slices);
  // All workers call it alike. DataError: a gradient is not finite; the weights are then undefined.
  // *sum_seconds and *apply_seconds grow by the time that each part took this thread.
  absl::Status Finish(int64_t step, double* sum_seconds, double* apply_seconds);

  // Instead of all that: applies sums [E] over all workers that were made elsewhere.
  absl::Status Apply(int64_t step, absl::Span<const float> sums);

 private:
  // One thread's temporaries.
  struct Scratch {
    DenseGradients::Scratch sums;
    Array<float> gradient;  // [chunk.size]
    Array<float> weights;   // [chunk.size]
  };
  void BeginRound(size_t round);
  // Of the waves so far, in `scratch` or a buffer.
  const float* SumChunk(int wave, const DenseParameters::Chunk& chunk, Scratch* scratch);
  void SumAndApply(const DenseParameters::Chunk& chunk, int thread);
  absl::Status AddWorkers();
  // Those whose sums were kept. No chunk that is not finite is applied, and none at all if that is
  // one with a limit on its norm.
  void ClipAndApply();
  void ClipAndApply(const DenseParameters::Chunk& chunk, int thread);
  // Finds what the kept sums' norms ask for; clips their values before.
  void FindNorms();
  // Clips a kept sum's values; false, and is_finite_ with it: it is not finite.
  bool ClipSum(const DenseParameters::Chunk& chunk);
  absl::Status FiniteStatus(int64_t step) const;
  bool alone() const { return group_.size() == 1; }
  const ClipLimits& LimitsOf(const DenseParameters::Chunk& chunk) const {
    return parameters_.optimizer(chunk.optimizer).limits;
  }
  // Whether the chunk's sum must be kept until all of the round are known.
  bool IsKept(const DenseParameters::Chunk& chunk) const {
    return !alone() || LimitsOf(chunk).norm > 0;
  }

  // Constant after construction.
  DenseParameters& parameters_;
  std::vector<DenseGradients>& gradients_;
  Group& group_;
  ComputeThreads& threads_;

  std::vector<Scratch> scratch_;  // [thread]
  Array<float> sum_;              // [E], of the chunks that are kept.

  // Of the step under way.
  std::vector<OptimizerMove> moves_;                   // [optimizer]
  std::vector<const DenseParameters::Chunk*> moving_;  // Chunks of those that move.
  // Round r has chunks [round_begin_[r], round_begin_[r + 1]) of moving_; there is at least one.
  std::vector<size_t> round_begin_;
  absl::Span<const DenseParameters::Chunk* const> round_;  // The one under way.
  std::vector<const DenseParameters::Chunk*> kept_;        // Those of it whose sums are kept.
  // Those of kept_ with a limit on the norm.
  std::vector<const DenseParameters::Chunk*> limited_;
  std::vector<double> squares_;     // [limited]: of the clipped sums.
  std::vector<double> norm_scale_;  // [optimizer]
  absl::Span<const int> slices_;
  std::function<void(int, int)> work_;  // What the threads have begun with.
  std::atomic<bool> is_finite_{true};
};

}  // namespace pagoda

#endif  // PAGODA_WORKER_TRAIN_STEP_UPDATE_H_
