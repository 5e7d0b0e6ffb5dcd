#include "worker/train/signals.h"

#include <signal.h>
#include <unistd.h>

#include <atomic>

#include "common/errors.h"

namespace pagoda {
namespace {

std::atomic<int> leave_signals{0};
static_assert(std::atomic<int>::is_always_lock_free, "a handler may only touch lock-free state");

// No checkpoint was written: not exit code 85, which would promise one.
void OnLeaveSignal(int) {
  if (leave_signals.fetch_add(1) > 0) _exit(static_cast<int>(ExitCode::kTemporary));
}

}  // namespace

void CatchLeaveSignals() {
  struct sigaction action = {};
  action.sa_handler = OnLeaveSignal;
  action.sa_flags = SA_RESTART;
  sigemptyset(&action.sa_mask);
  sigaction(SIGTERM, &action, nullptr);
  sigaction(SIGUSR1, &action, nullptr);
}

void ReleaseLeaveSignals() {
  signal(SIGTERM, SIG_DFL);
  signal(SIGUSR1, SIG_DFL);
}

bool LeaveRequested() { return leave_signals.load() > 0; }

}  // namespace pagoda
