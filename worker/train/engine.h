// The running half of a job: a session with the shards and a stepper on it, at one checkpoint.
//
// **Confined to the step thread.**
#ifndef PAGODA_WORKER_TRAIN_ENGINE_H_
#define PAGODA_WORKER_TRAIN_ENGINE_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "proto/checkpoint.pb.h"
#include "worker/data/dataset.h"
#include "worker/graph/program.h"
#include "worker/train/job.h"
#include "worker/train/session.h"
#include "worker/train/step.h"

namespace pagoda {

struct Engine {
  std::unique_ptr<Session> session;
  std::unique_ptr<Stepper> stepper;
};

struct EngineOptions {
  uint64_t job_id = 0;
  uint64_t run_epoch = 0;
  int64_t steps_done = 0;
  std::vector<int64_t> steps_taken;  // [optimizer]: of steps_done, those it took; empty: none.
  int64_t steps_per_epoch = 1;
  std::vector<double> weighting_state;  // TrainState.weighting_state
  std::string
      checkpoint;  // Rows, and dense parameters unless `init` is set; empty: initial values.
  bool load_dense = true;  // False: the checkpoint has rows only (--init).
  std::string store_dir;   // Empty: the server's own.
};

// All workers call it. job, cluster and program outlive the engine.
absl::StatusOr<Engine> OpenEngine(const Job& job, const Cluster& cluster, const Program* program,
                                  const EngineOptions& options);

// All workers call it: worker 0 reads the sources first, the others find its record files.
// `statistics` null: computed, and pipes are read again. `cache_dir`: Dataset's, made if need be.
absl::StatusOr<std::unique_ptr<Dataset>> OpenDataset(const Job& job, Group& workers,
                                                     const Statistics* statistics,
                                                     const std::string& cache_dir);
// The cache that a run and what evaluates it share.
std::string DataFolder(const Job& job);

// Compute threads of one worker: the CPUs this process may use, shared with the other workers on
// this host; at least 1.
int DefaultThreads(int workers_on_host);

// --resume, --mode=evaluate and predict need a checkpoint whose tables and optimizers (names,
// rules, sizes of states) are those of the configuration.
absl::Status CheckSameTables(const Schema& stored, const Schema& configured);

}  // namespace pagoda

#endif  // PAGODA_WORKER_TRAIN_ENGINE_H_
