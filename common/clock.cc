#include "common/clock.h"

#include <chrono>
#include <thread>

namespace pagoda {
namespace {

class SteadyClock : public Clock {
 public:
  int64_t NowMs() const override {
    return std::chrono::duration_cast<std::chrono::milliseconds>(
               std::chrono::steady_clock::now().time_since_epoch())
        .count();
  }
  void SleepMs(int64_t duration_ms) override {
    std::this_thread::sleep_for(std::chrono::milliseconds(duration_ms));
  }
};

}  // namespace

Clock* Clock::Steady() {
  static SteadyClock clock;
  return &clock;
}

}  // namespace pagoda
