#include "worker/train/first_values.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "common/checkpoint/manifest.h"
#include "common/errors.h"
#include "common/io/file.h"
#include "worker/data/vectors.h"
#include "worker/train/agreement.h"
#include "worker/train/checkpointer.h"

namespace pagoda {
namespace {

// What all of it is made from.
struct Context {
  const Job& job;
  const Dataset& dataset;
  const RowTools& tools;
};

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

// Of the features that import into the table: whose column of a batch's ids holds their values.
std::vector<size_t> ImportersOf(int table, const Config& config, const InputLayout& input) {
  std::vector<size_t> importers;
  for (size_t f = 0; f < input.embeddings.size(); ++f) {
    const EmbeddingFeature& one = input.embeddings[f];
    if (!one.set.empty() || one.table != table) continue;
    for (const FeatureConfig& feature : config.dataset().feature()) {
      if (feature.name() == one.name && feature.has_import()) importers.push_back(f);
    }
  }
  return importers;
}

// How many values the first training rows have that an import is for: none, when its keys are not
// spelt as the data's.
absl::StatusOr<std::string> MatchesOf(const InitRows& rows, const std::vector<size_t>& importers,
                                      const Dataset& dataset) {
  constexpr int64_t kRows = 65536;  // A moment's work, and enough to see whether keys match at all.
  constexpr int64_t kBatchRows = 4096;
  const int64_t count = std::min(dataset.rows(TRAIN), kRows);
  absl::flat_hash_set<uint64_t> values;
  Batch batch;
  for (int64_t first = 0; first < count; first += kBatchRows) {
    std::vector<int64_t> records(std::min(kBatchRows, count - first));
    std::iota(records.begin(), records.end(), first);
    RETURN_IF_ERROR(dataset.Fill(TRAIN, records, &batch));
    for (const size_t f : importers) {
      values.insert(batch.ids[f].ids.begin(), batch.ids[f].ids.end());
    }
  }
  const auto matched = std::count_if(rows.ids.begin(), rows.ids.end(),
                                     [&](uint64_t id) { return values.contains(id); });
  return absl::StrCat(" (for ", matched, " of the ", values.size(), " values in ",
                      count < dataset.rows(TRAIN) ? absl::StrCat("the first ", count) : "the",
                      " training rows", matched == 0 ? ": are keys spelt as in the data?)" : ")");
}

// The imports of the features of `config` added to *rows, by ascending table.
absl::Status AddImports(const Context& context, const Config& config, std::vector<InitRows>* rows,
                        std::string* note) {
  const Job& job = context.job;
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
    ASSIGN_OR_RETURN(
        const std::string matches,
        MatchesOf(one, ImportersOf(one.table, config, job.data.input), context.dataset));
    AddNote(absl::StrCat("table ", table, ": ", one.ids.size(), " rows imported", matches), note);
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
absl::Status PrepareGiven(const Context& context, bool is_first, FirstValues* values) {
  const Job& job = context.job;
  InitFile init;
  if (!job.options.init.empty()) {
    ASSIGN_OR_RETURN(init, ReadInitFile(job.options.init, job.schema));
  }
  values->dense = std::move(init.dense);
  if (init.rows.empty() && !ImportsRows(job)) return absl::OkStatus();
  values->checkpoint = RowCheckpointPath(FirstValuesFolder(job));
  if (!is_first) return absl::OkStatus();
  RETURN_IF_ERROR(AddImports(context, job.config, &init.rows, &values->note));
  const auto write = [&](const std::string& directory) {
    return context.tools.write(directory, job.schema, init.rows);
  };
  return WriteRowCheckpoint(FirstValuesFolder(job), job.schema, write).status();
}

// The rows of a checkpoint, and imports of ids that its tables do not have.
absl::StatusOr<std::vector<RowFile>> WriteWarmRows(const Context& context, const Manifest& manifest,
                                                   const std::string& directory,
                                                   std::string* note) {
  const Job& job = context.job;
  ASSIGN_OR_RETURN(std::vector<RowFile> files,
                   context.tools.carry(job.options.warm_start, manifest, job.schema, directory));
  std::vector<InitRows> rows;
  if (ImportsRows(job)) {
    RETURN_IF_ERROR(AddImports(context, WithoutTaken(job, manifest.schema(), note), &rows, note));
  }
  if (rows.empty()) return files;
  ASSIGN_OR_RETURN(const std::vector<RowFile> imported,
                   context.tools.write(directory, job.schema, rows));
  files.insert(files.end(), imported.begin(), imported.end());
  return files;
}

absl::Status PrepareWarm(const Context& context, bool is_first, FirstValues* values) {
  const Job& job = context.job;
  const std::string& from = job.options.warm_start;
  auto stored = ReadManifest(from);
  // Known to be there when a run begins, but not when one that has no checkpoint yet is resumed.
  if (absl::IsNotFound(stored.status())) {
    return absl::NotFoundError(absl::StrCat(
        stored.status().message(), "; it may have been set aside as checkpoints.previous"));
  }
  ASSIGN_OR_RETURN(const Manifest manifest, std::move(stored));
  RETURN_IF_ERROR(CheckSameIds(manifest.schema(), job.schema));
  std::string imported;
  if (is_first) {
    RETURN_IF_ERROR(VerifyFiles(from, manifest));
    const auto write = [&](const std::string& directory) {
      return WriteWarmRows(context, manifest, directory, &imported);
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
                                               const RowTools& tools, const Dataset& dataset) {
  const Context context{job, dataset, tools};
  FirstValues values;
  absl::Status status;
  const bool is_first = workers.rank() == 0;
  if (!job.options.warm_start.empty()) {
    status = WithContext(PrepareWarm(context, is_first, &values), "--warm_start");
  } else {
    status = PrepareGiven(context, is_first, &values);
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
