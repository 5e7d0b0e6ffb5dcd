// MakeDataSchema: what the configuration of a data set says about tables and the network's input.
#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "common/config.h"
#include "common/errors.h"
#include "worker/data/dataset.h"
#include "worker/data/encoder.h"
#include "worker/data/format.h"

namespace pagoda {
namespace {

constexpr char kSharedPrefix[] = "shared_";
constexpr size_t kMaxSlots = (size_t{1} << (64 - kSaltShift)) - 1;
// Wider embeddings are a typing error.
constexpr int kMaxDim = 4096;
constexpr int kMaxBuckets = 65536;

// Everything that is checked against the columns, where they are known without a file.
struct Columns {
  std::vector<std::string> names;  // Empty: only the files know.

  absl::Status Check(const std::string& column) const {
    if (names.empty() || std::find(names.begin(), names.end(), column) != names.end()) {
      return absl::OkStatus();
    }
    return UsageError(absl::StrCat("no column \"", column, "\"", NearestHint(column, names)));
  }

  // The columns that a predicate reads.
  absl::StatusOr<std::vector<std::string>> CheckPredicate(const std::string& text) const {
    ASSIGN_OR_RETURN(const Predicate predicate, Predicate::Parse(text));
    for (const std::string& column : predicate.columns()) RETURN_IF_ERROR(Check(column));
    return predicate.columns();
  }
};

absl::Status CheckFeature(const FeatureConfig& feature, const Columns& columns) {
  const std::string& column = feature.has_column() ? feature.column() : feature.name();
  RETURN_IF_ERROR(columns.Check(column));
  const bool is_dense = feature.kind() == FeatureConfig::DENSE;
  const bool is_id =
      feature.kind() == FeatureConfig::ID || feature.kind() == FeatureConfig::ID_LIST;
  if (feature.has_dim() && (feature.dim() < 1 || feature.dim() > kMaxDim)) {
    return UsageError(absl::StrCat("dim: ", feature.dim(), " is not in [1, ", kMaxDim, "]"));
  }
  if (is_dense && (feature.has_dim() || feature.has_table())) {
    return UsageError("a DENSE feature is one float: it has neither dim nor table");
  }
  if (!is_dense && feature.transform_size() > 0) {
    return UsageError("transform: only DENSE features are transformed");
  }
  for (int i = 0; i < feature.transform_size(); ++i) {
    for (int j = 0; j < i; ++j) {
      if (feature.transform(i) != feature.transform(j)) continue;
      return UsageError(absl::StrCat(
          "transform: ", FeatureConfig::Transform_Name(feature.transform(i)), " is given twice"));
    }
  }
  if (feature.has_vocabulary() && (!is_id || feature.vocabulary() < 1)) {
    return UsageError("vocabulary: a positive number, of an ID or ID_LIST feature");
  }
  if (feature.buckets() < 2 || feature.buckets() > kMaxBuckets) {
    return UsageError(
        absl::StrCat("buckets: ", feature.buckets(), " is not in [2, ", kMaxBuckets, "]"));
  }
  if (absl::StartsWith(feature.table(), kSharedPrefix)) {
    return UsageError(absl::StrCat("table: names that start with \"", kSharedPrefix,
                                   "\" are kept for tables shared by default"));
  }
  return absl::OkStatus();
}

// Index of the feature's table in schema->tables, which gains it if need be.
absl::StatusOr<int> FindTable(const FeatureConfig& feature, int dim, DataSchema* schema) {
  const std::string name = feature.has_table() ? feature.table() : absl::StrCat(kSharedPrefix, dim);
  for (size_t i = 0; i < schema->tables.size(); ++i) {
    const TableSchema& table = schema->tables[i];
    if (table.name() != name) continue;
    if (static_cast<int>(table.dim()) == dim) return static_cast<int>(i);
    return UsageError(absl::StrCat("table \"", name, "\" has dim ", table.dim(), " by feature \"",
                                   table.feature(0).name(), "\", not ", dim));
  }
  TableSchema& table = schema->tables.emplace_back();
  table.set_name(name);
  table.set_dim(dim);
  return static_cast<int>(schema->tables.size()) - 1;
}

absl::Status AddFeature(const FeatureConfig& feature, int default_dim, uint32_t* next_slot,
                        DataSchema* schema) {
  if (feature.kind() == FeatureConfig::DENSE) {
    schema->input.dense.push_back({feature.name(), 0});
    return absl::OkStatus();
  }
  EmbeddingFeature embedding;
  embedding.name = feature.name();
  embedding.dim = feature.has_dim() ? feature.dim() : default_dim;
  ASSIGN_OR_RETURN(embedding.table, FindTable(feature, embedding.dim, schema));
  // Slots follow the order of features alone, so that a change of a dim moves no other feature's
  // ids.
  embedding.slot = feature.has_table() ? 0 : (*next_slot)++;
  if (embedding.slot > kMaxSlots) {
    return UsageError(absl::StrCat("more than ", kMaxSlots, " features in shared tables"));
  }
  embedding.pooling = feature.pooling();
  embedding.is_list = feature.kind() == FeatureConfig::ID_LIST;
  FeatureSchema* in_table = schema->tables[embedding.table].add_feature();
  in_table->set_name(embedding.name);
  in_table->set_slot(embedding.slot);
  schema->input.embeddings.push_back(std::move(embedding));
  return absl::OkStatus();
}

// `label_columns` gains what the label reads, with the task's name.
absl::Status CheckTask(const TaskConfig& task, const Columns& columns,
                       std::map<std::string, std::string>* label_columns) {
  if (!task.has_label()) {
    return UsageError("label: a predicate (`column == \"value\"`) or a column's name");
  }
  std::string column;
  if (IsColumnLabel(task.label(), columns.names, &column)) {
    RETURN_IF_ERROR(WithContext(columns.Check(column), "label"));
    label_columns->emplace(column, task.name());
  } else {
    const auto read = columns.CheckPredicate(task.label());
    if (!read.ok()) return WithContext(read.status(), "label");
    for (const std::string& name : *read) label_columns->emplace(name, task.name());
  }
  if (task.has_sample_space()) {
    RETURN_IF_ERROR(
        WithContext(columns.CheckPredicate(task.sample_space()).status(), "sample_space"));
  }
  if (task.has_sample_weight()) {
    RETURN_IF_ERROR(WithContext(columns.Check(task.sample_weight()), "sample_weight"));
  }
  return absl::OkStatus();
}

absl::Status CheckNames(const DatasetConfig& dataset) {
  std::set<std::string> seen;
  for (const FeatureConfig& feature : dataset.feature()) {
    if (feature.name().empty()) return UsageError("dataset.feature: a feature without a name");
    if (!seen.insert(feature.name()).second) {
      return UsageError(absl::StrCat("dataset.feature: two are called \"", feature.name(), "\""));
    }
  }
  seen.clear();
  for (const TaskConfig& task : dataset.task()) {
    if (task.name().empty()) return UsageError("dataset.task: a task without a name");
    if (!seen.insert(task.name()).second) {
      return UsageError(absl::StrCat("dataset.task: two are called \"", task.name(), "\""));
    }
  }
  const std::vector<std::string> tasks(seen.begin(), seen.end());
  for (const std::string& name : dataset.funnel()) {
    if (seen.count(name) == 0) {
      return UsageError(
          absl::StrCat("dataset.funnel: no task \"", name, "\"", NearestHint(name, tasks)));
    }
  }
  if (dataset.feature_size() == 0) return UsageError("dataset.feature: none is given");
  if (dataset.task_size() == 0) return UsageError("dataset.task: none is given");
  return absl::OkStatus();
}

absl::Status CheckSources(const DatasetConfig& dataset, const FormatInfo& format) {
  if (dataset.source_size() == 0) return UsageError("dataset.source: none is given");
  for (const SourceConfig& source : dataset.source()) {
    if (format.reads_files && source.path_size() == 0) {
      return UsageError("dataset.source: a source without a path");
    }
    if (!format.reads_files && source.path_size() > 0) {
      return UsageError(
          absl::StrCat("dataset.source.path: format ", format.name, " reads no files"));
    }
    if (source.first_row() < 0 || (source.has_end_row() && source.end_row() < source.first_row())) {
      return UsageError(absl::StrCat("dataset.source: rows [", source.first_row(), ", ",
                                     source.end_row(), ") make no range"));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckSplit(const DatasetConfig& dataset, const Columns& columns) {
  const SplitConfig& split = dataset.split();
  if (split.train() < 0 || split.valid() < 0 || split.test() < 0 ||
      int64_t{split.train()} + split.valid() + split.test() <= 0) {
    return UsageError("dataset.split: train, valid and test are shares, not negative, not all 0");
  }
  if (split.by() == SplitConfig::ROW_HASH) {
    if (split.has_column()) return UsageError("dataset.split: by ROW_HASH reads no column");
    return absl::OkStatus();
  }
  if (!split.has_column()) {
    return UsageError(
        absl::StrCat("dataset.split: by ", SplitConfig::By_Name(split.by()), " wants a column"));
  }
  return WithContext(columns.Check(split.column()), "dataset.split.column");
}

}  // namespace

absl::StatusOr<DataSchema> MakeDataSchema(const Config& config) {
  const DatasetConfig& dataset = config.dataset();
  ASSIGN_OR_RETURN(const FormatInfo* format, FindFormat(dataset.format()));
  Columns columns;
  ASSIGN_OR_RETURN(columns.names, format->columns(dataset));
  std::vector<std::string> sorted = columns.names;
  std::sort(sorted.begin(), sorted.end());
  const auto twice = std::adjacent_find(sorted.begin(), sorted.end());
  if (twice != sorted.end()) {
    return UsageError(absl::StrCat("dataset.column: two are called \"", *twice, "\""));
  }
  if (dataset.csv().list_separator().size() != 1) {
    return UsageError("dataset.csv.list_separator: one byte");
  }
  RETURN_IF_ERROR(CheckNames(dataset));
  RETURN_IF_ERROR(CheckSources(dataset, *format));
  RETURN_IF_ERROR(CheckSplit(dataset, columns));
  for (const std::string& filter : dataset.filter()) {
    RETURN_IF_ERROR(WithContext(columns.CheckPredicate(filter).status(), "dataset.filter"));
  }

  DataSchema schema;
  std::map<std::string, std::string> label_columns;
  for (const TaskConfig& task : dataset.task()) {
    RETURN_IF_ERROR(WithContext(CheckTask(task, columns, &label_columns),
                                absl::StrCat("task \"", task.name(), "\"")));
    schema.tasks.push_back(task.name());
  }
  uint32_t next_slot = 1;
  for (const FeatureConfig& feature : dataset.feature()) {
    const std::string who = absl::StrCat("feature \"", feature.name(), "\"");
    RETURN_IF_ERROR(WithContext(CheckFeature(feature, columns), who));
    const auto leak = label_columns.find(feature.has_column() ? feature.column() : feature.name());
    if (leak != label_columns.end()) {
      return UsageError(absl::StrCat(who, ": column \"", leak->first, "\" is the label of task \"",
                                     leak->second, "\"; a feature must not read it"));
    }
    RETURN_IF_ERROR(
        WithContext(AddFeature(feature, config.model().embedding_dim(), &next_slot, &schema), who));
  }
  int offset = 0;
  for (EmbeddingFeature& embedding : schema.input.embeddings) {
    embedding.input_offset = offset;
    offset += embedding.dim;
  }
  for (DenseFeature& dense : schema.input.dense) dense.input_offset = offset++;
  schema.input.width = offset;
  return schema;
}

}  // namespace pagoda
