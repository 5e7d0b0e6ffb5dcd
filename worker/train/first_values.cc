#include "worker/train/first_values.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/checkpoint/manifest.h"
#include "common/errors.h"
#include "common/io/file.h"
#include "worker/train/agreement.h"
#include "worker/train/checkpointer.h"

namespace pagoda {
namespace {

absl::Status PrepareInit(const Job& job, bool is_first, const RowTools& tools,
                         FirstValues* values) {
  ASSIGN_OR_RETURN(InitFile init, ReadInitFile(job.options.init, job.schema));
  values->dense = std::move(init.dense);
  if (init.rows.empty()) return absl::OkStatus();
  values->checkpoint = RowCheckpointPath(FirstValuesFolder(job));
  if (!is_first) return absl::OkStatus();
  const auto write = [&](const std::string& directory) {
    return tools.write(directory, job.schema, init.rows);
  };
  return WriteRowCheckpoint(FirstValuesFolder(job), job.schema, write).status();
}

absl::Status PrepareWarm(const Job& job, bool is_first, const RowTools& tools,
                         FirstValues* values) {
  const std::string& from = job.options.warm_start;
  ASSIGN_OR_RETURN(const Manifest manifest, ReadManifest(from));
  if (is_first) {
    RETURN_IF_ERROR(VerifyFiles(from, manifest));
    RETURN_IF_ERROR(
        CarryCheckpoint(from, manifest, job.schema, FirstValuesFolder(job), tools.carry).status());
  }
  values->checkpoint = RowCheckpointPath(FirstValuesFolder(job));
  values->steps_taken = TakeClocks(manifest, job.schema);
  values->note = absl::StrCat("warm start from ", from, ", step ", manifest.state().step());
  ASSIGN_OR_RETURN(std::vector<Tensor> dense, ReadDense(from));
  values->dense = DropForeignStates(std::move(dense), manifest.schema(), job.schema);
  return absl::OkStatus();
}

}  // namespace

std::string FirstValuesFolder(const Job& job) { return JoinPath(job.run_dir, "init"); }

absl::StatusOr<FirstValues> PrepareFirstValues(const Job& job, Group& workers,
                                               const RowTools& tools) {
  FirstValues values;
  absl::Status status;
  const bool is_first = workers.rank() == 0;
  if (!job.options.init.empty()) {
    status = PrepareInit(job, is_first, tools, &values);
  } else if (!job.options.warm_start.empty()) {
    status = WithContext(PrepareWarm(job, is_first, tools, &values), "--warm_start");
  }
  RETURN_IF_ERROR(AgreeStatus(workers, status));
  return values;
}

absl::Status LoadFirstDense(const Job& job, FirstValues* values, Stepper& stepper) {
  const bool is_warm = !job.options.warm_start.empty();
  if (is_warm) {
    std::string note;
    values->dense = TakeDense(std::move(values->dense), stepper.DenseTensors(), &note);
    absl::StrAppend(&values->note, ": ", note);
  }
  if (values->dense.empty()) return absl::OkStatus();
  return WithContext(stepper.LoadDense(values->dense, /*require_states=*/false),
                     is_warm ? "--warm_start" : "--init");
}

}  // namespace pagoda
