// Which records make up a step: a pure function of (seed, epoch, step, lane).
//
// Epoch e is a permutation of the records keyed by (seed, e): of all of them when they fit
// `shuffle_rows`, else of blocks and inside windows. Step t takes positions [tB, (t + 1)B), lane l
// the l-th of L contiguous pieces of them; the last step of an epoch is short. Piece l of n
// positions is [l n / L, (l + 1) n / L).
//
// WINDOW cuts the records into blocks of kBlockRows, permutes the blocks, and permutes the records
// inside each window of shuffle_rows / kBlockRows blocks: a rank that reads ahead touches one
// window of the file at a time.
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

// A keyed permutation of [0, n) with O(1) memory: any position directly, no state.
//
// A balanced Feistel network of kRounds rounds on the smallest even number of bits that holds n
// (Luby, Rackoff, "How to construct pseudorandom permutations", 1988), and cycle walking (Black,
// Rogaway, "Ciphers with arbitrary finite domains", 2002): the network permutes [0, 4^k) with 4^k <
// 4 n; walking until the value is below n takes fewer than 4 tries on average.
class Permutation {
 public:
  Permutation(uint64_t key, int64_t n);
  // REQUIRES: 0 <= position < n.
  int64_t At(int64_t position) const;

 private:
  // Four make a strong permutation on large halves; small ones, of a few bits, want more.
  static constexpr int kRounds = 8;
  uint64_t round_keys_[kRounds];
  uint64_t n_;
  int half_bits_;
};

// Some of the records, by ascending number; kept as runs of neighbours.
class RecordRuns {
 public:
  // REQUIRES: above all records that are there.
  void Add(int64_t record);
  int64_t count() const { return count_; }
  // The record at `place`. REQUIRES: 0 <= place < count().
  int64_t At(int64_t place) const;

 private:
  struct Run {
    int64_t place;  // Of its first record ...
    int64_t first;  // ... and that one's number.
  };
  std::vector<Run> runs_;
  int64_t count_ = 0;
};

class DataOrder {
 public:
  explicit DataOrder(const OrderOptions& options);

  int64_t steps_per_epoch() const { return steps_per_epoch_; }
  // The record numbers of one lane of one step; may be empty.
  std::vector<int64_t> Records(int64_t epoch, int64_t epoch_step, int lane) const;
  // Examples of the whole step.
  int64_t StepRows(int64_t epoch_step) const;

  // 64 records of 400 bytes are a few pages; a smaller block would make WINDOW read at random, a
  // larger one mix less.
  static constexpr int64_t kBlockRows = 64;

 private:
  // Records at positions [begin, end) of an epoch.
  std::vector<int64_t> Windowed(int64_t epoch, int64_t begin, int64_t end) const;

  const OrderOptions options_;
  const int64_t steps_per_epoch_;
};

}  // namespace pagoda

#endif  // PAGODA_WORKER_DATA_ORDER_H_
