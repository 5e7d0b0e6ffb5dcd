// What the launcher of an MPI job (mpirun, srun) tells a process before MPI is initialised, and how
// to leave it.
//
// Enough to refuse a wrong command line at once and by one process: a rank that prints and leaves
// before MPI_Init costs nothing, while one that leaves after it makes the launcher end the others.
//
// Thread-safe (a value, functions).
#ifndef PAGODA_COMMON_GROUP_LAUNCH_H_
#define PAGODA_COMMON_GROUP_LAUNCH_H_

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace pagoda {

struct Launch {
  bool by_mpi = false;
  bool by_mpirun = false;  // OpenMPI's own launcher is the parent, not srun or another.
  int rank = 0;            // Of the job.
  bool is_first = true;    // The first rank of its command: `mpirun A : B` has two commands.
  bool is_first_on_host = true;
  int workers = 1;  // 0: not known before the group is open.
};

// `variable`: the value of an environment variable, or null.
Launch ReadLaunch(absl::FunctionRef<const char*(const char* name)> variable);

// Who says why the job ends before there is a group: the first rank of a command, and the first on
// each other host, which may share no files with it and be alone in its failure.
bool SpeaksBeforeGroup(const Launch& launch);

// Of a failure that every rank sees alike before there is a group: one rank prints
// "PROGRAM: MESSAGE", after the others have left; returns this rank's exit code. mpirun takes the
// first exit code that is not 0, srun the largest: who is silent has 0. Another host's first rank
// waits for the end that the launcher makes of it, and speaks if none comes.
int LeaveBeforeGroup(const Launch& launch, absl::string_view program, const absl::Status& status);

// REQUIRES: launch.by_mpirun; this process leaves within `after_ms`, and its exit code is not 0.
//
// OpenMPI 4.1.4 then sleeps odls_base_sigkill_timeout seconds before it sends SIGTERM to the ranks
// and as long again before SIGKILL, even when all have left: the one that failed counts as alive
// (orte/mca/odls/base/odls_base_default_fns.c). A SIGCHLD, which it expects in any case and which
// others ignore, cuts a sleep short: from after_ms on, a small process that outlives this one sends
// it some. Ranks that are left get SIGTERM and SIGKILL about 100 and 200 ms later.
void HurryLauncher(int after_ms);

}  // namespace pagoda

#endif  // PAGODA_COMMON_GROUP_LAUNCH_H_
