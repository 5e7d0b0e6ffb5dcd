#include "worker/train/step_losses.h"

#include <glog/logging.h>

#include <algorithm>
#include <string>

#include "worker/train/step_tree.h"

namespace pagoda {

void SumParts(absl::Span<const std::vector<double>> parts, absl::Span<double> total) {
  for (size_t i = 0; i < total.size(); ++i) {
    double slots[TreeOrder::kMaxDepth] = {};
    const auto merge = [&](int k) { slots[k] += slots[k + 1]; };
    TreeOrder tree;
    for (size_t part = 0; part < parts.size(); ++part) {
      slots[tree.Push(static_cast<uint32_t>(part), merge)] = parts[part][i];
    }
    tree.Finish(merge);
    total[i] = slots[0];
  }
}

void SumWeights(absl::Span<const Batch> lanes, int tasks, std::vector<double>* sums) {
  std::vector<std::vector<double>> parts(lanes.size(), std::vector<double>(tasks + 1, 0.0));
  for (size_t lane = 0; lane < lanes.size(); ++lane) {
    const Batch& batch = lanes[lane];
    for (int k = 0; k < tasks && batch.rows > 0; ++k) {
      const float* weights = batch.weights.data() + static_cast<size_t>(k) * batch.rows;
      for (int r = 0; r < batch.rows; ++r) parts[lane][k] += weights[r];
    }
    parts[lane][tasks] = batch.rows;
  }
  sums->assign(tasks + 1, 0.0);
  SumParts(parts, absl::MakeSpan(*sums));
}

void KeepTask(int only_task, absl::Span<double> sums) {
  for (size_t k = 0; k + 1 < sums.size(); ++k) {
    if (static_cast<int>(k) != only_task) sums[k] = 0;
  }
}

bool HasWeight(const TaskConfig& task, int index, absl::Span<const double> sums) {
  return task.weight() != 0 && sums[index] > 0;
}

double LossScale(const TaskConfig& task, int index, absl::Span<const double> sums) {
  const double n = task.normalize() == TaskConfig::BATCH ? sums.back() : sums[index];
  return n == 0 ? 0 : task.weight() / n;
}

LossHead FindLossHead(const Graph::HeadSpec& head, absl::Span<const TaskConfig> tasks) {
  const auto index_of = [&](const std::string& name) {
    const auto task = std::find_if(tasks.begin(), tasks.end(),
                                   [&](const TaskConfig& one) { return one.name() == name; });
    CHECK(task != tasks.end()) << "no task \"" << name << "\" for head " << head.name;
    return static_cast<int>(task - tasks.begin());
  };
  LossHead found{.task = index_of(head.task),
                 .rows = head.rows,
                 .weight = head.weight,
                 .reported = head.reported};
  if (head.rows == Graph::LossRows::kGiven) found.given = index_of(head.given);
  return found;
}

double HeadScale(const LossHead& head, absl::Span<const TaskConfig> tasks,
                 absl::Span<const double> sums) {
  const TaskConfig& task = tasks[head.task];
  if (!HasWeight(task, head.task, sums)) return 0;
  if (head.rows == Graph::LossRows::kTask) {
    return head.weight * LossScale(task, head.task, sums);
  }
  return head.weight / sums.back();
}

void ScaleWeights(const Batch& batch, const LossHead& head, int begin, int end, double scale,
                  float* out) {
  if (head.rows == Graph::LossRows::kTask) {
    const float* weights = batch.weights.data() + static_cast<size_t>(head.task) * batch.rows;
    for (int r = begin; r < end; ++r) *out++ = static_cast<float>(scale * weights[r]);
    return;
  }
  std::fill_n(out, end - begin, static_cast<float>(scale));
  if (head.given < 0) return;
  const size_t given = static_cast<size_t>(head.given) * batch.rows;
  const size_t own = static_cast<size_t>(head.task) * batch.rows;
  for (int r = begin; r < end; ++r, ++out) {
    const bool is_known = batch.weights[given + r] != 0 && batch.weights[own + r] != 0;
    if (!is_known || batch.labels[given + r] == 0) *out = 0;
  }
}

}  // namespace pagoda
