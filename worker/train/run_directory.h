// The folder of a run: who holds it, which start this is, and what stands where.
//
// RUN_DIR/metrics.jsonl    what happened, one JSON object a line
// RUN_DIR/checkpoints/     common/checkpoint/manifest.h
// RUN_DIR/log/             one log a process
// RUN_DIR/data/            record files (worker/data/dataset.h)
// RUN_DIR/store/           the live tier's scratch, one folder a run epoch
// RUN_DIR/job              "job_id run_epoch": its name on the wire, the number of its last start
// RUN_DIR/lock             held by worker 0; names the holder
// RUN_DIR/fresh            while a start without --resume has yet to set the earlier run aside
//
// **Confined to worker 0's step thread.**
#ifndef PAGODA_WORKER_TRAIN_RUN_DIRECTORY_H_
#define PAGODA_WORKER_TRAIN_RUN_DIRECTORY_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/io/file.h"

namespace pagoda {

class RunDirectory {
 public:
  // How long a start waits for an earlier one that is about to die (design.md, section 8).
  static constexpr int64_t kLockTimeoutMs = 15'000;

  // Makes the folders, takes the lock (TemporaryError names the holder), removes what an
  // interrupted checkpoint left.
  static absl::StatusOr<std::unique_ptr<RunDirectory>> Open(
      const std::string& path, const std::string& holder, int64_t lock_timeout_ms = kLockTimeoutMs);

  // Moves checkpoints and metrics of an earlier run out of the way, to checkpoints.previous and
  // metrics.previous.jsonl, or .previous.2, .previous.3, ...: the first number that neither has, so
  // nothing is lost, and a later --resume cannot find them. Says where they are and how to go on
  // with them; empty when there was no run.
  absl::StatusOr<std::string> SetEarlierRunAside();

  // A start that is to replace the run that is here, if one is, says so on disk. What is killed or
  // ends with exit code 75 is repeated with --resume (launcher/supervise.sh), and must not go on
  // with that run then.
  absl::Status MarkFresh();
  bool IsMarkedFresh() const { return FileExists(fresh()); }
  absl::Status UnmarkFresh();  // Fine when it is not marked.

  uint64_t job_id() const { return job_id_; }
  // The next run epoch, on disk before it is returned.
  absl::StatusOr<uint64_t> NextEpoch();
  // Removes the live tiers of run epochs below `epoch`.
  absl::Status RemoveOldStores(uint64_t epoch) const;

  std::string checkpoints() const { return JoinPath(path_, "checkpoints"); }
  std::string data() const { return JoinPath(path_, "data"); }
  std::string store() const { return JoinPath(path_, "store"); }
  std::string metrics() const { return JoinPath(path_, "metrics.jsonl"); }

 private:
  RunDirectory(const std::string& path, std::unique_ptr<FileLock> lock)
      : path_(path), lock_(std::move(lock)) {}
  std::string fresh() const { return JoinPath(path_, "fresh"); }
  absl::Status LoadJob();

  const std::string path_;
  const std::unique_ptr<FileLock> lock_;
  uint64_t job_id_ = 0;
  uint64_t run_epoch_ = 0;
};

}  // namespace pagoda

#endif  // PAGODA_WORKER_TRAIN_RUN_DIRECTORY_H_
