// The loops of float rules: over rows, and over a row's elements with vectors and with the same
// operations on the remainder. A rule's file adds its formula for one vector of elements.
//
// Bits: a formula uses IEEE operations only (+ - * / sqrt, comparison and selection; no FMA, no
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

#include "common/for_each_element-inl.h"
#include "common/optim/rule.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace pagoda {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// One row: formula(d, w, g, state...) -> new w, for vectors of elements; it changes g as it likes
// and its K states in place. state [K, n].
template <class Formula>
HWY_INLINE void UpdateElements(float* HWY_RESTRICT w, const float* HWY_RESTRICT g, int64_t n,
                               const Formula& formula) {
  ForEachElement(n, [&](auto d, int64_t i) HWY_ATTR {
    hn::StoreU(formula(d, hn::LoadU(d, w + i), hn::LoadU(d, g + i)), d, w + i);
  });
}
template <class Formula>
HWY_INLINE void UpdateElements(float* HWY_RESTRICT w, float* HWY_RESTRICT state,
                               const float* HWY_RESTRICT g, int64_t n, const Formula& formula) {
  ForEachElement(n, [&](auto d, int64_t i) HWY_ATTR {
    auto s = hn::LoadU(d, state + i);
    const auto updated = formula(d, hn::LoadU(d, w + i), hn::LoadU(d, g + i), s);
    hn::StoreU(s, d, state + i);
    hn::StoreU(updated, d, w + i);
  });
}
template <class Formula>
HWY_INLINE void UpdateElements(float* HWY_RESTRICT w, float* HWY_RESTRICT state0,
                               float* HWY_RESTRICT state1, const float* HWY_RESTRICT g, int64_t n,
                               const Formula& formula) {
  ForEachElement(n, [&](auto d, int64_t i) HWY_ATTR {
    auto s0 = hn::LoadU(d, state0 + i);
    auto s1 = hn::LoadU(d, state1 + i);
    const auto updated = formula(d, hn::LoadU(d, w + i), hn::LoadU(d, g + i), s0, s1);
    hn::StoreU(s0, d, state0 + i);
    hn::StoreU(s1, d, state1 + i);
    hn::StoreU(updated, d, w + i);
  });
}

// Rows along g [R, n]; K states a weight.
template <int K, class Formula>
HWY_INLINE void UpdateRows(const RuleRows& rows, const float* HWY_RESTRICT g, int64_t n,
                           const Formula& formula) {
  static_assert(K >= 0 && K <= 2);
  for (float* w : rows.w) {
    if constexpr (K == 0) UpdateElements(w, g, n, formula);
    if constexpr (K == 1) UpdateElements(w, rows.StateOf(w), g, n, formula);
    if constexpr (K == 2) {
      UpdateElements(w, rows.StateOf(w), rows.StateOf(w) + n, g, n, formula);
    }
    g += n;
  }
}

// g + l2 w; g itself, to the bit, when l2 is 0.
template <class D, class V>
HWY_INLINE V AddL2(D d, float l2, V w, V g) {
  return l2 == 0 ? g : hn::Add(g, hn::Mul(hn::Set(d, l2), w));
}

}  // namespace HWY_NAMESPACE
}  // namespace pagoda
HWY_AFTER_NAMESPACE();

#endif  // The toggling guard.
