// Planted data: rows made up from a seed, of any size, with labels that depend on the columns, so
// that a model can learn them and a test can tell whether it did. For throughput, spilling,
// end-to-end tests, and studies of tasks whose truth is known (planted_labels.h).
//
// Row n, column c is a function of (seed, n, c).
#include <algorithm>
#include <charconv>
#include <cmath>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "common/checks.h"
#include "common/errors.h"
#include "common/random.h"
#include "worker/data/format.h"
#include "worker/data/planted_labels.h"

namespace pagoda {
namespace {

constexpr int kMaxColumns = 4096;
// Of MMOE's sines; more is a slip.
constexpr int kMaxSines = 4096;

// The longest std::to_chars makes of a u64 or a float.
constexpr size_t kMaxFieldBytes = 24;

class PlantedReader : public RowReader {
 public:
  PlantedReader(const PlantedConfig& config, std::vector<std::string> columns)
      : config_(config),
        columns_(std::move(columns)),
        row_key_(StreamKey(config.seed(), "planted/rows")),
        labels_(PlantedLabels::Create(config)),
        text_(columns_.size() * (kMaxFieldBytes + 1)) {}

  const std::vector<std::string>& columns() const override { return columns_; }

  absl::StatusOr<bool> Next(Row* row) override {
    if (next_ == config_.rows()) return false;
    row->fields.clear();
    row->bad = false;
    end_ = text_.data();
    DrawPlantedRow(config_, row_key_, next_, &row_);
    labels_->Make(row_, &label_values_);
    for (const uint64_t id : row_.ids) AddField(id, row);
    for (const float x : row_.dense) AddField(x, row);
    for (const double label : label_values_) AddField(static_cast<float>(label), row);
    row->text = absl::string_view(text_.data(), end_ - text_.data());
    row->line = ++next_;
    return true;
  }

 private:
  template <typename Number>
  void AddField(Number number, Row* row) {
    const auto [end, error] = std::to_chars(end_, end_ + kMaxFieldBytes, number);
    row->fields.push_back(absl::string_view(end_, end - end_));
    end_ = end;
    *end_++ = ',';
  }

  const PlantedConfig config_;
  const std::vector<std::string> columns_;
  const uint64_t row_key_;
  const std::unique_ptr<PlantedLabels> labels_;
  int64_t next_ = 0;
  PlantedRow row_;
  std::vector<double> label_values_;
  std::vector<char> text_;  // The row's fields, each with a comma behind it.
  char* end_ = nullptr;     // Behind the last one.
};

absl::Status Within(absl::string_view field, double value, double least, double most) {
  if (value >= least && value <= most) return absl::OkStatus();
  return UsageError(
      absl::StrCat("dataset.planted.", field, ": ", value, " is not in [", least, ", ", most, "]"));
}

absl::Status CheckKind(const PlantedConfig& planted) {
  RETURN_IF_ERROR(CheckFieldUse(planted, "dataset.planted", "kind",
                                PlantedConfig::Kind_Name(planted.kind()),
                                {{"labels", {"LABELS"}},
                                 {"correlation", {"MMOE", "FUNNEL", "WATCH"}},
                                 {"scale", {"MMOE"}},
                                 {"sines", {"MMOE"}},
                                 {"click_rate", {"FUNNEL", "WATCH"}},
                                 {"conversion_rate", {"FUNNEL"}},
                                 {"watch_mean", {"WATCH"}},
                                 {"watch_noise", {"WATCH"}}}));
  RETURN_IF_ERROR(Within("correlation", planted.correlation(), -1, 1));
  RETURN_IF_ERROR(Within("click_rate", planted.click_rate(), 1e-4, 1 - 1e-4));
  RETURN_IF_ERROR(Within("conversion_rate", planted.conversion_rate(), 1e-4, 1 - 1e-4));
  RETURN_IF_ERROR(Within("watch_mean", planted.watch_mean(), 1e-6, 1e6));
  RETURN_IF_ERROR(Within("watch_noise", planted.watch_noise(), 0, 4));
  RETURN_IF_ERROR(Within("scale", planted.scale(), 1e-6, 1e6));
  RETURN_IF_ERROR(Within("sines", planted.sines(), 0, kMaxSines));
  if (planted.kind() == PlantedConfig::MMOE && planted.dense_columns() < 2) {
    return UsageError("dataset.planted.dense_columns: kind MMOE needs 2 at least");
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::string>> PlantedColumns(const DatasetConfig& config) {
  const PlantedConfig& planted = config.planted();
  for (const int count : {planted.id_columns(), planted.dense_columns(), planted.labels()}) {
    if (count < 0 || count > kMaxColumns) {
      return UsageError(absl::StrCat("dataset.planted: ", count, " columns; the range is [0, ",
                                     kMaxColumns, "]"));
    }
  }
  if (planted.rows() < 0) return UsageError("dataset.planted.rows: not negative");
  if (planted.ids() < 1) return UsageError("dataset.planted.ids: at least 1");
  if (!(planted.zipf() >= 0 && planted.zipf() <= 10)) {
    return UsageError("dataset.planted.zipf: in [0, 10]");
  }
  RETURN_IF_ERROR(CheckKind(planted));
  if (config.column_size() > 0) {
    return UsageError("dataset.column: format planted names its columns itself");
  }
  std::vector<std::string> columns;
  for (int i = 0; i < planted.id_columns(); ++i) columns.push_back(absl::StrCat("id_", i));
  for (int i = 0; i < planted.dense_columns(); ++i) columns.push_back(absl::StrCat("dense_", i));
  for (std::string& label : PlantedLabels::Names(planted)) columns.push_back(std::move(label));
  return columns;
}

absl::StatusOr<std::unique_ptr<RowReader>> OpenPlanted(const DatasetConfig& config,
                                                       const std::string&) {
  ASSIGN_OR_RETURN(std::vector<std::string> columns, PlantedColumns(config));
  return std::unique_ptr<RowReader>(
      std::make_unique<PlantedReader>(config.planted(), std::move(columns)));
}

PAGODA_REGISTER_FORMAT({"planted", "rows made up from a seed, with labels that can be learnt",
                        false, PlantedColumns, OpenPlanted});

}  // namespace
}  // namespace pagoda
