// Fusing tasks' outputs into one score: which weights rank best for what the tasks are worth.
//
// Given values v_k, the weights w_k are searched that make
//   sum over k of v_k * metric(fused score, label of task k)
// largest on validation rows, the metric being AUC, GAUC or NDCG@n within task k's sample space,
// and the fused score of a row
//   SUM      sum w_k p_k
//   PRODUCT  prod p_k^w_k, computed as sum w_k log p_k.
// Weights are whole tenths 0, 0.1, ..., 1. Not all are 0, and of weights that are multiples of each
// other, which rank alike, only the smallest are tried. Up to kGridTasks tasks all are tried (the
// first in lexical order wins a tie); beyond, one coordinate is moved at a time, from every corner
// and from equal weights, until nothing gets better.
//
// Thread-safe (pure functions).
#ifndef PAGODA_WORKER_TRAIN_FUSE_H_
#define PAGODA_WORKER_TRAIN_FUSE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "proto/config.pb.h"

namespace pagoda {

enum class FuseForm { kSum, kProduct };
inline constexpr FuseForm kFuseForms[] = {FuseForm::kSum, FuseForm::kProduct};
const char* FuseFormName(FuseForm form);

struct FuseValue {
  std::string task;
  double value;  // v_k
};

// What is asked for: --fuse and --fuse_metric.
struct FuseOptions {
  std::vector<FuseValue> values;
  enum class Metric { kAuc, kGauc, kNdcg } metric = Metric::kAuc;
  int ndcg_at = 0;
};
// values: "income:1,marital:0.5". metric: "auc", "gauc" or "ndcg@N". UsageError: a task that is not
// there, no value that is a number above 0, a metric that the configuration has no groups for, a
// task of classes (its output is a class's number), an AUC of a number.
absl::StatusOr<FuseOptions> ParseFuse(const std::string& values, const std::string& metric,
                                      const Config& config);

// The tasks' columns of one split, predictions in label units: all [task][N].
struct FuseData {
  std::vector<std::vector<float>> predictions, labels, weights;
  std::vector<uint64_t> groups;  // [N] or empty
};

// DataError: an AUC is asked for, and a row in a task's sample space has a label other than 0, 1.
absl::Status CheckFuseLabels(const FuseData& data, const FuseOptions& options);

inline constexpr int kGridTasks = 4;
inline constexpr int kGridSteps = 10;  // Weights are i / kGridSteps, i = 0 .. kGridSteps.

struct FuseResult {
  std::vector<double> weights;  // [task]
  double objective = 0;         // sum v_k metric_k
  std::vector<double> metrics;  // [task]
};

FuseResult EvaluateFusion(const FuseData& data, const FuseOptions& options, FuseForm form,
                          const std::vector<double>& weights);
FuseResult SearchFusion(const FuseData& data, const FuseOptions& options, FuseForm form);

}  // namespace pagoda

#endif  // PAGODA_WORKER_TRAIN_FUSE_H_
