// MakeDataSchema: what the configuration of a data set says about tables and the network's input.
#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "common/checks.h"
#include "common/config.h"
#include "common/errors.h"
#include "common/hash.h"
#include "worker/data/columns.h"
#include "worker/data/dataset.h"
#include "worker/data/format.h"
#include "worker/data/record.h"

namespace pagoda {
namespace {

constexpr char kSharedPrefix[] = "shared_";
constexpr size_t kMaxSlots = (size_t{1} << (64 - kSaltShift)) - 1;

absl::Status CheckFeature(const FeatureConfig& feature, const Columns& columns) {
  if (!feature.has_cross()) RETURN_IF_ERROR(columns.Check(ColumnOf(feature)));
  if (!feature.weights_column().empty()) {
    RETURN_IF_ERROR(WithContext(columns.Check(feature.weights_column()), "weights_column"));
  }
  if (absl::StartsWith(feature.table(), kSharedPrefix)) {
    return UsageError(absl::StrCat("table: names that start with \"", kSharedPrefix,
                                   "\" are kept for tables shared by default"));
  }
  return absl::OkStatus();
}

// Index of the feature's table in schema->tables, which gains it if need be.
absl::StatusOr<int> FindTable(const FeatureConfig& feature, int dim, DataSchema* schema) {
  const std::string name =
      feature.table().empty() ? absl::StrCat(kSharedPrefix, dim) : feature.table();
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

void AddToTable(const EmbeddingFeature& feature, DataSchema* schema) {
  FeatureSchema* in_table = schema->tables[feature.table].add_feature();
  in_table->set_name(feature.name);
  in_table->set_slot(feature.slot);
}

// `is_read`: whether a task reads it. If not, its ids are there, but neither rows nor columns.
absl::Status AddFeature(const FeatureConfig& feature, int default_dim, bool is_read,
                        uint32_t* next_slot, DataSchema* schema) {
  if (feature.kind() == FeatureConfig::DENSE) {
    if (is_read) schema->input.dense.push_back({feature.name(), 0});
    return absl::OkStatus();
  }
  EmbeddingFeature embedding;
  embedding.name = feature.name();
  embedding.dim = feature.has_dim() ? feature.dim() : default_dim;
  embedding.table = -1;
  if (is_read) {
    ASSIGN_OR_RETURN(embedding.table, FindTable(feature, embedding.dim, schema));
  }
  // Slots follow the order of features alone: neither a change of a dim nor who reads what moves
  // another feature's ids.
  embedding.slot = feature.table().empty() ? (*next_slot)++ : 0;
  if (embedding.slot > kMaxSlots) {
    return UsageError(absl::StrCat("more than ", kMaxSlots, " features in shared tables"));
  }
  embedding.pooling = feature.pooling();
  embedding.is_list = IsList(feature);
  embedding.is_weighted = IsWeighted(feature);
  embedding.length = feature.max_length();
  if (is_read) AddToTable(embedding, schema);
  schema->input.embeddings.push_back(std::move(embedding));
  return absl::OkStatus();
}

absl::Status CheckTask(const TaskConfig& task, const Columns& columns) {
  if (task.label().empty()) return absl::OkStatus();  // LeaveLabelsOut.
  RETURN_IF_ERROR(WithContext(columns.CheckExpression(task.label()).status(), "label"));
  if (!task.sample_space().empty()) {
    RETURN_IF_ERROR(
        WithContext(columns.CheckExpression(task.sample_space()).status(), "sample_space"));
  }
  if (!task.sample_weight().empty()) {
    RETURN_IF_ERROR(
        WithContext(columns.CheckExpression(task.sample_weight()).status(), "sample_weight"));
  }
  return absl::OkStatus();
}

// Columns of the network's input from *offset on: each feature's, in order; those of a field once.
// field_of: by feature.
absl::Status PlaceFeatures(const std::map<std::string, std::string>& field_of,
                           absl::Span<EmbeddingFeature> features, int* offset) {
  std::map<std::string, const EmbeddingFeature*> fields;  // The first feature of each.
  for (EmbeddingFeature& placed : features) {
    if (placed.table < 0) continue;
    const auto field = field_of.find(placed.name);
    if (field != field_of.end()) {
      const auto [first, is_new] = fields.emplace(field->second, &placed);
      if (!is_new && placed.dim != first->second->dim) {
        return UsageError(absl::StrCat("field \"", field->second, "\": feature \"", placed.name,
                                       "\" has dim ", placed.dim, ", \"", first->second->name,
                                       "\" has ", first->second->dim, "; they are added"));
      }
      if (!is_new) {
        placed.adds = true;
        placed.input_offset = first->second->input_offset;
        continue;
      }
    }
    placed.input_offset = *offset;
    *offset += placed.width();
    placed.mask_offset = placed.length > 0 ? *offset : 0;
    *offset += placed.length;
  }
  return absl::OkStatus();
}

// The tables "SET/TABLE" of an embedding set, and its features behind those of the sets before it.
// table_of: by feature that names one.
absl::Status AddSet(const EmbeddingSet& set, size_t ordinary_features,
                    const std::map<std::string, std::string>& table_of, DataSchema* schema) {
  const size_t first_table = schema->tables.size();
  for (size_t f = 0; f < ordinary_features; ++f) {
    EmbeddingFeature again = schema->input.embeddings[f];
    const auto& wanted = set.feature();
    if (!wanted.empty() && std::find(wanted.begin(), wanted.end(), again.name) == wanted.end()) {
      continue;
    }
    if (set.has_dim()) again.dim = set.dim();
    FeatureConfig in_set;
    // Slot 0: a table of its own.
    in_set.set_table(absl::StrCat(
        set.name(), "/",
        again.slot == 0 ? table_of.at(again.name) : absl::StrCat(kSharedPrefix, again.dim)));
    ASSIGN_OR_RETURN(again.table, FindTable(in_set, again.dim, schema));
    if (again.table < static_cast<int>(first_table)) {
      return UsageError(absl::StrCat("table \"", in_set.table(), "\": the name is kept for the ",
                                     "embedding set \"", set.name(), "\""));
    }
    again.set = set.name();
    again.column = static_cast<int>(f);
    again.adds = false;
    AddToTable(again, schema);
    schema->input.embeddings.push_back(std::move(again));
  }
  return absl::OkStatus();
}

absl::Status PlaceInInput(const Config& config, DataSchema* schema) {
  std::map<std::string, std::string> field_of, table_of;
  for (const FeatureConfig& feature : config.dataset().feature()) {
    if (!feature.field().empty()) field_of.emplace(feature.name(), feature.field());
    if (!feature.table().empty()) table_of.emplace(feature.name(), feature.table());
  }
  InputLayout& input = schema->input;
  const size_t ordinary = input.embeddings.size();
  RETURN_IF_ERROR(PlaceFeatures(field_of, absl::MakeSpan(input.embeddings), &input.width));
  for (DenseFeature& dense : input.dense) dense.input_offset = input.width++;
  for (const EmbeddingSet& set : config.model().embedding_set()) {
    const size_t first = input.embeddings.size();
    RETURN_IF_ERROR(AddSet(set, ordinary, table_of, schema));
    RETURN_IF_ERROR(
        PlaceFeatures(field_of, absl::MakeSpan(input.embeddings).subspan(first), &input.width));
  }
  return absl::OkStatus();
}

// A format's settings stand in the field of its name.
absl::Status CheckFormat(const DatasetConfig& dataset) {
  std::vector<FieldUse> settings;
  for (const auto& [name, info] : Formats()) {
    if (dataset.GetDescriptor()->FindFieldByName(name) != nullptr)
      settings.push_back({name, {name}});
  }
  return CheckFieldUse(dataset, "dataset", "format", dataset.format(), settings);
}

absl::Status CheckSources(const DatasetConfig& dataset, const FormatInfo& format) {
  for (const SourceConfig& source : dataset.source()) {
    if (format.reads_files && source.path_size() == 0) {
      return UsageError("dataset.source: a source without a path");
    }
    if (!format.reads_files && source.path_size() > 0) {
      return UsageError(
          absl::StrCat("dataset.source.path: format ", format.name, " reads no files"));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<DataSchema> MakeDataSchema(const Config& config) {
  const DatasetConfig& dataset = config.dataset();
  ASSIGN_OR_RETURN(const FormatInfo* format, FindFormat(dataset.format()));
  RETURN_IF_ERROR(CheckFormat(dataset));
  Columns columns;
  ASSIGN_OR_RETURN(columns.names, format->columns(dataset));
  std::vector<std::string> sorted = columns.names;
  std::sort(sorted.begin(), sorted.end());
  const auto twice = std::adjacent_find(sorted.begin(), sorted.end());
  if (twice != sorted.end()) {
    return UsageError(absl::StrCat("dataset.column: two are called \"", *twice, "\""));
  }
  RETURN_IF_ERROR(CheckSources(dataset, *format));
  if (!dataset.split().column().empty()) {
    RETURN_IF_ERROR(WithContext(columns.Check(dataset.split().column()), "dataset.split.column"));
  }
  for (const std::string& filter : dataset.filter()) {
    RETURN_IF_ERROR(WithContext(columns.CheckExpression(filter).status(), "dataset.filter"));
  }

  DataSchema schema;
  for (const TaskConfig& task : dataset.task()) {
    RETURN_IF_ERROR(
        WithContext(CheckTask(task, columns), absl::StrCat("task \"", task.name(), "\"")));
    schema.tasks.push_back(task.name());
  }
  RETURN_IF_ERROR(CheckLeaks(dataset, columns, std::vector<bool>(dataset.task_size(), true)));
  const std::set<std::string> unread(config.model().unread_feature().begin(),
                                     config.model().unread_feature().end());
  uint32_t next_slot = 1;
  for (const FeatureConfig& feature : dataset.feature()) {
    const std::string who = absl::StrCat("feature \"", feature.name(), "\"");
    RETURN_IF_ERROR(WithContext(CheckFeature(feature, columns), who));
    RETURN_IF_ERROR(WithContext(AddFeature(feature, config.model().embedding_dim(),
                                           unread.count(feature.name()) == 0, &next_slot, &schema),
                                who));
  }
  RETURN_IF_ERROR(PlaceInInput(config, &schema));
  return schema;
}

}  // namespace pagoda
