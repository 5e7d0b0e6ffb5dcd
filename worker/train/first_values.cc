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

void AddNote(const std::string& text, std::string* note) {
  absl::StrAppend(note, note->empty() ? "" : "; ", text);
}

// The job's configuration without the imports of ids that the tables of `taken` have already: of
// those the checkpoint's rows count, whatever is there.
Config WithoutTaken(const Job& job, const Schema& taken, std::string* note) {
  Config config = job.config;
  for (FeatureConfig& feature : *config.mutable_dataset()->mutable_feature()) {
    for (const EmbeddingFeature& one : job.data.input.embeddings) {
      if (!feature.has_import() || one.name != feature.name()) continue;
      if (!one.set.empty() || one.table < 0) continue;
      if (!HasIds(taken, job.schema.table(one.table).name(), one.slot)) continue;
      feature.clear_import();
      AddNote(absl::StrCat("feature ", one.name, ": rows of the warm start, not the imported ones"),
              note);
    }
  }
  return config;
}

// The imports of the features of `config` added to *rows, by ascending table.
absl::Status AddImports(const Job& job, const Config& config, std::vector<InitRows>* rows,
                        std::string* note) {
  ASSIGN_OR_RETURN(std::vector<InitRows> imports, ReadImports(config, job.data));
  for (InitRows& one : imports) {
    const std::string& table = job.schema.table(one.table).name();
    const bool is_given = std::any_of(rows->begin(), rows->end(), [&](const InitRows& given) {
      return given.table == one.table;
    });
    if (is_given) {
      return UsageError(absl::StrCat("--init has rows of table ", table, ", which a feature ",
                                     "imports too; leave one of the two out"));
    }
    AddNote(absl::StrCat("table ", table, ": ", one.ids.size(), " rows imported"), note);
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
  RETURN_IF_ERROR(AddImports(job, job.config, &init.rows, &values->note));
  const auto write = [&](const std::string& directory) {
    return tools.write(directory, job.schema, init.rows);
  };
  return WriteRowCheckpoint(FirstValuesFolder(job), job.schema, write).status();
}

// The rows of a checkpoint, and imports of ids that its tables do not have.
absl::StatusOr<std::vector<RowFile>> WriteWarmRows(const Job& job, const Manifest& manifest,
                                                   const RowTools& tools,
                                                   const std::string& directory,
                                                   std::string* note) {
  ASSIGN_OR_RETURN(std::vector<RowFile> files,
                   tools.carry(job.options.warm_start, manifest, job.schema, directory));
  std::vector<InitRows> rows;
  if (ImportsRows(job)) {
    RETURN_IF_ERROR(AddImports(job, WithoutTaken(job, manifest.schema(), note), &rows, note));
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
  RETURN_IF_ERROR(CheckSameIds(manifest.schema(), job.schema));
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
  values->stored_dense = dense.size();
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
    values->dense =
        TakeDense(std::move(values->dense), values->stored_dense, stepper.DenseTensors(), &note);
    absl::StrAppend(&values->note, ": ", note);
  }
  if (values->dense.empty()) return absl::OkStatus();
  return WithContext(stepper.LoadDense(values->dense, /*require_states=*/false),
                     is_warm ? "--warm_start" : "--init");
}

}  // namespace pagoda
