// What workers ask of the next step boundary, agreed so that all of them stop after the same step.
//
// A signal may reach any worker; the checkpoint timer is worker 0's. Both ride on one small
// reduction, taken every few steps (about five times a second: the interval is worker 0's, and
// rides on the reduction too). When it is taken changes no bits: a boundary pushes and pulls the
// same rows as a pipelined step does.
//
// **Confined to the step thread.**
#ifndef PAGODA_WORKER_TRAIN_WISHES_H_
#define PAGODA_WORKER_TRAIN_WISHES_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "common/clock.h"
#include "common/group/group.h"

namespace pagoda {

struct Wishes {
  bool leave = false;       // Checkpoint, then exit 85.
  bool checkpoint = false;  // Checkpoint, then go on.
};

class WishExchange {
 public:
  // Both outlive this.
  WishExchange(Group* workers, const Clock* clock) : workers_(workers), clock_(clock) {}

  // Before each step, at every worker: what all of them do after it. A wish that does not fall on
  // an exchange is not lost: it is asked for again at the next one, as long as the caller has it.
  absl::StatusOr<Wishes> Agree(const Wishes& mine);

 private:
  static constexpr int64_t kPeriodMs = 200;
  static constexpr int64_t kMaxInterval = 64;  // Steps.

  int64_t NextInterval();

  Group* const workers_;
  const Clock* const clock_;
  int64_t interval_ = 1;     // Steps from the last exchange to the next one ...
  int64_t steps_since_ = 0;  // ... and those that have passed.
  int64_t last_exchange_ms_ = -1;
};

}  // namespace pagoda

#endif  // PAGODA_WORKER_TRAIN_WISHES_H_
