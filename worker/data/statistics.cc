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
  double sum = 0;
  for (const double x : values) sum += x;
  const double mean = values.empty() ? 0 : sum / values.size();
  double squares = 0;
  for (const double x : values) squares += (x - mean) * (x - mean);
  const double deviation = values.empty() ? 0 : std::sqrt(squares / values.size());
  out->set_mean(mean);
  out->set_standard_deviation(deviation > 0 ? deviation : 1);
}

void Range(const std::vector<double>& values, FeatureStatistics* out) {
  if (values.empty()) return;
  const auto [least, most] = std::minmax_element(values.begin(), values.end());
  out->set_minimum(*least);
  out->set_maximum(*most);
}

// Boundary k of B is the value at rank k n / B; equal ones, and those that cut nothing off, are
// left out.
void Boundaries(int buckets, std::vector<double> values, FeatureStatistics* out) {
  if (values.empty()) return;
  std::sort(values.begin(), values.end());
  double last = values.front();
  for (int k = 1; k < buckets; ++k) {
    const double boundary = values[static_cast<size_t>(k) * values.size() / buckets];
    if (boundary > last) out->add_boundary(boundary);
    last = boundary;
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
      for (double& x : values) x = (x - out.mean()) / out.standard_deviation();
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
      stage.scale = 1 / statistics.standard_deviation();
    } else {
      const double width = statistics.maximum() - statistics.minimum();
      stage.shift = statistics.minimum();
      stage.scale = width > 0 ? 1 / width : 0;
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
