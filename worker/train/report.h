// An evaluation as lines of metrics.jsonl, as a table for people, as scalars for TensorBoard.
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
                    const std::string& best_by, const std::vector<UnseenValues>& unseen = {});
JsonObject GatesLine(Split split, int64_t step, const std::vector<GateUse>& gates);

// Lines of text: a header for tasks of one kind, then a line a task.
std::vector<std::string> MetricsTable(const std::vector<TaskMetrics>& metrics);
// A line a gate: its experts by falling share.
std::vector<std::string> GatesTable(const std::vector<GateUse>& gates);

// "  test: 15 values without a row in their table: item 12, user 3"; empty when there are none.
std::string UnseenText(Split split, const std::vector<UnseenValues>& unseen);

// "valid/income/auc", ...: every value of every task.
std::vector<MetricValue> Scalars(Split split, const std::vector<TaskMetrics>& metrics);

}  // namespace pagoda

#endif  // PAGODA_WORKER_TRAIN_REPORT_H_
