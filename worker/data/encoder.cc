#include "worker/data/encoder.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "common/config.h"
#include "common/errors.h"
#include "glog/logging.h"
#include "worker/data/columns.h"

namespace pagoda {
namespace {

bool Refuse(RowProblem* problem, int field, absl::string_view text, absl::string_view reason) {
  std::string shown(text.substr(0, 40));
  std::replace(shown.begin(), shown.end(), kListSeparator, '|');
  *problem = {field, absl::StrCat("\"", shown, "\" ", reason)};
  return false;
}

// Of what an expression made of a row: the column's own text, where it is nothing but a column.
bool RefuseValue(RowProblem* problem, const Expression& expression, const Row& row, double value,
                 absl::string_view reason) {
  const int field = expression.field();
  if (expression.is_column()) return Refuse(problem, field, row.fields[field], reason);
  *problem = {field, absl::StrCat("`", expression.text(), "` is ", value, ", which ", reason)};
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

absl::StatusOr<Expression> BoundExpression(absl::string_view who, const std::string& text,
                                           const std::vector<std::string>& columns) {
  absl::StatusOr<Expression> expression = Expression::ParseOrColumn(text, columns);
  if (!expression.ok()) return WithContext(expression.status(), who);
  RETURN_IF_ERROR(WithContext(expression->Bind(columns), who));
  return expression;
}

// The first feature that reads the column's numbers.
std::string NumberReader(const DatasetConfig& config, const std::string& column) {
  const auto& features = config.feature();
  const auto reader = std::find_if(features.begin(), features.end(), [&](const auto& feature) {
    const bool is_number =
        feature.kind() == FeatureConfig::DENSE || feature.kind() == FeatureConfig::BUCKET;
    return is_number && ColumnOf(feature) == column;
  });
  CHECK(reader != features.end()) << column;
  return absl::StrCat("feature \"", reader->name(), "\"");
}

// Items of a list, the empty ones left out.
class ListItems {
 public:
  ListItems(absl::string_view text, char separator) : text_(text), separator_(separator) {}
  bool Next(absl::string_view* item) {
    while (!text_.empty()) {
      const size_t stop = std::min(text_.find(separator_), text_.size());
      *item = text_.substr(0, stop);
      text_.remove_prefix(std::min(stop + 1, text_.size()));
      if (!item->empty()) return true;
    }
    return false;
  }

 private:
  absl::string_view text_;
  const char separator_;
};

// What a task's label must be; null: any number is fine.
const char* LabelDomain(TaskConfig::Loss loss) {
  switch (loss) {
    case TaskConfig::BCE:
    case TaskConfig::FOCAL:
      return "0 or 1";
    case TaskConfig::SOFTMAX:
      return "the number of a class, in [0, classes)";
    case TaskConfig::POISSON:
      return "0 or more";
    case TaskConfig::LOG_NORMAL:
      return "above 0";
    default:
      return nullptr;
  }
}

bool IsInDomain(TaskConfig::Loss loss, int classes, double label) {
  switch (loss) {
    case TaskConfig::BCE:
    case TaskConfig::FOCAL:
      return label == 0 || label == 1;
    case TaskConfig::SOFTMAX:
      return label >= 0 && label < classes && label == std::floor(label);
    case TaskConfig::POISSON:
      return label >= 0;
    case TaskConfig::LOG_NORMAL:
      return label > 0;
    default:
      return true;
  }
}

// Of a row that has none: it weighs nothing, and no loss makes anything odd of it.
float AnyLabel(TaskConfig::Loss loss) { return loss == TaskConfig::LOG_NORMAL ? 1 : 0; }

bool OutsideVocabulary(uint64_t vocabulary, std::string* reason) {
  *reason = absl::StrCat("is not an integer in [0, ", vocabulary, ") (its vocabulary)");
  return false;
}

}  // namespace

bool StoredIdOf(uint64_t number, uint32_t slot, uint64_t vocabulary, uint64_t* id,
                std::string* reason) {
  if (vocabulary > 0 && number >= vocabulary) return OutsideVocabulary(vocabulary, reason);
  if (number >= MissingId(slot)) {
    *reason = slot == 0 ? "is the id kept for missing values"
                        : "does not fit the 48 bits of a shared table's ids; give the "
                          "feature a `table` of its own";
    return false;
  }
  *id = SaltId(slot, number);
  return true;
}

bool StoredIdOf(absl::string_view value, uint32_t slot, uint64_t vocabulary, uint64_t* id,
                std::string* reason) {
  uint64_t number;
  const char* const end = value.data() + value.size();
  const auto [rest, error] = std::from_chars(value.data(), end, number);
  if (error == std::errc() && rest == end) return StoredIdOf(number, slot, vocabulary, id, reason);
  if (vocabulary > 0) return OutsideVocabulary(vocabulary, reason);
  if (value.find(kListSeparator) != absl::string_view::npos) {
    *reason = "is several values; kind: ID takes one";
    return false;
  }
  const uint64_t missing = MissingId(slot);
  number = HashBytes(value) & missing;
  *id = SaltId(slot, number == missing ? number - 1 : number);
  return true;
}

absl::StatusOr<RowEncoder> RowEncoder::Make(const DatasetConfig& config, const InputLayout& input,
                                            const RecordLayout* layout,
                                            const std::vector<std::string>& columns,
                                            const std::vector<bool>& tasks) {
  // Here the files' own names are known.
  RETURN_IF_ERROR(CheckLeaks(config, Columns{columns}, tasks));
  RowEncoder encoder;
  encoder.layout_ = layout;
  ASSIGN_OR_RETURN(const FormatInfo* format, FindFormat(config.format()));
  encoder.list_separator_ =
      format->list_separator != 0 ? format->list_separator : config.csv().list_separator()[0];
  size_t embedding = 0;
  for (const FeatureConfig& feature : config.feature()) {
    if (feature.kind() == FeatureConfig::DENSE) continue;  // Among the number columns.
    const uint32_t slot = input.embeddings[embedding++].slot;
    if (feature.has_cross()) continue;
    const std::string who = absl::StrCat("feature \"", feature.name(), "\"");
    ASSIGN_OR_RETURN(const int field, FindField(who, ColumnOf(feature), columns));
    const IdField id{field, slot, static_cast<uint64_t>(feature.vocabulary())};
    if (feature.kind() == FeatureConfig::ID) encoder.ids_.push_back(id);
    if (!IsList(feature)) continue;
    ListField list{id, std::numeric_limits<size_t>::max(), IsWeighted(feature), -1,
                   feature.pooling() == FeatureConfig::SUM};
    if (feature.max_length() > 0) list.max_length = feature.max_length();
    if (!feature.weights_column().empty()) {
      ASSIGN_OR_RETURN(list.weights_field, FindField(who, feature.weights_column(), columns));
    }
    encoder.lists_.push_back(list);
  }
  for (const std::string& column : layout->number_columns) {
    ASSIGN_OR_RETURN(const int field, FindField(NumberReader(config, column), column, columns));
    encoder.number_fields_.push_back(field);
  }
  for (int t = 0; t < config.task_size(); ++t) {
    ASSIGN_OR_RETURN(TaskFields fields, BindTask(config.task(t), columns, tasks[t]));
    encoder.tasks_.push_back(std::move(fields));
  }
  return encoder;
}

absl::StatusOr<RowEncoder::TaskFields> RowEncoder::BindTask(const TaskConfig& task,
                                                            const std::vector<std::string>& columns,
                                                            bool has_rows) {
  const std::string who = absl::StrCat("task \"", task.name(), "\"");
  TaskFields fields;
  fields.loss = task.loss();
  fields.transform = task.label_transform();
  fields.classes = task.classes();
  fields.inside_weight = task.inside_weight();
  fields.outside_weight = task.outside_weight();
  fields.has_label = has_rows && !task.label().empty();
  if (!fields.has_label) return fields;
  ASSIGN_OR_RETURN(fields.label, BoundExpression(who + ".label", task.label(), columns));
  fields.has_space = !task.sample_space().empty();
  if (fields.has_space) {
    ASSIGN_OR_RETURN(fields.space,
                     BoundExpression(who + ".sample_space", task.sample_space(), columns));
  }
  fields.has_weight = !task.sample_weight().empty();
  if (fields.has_weight) {
    ASSIGN_OR_RETURN(fields.weight,
                     BoundExpression(who + ".sample_weight", task.sample_weight(), columns));
  }
  return fields;
}

bool RowEncoder::Encode(const Row& row, const std::vector<bool>& tasks, Record* record,
                        RowProblem* problem) const {
  record->ids.resize(ids_.size());
  for (size_t i = 0; i < ids_.size(); ++i) {
    const absl::string_view text = row.fields[ids_[i].field];
    if (!EncodeId(ids_[i], text, &record->ids[i], problem)) return false;
  }
  record->lists.resize(lists_.size());
  record->list_weights.resize(lists_.size());
  for (size_t i = 0; i < lists_.size(); ++i) {
    if (!EncodeList(lists_[i], row, &record->lists[i], &record->list_weights[i], problem)) {
      return false;
    }
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
    if (!tasks[t] || !tasks_[t].has_label) {
      record->labels[t] = AnyLabel(tasks_[t].loss);
      record->weights[t] = -0.0f;
    } else if (!EncodeTask(tasks_[t], row, &record->labels[t], &record->weights[t], problem)) {
      return false;
    }
  }
  return true;
}

bool RowEncoder::EncodeId(const IdField& id, absl::string_view text, uint64_t* out,
                          RowProblem* problem) const {
  if (text.empty()) {
    *out = SaltId(id.slot, MissingId(id.slot));
    return true;
  }
  std::string reason;
  if (StoredIdOf(text, id.slot, id.vocabulary, out, &reason)) return true;
  return Refuse(problem, id.field, text, reason);
}

bool RowEncoder::EncodeList(const ListField& list, const Row& row, std::vector<uint64_t>* ids,
                            std::vector<float>* weights, RowProblem* problem) const {
  const int field = list.id.field;
  ids->clear();
  weights->clear();
  absl::string_view item;
  for (ListItems items(row.fields[field], list_separator_); items.Next(&item);) {
    if (list.is_weighted && list.weights_field < 0) {
      const size_t colon = item.rfind(':');
      if (colon == absl::string_view::npos) {
        return Refuse(problem, field, item, "has no weight: it is not of the form id:weight");
      }
      if (!EncodeWeight(list, field, item.substr(colon + 1), weights, problem)) return false;
      item = item.substr(0, colon);
    }
    ids->push_back(0);
    if (!EncodeId(list.id, item, &ids->back(), problem)) return false;
  }
  if (list.weights_field >= 0) {
    for (ListItems items(row.fields[list.weights_field], list_separator_); items.Next(&item);) {
      if (!EncodeWeight(list, list.weights_field, item, weights, problem)) return false;
    }
    if (weights->size() != ids->size()) {
      *problem = {list.weights_field,
                  absl::StrCat(weights->size(), " weights of ", ids->size(), " values")};
      return false;
    }
  }
  if (ids->size() > list.max_length) ids->erase(ids->begin(), ids->end() - list.max_length);
  return true;
}

bool RowEncoder::EncodeWeight(const ListField& list, int field, absl::string_view text,
                              std::vector<float>* weights, RowProblem* problem) const {
  float weight = 0;
  if (!EncodeNumber(field, text, &weight, problem)) return false;
  if (weight < 0 && !list.allows_negative) {
    return Refuse(problem, field, text, "is a negative weight; only pooling: SUM takes those");
  }
  weights->push_back(weight);
  return true;
}

bool RowEncoder::EncodeSampleWeight(const TaskFields& task, const Row& row, bool counts,
                                    float* weight, RowProblem* problem) const {
  const double factor = counts ? task.inside_weight : task.outside_weight;
  *weight = 0;
  if (factor == 0) return true;
  double own = 1;
  if (task.has_weight && !task.weight.Evaluate(row.fields, &own, problem)) return false;
  const int field = task.weight.field();
  if (!std::isfinite(own)) {
    *problem = {field,
                absl::StrCat("the sample weight is ", std::isnan(own) ? "missing" : "infinite")};
    return false;
  }
  if (own < 0) return RefuseValue(problem, task.weight, row, own, "is a negative sample weight");
  *weight = static_cast<float>(own * factor);
  if (!std::isfinite(*weight)) {
    return RefuseValue(problem, task.weight, row, own, "does not fit a 32-bit float");
  }
  return true;
}

bool RowEncoder::EncodeTask(const TaskFields& task, const Row& row, float* label, float* weight,
                            RowProblem* problem) const {
  bool counts = true;
  if (task.has_space && !task.space.Test(row.fields, &counts, problem)) return false;
  if (!EncodeSampleWeight(task, row, counts, weight, problem)) return false;
  double value;
  if (!task.label.Evaluate(row.fields, &value, problem)) return false;
  // A row outside the sample space that weighs nothing needs no label.
  const bool needs_label = counts || *weight > 0;
  if (!counts) *weight = -*weight;
  const int field = task.label.field();
  const bool fits = IsInDomain(task.loss, task.classes, value) &&
                    (task.transform != TaskConfig::LOG1P || value > -1);
  *label = static_cast<float>(value);
  if (std::isfinite(*label) && fits) return true;
  if (!needs_label) {
    *label = AnyLabel(task.loss);
    return true;
  }
  if (std::isnan(value)) {
    *problem = {field, "the label is missing"};
    return false;
  }
  const auto refuse = [&](absl::string_view reason) {
    return RefuseValue(problem, task.label, row, value, reason);
  };
  if (!std::isfinite(*label)) return refuse("does not fit a 32-bit float");
  if (task.transform == TaskConfig::LOG1P && value <= -1) {
    return refuse("is not above -1, as label_transform: LOG1P asks of labels");
  }
  return refuse(absl::StrCat("is not ", LabelDomain(task.loss), ", as a label of loss: ",
                             TaskConfig::Loss_Name(task.loss), " must be"));
}

}  // namespace pagoda
