#include "worker/data/order.h"

#include <algorithm>
#include <cstdint>
#include <set>
#include <vector>

#include "gtest/gtest.h"

namespace pagoda {
namespace {

std::vector<int64_t> Epoch(const DataOrder& order, int64_t epoch, int lanes) {
  std::vector<int64_t> all;
  for (int64_t step = 0; step < order.steps_per_epoch(); ++step) {
    for (int lane = 0; lane < lanes; ++lane) {
      const std::vector<int64_t> records = order.Records(epoch, step, lane);
      all.insert(all.end(), records.begin(), records.end());
    }
  }
  return all;
}

OrderOptions Options(int64_t rows, TrainConfig::Shuffle shuffle = TrainConfig::EPOCH) {
  OrderOptions options;
  options.rows = rows;
  options.batch_size = 64;
  options.seed = 3;
  options.shuffle = shuffle;
  options.shuffle_rows = 1 << 20;
  return options;
}

bool IsPermutation(std::vector<int64_t> records, int64_t n) {
  std::sort(records.begin(), records.end());
  for (int64_t i = 0; i < n; ++i) {
    if (records[i] != i) return false;
  }
  return static_cast<int64_t>(records.size()) == n;
}

TEST(PermutationTest, OfEverySize) {
  for (int64_t n = 1; n <= 1000; ++n) {
    const Permutation permutation(n * 7919, n);
    std::vector<int64_t> records(n);
    for (int64_t i = 0; i < n; ++i) records[i] = permutation.At(i);
    ASSERT_TRUE(IsPermutation(std::move(records), n)) << n;
  }
}

// Each value stands at each place about equally often: 6,000 keys over 6 x 6 cells of mean 1,000,
// whose standard deviation is below sqrt(1000) = 32; five of them.
TEST(PermutationTest, PlacesAreUniformOverKeys) {
  constexpr int kN = 6;
  int count[kN][kN] = {};
  std::set<std::vector<int64_t>> seen;
  for (uint64_t key = 0; key < 6000; ++key) {
    const Permutation permutation(key, kN);
    std::vector<int64_t> values;
    for (int i = 0; i < kN; ++i) values.push_back(permutation.At(i));
    for (int i = 0; i < kN; ++i) ++count[i][values[i]];
    seen.insert(values);
  }
  for (int i = 0; i < kN; ++i) {
    for (int j = 0; j < kN; ++j) EXPECT_NEAR(count[i][j], 1000, 160) << i << " " << j;
  }
  EXPECT_EQ(seen.size(), 720u);  // All 6!.
}

TEST(PermutationTest, LargeSizesStayInRange) {
  const int64_t n = (int64_t{1} << 40) + 12345;
  const Permutation permutation(1, n);
  std::set<int64_t> seen;
  for (int64_t i = 0; i < 1000; ++i) {
    const int64_t value = permutation.At(n - 1 - i);
    EXPECT_GE(value, 0);
    EXPECT_LT(value, n);
    seen.insert(value);
  }
  EXPECT_EQ(seen.size(), 1000u);
}

class DataOrderTest : public testing::TestWithParam<TrainConfig::Shuffle> {};

TEST_P(DataOrderTest, EveryEpochVisitsEveryRecordOnce) {
  for (const int64_t rows : {1, 2, 63, 64, 65, 127, 128, 1000, 4097}) {
    for (const int64_t shuffle_rows : {0, 1, 64, 200, 1 << 20}) {
      OrderOptions options = Options(rows, GetParam());
      options.shuffle_rows = shuffle_rows;
      options.lanes = 3;
      const DataOrder order(options);
      EXPECT_TRUE(IsPermutation(Epoch(order, 2, 3), rows)) << rows << " in " << shuffle_rows;
    }
  }
}

TEST_P(DataOrderTest, LanesCutTheStepAndDoNotChangeIt) {
  OrderOptions options = Options(1000, GetParam());
  const std::vector<int64_t> whole = Epoch(DataOrder(options), 0, 1);
  for (const int lanes : {2, 3, 8, 100}) {
    options.lanes = lanes;
    const DataOrder order(options);
    EXPECT_EQ(Epoch(order, 0, lanes), whole) << lanes;
    for (int lane = 0; lane < lanes; ++lane) {
      EXPECT_EQ(static_cast<int64_t>(order.Records(0, 0, lane).size()),
                (lane + 1) * 64 / lanes - lane * 64 / lanes);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Shuffles, DataOrderTest,
                         testing::Values(TrainConfig::EPOCH, TrainConfig::WINDOW,
                                         TrainConfig::NONE));

TEST(DataOrderTest, EpochsAndSeedsDiffer) {
  OrderOptions options = Options(1000);
  const std::vector<int64_t> first = Epoch(DataOrder(options), 0, 1);
  EXPECT_EQ(first, Epoch(DataOrder(options), 0, 1));
  EXPECT_NE(first, Epoch(DataOrder(options), 1, 1));
  options.seed = 4;
  EXPECT_NE(first, Epoch(DataOrder(options), 0, 1));
  options.shuffle = TrainConfig::NONE;
  EXPECT_NE(first, Epoch(DataOrder(options), 0, 1));
}

TEST(DataOrderTest, WindowsReadOneWindowOfBlocksAtATime) {
  OrderOptions options = Options(64 * 100, TrainConfig::WINDOW);
  options.shuffle_rows = 64 * 10;
  const std::vector<int64_t> records = Epoch(DataOrder(options), 0, 1);
  for (int window = 0; window < 10; ++window) {
    std::set<int64_t> blocks;
    for (int i = 0; i < 640; ++i) blocks.insert(records[window * 640 + i] / 64);
    EXPECT_EQ(blocks.size(), 10u) << window;
  }
  EXPECT_FALSE(std::is_sorted(records.begin(), records.begin() + 640));
}

TEST(DataOrderTest, LastStepIsShortAndLanesMayBeEmpty) {
  OrderOptions options = Options(66);
  options.lanes = 4;
  const DataOrder order(options);
  EXPECT_EQ(order.steps_per_epoch(), 2);
  EXPECT_EQ(order.StepRows(0), 64);
  EXPECT_EQ(order.StepRows(1), 2);
  EXPECT_EQ(order.StepRows(2), 0);
  std::vector<size_t> sizes;
  for (int lane = 0; lane < 4; ++lane) sizes.push_back(order.Records(0, 1, lane).size());
  EXPECT_EQ(sizes, (std::vector<size_t>{0, 1, 0, 1}));
}

TEST(DataOrderTest, NoRows) {
  const DataOrder order(Options(0));
  EXPECT_EQ(order.steps_per_epoch(), 0);
  EXPECT_TRUE(order.Records(0, 0, 0).empty());
}

}  // namespace
}  // namespace pagoda
