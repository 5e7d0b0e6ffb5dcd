// Requests to leave: SIGTERM and SIGUSR1 ask for a checkpoint and an exit at the next step
// boundary; a second one leaves at once. SIGINT (Ctrl-C) leaves at once, and says how to go on,
// unless this process was started with SIGINT ignored; under mpirun it goes to mpirun.
//
// A thread of its own waits for them and all others block them, because a handler must not run on a
// thread that computes: oneDNN's generated kernels (2.6.3) do not survive a signal frame on their
// stack ("corrupted size vs. prev_size" in the free after the product).
//
// Process-wide, as signals are. Thread-safe (functions).
#ifndef PAGODA_WORKER_TRAIN_SIGNALS_H_
#define PAGODA_WORKER_TRAIN_SIGNALS_H_

namespace pagoda {

// Call once, before other threads are started. by_mpirun: OpenMPI's launcher that is told to end
// answers with SIGCONT to its ranks, SIGTERM a while later (odls_base_sigkill_timeout) and SIGKILL
// as long after that; its SIGCONT then counts as the request, for it is the only sign that leaves
// time for a checkpoint.
void CatchLeaveSignals(bool by_mpirun);

// From here on one such signal is enough to leave at once: the launcher ends the ranks of a failed
// job with SIGTERM.
void ReleaseLeaveSignals();

// True from the first such signal on.
bool LeaveRequested();

}  // namespace pagoda

#endif  // PAGODA_WORKER_TRAIN_SIGNALS_H_
