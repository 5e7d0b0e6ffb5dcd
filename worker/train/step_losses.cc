#include "worker/train/step_losses.h"

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

double LossScale(const TaskConfig& task, int index, absl::Span<const double> sums) {
  const double n = task.normalize() == TaskConfig::BATCH ? sums.back() : sums[index];
  return n == 0 ? 0 : task.weight() / n;
}

void ScaleWeights(const Batch& batch, int task, int begin, int end, double scale, float* out) {
  const float* weights = batch.weights.data() + static_cast<size_t>(task) * batch.rows;
  for (int r = begin; r < end; ++r) *out++ = static_cast<float>(scale * weights[r]);
}

}  // namespace pagoda
