#include "worker/graph/batch_norm.h"

#include <algorithm>
#include <cmath>

namespace pagoda {
namespace {

struct Moments {
  double mean, variance;  // The variance is biased.
};

// In double, where E[x^2] - E[x]^2 keeps about 7 digits even of a mean of 10^4 deviations.
Moments MomentsAt(const BatchNormLayer& layer, const double* lane, int c) {
  const double rows = lane[0];
  const double mean = lane[layer.sums + c] / rows;
  const double square = lane[layer.sums + layer.width + c] / rows;
  return {mean, std::max(0.0, square - mean * mean)};
}

double InverseDeviation(double variance, double epsilon) {
  return 1 / std::sqrt(std::max(0.0, variance) + epsilon);
}

}  // namespace

void FindNormalizer(const BatchNormLayer& layer, const double* lane, Normalizer of) {
  for (int c = 0; c < layer.width; ++c) {
    const Moments moments = MomentsAt(layer, lane, c);
    of.mean[c] = static_cast<float>(moments.mean);
    of.scale[c] = static_cast<float>(InverseDeviation(moments.variance, layer.epsilon));
  }
}

void FindRunningNormalizer(const BatchNormLayer& layer, const float* parameters, Normalizer of) {
  for (int c = 0; c < layer.width; ++c) {
    of.mean[c] = parameters[layer.mean + c];
    of.scale[c] =
        static_cast<float>(InverseDeviation(parameters[layer.variance + c], layer.epsilon));
  }
}

size_t StatisticsSize(absl::Span<const BatchNormLayer> layers) {
  size_t size = 1;
  for (const BatchNormLayer& layer : layers) size += 2 * layer.width;
  return size;
}

void AddStatistics(absl::Span<const BatchNormLayer> layers, int stage, const double* lane,
                   double* statistics) {
  const double rows = lane[0];
  if (stage == 0) statistics[0] += rows;
  if (rows == 0) return;
  const double unbiased = rows > 1 ? rows / (rows - 1) : 1;
  for (const BatchNormLayer& layer : layers) {
    if (layer.stage != stage) continue;
    double* const mean = statistics + 1 + 2 * layer.column;
    double* const variance = mean + layer.width;
    for (int c = 0; c < layer.width; ++c) {
      const Moments moments = MomentsAt(layer, lane, c);
      mean[c] += rows * moments.mean;
      variance[c] += rows * moments.variance * unbiased;
    }
  }
}

void MoveStatistics(absl::Span<const BatchNormLayer> layers, const double* statistics,
                    const std::function<bool(const std::string& layer)>& moves, float* parameters) {
  const double rows = statistics[0];
  if (rows == 0) return;
  for (const BatchNormLayer& layer : layers) {
    if (layer.stage < 0 || !moves(layer.name)) continue;
    const auto move = [&](const double* sums, float* running) {
      for (int c = 0; c < layer.width; ++c) {
        const double from = running[c];
        running[c] = static_cast<float>(from + layer.momentum * (sums[c] / rows - from));
      }
    };
    const double* const sums = statistics + 1 + 2 * layer.column;
    move(sums, parameters + layer.mean);
    move(sums + layer.width, parameters + layer.variance);
  }
}

}  // namespace pagoda
