#include "worker/train/step_average.h"

#include <algorithm>
#include <utility>

#include "common/optim/ema.h"

namespace pagoda {
namespace {

// Floats of a work item: 32 KiB of weights and averages, some microseconds.
constexpr int64_t kUnit = 4096;

}  // namespace

WeightAverages::WeightAverages(double decay, const Program* program,
                               std::vector<std::vector<int>> owners,
                               absl::Span<const float> weights)
    : decay_(decay),
      program_(program),
      owners_(std::move(owners)),
      averages_(weights.size()),
      share_(owners_.size()) {
  std::copy(weights.begin(), weights.end(), averages_.data());
  int64_t filled = 0;  // Of the unit that is open.
  unit_begin_.push_back(0);
  const auto add = [&](int view, int64_t begin, int64_t end) {
    for (; begin < end; begin += pieces_.back().size) {
      pieces_.push_back({view, begin, std::min(end - begin, kUnit - filled)});
      filled += pieces_.back().size;
      if (filled < kUnit) continue;
      unit_begin_.push_back(static_cast<int>(pieces_.size()));
      filled = 0;
    }
  };
  for (int v = 0; v < static_cast<int>(owners_.size()); ++v) {
    if (owners_[v].empty()) continue;
    const ParameterView& view = program->parameters()[v];
    for (int r = 0; r < view.rows; ++r) {
      add(v, view.offset + r * view.stride, view.offset + r * view.stride + view.columns);
    }
  }
  if (filled > 0) unit_begin_.push_back(static_cast<int>(pieces_.size()));
}

void WeightAverages::Step(absl::Span<const int64_t> steps, const float* weights,
                          ComputeThreads* threads) {
  for (size_t v = 0; v < owners_.size(); ++v) {
    int64_t t = 0;
    for (const int optimizer : owners_[v]) t = std::max(t, steps[optimizer]);
    share_[v] = t == 0 ? 0.0f : static_cast<float>(1 - AverageDecay(decay_, t));
  }
  threads->Run(static_cast<int>(unit_begin_.size()) - 1, [&](int unit, int) {
    for (int p = unit_begin_[unit]; p < unit_begin_[unit + 1]; ++p) {
      const Piece& piece = pieces_[p];
      const float share = share_[piece.view];
      if (share == 0) continue;
      float* average = averages_.data() + piece.begin;
      const float* weight = weights + piece.begin;
      for (int64_t i = 0; i < piece.size; ++i) average[i] += share * (weight[i] - average[i]);
    }
  });
}

const float* WeightAverages::Serving(const float* weights) {
  for (size_t v = 0; v < owners_.size(); ++v) {
    if (!owners_[v].empty()) continue;
    const ParameterView& view = program_->parameters()[v];
    for (int r = 0; r < view.rows; ++r) {
      const int64_t begin = view.offset + r * view.stride;
      std::copy_n(weights + begin, view.columns, averages_.data() + begin);
    }
  }
  return averages_.data();
}

}  // namespace pagoda
