#include "worker/train/signals.h"

#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <thread>

#include "common/errors.h"
#include "glog/logging.h"

namespace pagoda {
namespace {

constexpr int kInterrupted = 128 + SIGINT;  // As shells have it.

std::atomic<bool> leave_requested{false};
std::atomic<bool> released{false};

// Shells start what runs in the background with SIGINT ignored, so that Ctrl-C is not for it.
// (A signal that is blocked waits even where it is ignored.)
bool IsIgnored(int signal) {
  struct sigaction action;
  CHECK_EQ(sigaction(signal, nullptr, &action), 0);
  return action.sa_handler == SIG_IGN;
}

sigset_t LeaveSignals(bool by_mpirun) {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGUSR1);
  if (by_mpirun) {
    sigaddset(&signals, SIGCONT);
  } else if (!IsIgnored(SIGINT)) {
    sigaddset(&signals, SIGINT);
  }
  return signals;
}

void TakeSignals(const sigset_t signals) {
  for (int taken = 0;;) {
    siginfo_t info;
    const int signal = sigwaitinfo(&signals, &info);
    if (signal < 0) continue;  // EINTR
    if (signal == SIGCONT) {
      // Whoever stopped this process may let it go on, too: only the launcher's means the end.
      if (info.si_pid == getppid()) leave_requested = true;
      continue;
    }
    if (signal == SIGINT) {
      std::fputs(
          "worker: interrupted; the same command with --resume goes on from the newest "
          "checkpoint, if there is one\n",
          stderr);
      _exit(kInterrupted);
    }
    leave_requested = true;
    if (++taken == 1 && !released) continue;
    if (!released) {
      std::fputs(
          "worker: asked twice to leave: ended at once; the same command with --resume goes on "
          "from the newest checkpoint, if there is one\n",
          stderr);
    }
    // No checkpoint was written: not exit code 85, which would promise one.
    _exit(static_cast<int>(ExitCode::kTemporary));
  }
}

}  // namespace

void CatchLeaveSignals(bool by_mpirun) {
  const sigset_t signals = LeaveSignals(by_mpirun);
  const int error = pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  CHECK_EQ(error, 0);
  std::thread(TakeSignals, signals).detach();
}

void ReleaseLeaveSignals() { released = true; }

bool LeaveRequested() { return leave_requested; }

}  // namespace pagoda
