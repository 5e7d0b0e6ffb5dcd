#include "common/hash.h"

#include <gtest/gtest.h>

#include <array>
#include <set>

#include "common/random.h"

namespace pagoda {
namespace {

constexpr uint64_t kOnes = ~uint64_t{0};

TEST(Hash, UnmixInvertsMix) {
  for (const uint64_t id : {uint64_t{0}, uint64_t{1}, kOnes, uint64_t{1} << 63}) {
    EXPECT_EQ(UnmixId(MixId(id)), id);
    EXPECT_EQ(MixId(UnmixId(id)), id);
  }
  for (uint64_t i = 0; i < 10000; ++i) {
    const uint64_t id = MixId(i * 0x9E3779B97F4A7C15ULL);
    ASSERT_EQ(UnmixId(MixId(id)), id);
  }
}

TEST(Hash, PartitionIsTheTopOfTheMixedId) {
  EXPECT_EQ(PartitionOfMixed(0), 0);
  EXPECT_EQ(PartitionOfMixed(kOnes), kPartitions - 1);
  EXPECT_EQ(PartitionOfMixed(uint64_t{1} << 54), 1);
}

TEST(Hash, EveryPartitionHasTheShardWhoseRangeHoldsIt) {
  for (int shards = 1; shards <= 64; ++shards) {
    EXPECT_EQ(FirstPartition(0, shards), 0);
    EXPECT_EQ(FirstPartition(shards, shards), kPartitions);
    for (int p = 0; p < kPartitions; ++p) {
      const int shard = ShardOfPartition(p, shards);
      ASSERT_LE(FirstPartition(shard, shards), p) << shards << " shards";
      ASSERT_LT(p, FirstPartition(shard + 1, shards)) << shards << " shards";
    }
  }
}

TEST(Hash, SaltIsReversible) {
  const uint64_t id = SaltId(513, 0xABCDEF012345);
  EXPECT_EQ(SlotOfSalted(id), 513u);
  EXPECT_EQ(ValueOfSalted(id), 0xABCDEF012345u);
  EXPECT_EQ(SaltId(0, 7), 7u);
}

// Checkpoints and wire frames carry these: they may not change.
TEST(Hash, KnownValues) {
  EXPECT_EQ(HashBytes(""),
            0x2d06800538d394c2u);  // XXH3-64 of nothing, seed 0 (xxHash's own tests).
  EXPECT_EQ(MixId(0), 0u);
  EXPECT_EQ(MixId(1), 0xb456bcfc34c2cb2cu);
}

// Random123 1.14, tests/kat_vectors, philox4x32 10.
TEST(Random, PhiloxKnownAnswers) {
  using Draws = std::array<uint32_t, 4>;
  EXPECT_EQ(Philox(0, 0, 0), (Draws{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(Philox(kOnes, kOnes, kOnes), (Draws{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  // Counter 243f6a88 85a308d3 13198a2e 03707344, key a4093822 299f31d0: the digits of pi.
  EXPECT_EQ(Philox(0x299f31d0a4093822, 0x0370734413198a2e, 0x85a308d3243f6a88),
            (Draws{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(Random, UnitFloatStaysBelowOne) {
  EXPECT_EQ(ToUnitFloat(0), 0.0f);
  EXPECT_EQ(ToUnitFloat(0xFFFFFFFF), 1.0f - 0x1p-24f);
}

TEST(Random, StreamsDiffer) {
  std::set<uint64_t> keys;
  for (uint64_t seed = 0; seed < 100; ++seed) {
    keys.insert(StreamKey(seed, "table/user"));
    keys.insert(StreamKey(seed, "table/item"));
  }
  EXPECT_EQ(keys.size(), 200u);
  EXPECT_EQ(StreamKey(1, "epoch/3"), StreamKey(1, "epoch/3"));
}

}  // namespace
}  // namespace pagoda
