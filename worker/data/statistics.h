// Statistics of numeric features over training rows, and their use: transforms of DENSE features,
// buckets of BUCKET ones.
//
// Everything is computed in double, in record order, so that whoever computes it gets the same
// bits. At most kSampleRows rows are looked at: of more, every row whose number is a multiple of
// rows / kSampleRows, rounded up.
//
// Thread-safe (functions and constant values).
#ifndef PAGODA_WORKER_DATA_STATISTICS_H_
#define PAGODA_WORKER_DATA_STATISTICS_H_

#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "proto/checkpoint.pb.h"
#include "proto/config.pb.h"
#include "worker/data/record.h"

namespace pagoda {

// 80 MB a column, and a 32-quantile to a ten-thousandth.
inline constexpr int64_t kSampleRows = 10'000'000;

// One entry a DENSE or BUCKET feature, in configuration order. Missing values do not count.
Statistics ComputeStatistics(const DatasetConfig& config, const RecordLayout& layout,
                             const RecordFile& training_rows);

// Of one column; `values` is used up. REQUIRES: no NaN.
FeatureStatistics ComputeFeatureStatistics(const FeatureConfig& feature,
                                           std::vector<double> values);

// Whether given statistics have what each feature of the configuration needs. DataError names the
// feature.
absl::Status CheckStatistics(const DatasetConfig& config, const Statistics& statistics);

// A DENSE feature's transforms, in order.
class NumberTransform {
 public:
  NumberTransform(const FeatureConfig& feature, const FeatureStatistics& statistics);
  // NaN (missing) gives 0, which after Z_SCORE is the mean of the training rows.
  float Apply(float x) const;

 private:
  // x <- (x - shift) * scale, or LOG1P.
  struct Stage {
    bool is_log = false;
    double shift = 0, scale = 1;
  };
  std::vector<Stage> stages_;
};

// The bucket of x: the number of boundaries <= x; for NaN (missing) one more than the largest of
// them.
uint64_t BucketOf(const std::vector<double>& boundaries, float x);

}  // namespace pagoda

#endif  // PAGODA_WORKER_DATA_STATISTICS_H_
