// A step on its way: its batches, the plan of its ids, and its rows once they are pulled.
//
// Steps are reused: destroying a PreparedStepPtr hands the object back to the pool it came from, so
// that at steady state a step finds its memory grown already.
//
// PreparedStep: **Needs external lock** (a value). PreparedStepPool: Thread-safe.
#ifndef PAGODA_WORKER_TRAIN_STEP_PREPARED_H_
#define PAGODA_WORKER_TRAIN_STEP_PREPARED_H_

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "worker/data/batch.h"
#include "worker/train/step.h"
#include "worker/train/step_exchange.h"
#include "worker/train/step_ids.h"

namespace pagoda {

class PreparedStepPool;

struct PreparedStep {
  int64_t step = 0;
  int only_task = Stepper::kAllTasks;  // Whose turn it is.
  std::vector<Batch> batches;          // [lane]
  std::vector<RowRange> ranges;        // [lane]
  IdPlan plan;
  PulledRows rows;
  // Of the whole step over all workers (step_losses.h): all tasks' until Run, then only those of
  // `only_task`; empty until known.
  std::vector<double> weight_sums;
  std::shared_ptr<PreparedStepPool> pool;  // Where it goes back to; null while it is there.
};

class PreparedStepPool {
 public:
  static PreparedStepPtr Take(const std::shared_ptr<PreparedStepPool>& pool) {
    std::unique_ptr<PreparedStep> step = pool->TakeFree();
    step->pool = pool;
    return PreparedStepPtr(step.release());
  }
  void Return(std::unique_ptr<PreparedStep> step) ABSL_LOCKS_EXCLUDED(mu_) {
    step->batches.clear();
    step->ranges.clear();
    step->rows.replies.clear();  // Frees the shards' buffers.
    step->rows.values.clear();
    step->weight_sums.clear();
    absl::MutexLock lock(&mu_);
    free_.push_back(std::move(step));
  }

 private:
  std::unique_ptr<PreparedStep> TakeFree() ABSL_LOCKS_EXCLUDED(mu_) {
    absl::MutexLock lock(&mu_);
    if (free_.empty()) return std::make_unique<PreparedStep>();
    std::unique_ptr<PreparedStep> step = std::move(free_.back());
    free_.pop_back();
    return step;
  }

  absl::Mutex mu_;
  std::vector<std::unique_ptr<PreparedStep>> free_ ABSL_GUARDED_BY(mu_);
};

}  // namespace pagoda

#endif  // PAGODA_WORKER_TRAIN_STEP_PREPARED_H_
