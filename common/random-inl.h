// Philox4x32-10 (random.h) of many counters at once, the same bits.
//
// A vector of 64-bit lanes holds a counter in two halves: x = (c1 : c0), y = (c3 : c2). A round is
// then, of each, the product of the other's low half, its halves swapped, x (c1 : c0) >> 32, x the
// round's key: no half has to be brought to its place.
//
// Included once for each SIMD target (Highway's foreach_target), hence the toggling guard.
#if defined(PAGODA_COMMON_RANDOM_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef PAGODA_COMMON_RANDOM_INL_H_
#undef PAGODA_COMMON_RANDOM_INL_H_
#else
#define PAGODA_COMMON_RANDOM_INL_H_
#endif

#include <cstdint>

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace pagoda {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

#if HWY_TARGET != HWY_SCALAR  // One lane holds no counter: Philox (random.h).

using Draws = hn::ScalableTag<uint32_t>;

// The draws of Lanes(Draws) / 2 counters that follow each other: four each, in the order of the
// counters, the first half of them in `first`.
struct PhiloxDraws {
  hn::Vec<Draws> first, second;
};

// The halves of each round's key, each alone in 64 bits.
struct PhiloxKeys {
  explicit PhiloxKeys(uint64_t key) {
    auto k0 = static_cast<uint32_t>(key), k1 = static_cast<uint32_t>(key >> 32);
    for (int round = 0; round < 10; ++round, k0 += 0x9E3779B9, k1 += 0xBB67AE85) {
      low[round] = k0;
      high[round] = k1;
    }
  }
  uint64_t low[10], high[10];
};

// Of (counter_high, counter_low), (counter_high, counter_low + 1), ...; counter_low wraps at 2^64.
HWY_INLINE PhiloxDraws PhiloxFrom(const PhiloxKeys& keys, uint64_t counter_high,
                                  uint64_t counter_low) {
  const Draws d32;
  const hn::Repartition<uint64_t, Draws> d;
  const auto swap = [=](auto product) HWY_ATTR {
    return hn::BitCast(d, hn::Reverse2(d32, hn::BitCast(d32, product)));
  };
  // In each block of two lanes, a counter of the first half and one of the second: interleaving x
  // and y block by block, below, then leaves the draws in order.
  const auto lane = hn::Iota(d, 0);
  const auto half = hn::Set(d, hn::Lanes(d) / 2);
  const auto place =
      hn::Add(hn::ShiftRight<1>(lane), hn::IfThenElseZero(hn::TestBit(lane, hn::Set(d, 1)), half));
  auto x = hn::Add(hn::Set(d, counter_low), place);
  auto y = hn::Set(d, counter_high);
  HWY_UNROLL(10)
  for (int round = 0; round < 10; ++round) {
    const auto px = hn::MulEven(hn::BitCast(d32, x), hn::Set(d32, 0xD2511F53));
    const auto py = hn::MulEven(hn::BitCast(d32, y), hn::Set(d32, 0xCD9E8D57));
    x = hn::Xor3(swap(py), hn::ShiftRight<32>(x), hn::Set(d, keys.low[round]));
    y = hn::Xor3(swap(px), hn::ShiftRight<32>(y), hn::Set(d, keys.high[round]));
  }
  return {hn::BitCast(d32, hn::InterleaveLower(d, x, y)),
          hn::BitCast(d32, hn::InterleaveUpper(d, x, y))};
}

#endif  // HWY_TARGET

}  // namespace HWY_NAMESPACE
}  // namespace pagoda
HWY_AFTER_NAMESPACE();

#endif  // PAGODA_COMMON_RANDOM_INL_H_
