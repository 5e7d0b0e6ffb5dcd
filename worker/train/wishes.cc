#include "worker/train/wishes.h"

#include <algorithm>

#include "absl/types/span.h"
#include "common/errors.h"

namespace pagoda {

absl::StatusOr<Wishes> WishExchange::Agree(const Wishes& mine) {
  if (workers_->size() == 1) return mine;
  if (++steps_since_ < interval_) return Wishes();
  // [workers that want to leave, workers that want a checkpoint, steps until the next exchange
  // (worker 0's)]
  double sums[3] = {mine.leave ? 1.0 : 0.0, mine.checkpoint ? 1.0 : 0.0, 0.0};
  if (workers_->rank() == 0) sums[2] = static_cast<double>(NextInterval());
  RETURN_IF_ERROR(AllReduceTree(*workers_, absl::Span<double>(sums)));
  steps_since_ = 0;
  interval_ = static_cast<int64_t>(sums[2]);
  return Wishes{sums[0] > 0, sums[1] > 0};
}

int64_t WishExchange::NextInterval() {
  const int64_t now_ms = clock_->NowMs();
  const int64_t elapsed_ms = last_exchange_ms_ < 0 ? kPeriodMs : now_ms - last_exchange_ms_;
  last_exchange_ms_ = now_ms;
  const int64_t step_ms = std::max<int64_t>(1, elapsed_ms / std::max<int64_t>(1, steps_since_));
  return std::clamp<int64_t>(kPeriodMs / step_ms, 1, kMaxInterval);
}

}  // namespace pagoda
