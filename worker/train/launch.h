// What the launcher of an MPI job (mpirun, srun) tells a process before MPI is initialised.
//
// Enough to refuse a wrong command line at once and by one process: a rank that prints and leaves
// before MPI_Init costs nothing, while one that leaves after it makes the launcher end the others,
// slowly.
//
// Thread-safe (a value).
#ifndef PAGODA_WORKER_TRAIN_LAUNCH_H_
#define PAGODA_WORKER_TRAIN_LAUNCH_H_

#include "absl/functional/function_ref.h"

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

}  // namespace pagoda

#endif  // PAGODA_WORKER_TRAIN_LAUNCH_H_
