// Planted data: rows made up from a seed, of any size, with labels that depend on the ids, so that
// a model can learn them and a test can tell whether it did. For throughput, spilling and
// end-to-end tests.
//
// Row n, column c is a function of (seed, n, c). A label is 1 with probability
//   sigmoid(-1 + sum over id columns w(label, column, id) + sum over dense columns v(label, column)
//   x),
// where w and v are uniform in [-s, s) with s = sqrt(6 / columns), so that the sum's standard
// deviation is about sqrt(2) for any number of columns: learnable, not trivial.
#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "common/errors.h"
#include "common/random.h"
#include "worker/data/format.h"

namespace pagoda {
namespace {

constexpr int kMaxColumns = 4096;

// The longest std::to_chars makes of a u64 or a float.
constexpr size_t kMaxFieldBytes = 24;

class PlantedReader : public RowReader {
 public:
  PlantedReader(const PlantedConfig& config, std::vector<std::string> columns)
      : config_(config),
        columns_(std::move(columns)),
        row_key_(StreamKey(config.seed(), "planted/rows")),
        weight_key_(StreamKey(config.seed(), "planted/weights")),
        weight_scale_(std::sqrt(6.0 / std::max(1, config.id_columns() + config.dense_columns()))),
        text_(columns_.size() * (kMaxFieldBytes + 1)) {}

  const std::vector<std::string>& columns() const override { return columns_; }

  absl::StatusOr<bool> Next(Row* row) override {
    if (row_ == config_.rows()) return false;
    row->fields.clear();
    row->bad = false;
    logits_.assign(config_.labels(), -1.0);
    end_ = text_.data();
    int column = 0;
    for (int i = 0; i < config_.id_columns(); ++i, ++column) {
      const uint64_t id = DrawId(Draw(column)[0], Draw(column)[1]);
      AddWeights(column, id, 1.0);
      AddField(id, row);
    }
    for (int i = 0; i < config_.dense_columns(); ++i, ++column) {
      const float x = 2 * ToUnitFloat(Draw(column)[0]) - 1;
      AddWeights(column, 0, x);
      AddField(x, row);
    }
    for (int i = 0; i < config_.labels(); ++i, ++column) {
      const double probability = 1 / (1 + std::exp(-logits_[i]));
      AddField(ToUnitFloat(Draw(column)[0]) < probability ? 1 : 0, row);
    }
    row->text = absl::string_view(text_.data(), end_ - text_.data());
    row->line = ++row_;
    return true;
  }

 private:
  std::array<uint32_t, 4> Draw(int column) const {
    return Philox(row_key_, static_cast<uint64_t>(row_), static_cast<uint64_t>(column));
  }

  // Inverse of the continuous power law's distribution on [1, ids + 1), rounded down: close to
  // Zipf's, and O(1).
  uint64_t DrawId(uint32_t high, uint32_t low) const {
    const double u = (static_cast<double>(high) * 0x1p32 + low) * 0x1p-64;
    const double ids = static_cast<double>(config_.ids());
    const double power = 1 - config_.zipf();
    const double x = std::fabs(power) < 1e-9
                         ? std::pow(ids + 1, u)
                         : std::pow(1 + u * (std::pow(ids + 1, power) - 1), 1 / power);
    return static_cast<uint64_t>(std::clamp(std::floor(x) - 1, 0.0, ids - 1));
  }

  void AddWeights(int column, uint64_t id, double x) {
    for (int label = 0; label < config_.labels(); ++label) {
      const uint64_t place = static_cast<uint64_t>(label) << 32 | static_cast<uint32_t>(column);
      const float draw = ToUnitFloat(Philox(weight_key_, place, id)[0]);
      logits_[label] += weight_scale_ * (2.0 * draw - 1) * x;
    }
  }

  template <typename Number>
  void AddField(Number number, Row* row) {
    const auto [end, error] = std::to_chars(end_, end_ + kMaxFieldBytes, number);
    row->fields.push_back(absl::string_view(end_, end - end_));
    end_ = end;
    *end_++ = ',';
  }

  const PlantedConfig config_;
  const std::vector<std::string> columns_;
  const uint64_t row_key_, weight_key_;
  const double weight_scale_;
  int64_t row_ = 0;
  std::vector<double> logits_;  // [labels]
  std::vector<char> text_;      // The row's fields, each with a comma behind it.
  char* end_ = nullptr;         // Behind the last one.
};

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
  if (config.column_size() > 0) {
    return UsageError("dataset.column: format planted names its columns itself");
  }
  std::vector<std::string> columns;
  for (int i = 0; i < planted.id_columns(); ++i) columns.push_back(absl::StrCat("id_", i));
  for (int i = 0; i < planted.dense_columns(); ++i) columns.push_back(absl::StrCat("dense_", i));
  for (int i = 0; i < planted.labels(); ++i) columns.push_back(absl::StrCat("label_", i));
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
