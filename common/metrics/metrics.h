// Exact metrics of predictions against labels, in double, in row order: the same bits whoever
// computed the predictions.
//
// Thread-safe (pure functions).
#ifndef PAGODA_COMMON_METRICS_METRICS_H_
#define PAGODA_COMMON_METRICS_METRICS_H_

#include <cstdint>

#include "absl/types/span.h"

namespace pagoda {

struct BinaryMetrics {
  int64_t rows = 0;
  int64_t positives = 0;
  double auc = 0;      // Ties count one half (Mann-Whitney); NaN without both classes.
  double logloss = 0;  // Predictions clipped to [1e-7, 1 - 1e-7].
  double pcoc = 0;     // Predicted over observed: sum p / sum y; NaN without positives.
};
// All [n]; rows with weight 0 are left out (outside the sample space), other weights do not matter.
BinaryMetrics ComputeBinary(absl::Span<const float> predictions, absl::Span<const float> labels,
                            absl::Span<const float> weights);

struct NumberMetrics {
  int64_t rows = 0;
  double mse = 0, mae = 0;
};
NumberMetrics ComputeNumber(absl::Span<const float> predictions, absl::Span<const float> labels,
                            absl::Span<const float> weights);

}  // namespace pagoda

#endif  // PAGODA_COMMON_METRICS_METRICS_H_
