// Which records make up a step: a pure function of (seed, epoch, step, lane).
//
// Epoch e is a permutation of the records keyed by (seed, e): of all of them when they fit `shuffle_rows`, else of blocks
// and inside windows. Step t takes positions [tB, (t + 1)B), lane l the l-th of L contiguous pieces of them; the last step of an epoch
// is short. Piece l of n positions is [l n / L, (l + 1) n / L).
//
// Thread-safe (const).
#ifndef PAGODA_WORKER_DATA_ORDER_H_
#define PAGODA_WORKER_DATA_ORDER_H_

#include <cstdint>
#include <vector>

#include "proto/config.pb.h"

namespace pagoda {

struct OrderOptions {
  int64_t rows = 0;
  int64_t batch_size = 1024;  // Global.
  uint64_t seed = 1;
  TrainConfig::Shuffle shuffle = TrainConfig::EPOCH;
  int64_t shuffle_rows = 0;
  int lanes = 1;
};

class DataOrder {
 public:
  explicit DataOrder(const OrderOptions& options);

  int64_t steps_per_epoch() const { return steps_per_epoch_; }
  // The record numbers of one lane of one step; may be empty.
  std::vector<int64_t> Records(int64_t epoch, int64_t epoch_step, int lane) const;
  // Examples of the whole step.
  int64_t StepRows(int64_t epoch_step) const;

 private:
  // The record at a position of an epoch.
  int64_t RecordAt(int64_t epoch, int64_t position) const;

  const OrderOptions options_;
  const int64_t steps_per_epoch_;
};

}  // namespace pagoda

#endif  // PAGODA_WORKER_DATA_ORDER_H_
