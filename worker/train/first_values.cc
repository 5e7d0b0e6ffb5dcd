#include "worker/train/first_values.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/checkpoint/manifest.h"
#include "common/errors.h"
#include "common/io/file.h"
#include "worker/data/vectors.h"
#include "worker/train/agreement.h"
#include "worker/train/checkpointer.h"

namespace pagoda {
namespace {

bool HasTable(const Schema& schema, const std::string& name) {
  return std::any_of(schema.table().begin(), schema.table().end(),
                     [&](const TableSchema& table) { return table.name() == name; });
}

// Features' imports added to *rows, by ascending table, but for those into tables of `taken`.
absl::Status AddImports(const Job& job, const Schema& taken, std::vector<InitRows>* rows,
                        std::string* note) {
  ASSIGN_OR_RETURN(std::vector<InitRows> imports, ReadImports(job.config, job.data));
  for (InitRows& one : imports) {
    const std::string& table = job.schema.table(one.table).name();
    const bool is_given = std::any_of(rows->begin(), rows->end(), [&](const InitRows& given) {
      return given.table == one.table;
    });
    if (is_given) {
      return UsageError(absl::StrCat("--init has rows of table ", table, ", which a feature ",
                                     "imports too; leave one of the two out"));
    }
    absl::StrAppend(note, note->empty() ? "" : "; ", "table ", table, ": ");
    if (HasTable(taken, table)) {
      absl::StrAppend(note, "rows of the warm start, not the imported ones");
      continue;
    }
    absl::StrAppend(note, one.ids.size(), " rows imported");
    rows->push_back(std::move(one));
  }
  std::sort(rows->begin(), rows->end(),
            [](const InitRows& a, const InitRows& b) { return a.table < b.table; });
  return absl::OkStatus();
}

bool ImportsRows(const Job& job) {
  const auto& features = job.config.dataset().feature();
  return std::any_of(features.begin(), features.end(),
                     [](const FeatureConfig& feature) { return feature.has_import(); });
}

// From --init, if there is one, and imports.
absl::Status PrepareGiven(const Job& job, bool is_first, const RowTools& tools,
                          FirstValues* values) {
  InitFile init;
  if (!job.options.init.empty()) {
    ASSIGN_OR_RETURN(init, ReadInitFile(job.options.init, job.schema));
  }
  values->dense = std::move(init.dense);
  if (init.rows.empty() && !ImportsRows(job)) return absl::OkStatus();
  values->checkpoint = RowCheckpointPath(FirstValuesFolder(job));
  if (!is_first) return absl::OkStatus();
  RETURN_IF_ERROR(AddImports(job, Schema(), &init.rows, &values->note));
  const auto write = [&](const std::string& directory) {
    return tools.write(directory, job.schema, init.rows);
  };
  return WriteRowCheckpoint(FirstValuesFolder(job), job.schema, write).status();
}

// The rows of a checkpoint, and imports into tables that it does not have.
absl::StatusOr<std::vector<RowFile>> WriteWarmRows(const Job& job, const Manifest& manifest,
                                                   const RowTools& tools,
                                                   const std::string& directory,
                                                   std::string* note) {
  ASSIGN_OR_RETURN(std::vector<RowFile> files,
                   tools.carry(job.options.warm_start, manifest, job.schema, directory));
  std::vector<InitRows> rows;
  if (ImportsRows(job)) {
    RETURN_IF_ERROR(AddImports(job, manifest.schema(), &rows, note));
  }
  if (rows.empty()) return files;
  ASSIGN_OR_RETURN(const std::vector<RowFile> imported, tools.write(directory, job.schema, rows));
  files.insert(files.end(), imported.begin(), imported.end());
  return files;
}

absl::Status PrepareWarm(const Job& job, bool is_first, const RowTools& tools,
                         FirstValues* values) {
  const std::string& from = job.options.warm_start;
  ASSIGN_OR_RETURN(const Manifest manifest, ReadManifest(from));
  std::string imported;
  if (is_first) {
    RETURN_IF_ERROR(VerifyFiles(from, manifest));
    const auto write = [&](const std::string& directory) {
      return WriteWarmRows(job, manifest, tools, directory, &imported);
    };
    RETURN_IF_ERROR(WriteRowCheckpoint(FirstValuesFolder(job), job.schema, write).status());
  }
  values->checkpoint = RowCheckpointPath(FirstValuesFolder(job));
  values->steps_taken = TakeClocks(manifest, job.schema);
  values->note = absl::StrCat(imported, imported.empty() ? "" : "; ", "warm start from ", from,
                              ", step ", manifest.state().step());
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
  if (!job.options.warm_start.empty()) {
    status = WithContext(PrepareWarm(job, is_first, tools, &values), "--warm_start");
  } else {
    status = PrepareGiven(job, is_first, tools, &values);
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
