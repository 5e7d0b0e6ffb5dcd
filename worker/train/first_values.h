// What a fresh run begins with besides initial values: --init's file or --warm_start's checkpoint,
// and the embeddings that features import (worker/data/vectors.h). Of a feature whose ids
// the checkpoint of a warm start has, its rows are taken; a table that --init has rows for may not
// be imported into.
//
// Rows come to the shards as a checkpoint of rows alone that worker 0 writes into RUN_DIR/init and
// hello names; dense tensors are loaded when the engine is there.
//
// **Confined to the step thread.**
#ifndef PAGODA_WORKER_TRAIN_FIRST_VALUES_H_
#define PAGODA_WORKER_TRAIN_FIRST_VALUES_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/checkpoint/safetensors.h"
#include "common/group/group.h"
#include "worker/train/init_file.h"
#include "worker/train/job.h"
#include "worker/train/step.h"
#include "worker/train/warm_start.h"

namespace pagoda {

// How rows are written is the servers' knowledge: the composition root hands it in.
struct RowTools {
  RowWriter write;
  RowCarrier carry;
};

struct FirstValues {
  std::string checkpoint;            // Of the rows; empty: none.
  std::vector<int64_t> steps_taken;  // [optimizer], with --warm_start; else empty.
  std::vector<Tensor> dense;
  size_t stored_dense = 0;  // With --warm_start: tensors of its checkpoint, taken or not.
  std::string note;         // What a person should be told.
};

// All workers call it. `dataset`: its training rows say what imports are for.
absl::StatusOr<FirstValues> PrepareFirstValues(const Job& job, Group& workers, const RowTools& rows,
                                               const Dataset& dataset);

// The dense ones into the stepper, at each worker by itself; adds to values->note.
absl::Status LoadFirstDense(const Job& job, FirstValues* values, Stepper& stepper);

// Where rows wait for the shards; may go once there is a checkpoint.
std::string FirstValuesFolder(const Job& job);

}  // namespace pagoda

#endif  // PAGODA_WORKER_TRAIN_FIRST_VALUES_H_
