#include "worker/train/fuse.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <optional>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "common/config.h"
#include "common/errors.h"
#include "common/labels.h"
#include "common/metrics/ranking.h"
#include "glog/logging.h"

namespace pagoda {
namespace {

// A probability of 0 still has a logarithm: that of the smallest normal float.
constexpr float kSmallest = std::numeric_limits<float>::min();

// Weights as whole numbers of tenths.
using GridPoint = std::vector<int>;

// One split, form and objective; remembers what does not change from point to point.
class Search {
 public:
  Search(const FuseData& data, const FuseOptions& options, FuseForm form)
      : data_(data), options_(options) {
    if (!data.groups.empty()) groups_.emplace(data.groups);
    for (const std::vector<float>& predictions : data.predictions) {
      std::vector<double>& terms = terms_.emplace_back(predictions.begin(), predictions.end());
      if (form == FuseForm::kSum) continue;
      for (double& p : terms) p = std::log(std::max<double>(p, kSmallest));
    }
    order_.resize(data.labels.empty() ? 0 : data.labels[0].size());
    scores_.resize(order_.size());
  }

  FuseResult Evaluate(const std::vector<double>& weights) {
    Fuse(weights);
    FuseResult result;
    result.weights = weights;
    for (size_t k = 0; k < terms_.size(); ++k) {
      const double metric = Metric(k);
      result.metrics.push_back(metric);
      if (options_.values[k].value != 0) result.objective += options_.values[k].value * metric;
    }
    return result;
  }

  FuseResult Evaluate(const GridPoint& point) {
    std::vector<double> weights;
    for (const int tenths : point) weights.push_back(static_cast<double>(tenths) / kGridSteps);
    return Evaluate(weights);
  }

 private:
  // Rows by rising fused score; the place of a score among the distinct ones stands for it where
  // floats are wanted: exact below 2^24 of them.
  void Fuse(const std::vector<double>& weights) {
    for (size_t i = 0; i < order_.size(); ++i) {
      double score = 0;
      for (size_t k = 0; k < terms_.size(); ++k) {
        if (weights[k] != 0) score += weights[k] * terms_[k][i];
      }
      order_[i] = {score, static_cast<uint32_t>(i)};
    }
    std::sort(order_.begin(), order_.end());
    if (options_.metric == FuseOptions::Metric::kAuc) return;
    float place = 0;
    for (size_t i = 0; i < order_.size(); ++i) {
      if (i > 0 && order_[i].first != order_[i - 1].first) ++place;
      scores_[order_[i].second] = place;
    }
  }

  // Mann and Whitney's U over positives x negatives, ties one half; one sort serves all tasks.
  double AreaUnderCurve(size_t k) const {
    uint64_t twice = 0, positives = 0, negatives = 0;
    for (size_t begin = 0, end; begin < order_.size(); begin = end) {
      uint64_t tied[2] = {0, 0};
      for (end = begin; end < order_.size() && order_[end].first == order_[begin].first; ++end) {
        const uint32_t row = order_[end].second;
        if (data_.weights[k][row] != 0) ++tied[data_.labels[k][row] > 0.5f];
      }
      twice += tied[1] * (2 * negatives + tied[0]);
      positives += tied[1];
      negatives += tied[0];
    }
    if (positives == 0 || negatives == 0) return std::numeric_limits<double>::quiet_NaN();
    return static_cast<double>(twice) /
           (2.0 * static_cast<double>(positives) * static_cast<double>(negatives));
  }

  double Metric(size_t k) const {
    const auto& labels = data_.labels[k];
    const auto& weights = data_.weights[k];
    switch (options_.metric) {
      case FuseOptions::Metric::kAuc:
        return AreaUnderCurve(k);
      case FuseOptions::Metric::kGauc:
        return GroupAuc(*groups_, scores_, labels, weights).value;
      case FuseOptions::Metric::kNdcg:
        return Ndcg(*groups_, scores_, labels, weights, options_.ndcg_at).value;
    }
    return std::numeric_limits<double>::quiet_NaN();
  }

