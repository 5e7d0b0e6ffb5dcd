#include "worker/data/encoder.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "common/config.h"
#include "common/errors.h"
#include "glog/logging.h"

namespace pagoda {
namespace {

bool Refuse(RowProblem* problem, int field, absl::string_view text, absl::string_view reason) {
  *problem = {field, absl::StrCat("\"", text.substr(0, 40), "\" ", reason)};
  return false;
}

// A finite 32-bit float.
bool EncodeNumber(int field, absl::string_view text, float* out, RowProblem* problem) {
  double number;
  if (!ParseNumber(text, &number)) return Refuse(problem, field, text, "is not a finite number");
  *out = static_cast<float>(number);
  if (!std::isfinite(*out)) return Refuse(problem, field, text, "does not fit a 32-bit float");
  return true;
}

absl::StatusOr<int> FindField(absl::string_view who, const std::string& column,
                              const std::vector<std::string>& columns) {
  const auto found = std::find(columns.begin(), columns.end(), column);
  if (found == columns.end()) {
    return UsageError(
        absl::StrCat(who, ": no column \"", column, "\"", NearestHint(column, columns)));
  }
  return static_cast<int>(found - columns.begin());
}

absl::StatusOr<Predicate> BoundPredicate(absl::string_view who, absl::string_view text,
                                         const std::vector<std::string>& columns) {
  absl::StatusOr<Predicate> predicate = Predicate::Parse(text);
  if (!predicate.ok()) return WithContext(predicate.status(), who);
  RETURN_IF_ERROR(WithContext(predicate->Bind(columns), who));
  return predicate;
}

}  // namespace

bool IsColumnLabel(absl::string_view label, const std::vector<std::string>& columns,
                   std::string* column) {
  *column = std::string(label);
  if (std::find(columns.begin(), columns.end(), *column) != columns.end()) return true;
  if (label.size() > 2 && label.front() == '`' && label.find('`', 1) == label.size() - 1) {
    *column = std::string(label.substr(1, label.size() - 2));
    return true;
  }
  return label.find_first_of(" \t=<>!(){}'\"`") == absl::string_view::npos;
}

absl::StatusOr<RowEncoder> RowEncoder::Make(const DatasetConfig& config, const InputLayout& input,
                                            const RecordLayout* layout,
                                            const std::vector<std::string>& columns) {
  RowEncoder encoder;
  encoder.layout_ = layout;
  encoder.list_separator_ = config.csv().list_separator()[0];
  size_t embedding = 0;
  for (const FeatureConfig& feature : config.feature()) {
    const std::string who = absl::StrCat("feature \"", feature.name(), "\"");
    const std::string& column = feature.has_column() ? feature.column() : feature.name();
    ASSIGN_OR_RETURN(const int field, FindField(who, column, columns));
    if (feature.kind() == FeatureConfig::DENSE) continue;
    const uint32_t slot = input.embeddings[embedding++].slot;
    const IdField id{field, slot, static_cast<uint64_t>(feature.vocabulary())};
    if (feature.kind() == FeatureConfig::ID) encoder.ids_.push_back(id);
    if (feature.kind() == FeatureConfig::ID_LIST) encoder.lists_.push_back(id);
  }
  for (const std::string& column : layout->number_columns) {
    ASSIGN_OR_RETURN(const int field, FindField("feature", column, columns));
    encoder.number_fields_.push_back(field);
  }
  for (const TaskConfig& task : config.task()) {
    const std::string who = absl::StrCat("task \"", task.name(), "\"");
    TaskFields fields;
    fields.is_binary = task.loss() == TaskConfig::BCE;
    std::string column;
    if (IsColumnLabel(task.label(), columns, &column)) {
      ASSIGN_OR_RETURN(fields.label_field, FindField(who + ".label", column, columns));
    } else {
      ASSIGN_OR_RETURN(fields.label, BoundPredicate(who + ".label", task.label(), columns));
    }
    fields.has_space = !task.sample_space().empty();
    if (fields.has_space) {
      ASSIGN_OR_RETURN(fields.space,
                       BoundPredicate(who + ".sample_space", task.sample_space(), columns));
    }
    if (!task.sample_weight().empty()) {
      ASSIGN_OR_RETURN(fields.weight_field,
                       FindField(who + ".sample_weight", task.sample_weight(), columns));
    }
    encoder.tasks_.push_back(std::move(fields));
  }
  return encoder;
}

bool RowEncoder::Encode(const Row& row, Record* record, RowProblem* problem) const {
  record->ids.resize(ids_.size());
  for (size_t i = 0; i < ids_.size(); ++i) {
    const absl::string_view text = row.fields[ids_[i].field];
    if (!EncodeId(ids_[i], text, &record->ids[i], problem)) return false;
  }
  record->lists.resize(lists_.size());
  for (size_t i = 0; i < lists_.size(); ++i) {
    const absl::string_view text = row.fields[lists_[i].field];
    if (!EncodeList(lists_[i], text, &record->lists[i], problem)) return false;
  }
  record->numbers.resize(number_fields_.size());
  for (size_t i = 0; i < number_fields_.size(); ++i) {
    const int field = number_fields_[i];
    const absl::string_view text = row.fields[field];
    if (text.empty()) {
      record->numbers[i] = std::numeric_limits<float>::quiet_NaN();
    } else if (!EncodeNumber(field, text, &record->numbers[i], problem)) {
      return false;
    }
  }
  record->labels.resize(tasks_.size());
  record->weights.resize(tasks_.size());
  for (size_t t = 0; t < tasks_.size(); ++t) {
    if (!EncodeTask(tasks_[t], row, &record->labels[t], &record->weights[t], problem)) return false;
  }
  return true;
}

bool RowEncoder::EncodeId(const IdField& id, absl::string_view text, uint64_t* out,
                          RowProblem* problem) const {
  const uint64_t missing = MissingId(id.slot);
  if (text.empty()) {
    *out = SaltId(id.slot, missing);
    return true;
  }
  uint64_t value;
  const char* const end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, value);
  const bool is_integer = error == std::errc() && rest == end;
  if (id.vocabulary > 0 && (!is_integer || value >= id.vocabulary)) {
    return Refuse(problem, id.field, text,
                  absl::StrCat("is not an integer in [0, ", id.vocabulary, ") (its vocabulary)"));
  }
  if (!is_integer) {
    value = HashBytes(text) & missing;
    if (value == missing) --value;
  } else if (value >= missing) {
    return Refuse(problem, id.field, text,
                  id.slot == 0 ? "is the id kept for missing values"
                               : "does not fit the 48 bits of a shared table's ids; give the "
                                 "feature a `table` of its own");
  }
  *out = SaltId(id.slot, value);
  return true;
}

