// An evaluation as a line of metrics.jsonl.
//
// Thread-safe (pure functions).
#ifndef PAGODA_WORKER_TRAIN_REPORT_H_
#define PAGODA_WORKER_TRAIN_REPORT_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "proto/config.pb.h"
#include "worker/train/evaluator.h"
#include "worker/train/metrics_writer.h"

namespace pagoda {

// The split of this name (SplitName in worker/data/record.h is the way back); UsageError for
// others.
absl::StatusOr<Split> SplitByName(const std::string& name);

JsonObject EvalLine(Split split, int64_t step, const std::vector<TaskMetrics>& metrics,
                    const std::string& best_by);

}  // namespace pagoda

#endif  // PAGODA_WORKER_TRAIN_REPORT_H_