  const FuseData& data_;
  const FuseOptions& options_;
  std::optional<Groups> groups_;
  std::vector<std::vector<double>> terms_;          // [task][N]: p or log p
  std::vector<std::pair<double, uint32_t>> order_;  // [N] (fused score, row), rising
  std::vector<float> scores_;                       // [N]
};

bool IsSmallestMultiple(const GridPoint& point) {
  int divisor = 0;
  for (const int tenths : point) divisor = std::gcd(divisor, tenths);
  return divisor == 1;
}

// Of (1, 2) and its multiples the largest inside the grid: (5, 10) reads as weights 0.5 and 1.
GridPoint Enlarged(GridPoint point) {
  const int largest = *std::max_element(point.begin(), point.end());
  for (int& tenths : point) tenths *= kGridSteps / largest;
  return point;
}

// The next point in lexical order; false after the last.
bool NextPoint(GridPoint* point) {
  for (auto digit = point->rbegin(); digit != point->rend(); ++digit) {
    if (++*digit <= kGridSteps) return true;
    *digit = 0;
  }
  return false;
}

FuseResult SearchGrid(Search* search, size_t tasks) {
  GridPoint point(tasks, 0);
  std::optional<FuseResult> best;
  while (NextPoint(&point)) {
    if (!IsSmallestMultiple(point)) continue;
    FuseResult result = search->Evaluate(Enlarged(point));
    if (!best.has_value() || result.objective > best->objective) best = std::move(result);
  }
  return *std::move(best);
}

// Moves one weight at a time to its best place, task after task.
FuseResult Climb(Search* search, GridPoint point) {
  constexpr int kMaxRounds = 50;  // Each one betters the objective, or is the last.
  FuseResult best = search->Evaluate(point);
  for (int round = 0; round < kMaxRounds; ++round) {
    const double before = best.objective;
    for (size_t k = 0; k < point.size(); ++k) {
      GridPoint moved = point;
      for (moved[k] = 0; moved[k] <= kGridSteps; ++moved[k]) {
        if (std::all_of(moved.begin(), moved.end(), [](int tenths) { return tenths == 0; })) {
          continue;
        }
        FuseResult result = search->Evaluate(moved);
        if (!(result.objective > best.objective)) continue;
        best = std::move(result);
        point[k] = moved[k];
      }
    }
    if (!(best.objective > before)) break;
  }
  return best;
}

FuseResult SearchCoordinates(Search* search, size_t tasks) {
  FuseResult best = Climb(search, GridPoint(tasks, kGridSteps));
  for (size_t k = 0; k < tasks; ++k) {
    GridPoint corner(tasks, 0);
    corner[k] = kGridSteps;
    FuseResult result = Climb(search, corner);
    if (result.objective > best.objective) best = std::move(result);
  }
  return best;
}

absl::Status ParseMetric(const std::string& text, const Config& config, FuseOptions* options) {
  const std::vector<std::string> known = {"auc", "gauc", "ndcg@10"};
  absl::string_view rest = text;
  if (text == "auc") return absl::OkStatus();
  if (text == "gauc") {
    options->metric = FuseOptions::Metric::kGauc;
  } else if (absl::ConsumePrefix(&rest, "ndcg@") && absl::SimpleAtoi(rest, &options->ndcg_at) &&
             options->ndcg_at > 0) {
    options->metric = FuseOptions::Metric::kNdcg;
  } else {
    return UsageError(
        absl::StrCat("--fuse_metric=", text, ": no such metric", NearestHint(text, known)));
  }
  if (!config.train().gauc_by().empty()) return absl::OkStatus();
  return UsageError(absl::StrCat("--fuse_metric=", text,
                                 ": needs groups; name their feature in train { gauc_by: ... }"));
}

absl::Status CheckTask(const TaskConfig& task, const std::string& metric) {
  const bool is_class = task.loss() == TaskConfig::SOFTMAX;
  const bool is_auc_of_number = IsNumber(task.loss()) && (metric == "auc" || metric == "gauc");
  if (!is_class && !is_auc_of_number) return absl::OkStatus();
  return UsageError(absl::StrCat(
      "--fuse: ", task.name(), " has loss ", TaskConfig::Loss_Name(task.loss()), ": ",
      is_class ? "a class's number is no score to be fused; leave it out"
               : absl::StrCat(metric, " is of labels 0 and 1; take --fuse_metric=ndcg@N")));
}

}  // namespace

const char* FuseFormName(FuseForm form) { return form == FuseForm::kSum ? "sum" : "product"; }

absl::StatusOr<FuseOptions> ParseFuse(const std::string& values, const std::string& metric,
                                      const Config& config) {
  FuseOptions options;
  RETURN_IF_ERROR(ParseMetric(metric, config, &options));
  std::vector<std::string> known;
  for (const TaskConfig& task : config.dataset().task()) known.push_back(task.name());
  double sum = 0;
  for (const absl::string_view part : absl::StrSplit(values, ',', absl::SkipEmpty())) {
    const std::vector<std::string> pair = absl::StrSplit(part, ':');
    FuseValue one;
    if (pair.size() != 2 || !absl::SimpleAtod(pair[1], &one.value) || !std::isfinite(one.value) ||
        one.value < 0) {
      return UsageError(absl::StrCat("--fuse: \"", std::string(part), "\" is not TASK:VALUE with ",
                                     "a value of at least 0, such as income:1,marital:0.5"));
    }
    one.task = pair[0];
    if (std::find(known.begin(), known.end(), one.task) == known.end()) {
      return UsageError(
          absl::StrCat("--fuse: no task \"", one.task, "\"", NearestHint(one.task, known)));
    }
    const size_t t = std::find(known.begin(), known.end(), one.task) - known.begin();
    RETURN_IF_ERROR(CheckTask(config.dataset().task(static_cast<int>(t)), metric));
    for (const FuseValue& other : options.values) {
      if (other.task == one.task) {
        return UsageError(absl::StrCat("--fuse: task ", one.task, " is there twice"));
      }
    }
    sum += one.value;
    options.values.push_back(one);
  }
  if (options.values.size() < 2 || sum <= 0) {
    return UsageError(
        "--fuse: needs two tasks or more, and a value above 0; such as "
        "--fuse=income:1,marital:0.5");
  }
  return options;
}

absl::Status CheckFuseLabels(const FuseData& data, const FuseOptions& options) {
  if (options.metric == FuseOptions::Metric::kNdcg) return absl::OkStatus();
  for (size_t k = 0; k < data.labels.size(); ++k) {
    for (size_t i = 0; i < data.labels[k].size(); ++i) {
      const float label = data.labels[k][i];
      if (data.weights[k][i] == 0 || label == 0 || label == 1) continue;
      return DataError(
          absl::StrCat("--fuse: record ", i, ": the label of task ", options.values[k].task, " is ",
                       label, ", and an AUC is of labels 0 and 1; take --fuse_metric=ndcg@N"));
    }
  }
  return absl::OkStatus();
}

FuseResult EvaluateFusion(const FuseData& data, const FuseOptions& options, FuseForm form,
                          const std::vector<double>& weights) {
  CHECK_EQ(weights.size(), options.values.size());
  return Search(data, options, form).Evaluate(weights);
}

FuseResult SearchFusion(const FuseData& data, const FuseOptions& options, FuseForm form) {
  CHECK_EQ(data.predictions.size(), options.values.size());
  Search search(data, options, form);
  const size_t tasks = options.values.size();
  return tasks <= kGridTasks ? SearchGrid(&search, tasks) : SearchCoordinates(&search, tasks);
}

}  // namespace pagoda
