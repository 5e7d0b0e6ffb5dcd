// Writes checkpoints: one cut of all shards' rows, the dense parameters and the loop's state,
// committed by one rename.
//
// Between steps only: the shards have applied every push of the steps done, and none of a later
// one.
//
// **Confined to worker 0's step thread.**
#ifndef PAGODA_WORKER_TRAIN_CHECKPOINTER_H_
#define PAGODA_WORKER_TRAIN_CHECKPOINTER_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/checkpoint/safetensors.h"
#include "proto/checkpoint.pb.h"
#include "worker/train/session.h"

namespace pagoda {

class Checkpointer {
 public:
  // `common`: what all checkpoints of this start share (config, schema, run epoch, sources,
  // statistics). keep: the newest so many stay, beside the best.
  Checkpointer(const std::string& checkpoints_dir, int keep, const Manifest& common)
      : checkpoints_dir_(checkpoints_dir), keep_(keep), common_(common) {}

  // Returns the committed folder. `best`: the link checkpoints/best then points to it. A checkpoint
  // of the same step that is there already (a resumed run that ended at once) is kept.
  absl::StatusOr<std::string> Write(Session& session, const std::vector<Tensor>& dense,
                                    const TrainState& state, bool best);

 private:
  absl::StatusOr<Manifest> WriteFiles(const std::string& directory, Session& session,
                                      const std::vector<Tensor>& dense, const TrainState& state);

  const std::string checkpoints_dir_;
  const int keep_;
  const Manifest common_;
};

// The dense file of a checkpoint, and its tensors.
inline constexpr char kDenseFileName[] = "dense.safetensors";
absl::StatusOr<std::vector<Tensor>> ReadDense(const std::string& checkpoint);

}  // namespace pagoda

#endif  // PAGODA_WORKER_TRAIN_CHECKPOINTER_H_
