// Where a training run begins: the run directory taken, the run epoch raised, the checkpoint to go
// on from found; by worker 0, and known to all.
//
// **Confined to the step thread.**
#ifndef PAGODA_WORKER_TRAIN_START_H_
#define PAGODA_WORKER_TRAIN_START_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "proto/checkpoint.pb.h"
#include "worker/data/dataset.h"
#include "worker/train/job.h"
#include "worker/train/run_directory.h"
#include "worker/train/session.h"

namespace pagoda {

struct Start {
  std::unique_ptr<RunDirectory> run;  // Worker 0 only.
  bool replaces_run = false;          // One that is there is to be set aside; worker 0 only.
  uint64_t job_id = 0;
  uint64_t run_epoch = 0;
  std::string checkpoint;            // Empty: a fresh start.
  std::optional<Manifest> manifest;  // Of the checkpoint.
  std::vector<std::string> notes;    // What a person should be told; worker 0 only.
};

// All workers call it. --resume takes the newest checkpoint that verifies, or --checkpoint's; none
// when it repeats a start that was to replace the run (RunDirectory::MarkFresh). An earlier run's
// files stay as they are: until data, servers and first values are known to be good, this start may
// fail, and the earlier run is what a --resume goes on with. Not so the records of what a command
// gave (worker/data/dataset.h): a fresh start reads it anew, in their place, and an earlier run can
// be gone on with only if the command gives the same again. IoError when a worker does not see the
// run directory. start->run is there after a failure, too, if it was taken.
absl::Status StartRun(const Job& job, const Cluster& cluster, Start* start);

// DataError names a source that is not what the checkpoint's run read.
absl::Status CheckSources(const Manifest& manifest, const Dataset& dataset);

// UsageError names a feature that no task of the configuration reads and that has neither rows nor
// columns, whereas the checkpoint's run gave it some.
absl::Status CheckSameUnread(const Manifest& manifest, const Config& config);

// DataError names a binary task without a positive example in TRAIN, and its predicate; or a TRAIN
// split without rows.
absl::Status CheckLabels(const Config& config, const Dataset& dataset);

// A note for each optimizer of the configuration that updates nothing, with the names it may have
// been meant to have: a slip in a name makes an optimizer of its own. Not for "sparse" and "dense",
// which are always there.
std::vector<std::string> UnusedOptimizers(const Config& config, const TrainingMethod& method);

// A warning for each optimizer whose rule starts weights at 0 and makes them anew from its own
// state (FTRL), where it owns rows that the network reads, not the wide part: a network of ReLUs
// whose input is all 0 learns nothing; and where others update the same rows: it undoes what they
// do. Tables are called as in the schema.
std::vector<std::string> ZeroedRows(const Schema& schema, const TrainingMethod& method);

}  // namespace pagoda

#endif  // PAGODA_WORKER_TRAIN_START_H_
