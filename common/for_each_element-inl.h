// The loop over contiguous elements that SIMD kernels share: whole vectors, then the same
// operations on shorter ones.
//
// Where a kernel treats elements alike and apart, by IEEE operations, its bits depend neither on
// the vector length nor on where the range is cut.
//
// Included once for each SIMD target (Highway's foreach_target), hence the toggling guard.
#if defined(PAGODA_COMMON_FOR_EACH_ELEMENT_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef PAGODA_COMMON_FOR_EACH_ELEMENT_INL_H_
#undef PAGODA_COMMON_FOR_EACH_ELEMENT_INL_H_
#else
#define PAGODA_COMMON_FOR_EACH_ELEMENT_INL_H_
#endif

#include <cstdint>

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace pagoda {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// kernel(d, i) handles Lanes(d) elements of type T from i, of [0, n). The remainder goes by halves:
// rows of dim 8 on AVX-512 take one half vector, and no load or store touches memory past n (masks
// could, on targets that emulate them).
template <typename T = float, class Kernel>
HWY_INLINE void ForEachElement(int64_t n, const Kernel& kernel) {
  const hn::ScalableTag<T> full;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(full));
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes) kernel(full, i);
  const hn::CappedTag<T, 8> eight;
  const hn::CappedTag<T, 4> four;
  const hn::CappedTag<T, 1> one;
  const int64_t lanes8 = static_cast<int64_t>(hn::Lanes(eight));
  const int64_t lanes4 = static_cast<int64_t>(hn::Lanes(four));
  if (lanes8 < lanes && i + lanes8 <= n) {
    kernel(eight, i);
    i += lanes8;
  }
  if (lanes4 < lanes8 && i + lanes4 <= n) {
    kernel(four, i);
    i += lanes4;
  }
  for (; i < n; ++i) kernel(one, i);
}

}  // namespace HWY_NAMESPACE
}  // namespace pagoda
HWY_AFTER_NAMESPACE();

#endif  // PAGODA_COMMON_FOR_EACH_ELEMENT_INL_H_
