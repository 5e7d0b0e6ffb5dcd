// The manifest of a checkpoint (grammar: proto/checkpoint.proto), and the directory that holds
// checkpoints.
//
// RUN_DIR/checkpoints/step-000000001170/          committed
// RUN_DIR/checkpoints/step-000000001170.tmp/      being written; removed by RemoveUnfinished
// RUN_DIR/checkpoints/step-000000001170.old.tmp/  being replaced, where that takes two renames
// RUN_DIR/checkpoints/best -> step-...            symbolic link, replaced atomically
//
// Commit: all files written and fsynced into the .tmp directory, the manifest last, the directory
// fsynced, then renamed, or exchanged for the directory that had the name.
//
// Thread-safe (functions over files); one process writes.
#ifndef PAGODA_COMMON_CHECKPOINT_MANIFEST_H_
#define PAGODA_COMMON_CHECKPOINT_MANIFEST_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "proto/checkpoint.pb.h"

namespace pagoda {

inline constexpr uint32_t kCheckpointVersion = 1;

// Creates checkpoints_dir/step-N.tmp (emptied if it is there) and returns its path.
absl::StatusOr<std::string> BeginCheckpoint(const std::string& checkpoints_dir, int64_t step);

// Writes the manifest into `temporary_dir`, syncs, renames; returns the committed path. A committed
// step of that number is replaced; whenever the process dies, one of the two is whole.
absl::StatusOr<std::string> CommitCheckpoint(const std::string& temporary_dir,
                                             const Manifest& manifest);

// OK when a manifest is there. NotFound for a path that is not there, with the near names of what
// is beside it, and for a run or a directory of checkpoints, with the checkpoint that it may stand
// for. DataError for any other folder.
absl::Status CheckIsCheckpoint(const std::string& path);

// Reads and checks the manifest alone: its checksum, its version. Errors of CheckIsCheckpoint, too.
absl::StatusOr<Manifest> ReadManifest(const std::string& checkpoint_dir);

// Every file that the manifest names: present, size, checksum. DataError names the first bad one.
absl::Status VerifyFiles(const std::string& checkpoint_dir, const Manifest& manifest);

struct FoundCheckpoint {
  std::string path;
  Manifest manifest;
  // Newer ones that did not verify, with the reason, for a warning.
  std::vector<std::string> skipped;
};
// The newest committed checkpoint whose files all verify. NotFound when there is none at all;
// DataError when there are some and none verifies: to start afresh then is for a person to decide.
absl::StatusOr<FoundCheckpoint> FindNewest(const std::string& checkpoints_dir);

// Points checkpoints_dir/best at step N's directory.
absl::Status MarkBest(const std::string& checkpoints_dir, int64_t step);

// Removes what a start that died left unfinished (*.tmp), and puts back a committed checkpoint that
// it had moved aside to replace it. REQUIRES: nobody writes there; call it before FindNewest.
absl::Status RemoveUnfinished(const std::string& checkpoints_dir);

// Removes all but the newest `keep` (at least one) and the best.
absl::Status RemoveOld(const std::string& checkpoints_dir, int keep);

}  // namespace pagoda

#endif  // PAGODA_COMMON_CHECKPOINT_MANIFEST_H_
