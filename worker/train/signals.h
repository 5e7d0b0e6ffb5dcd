// Requests to leave: SIGTERM and SIGUSR1 ask for a checkpoint and an exit at the next step
// boundary; a second one leaves at once.
//
// Process-wide, as signals are; the only state is one counter that a handler may touch.
//
// Thread-safe (functions).
#ifndef PAGODA_WORKER_TRAIN_SIGNALS_H_
#define PAGODA_WORKER_TRAIN_SIGNALS_H_

namespace pagoda {

// Installs the handlers. Call once, before threads are started.
void CatchLeaveSignals();

// Back to what the system does: the launcher ends the ranks of a failed job with SIGTERM, and waits long for those who catch it.
void ReleaseLeaveSignals();

// True from the first such signal on.
bool LeaveRequested();

}  // namespace pagoda

#endif  // PAGODA_WORKER_TRAIN_SIGNALS_H_
