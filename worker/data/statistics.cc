#include "worker/data/statistics.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>

#include "common/errors.h"

namespace pagoda {
namespace {

double SignedLog1p(double x) { return std::copysign(std::log1p(std::fabs(x)), x); }

bool HasStatistics(const FeatureConfig& feature) {
  return feature.kind() == FeatureConfig::DENSE || feature.kind() == FeatureConfig::BUCKET;
}

void MeanAndDeviation(const std::vector<double>& values, FeatureStatistics* out) {
  const auto [least, most] = std::minmax_element(values.begin(), values.end());
  // Of a constant column, the sum's rounding alone would be a deviation.
  if (values.empty() || *least == *most) {
    out->set_mean(values.empty() ? 0 : *least);
    out->set_standard_deviation(0);
    return;
  }
  double sum = 0;
  for (const double x : values) sum += x;
  const double mean = sum / values.size();
  double squares = 0;
  for (const double x : values) squares += (x - mean) * (x - mean);
  out->set_mean(mean);
  out->set_standard_deviation(std::sqrt(squares / values.size()));
}

// Where values are divided by `width`; a column of none becomes 0.
double ScaleOf(double width) { return width > 0 ? 1 / width : 0; }

void Range(const std::vector<double>& values, FeatureStatistics* out) {
  if (values.empty()) return;
  const auto [least, most] = std::minmax_element(values.begin(), values.end());
  out->set_minimum(*least);
  out->set_maximum(*most);
}

struct DistinctValue {
  double value;
  int64_t rows;
};

std::vector<DistinctValue> CountDistinct(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  std::vector<DistinctValue> distinct;
  for (const double x : values) {
    if (distinct.empty() || distinct.back().value != x) distinct.push_back({x, 0});
    ++distinct.back().rows;
  }
  return distinct;
}

// Greedy equal-frequency cuts (LightGBM's GreedyFindBin: Ke et al., NIPS 2017). Plain quantiles
// waste buckets on columns such as capital gains, 96 % of which are 0: nearly all of the cuts would
// coincide. So a value that fills a bucket alone gets one, and the other values share the buckets
// that are left, evenly.
void Boundaries(int buckets, std::vector<double> values, FeatureStatistics* out) {
  int64_t rows_left = static_cast<int64_t>(values.size());
  const double even_share = static_cast<double>(rows_left) / buckets;
  const std::vector<DistinctValue> distinct = CountDistinct(std::move(values));
  const auto is_heavy = [&](size_t i) { return distinct[i].rows >= even_share; };
  int buckets_left = buckets;
  for (size_t i = 0; i < distinct.size(); ++i) {
    if (!is_heavy(i)) continue;
    rows_left -= distinct[i].rows;
    --buckets_left;
  }
  int64_t filled = 0;  // Rows of the open bucket.
  for (size_t i = 0; i + 1 < distinct.size() && out->boundary_size() + 1 < buckets; ++i) {
    filled += distinct[i].rows;
    if (!is_heavy(i)) rows_left -= distinct[i].rows;
    // What the open bucket and those after it have to hold, each.
    const double share = static_cast<double>(rows_left + filled) / std::max(1, buckets_left);
    const bool all_fit = distinct.size() <= static_cast<size_t>(buckets);
    const bool closes_before_heavy = is_heavy(i + 1) && filled >= share / 2;
    if (!all_fit && !is_heavy(i) && filled < share && !closes_before_heavy) continue;
    out->add_boundary(distinct[i + 1].value);
    if (!is_heavy(i)) --buckets_left;
    filled = 0;
  }
}

}  // namespace

FeatureStatistics ComputeFeatureStatistics(const FeatureConfig& feature,
                                           std::vector<double> values) {
  FeatureStatistics out;
  out.set_name(feature.name());
  if (feature.kind() == FeatureConfig::BUCKET) {
    MeanAndDeviation(values, &out);
    Range(values, &out);
    Boundaries(feature.buckets(), std::move(values), &out);
    return out;
  }
  // Before the loop, so that a feature without these transforms shows the raw column's.
  MeanAndDeviation(values, &out);
  Range(values, &out);
  for (const int transform : feature.transform()) {
    if (transform == FeatureConfig::LOG1P) {
      for (double& x : values) x = SignedLog1p(x);
    } else if (transform == FeatureConfig::Z_SCORE) {
      MeanAndDeviation(values, &out);
      const double deviation = out.standard_deviation();
      for (double& x : values) x = deviation > 0 ? (x - out.mean()) / deviation : 0;
    } else {
      Range(values, &out);
      const double width = out.maximum() - out.minimum();
      for (double& x : values) x = width > 0 ? (x - out.minimum()) / width : 0;
    }
  }
  return out;
}

Statistics ComputeStatistics(const DatasetConfig& config, const RecordLayout& layout,
                             const RecordFile& training_rows) {
  const int64_t stride =
      std::max<int64_t>(1, (training_rows.rows() + kSampleRows - 1) / kSampleRows);
  Statistics statistics;
  for (int f = 0; f < config.feature_size(); ++f) {
    if (!HasStatistics(config.feature(f))) continue;
    const size_t at = layout.numbers_at + layout.features[f].index * sizeof(float);
    std::vector<double> values;
    values.reserve(training_rows.rows() / stride + 1);
    for (int64_t row = 0; row < training_rows.rows(); row += stride) {
      float x;
      std::memcpy(&x, training_rows.record(row) + at, sizeof(x));
      if (!std::isnan(x)) values.push_back(x);
    }
    *statistics.add_feature() = ComputeFeatureStatistics(config.feature(f), std::move(values));
  }
  return statistics;
}

absl::Status CheckStatistics(const DatasetConfig& config, const Statistics& statistics) {
  int index = 0;
  for (const FeatureConfig& feature : config.feature()) {
    if (!HasStatistics(feature)) continue;
    if (index == statistics.feature_size() || statistics.feature(index).name() != feature.name()) {
      return DataError(absl::StrCat("the statistics given have none of feature \"", feature.name(),
                                    "\" at place ", index));
    }
    const auto& boundaries = statistics.feature(index).boundary();
    if (!std::is_sorted(boundaries.begin(), boundaries.end())) {
      return DataError(
          absl::StrCat("statistics of feature \"", feature.name(), "\": boundaries do not ascend"));
    }
    ++index;
  }
  return absl::OkStatus();
}

NumberTransform::NumberTransform(const FeatureConfig& feature,
                                 const FeatureStatistics& statistics) {
  for (const int transform : feature.transform()) {
    Stage stage;
    if (transform == FeatureConfig::LOG1P) {
      stage.is_log = true;
    } else if (transform == FeatureConfig::Z_SCORE) {
      stage.shift = statistics.mean();
      stage.scale = ScaleOf(statistics.standard_deviation());
    } else {
      stage.shift = statistics.minimum();
      stage.scale = ScaleOf(statistics.maximum() - statistics.minimum());
    }
    stages_.push_back(stage);
  }
}

float NumberTransform::Apply(float x) const {
  if (std::isnan(x)) return 0;
  double y = x;
  for (const Stage& stage : stages_) {
    y = stage.is_log ? SignedLog1p(y) : (y - stage.shift) * stage.scale;
  }
  return static_cast<float>(y);
}

uint64_t BucketOf(const std::vector<double>& boundaries, float x) {
  if (std::isnan(x)) return boundaries.size() + 1;
  return std::upper_bound(boundaries.begin(), boundaries.end(), double{x}) - boundaries.begin();
}

}  // namespace pagoda
