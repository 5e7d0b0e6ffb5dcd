#include "worker/data/order.h"

#include <algorithm>
#include <bit>

#include "absl/strings/str_cat.h"
#include "common/hash.h"
#include "common/random.h"
#include "glog/logging.h"

namespace pagoda {

Permutation::Permutation(uint64_t key, int64_t n) : n_(static_cast<uint64_t>(n)) {
  CHECK_GE(n, 0);
  const int bits = n <= 1 ? 0 : std::bit_width(n_ - 1);
  half_bits_ = std::max(1, (bits + 1) / 2);
  for (int round = 0; round < kRounds; ++round) {
    const auto draw = Philox(key, 0, static_cast<uint64_t>(round));
    round_keys_[round] = static_cast<uint64_t>(draw[1]) << 32 | draw[0];
  }
}

int64_t Permutation::At(int64_t position) const {
  DCHECK_GE(position, 0);
  DCHECK_LT(static_cast<uint64_t>(position), n_);
  const uint64_t half_mask = (uint64_t{1} << half_bits_) - 1;
  uint64_t value = static_cast<uint64_t>(position);
  do {
    uint64_t left = value >> half_bits_, right = value & half_mask;
    for (const uint64_t key : round_keys_) {
      const uint64_t mixed = left ^ (MixId(right ^ key) >> (64 - half_bits_));
      left = right;
      right = mixed;
    }
    value = left << half_bits_ | right;
  } while (value >= n_);
  return static_cast<int64_t>(value);
}

void RecordRuns::Add(int64_t record) {
  const bool is_next =
      !runs_.empty() && record == runs_.back().first + (count_ - runs_.back().place);
  if (!is_next) runs_.push_back({count_, record});
  ++count_;
}

int64_t RecordRuns::At(int64_t place) const {
  const auto next = std::upper_bound(runs_.begin(), runs_.end(), place,
                                     [](int64_t at, const Run& run) { return at < run.place; });
  const Run& run = *(next - 1);
  return run.first + (place - run.place);
}

DataOrder::DataOrder(const OrderOptions& options)
    : options_(options),
      steps_per_epoch_((options.rows + options.batch_size - 1) / options.batch_size) {
  CHECK_GE(options.rows, 0);
  CHECK_GT(options.batch_size, 0);
  CHECK_GT(options.lanes, 0);
}

int64_t DataOrder::StepRows(int64_t epoch_step) const {
  const int64_t begin = epoch_step * options_.batch_size;
  return std::clamp<int64_t>(options_.rows - begin, 0, options_.batch_size);
}

std::vector<int64_t> DataOrder::Records(int64_t epoch, int64_t epoch_step, int lane) const {
  CHECK_GE(lane, 0);
  CHECK_LT(lane, options_.lanes);
  const int64_t n = StepRows(epoch_step);
  const int64_t first = epoch_step * options_.batch_size;
  const int64_t begin = first + lane * n / options_.lanes;
  const int64_t end = first + (lane + 1) * n / options_.lanes;
  const bool fits = options_.rows <= options_.shuffle_rows;
  if (options_.shuffle == TrainConfig::WINDOW ||
      (options_.shuffle == TrainConfig::EPOCH && !fits)) {
    return Windowed(epoch, begin, end);
  }
  std::vector<int64_t> records(end - begin);
  if (options_.shuffle == TrainConfig::NONE) {
    for (int64_t i = 0; i < end - begin; ++i) records[i] = begin + i;
    return records;
  }
  const Permutation all(StreamKey(options_.seed, absl::StrCat("epoch/", epoch)), options_.rows);
  for (int64_t i = 0; i < end - begin; ++i) records[i] = all.At(begin + i);
  return records;
}

std::vector<int64_t> DataOrder::Windowed(int64_t epoch, int64_t begin, int64_t end) const {
  const uint64_t key = StreamKey(options_.seed, absl::StrCat("epoch/", epoch));
  // Only whole blocks are permuted; the short one at the end of the records stays last.
  const int64_t whole_blocks = options_.rows / kBlockRows;
  const Permutation blocks(key, whole_blocks);
  const int64_t window_rows = std::max<int64_t>(1, options_.shuffle_rows / kBlockRows) * kBlockRows;
  std::vector<int64_t> records;
  records.reserve(end - begin);
  for (int64_t position = begin; position < end;) {
    const int64_t window = position / window_rows;
    const int64_t window_begin = window * window_rows;
    const int64_t window_end = std::min(window_begin + window_rows, options_.rows);
    const Permutation inside(StreamKey(key, absl::StrCat("window/", window)),
                             window_end - window_begin);
    for (; position < std::min(end, window_end); ++position) {
      const int64_t mixed = window_begin + inside.At(position - window_begin);
      const int64_t block = mixed / kBlockRows;
      const int64_t source_block = block < whole_blocks ? blocks.At(block) : block;
      records.push_back(source_block * kBlockRows + mixed % kBlockRows);
    }
  }
  return records;
}

}  // namespace pagoda
