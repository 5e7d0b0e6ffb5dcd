// Monotonic time behind an interface, so that time-outs can be tested without waiting for them.
//
// Thread-safe.
#ifndef PAGODA_COMMON_CLOCK_H_
#define PAGODA_COMMON_CLOCK_H_

#include <cstdint>

namespace pagoda {

class Clock {
 public:
  virtual ~Clock() = default;
  // Milliseconds since an arbitrary start; never goes back.
  virtual int64_t NowMs() const = 0;
  virtual void SleepMs(int64_t duration_ms) = 0;

  // The machine's steady clock.
  static Clock* Steady();
};

// A point in time by which something must have happened.
class Deadline {
 public:
  static Deadline After(const Clock& clock, int64_t duration_ms) {
    return Deadline(clock.NowMs() + duration_ms, duration_ms);
  }
  bool Passed(const Clock& clock) const { return clock.NowMs() >= at_ms_; }
  // Never negative.
  int64_t RemainingMs(const Clock& clock) const {
    const int64_t left_ms = at_ms_ - clock.NowMs();
    return left_ms > 0 ? left_ms : 0;
  }
  // What was granted, for messages: "no answer in 30000 ms".
  int64_t duration_ms() const { return duration_ms_; }

 private:
  Deadline(int64_t at_ms, int64_t duration_ms) : at_ms_(at_ms), duration_ms_(duration_ms) {}
  int64_t at_ms_;
  int64_t duration_ms_;
};

}  // namespace pagoda

#endif  // PAGODA_COMMON_CLOCK_H_
