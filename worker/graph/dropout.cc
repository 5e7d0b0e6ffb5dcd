#include "worker/graph/dropout.h"

#include <algorithm>
#include <cstring>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "worker/graph/dropout.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
// Behind highway.h: they are compiled once a target.
#include "common/for_each_element-inl.h"
#include "common/random-inl.h"

HWY_BEFORE_NAMESPACE();
namespace pagoda {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// A block is the columns that one call of the generator serves: DrawBlock writes BlockBytes().
#if HWY_TARGET == HWY_SCALAR

constexpr int64_t BlockBytes() { return 1; }
using BlockDraw = DropoutDraw;

void DrawBlock(const BlockDraw& of, uint64_t counter, uint8_t* bits) {
  const uint32_t least_kept = LeastKept(of.rate);
  uint32_t kept = 0;
  for (uint32_t i = 0; i < 2; ++i) {
    const auto draws = Philox(of.key, static_cast<uint64_t>(of.step), counter + i);
    for (uint32_t j = 0; j < 4; ++j) kept |= uint32_t{draws[j] >> 8 >= least_kept} << (4 * i + j);
  }
  *bits = static_cast<uint8_t>(kept);
}

#else

HWY_INLINE int64_t BlockBytes() { return static_cast<int64_t>(2 * hn::Lanes(Draws()) / 8); }
struct BlockDraw {
  explicit BlockDraw(const DropoutDraw& of)
      : keys(of.key),
        step(static_cast<uint64_t>(of.step)),
        most_dropped(static_cast<int32_t>(LeastKept(of.rate)) - 1) {}
  PhiloxKeys keys;
  uint64_t step;
  int32_t most_dropped;
};

HWY_INLINE void DrawBlock(const BlockDraw& of, uint64_t counter, uint8_t* bits) {
  const hn::RebindToSigned<Draws> d;  // Draws of 24 bits: the comparison that each target has.
  const size_t lanes = hn::Lanes(d);
  uint8_t halves[2][hn::MaxLanes(Draws()) / 8 + 8];  // A mask's store may write 8.
  const auto store = [&](auto draws, uint8_t* half) HWY_ATTR {
    const auto draw = hn::BitCast(d, hn::ShiftRight<8>(draws));
    hn::StoreMaskBits(d, hn::Gt(draw, hn::Set(d, of.most_dropped)), half);
  };
  const PhiloxDraws draws = PhiloxFrom(of.keys, of.step, counter);
  store(draws.first, halves[0]);
  store(draws.second, halves[1]);
  if (lanes >= 8) {
    std::memcpy(bits, halves[0], lanes / 8);
    std::memcpy(bits + lanes / 8, halves[1], lanes / 8);
  } else {  // Vectors of four.
    *bits = static_cast<uint8_t>(halves[0][0] | halves[1][0] << lanes);
  }
}

#endif  // HWY_TARGET

void DrawKept(const DropoutDraw& of, absl::Span<const int64_t> rows, int n, Columns kept) {
  const BlockDraw draw(of);
  const int64_t block = BlockBytes(), row_bytes = (n + 7) / 8;
  const uint64_t per_row = (static_cast<uint64_t>(n) + 3) / 4;
  for (size_t r = 0; r < rows.size(); ++r) {
    auto* const bits = reinterpret_cast<uint8_t*>(kept.Row(static_cast<int>(r)));
    const uint64_t counter = static_cast<uint64_t>(rows[r]) * per_row;
    int64_t at = 0;  // Bytes; one is two counters.
    for (; at + block <= row_bytes; at += block) DrawBlock(draw, counter + 2 * at, bits + at);
    if (at == row_bytes) continue;
    uint8_t rest[2 * HWY_MAX_BYTES / sizeof(uint32_t) / 8 + 1];  // A block.
    DrawBlock(draw, counter + 2 * at, rest);
    std::memcpy(bits + at, rest, row_bytes - at);
  }
}

// Of the columns from i on; `bits` are a row's.
template <class D>
HWY_INLINE hn::Mask<D> MaskOf(D d, const uint8_t* bits, int64_t i) {
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  uint8_t read[hn::MaxLanes(D()) / 8 + 8] = {};  // A mask's load may read 8.
  if (lanes >= 8) {
    std::memcpy(read, bits + i / 8, lanes / 8);
  } else {
    read[0] = static_cast<uint8_t>(bits[i / 8] >> (i % 8));
  }
  return hn::LoadMaskBits(d, read);
}

void MultiplyKept(const KeptProduct& of) {
  for (int r = 0; r < of.rows; ++r) {
    const float* const in = of.x.Row(r);
    const auto* const bits = reinterpret_cast<const uint8_t*>(of.kept.Row(r));
    float* const out = of.y.Row(r);
    ForEachElement(of.width, [&](auto d, int64_t i) HWY_ATTR {
      const auto m = hn::IfThenElseZero(MaskOf(d, bits, i), hn::Set(d, of.multiplier));
      const auto old = of.accumulate ? hn::LoadU(d, out + i) : hn::Zero(d);
      hn::StoreU(hn::MulAdd(hn::LoadU(d, in + i), m, old), d, out + i);
    });
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace pagoda
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace pagoda {

HWY_EXPORT(DrawKept);
HWY_EXPORT(MultiplyKept);

void DrawKept(const DropoutDraw& of, absl::Span<const int64_t> rows, int n, Columns kept) {
  HWY_DYNAMIC_DISPATCH(DrawKept)(of, rows, n, kept);
}

void MultiplyKept(const KeptProduct& of) { HWY_DYNAMIC_DISPATCH(MultiplyKept)(of); }

}  // namespace pagoda
#endif  // HWY_ONCE
