// What falls due after a step: a pure function of the number of steps done, so that all workers
// agree unasked, and a resumed run does what an undisturbed one does.
//
// Thread-safe (const).
#ifndef PAGODA_WORKER_TRAIN_SCHEDULE_H_
#define PAGODA_WORKER_TRAIN_SCHEDULE_H_

#include <algorithm>
#include <cstdint>
#include <limits>

#include "proto/config.pb.h"

namespace pagoda {

class Schedule {
 public:
  // REQUIRES: steps_per_epoch > 0.
  Schedule(const TrainConfig& train, int64_t steps_per_epoch)
      : steps_per_epoch_(steps_per_epoch),
        evaluate_every_(train.evaluate_every_steps() > 0 ? train.evaluate_every_steps()
                                                         : steps_per_epoch),
        checkpoint_every_(train.checkpoint_every_steps()),
        end_step_(EndStep(train, steps_per_epoch)) {}

  int64_t steps_per_epoch() const { return steps_per_epoch_; }
  // The job has done all of its work after so many steps.
  int64_t end_step() const { return end_step_; }
  // An evaluation that early stopping counts.
  bool EvaluateAfter(int64_t steps_done) const { return steps_done % evaluate_every_ == 0; }
  // A checkpoint, beside those after each evaluation.
  bool CheckpointAfter(int64_t steps_done) const {
    return steps_done == end_step_ ||
           (checkpoint_every_ > 0 && steps_done % checkpoint_every_ == 0);
  }

 private:
  // Epochs without end are allowed: more steps than can be counted are the most that can.
  static int64_t EndStep(const TrainConfig& train, int64_t steps_per_epoch) {
    int64_t steps;
    if (__builtin_mul_overflow(int64_t{train.epochs()}, steps_per_epoch, &steps)) {
      steps = std::numeric_limits<int64_t>::max();
    }
    return train.has_max_steps() ? std::min(train.max_steps(), steps) : steps;
  }

  const int64_t steps_per_epoch_;
  const int64_t evaluate_every_;
  const int64_t checkpoint_every_;
  const int64_t end_step_;
};

}  // namespace pagoda

#endif  // PAGODA_WORKER_TRAIN_SCHEDULE_H_
