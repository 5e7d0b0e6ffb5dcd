#include "common/metrics/metrics.h"

#include <glog/logging.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <vector>

namespace pagoda {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr double kClip = 1e-7;

// An integer that orders as the float does; -0 equals +0. Not for NaN.
uint32_t SortKey(float x) {
  const uint32_t bits = std::bit_cast<uint32_t>(x + 0.0f);
  return (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
}

// Mann and Whitney's U over positives x negatives; ties count one half. `keys` [n] = SortKey << 1 |
// label; sorted in place. Counted twice over in integers, exact for n < 2^32: 2 x positives x
// negatives <= n^2 / 2.
double AreaUnderCurve(std::vector<uint64_t>* keys, uint64_t positives, uint64_t negatives) {
  if (positives == 0 || negatives == 0) return kNaN;
  std::sort(keys->begin(), keys->end());
  uint64_t twice = 0, negatives_below = 0;
  for (size_t i = 0; i < keys->size();) {
    const uint64_t prediction = (*keys)[i] >> 1;
    uint64_t tied[2] = {0, 0};
    for (; i < keys->size() && (*keys)[i] >> 1 == prediction; ++i) ++tied[(*keys)[i] & 1];
    twice += tied[1] * (2 * negatives_below + tied[0]);
    negatives_below += tied[0];
  }
  return static_cast<double>(twice) /
         (2.0 * static_cast<double>(positives) * static_cast<double>(negatives));
}

}  // namespace

BinaryMetrics ComputeBinary(absl::Span<const float> predictions, absl::Span<const float> labels,
                            absl::Span<const float> weights) {
  CHECK_EQ(predictions.size(), labels.size());
  CHECK_EQ(predictions.size(), weights.size());
  BinaryMetrics metrics;
  std::vector<uint64_t> keys;
  keys.reserve(predictions.size());
  double loss = 0, predicted = 0;
  bool finite = true;
  for (size_t i = 0; i < predictions.size(); ++i) {
    if (weights[i] == 0) continue;
    const bool positive = labels[i] > 0.5f;
    const double p = predictions[i];
    const double clipped = std::clamp(p, kClip, 1 - kClip);
    finite &= !std::isnan(p);
    ++metrics.rows;
    metrics.positives += positive;
    loss -= std::log(positive ? clipped : 1 - clipped);
    predicted += p;
    keys.push_back(uint64_t{SortKey(predictions[i])} << 1 | positive);
  }
  const uint64_t positives = static_cast<uint64_t>(metrics.positives);
  const uint64_t negatives = static_cast<uint64_t>(metrics.rows) - positives;
  metrics.auc = finite ? AreaUnderCurve(&keys, positives, negatives) : kNaN;
  metrics.logloss = finite && metrics.rows > 0 ? loss / static_cast<double>(metrics.rows) : kNaN;
  metrics.pcoc = positives > 0 ? predicted / static_cast<double>(positives) : kNaN;
  return metrics;
}

NumberMetrics ComputeNumber(absl::Span<const float> predictions, absl::Span<const float> labels,
                            absl::Span<const float> weights) {
  CHECK_EQ(predictions.size(), labels.size());
  CHECK_EQ(predictions.size(), weights.size());
  NumberMetrics metrics;
  double squares = 0, absolutes = 0;
  for (size_t i = 0; i < predictions.size(); ++i) {
    if (weights[i] == 0) continue;
    const double error = double{predictions[i]} - double{labels[i]};
    ++metrics.rows;
    squares += error * error;
    absolutes += std::abs(error);
  }
  const double rows = static_cast<double>(metrics.rows);
  metrics.mse = metrics.rows > 0 ? squares / rows : kNaN;
  metrics.mae = metrics.rows > 0 ? absolutes / rows : kNaN;
  return metrics;
}

}  // namespace pagoda
