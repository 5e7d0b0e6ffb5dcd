#include "ps/table/row.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/errors.h"
#include "common/optim/clip.h"
#include "common/random.h"

namespace pagoda {
namespace {

constexpr uint32_t kMaxDim = 65536;  // A row of 256 KiB of weights: far above any embedding.

}  // namespace

absl::StatusOr<RowLayout> RowLayout::Make(const Schema& schema, int table) {
  const TableSchema& source = schema.table(table);
  const std::string where = absl::StrCat("table ", source.name());
  if (source.dim() == 0 || source.dim() > kMaxDim) {
    return UsageError(absl::StrCat(where, ": dim is ", source.dim(), ", must be 1 to ", kMaxDim));
  }
  if (!std::isfinite(source.init_range()) || source.init_range() < 0) {
    return UsageError(
        absl::StrCat(where, ": init_range is ", source.init_range(), ", must be finite and >= 0"));
  }
  RowLayout layout;
  layout.name_ = source.name();
  layout.dim_ = static_cast<int>(source.dim());
  layout.stream_key_ = StreamKey(schema.seed(), absl::StrCat("table/", source.name()));
  layout.init_range_ = static_cast<float>(source.init_range());

  const size_t weight_bytes = source.dim() * sizeof(float);
  size_t end = kWeightsOffset + weight_bytes;
  // Rows that no optimizer moves never come to be: they are in training what they are in serving.
  layout.starts_at_zero_ = source.optimizer().empty();
  for (const uint32_t index : source.optimizer()) {
    if (index >= static_cast<uint32_t>(schema.optimizer_size())) {
      return UsageError(
          absl::StrCat(where, ": optimizer ", index, ", the schema has ", schema.optimizer_size()));
    }
    const OptimizerSchema& optimizer = schema.optimizer(static_cast<int>(index));
    const std::map<std::string, double> parameters(optimizer.parameter().begin(),
                                                   optimizer.parameter().end());
    absl::StatusOr<std::unique_ptr<Rule>> rule = MakeRule(optimizer.rule(), parameters);
    if (!rule.ok()) return WithContext(rule.status(), where);
    layout.starts_at_zero_ |= (*rule)->StartsAtZero();
    const size_t state_bytes = (*rule)->state_size(layout.dim_) * sizeof(float);
    const ClipLimits limits = {optimizer.clip_norm(), optimizer.clip_value()};
    layout.optimizers_.push_back({index, ClipRows(*std::move(rule), limits), end});
    end += state_bytes;
  }
  layout.row_bytes_ = (end + 7) / 8 * 8;
  return layout;
}

void RowLayout::InitialWeights(uint64_t id, float* weights) const {
  if (starts_at_zero_) {
    std::fill_n(weights, dim_, 0.0f);
    return;
  }
  for (int column = 0; column < dim_; column += 4) {
    const std::array<uint32_t, 4> draw = Philox(stream_key_, id, static_cast<uint64_t>(column) / 4);
    const int end = std::min(4, dim_ - column);
    for (int i = 0; i < end; ++i) {
      weights[column + i] = (2.0f * ToUnitFloat(draw[i]) - 1.0f) * init_range_;
    }
  }
}

void RowLayout::InitialRow(uint64_t id, std::byte* row) const {
  std::memset(row, 0, row_bytes_);
  InitialWeights(id, reinterpret_cast<float*>(row + kWeightsOffset));
  for (const RowOptimizer& optimizer : optimizers_) {
    optimizer.rule->InitState(reinterpret_cast<float*>(row + optimizer.state_offset), dim_);
  }
}

}  // namespace pagoda
