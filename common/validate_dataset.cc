// Ranges and references of a data set that need no registry of formats and no file
// (ValidateDataset in common/config.h). What a format's own settings may be is the format's to say.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/checks.h"
#include "common/config.h"
#include "common/errors.h"
#include "common/labels.h"

namespace pagoda {
namespace {

constexpr int kMaxBuckets = 1 << 16;
constexpr int kMaxLength = 1 << 16;  // Of a sequence.

absl::Status ValidateSplit(const SplitConfig& split) {
  RETURN_IF_ERROR(CheckFieldUse(split, "dataset.split", "by", SplitConfig::By_Name(split.by()),
                                {{"column", {"COLUMN", "TIME"}}}));
  RETURN_IF_ERROR(InRange("dataset.split.train", split.train(), 1, kMaxShare));
  RETURN_IF_ERROR(InRange("dataset.split.valid", split.valid(), 0, kMaxShare));
  RETURN_IF_ERROR(InRange("dataset.split.test", split.test(), 0, kMaxShare));
  if (split.by() != SplitConfig::ROW_HASH && split.column().empty()) {
    return UsageError(absl::StrCat("dataset.split.by = ", SplitConfig::By_Name(split.by()),
                                   ": needs dataset.split.column"));
  }
  return absl::OkStatus();
}

absl::Status ValidateBadRows(const DatasetConfig& dataset) {
  RETURN_IF_ERROR(CheckFieldUse(dataset, "dataset", "bad_rows", BadRows_Name(dataset.bad_rows()),
                                {{"bad_rows_cap", {"SKIP"}}}));
  return InRange("dataset.bad_rows_cap", dataset.bad_rows_cap(), 0, kMaxInt64);
}

absl::Status ValidateSource(const SourceConfig& source) {
  for (const std::string& path : source.path()) {
    if (path.empty()) return UsageError("dataset.source.path: is empty");
  }
  if (source.of_no_task() && source.task_size() > 0) {
    return UsageError("dataset.source.of_no_task: the source names tasks, too; leave one out");
  }
  RETURN_IF_ERROR(InRange("dataset.source.first_row", source.first_row(), 0, kMaxInt64));
  if (!source.has_end_row()) return absl::OkStatus();
  return InRange("dataset.source.end_row", source.end_row(), source.first_row(), kMaxInt64);
}

const std::vector<FieldUse>& FeatureFields() {
  static const auto* const uses = new std::vector<FieldUse>{
      {"dim", {"ID", "ID_LIST", "BUCKET", "SEQUENCE"}},
      {"table", {"ID", "ID_LIST", "BUCKET", "SEQUENCE"}},
      {"pooling", {"ID_LIST"}},
      {"vocabulary", {"ID", "ID_LIST", "SEQUENCE"}},
      {"transform", {"DENSE"}},
      {"buckets", {"BUCKET"}},
      {"weights_column", {"ID_LIST"}},
      {"weighted", {"ID_LIST"}},
      {"max_length", {"SEQUENCE"}},
      {"field", {"ID", "ID_LIST", "BUCKET"}},
      {"cross", {"ID"}},
      {"import", {"ID", "ID_LIST", "SEQUENCE"}},
      {"frozen", {"ID", "ID_LIST", "BUCKET", "SEQUENCE"}},
  };
  return *uses;
}

absl::Status ValidateList(const std::string& where, const FeatureConfig& feature) {
  if (!feature.weights_column().empty() && feature.weighted()) {
    return UsageError(
        absl::StrCat(where, ": weights_column and weighted: the weights stand in one place only"));
  }
  if (feature.pooling() != FeatureConfig::MAX) return absl::OkStatus();
  if (!feature.weights_column().empty() || feature.weighted()) {
    return UsageError(absl::StrCat(where, ".pooling: MAX takes no weights; SUM, MEAN, SQRT_N do"));
  }
  if (!feature.field().empty()) {
    return UsageError(absl::StrCat(where, ".field: takes no feature with pooling: MAX"));
  }
  return absl::OkStatus();
}

// Members are features of one id each.
absl::Status ValidateCross(const std::string& where, const FeatureConfig& feature,
                           const DatasetConfig& dataset) {
  if (!feature.column().empty() || feature.has_vocabulary() || feature.has_import()) {
    return UsageError(absl::StrCat(where, ".cross: its ids are made from other features': it has ",
                                   "neither column nor vocabulary, and imports none"));
  }
  if (feature.cross().feature_size() < 2) {
    return UsageError(absl::StrCat(where, ".cross: of two features at least"));
  }
  std::vector<std::string> known;
  for (const FeatureConfig& member : dataset.feature()) {
    const bool is_one_id = member.kind() == FeatureConfig::BUCKET ||
                           (member.kind() == FeatureConfig::ID && !member.has_cross());
    if (is_one_id) known.push_back(member.name());
  }
  for (const std::string& name : feature.cross().feature()) {
    if (std::find(known.begin(), known.end(), name) != known.end()) continue;
    return UsageError(absl::StrCat(where, ".cross: no ID or BUCKET feature \"", name, "\"",
                                   NearestHint(name, known)));
  }
  return absl::OkStatus();
}

absl::Status ValidateFeature(const FeatureConfig& feature, const DatasetConfig& dataset) {
  const std::string where = absl::StrCat("dataset.feature[", feature.name(), "]");
  const auto in_range = [&](absl::string_view field, int64_t value, int64_t least, int64_t most) {
    return InRange(absl::StrCat(where, ".", field), value, least, most);
  };
  RETURN_IF_ERROR(CheckFieldUse(feature, where, "kind", FeatureConfig::Kind_Name(feature.kind()),
                                FeatureFields()));
  RETURN_IF_ERROR(ValidateList(where, feature));
  if (feature.has_cross()) RETURN_IF_ERROR(ValidateCross(where, feature, dataset));
  if (feature.has_dim()) RETURN_IF_ERROR(in_range("dim", feature.dim(), 1, kMaxDim));
  if (!feature.table().empty()) {
    RETURN_IF_ERROR(CheckName(absl::StrCat(where, ".table"), feature.table()));
  }
  if (feature.has_vocabulary()) {
    RETURN_IF_ERROR(in_range("vocabulary", feature.vocabulary(), 1, kMaxInt64));
  }
  if (feature.kind() == FeatureConfig::SEQUENCE) {
    RETURN_IF_ERROR(in_range("max_length", feature.max_length(), 1, kMaxLength));
  }
  for (int i = 0; i < feature.transform_size(); ++i) {
    for (int j = 0; j < i; ++j) {
      if (feature.transform(i) != feature.transform(j)) continue;
      return UsageError(
          absl::StrCat(where, ".transform: ", FeatureConfig::Transform_Name(feature.transform(i)),
                       " is given twice"));
    }
  }
  return in_range("buckets", feature.buckets(), 2, kMaxBuckets);
}

absl::Status ValidateTask(const TaskConfig& task) {
  const std::string field = absl::StrCat("dataset.task[", task.name(), "]");
  if (task.label().empty()) {
    return UsageError(absl::StrCat(field, ".label: needs an expression (`column == \"value\"`), ",
                                   "such as a column's name"));
  }
  RETURN_IF_ERROR(FiniteAtLeastZero(absl::StrCat(field, ".weight"), task.weight(), false));
  return ValidateLoss(task);
}

}  // namespace

absl::Status ValidateDataset(const DatasetConfig& dataset) {
  RETURN_IF_ERROR(ValidateSplit(dataset.split()));
  RETURN_IF_ERROR(ValidateBadRows(dataset));
  if (dataset.source_size() == 0) return UsageError("dataset.source: none is given");
  for (const SourceConfig& source : dataset.source()) RETURN_IF_ERROR(ValidateSource(source));
  RETURN_IF_ERROR(UniqueNames("dataset.feature", dataset.feature()).status());
  if (dataset.feature_size() == 0) return UsageError("dataset.feature: none is given");
  for (const FeatureConfig& feature : dataset.feature()) {
    RETURN_IF_ERROR(ValidateFeature(feature, dataset));
  }
  ASSIGN_OR_RETURN(const std::vector<std::string> tasks,
                   UniqueNames("dataset.task", dataset.task()));
  if (tasks.empty()) return UsageError("dataset.task: none is given");
  for (const TaskConfig& task : dataset.task()) RETURN_IF_ERROR(ValidateTask(task));
  for (const std::string& task : dataset.funnel()) {
    RETURN_IF_ERROR(IsOneOf("dataset.funnel", task, tasks));
  }
  return absl::OkStatus();
}

}  // namespace pagoda