bool RowEncoder::EncodeList(const IdField& id, absl::string_view text, std::vector<uint64_t>* out,
                            RowProblem* problem) const {
  out->clear();
  while (!text.empty()) {
    const size_t stop = std::min(text.find(list_separator_), text.size());
    const absl::string_view item = text.substr(0, stop);
    if (!item.empty()) {
      out->push_back(0);
      if (!EncodeId(id, item, &out->back(), problem)) return false;
    }
    text.remove_prefix(std::min(stop + 1, text.size()));
  }
  return true;
}

bool RowEncoder::EncodeTask(const TaskFields& task, const Row& row, float* label, float* weight,
                            RowProblem* problem) const {
  bool counts = true;
  if (task.has_space && !task.space.Evaluate(row.fields, &counts, problem)) return false;
  *weight = 1;
  if (task.weight_field >= 0) {
    const absl::string_view text = row.fields[task.weight_field];
    if (!EncodeNumber(task.weight_field, text, weight, problem)) return false;
    if (*weight < 0) return Refuse(problem, task.weight_field, text, "is a negative sample weight");
  }
  if (!counts) *weight = 0;
  if (task.label_field < 0) {
    bool is_positive = false;
    if (!task.label.Evaluate(row.fields, &is_positive, problem)) return false;
    *label = is_positive ? 1 : 0;
    return true;
  }
  const absl::string_view text = row.fields[task.label_field];
  *label = 0;
  // A row outside the sample space needs no label.
  if (!counts && text.empty()) return true;
  if (text.empty()) {
    *problem = {task.label_field, "the label is missing"};
    return false;
  }
  if (!EncodeNumber(task.label_field, text, label, problem)) return false;
  if (task.is_binary && *label != 0 && *label != 1) {
    return Refuse(problem, task.label_field, text, "is not 0 or 1, as a BCE task's label must be");
  }
  return true;
}

}  // namespace pagoda
