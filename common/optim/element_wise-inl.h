// Runs an element-wise kernel over [0, n) with vectors, and with the same operations on the
// remainder.
//
// Bits: a kernel uses IEEE operations only (+ - * / sqrt, comparison and selection; no FMA, no
// approximation), so an element's result does not depend on n, on alignment, on how a range is cut,
// on the vector length or on the instruction set. Tests hold this.
//
// Included once for each SIMD target (Highway's foreach_target), hence the toggling guard.
#if defined(PAGODA_COMMON_OPTIM_ELEMENT_WISE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef PAGODA_COMMON_OPTIM_ELEMENT_WISE_INL_H_
#undef PAGODA_COMMON_OPTIM_ELEMENT_WISE_INL_H_
#else
#define PAGODA_COMMON_OPTIM_ELEMENT_WISE_INL_H_
#endif

#include <cstdint>

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace pagoda {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// kernel(d, i) handles Lanes(d) elements from i. The remainder goes by halves: rows of dim 8 on
// AVX-512 take one half vector, and no load or store touches memory past n (masks could, on targets
// that emulate them).
template <class Kernel>
HWY_INLINE void ForEachElement(int64_t n, const Kernel& kernel) {
  const hn::ScalableTag<float> full;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(full));
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes) kernel(full, i);
  const hn::CappedTag<float, 8> eight;
  const hn::CappedTag<float, 4> four;
  const hn::CappedTag<float, 1> one;
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

#endif  // The toggling guard.
