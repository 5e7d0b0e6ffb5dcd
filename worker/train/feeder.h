// Prepares a worker's steps ahead of the loop: reads the lanes' records and deduplicates their ids
// on a thread of its own, while the step thread computes.
//
// **Confined to the step thread**; the reader's thread is inside.
#ifndef PAGODA_WORKER_TRAIN_FEEDER_H_
#define PAGODA_WORKER_TRAIN_FEEDER_H_

#include <cstdint>
#include <deque>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "worker/data/dataset.h"
#include "worker/train/step.h"
#include "worker/train/step_order.h"

namespace pagoda {

struct FeederOptions {
  int first_lane = 0;  // Owned lanes: [first_lane, first_lane + lane_count).
  int lane_count = 1;
  int64_t first_step = 0;  // Steps [first_step, end_step) of the job.
  int64_t end_step = 0;
  std::vector<TaskConfig> tasks;  // Whose labels and weights are prepared: task_rules.h.
};

// Seconds, summed over steps, for --profile.
struct FeederProfile {
  double wait = 0;    // Of the step thread, for the next step.
  double read = 0;    // Of the reader's thread: records into batches ...
  double dedupe = 0;  // ... and their unique ids.
};

class Feeder {
 public:
  // Prepared steps that wait: t + 1 is announced while t computes, t + 2 is read.
  static constexpr int kCapacity = 2;

  // All outlive this.
  Feeder(const FeederOptions& options, const Dataset* dataset, const StepOrder* order,
         const Stepper* stepper);
  ~Feeder();
  Feeder(const Feeder&) = delete;
  Feeder& operator=(const Feeder&) = delete;

  // The next step; null after the last one. The reader always comes to an end, so the wait needs no
  // deadline of its own.
  absl::StatusOr<PreparedStepPtr> Next();
  FeederProfile profile() const;

 private:
  void Read();
  absl::StatusOr<std::vector<Batch>> ReadBatches(int64_t step);
  absl::StatusOr<PreparedStepPtr> ReadStep(int64_t step);
  bool HasRoom() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    return stopping_ || ready_.size() < kCapacity;
  }
  bool HasNext() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) { return !ready_.empty() || ended_; }

  const FeederOptions options_;
  const Dataset* const dataset_;
  const StepOrder* const order_;
  const Stepper* const stepper_;

  mutable absl::Mutex mu_;
  std::deque<PreparedStepPtr> ready_ ABSL_GUARDED_BY(mu_);
  absl::Status error_ ABSL_GUARDED_BY(mu_);  // What ended the reader, after `ready_`.
  bool ended_ ABSL_GUARDED_BY(mu_) = false;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  FeederProfile profile_ ABSL_GUARDED_BY(mu_);
  std::thread thread_;
};

}  // namespace pagoda

#endif  // PAGODA_WORKER_TRAIN_FEEDER_H_
