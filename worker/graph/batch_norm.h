// Batch normalisation: Ioffe and Szegedy, "Batch Normalization: Accelerating Deep Network Training
// by Reducing Internal Covariate Shift", ICML 2015. While training (Algorithm 1), column by column:
//
//   mu = 1/m sum_i x_i,  sigma^2 = 1/m sum_i (x_i - mu)^2        over the m rows of a lane
//   xhat_i = (x_i - mu) / sqrt(sigma^2 + epsilon),  y_i = gain xhat_i + b
//   dx_i = gain / sqrt(sigma^2 + epsilon) (dy_i - 1/m sum_j dy_j - xhat_i/m sum_j dy_j xhat_j)
//
// and otherwise (Algorithm 2) with running statistics in place of mu and sigma^2, constants to a
// backward pass (which only tests ask for: like every kind of node, this one has a derivative
// whether it trains or not). Each step moves those by momentum * (theirs - running) towards the
// mean over lanes of mu and of sigma^2 m/(m-1), a lane counting by its rows: an empty one counts
// nothing, and the variance of a single row is 0. The paper averages whole batches; what a lane is
// here, a device is there in common practice. With `sync`, m is all rows of the global
// batch.
//
// A row counts whatever it weighs in a loss: weights touch losses only.
//
// A lane is cut into slices, so that training stops where sums over the lane are needed: at the
// borders of stages (Program::stages). A slice leaves its sums in double, [m | ...], by layer:
// forward sum x and sum x^2, [d] each; backward sum dy and sum dy xhat.
//
// Thread-safe (values and pure functions).
#ifndef PAGODA_WORKER_GRAPH_BATCH_NORM_H_
#define PAGODA_WORKER_GRAPH_BATCH_NORM_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/types/span.h"

namespace pagoda {

// Behind the layer's name, in names of parameters.
inline constexpr char kRunningMean[] = "/running_mean";
inline constexpr char kRunningVariance[] = "/running_variance";

// One normalised layer, d columns wide.
struct BatchNormLayer {
  std::string name;
  int width = 0;  // d
  // Offsets in the flat array of parameters, [d] each.
  int64_t gain = -1, b = -1, mean = -1, variance = -1;
  double momentum = 0, epsilon = 0;
  bool is_synced = false;
  int column = 0;  // Where its columns begin among those of all layers.
  int stage = -1;  // The forward stage that leaves its sums; -1: nothing reads the layer.
  int sums = 0;    // Where sum x [d] begins in the stage's sums; sum x^2 [d] follows.
};

// What columns are normalised by: xhat = (x - mean) scale.
struct Normalizer {
  float *mean, *scale;  // [d]
};

// `of` <- of the lane whose sums `lane` holds; REQUIRES: it has a row.
void FindNormalizer(const BatchNormLayer& layer, const double* lane, Normalizer of);
// `of` <- of the running statistics in `parameters`.
void FindRunningNormalizer(const BatchNormLayer& layer, const float* parameters, Normalizer of);

// Sums over rows of lanes' statistics, to be added up over lanes and workers and then divided:
// [rows, then for each layer sum m mu [d], sum m sigma^2 m/(m-1) [d]].
size_t StatisticsSize(absl::Span<const BatchNormLayer> layers);
// statistics += those of the layers that `stage` closed, of a lane whose sums are `lane`.
void AddStatistics(absl::Span<const BatchNormLayer> layers, int stage, const double* lane,
                   double* statistics);
// Moves the running statistics of the layers for which moves(name) holds. A step without rows moves
// none.
void MoveStatistics(absl::Span<const BatchNormLayer> layers, const double* statistics,
                    const std::function<bool(const std::string& layer)>& moves, float* parameters);

}  // namespace pagoda

#endif  // PAGODA_WORKER_GRAPH_BATCH_NORM_H_
