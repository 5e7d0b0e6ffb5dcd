// --warm_start=DIR: begins with what another job's checkpoint has of this one.
//
// Dense tensors (weights and optimizers' states) are taken by name where the shapes agree, rows by
// table, states only from an optimizer of the same name, rule and state, and an optimizer that is
// taken goes on at its step count.
// Everything else starts as it always does: new tasks, new tables. What was taken is said.
//
// Thread-safe (functions over files).
#ifndef PAGODA_WORKER_TRAIN_WARM_START_H_
#define PAGODA_WORKER_TRAIN_WARM_START_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/checkpoint/safetensors.h"
#include "proto/checkpoint.pb.h"
#include "proto/wire.pb.h"

namespace pagoda {

// Writes the rows of a checkpoint into `directory` as those of `schema`. The servers' knowledge,
// as RowWriter (init_file.h).
using RowCarrier = std::function<absl::StatusOr<std::vector<RowFile>>(
    const std::string& checkpoint, const Manifest& manifest, const Schema& schema,
    const std::string& directory)>;

// Whether a table of this name in `schema` has ids of this slot.
bool HasIds(const Schema& schema, absl::string_view table, uint32_t slot);

// UsageError: in a table of both, a feature has the slot that another one had, or another slot than
// it had (slots are dealt in the order of features): it would begin with rows that are not its own.
absl::Status CheckSameIds(const Schema& from, const Schema& wanted);

// `stored`, a checkpoint's dense tensors, without the states that no optimizer of `wanted` may take
// up (common/optim/same_state.h).
std::vector<Tensor> DropForeignStates(std::vector<Tensor> stored, const Schema& from,
                                      const Schema& wanted);

// Those of `stored` that have a namesake of the same shape and type in `wanted`. *note: how many of
// the checkpoint's `all`, and the names of some that start anew; averages, which then start at the
// weights, are not named.
std::vector<Tensor> TakeDense(std::vector<Tensor> stored, size_t all,
                              const std::vector<Tensor>& wanted, std::string* note);

// [optimizer of `schema`]: the steps of the one in the manifest whose states it may take up, or 0.
std::vector<int64_t> TakeClocks(const Manifest& manifest, const Schema& schema);

}  // namespace pagoda

#endif  // PAGODA_WORKER_TRAIN_WARM_START_H_
