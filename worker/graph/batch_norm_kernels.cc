// The element-wise work of BatchNorm. By IEEE operations alone, each sum over rows in their order:
// bits are those of plain loops (-ffp-contract=off) on any instruction set.
#include <algorithm>

#include "worker/graph/kernels.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "worker/graph/batch_norm_kernels.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
// Behind highway.h: it is compiled once a target.
#include "common/for_each_element-inl.h"

HWY_BEFORE_NAMESPACE();
namespace pagoda {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Sums are loaded and stored once for so many rows, whose parts of a line of columns stay in L1.
constexpr int kRowsAtOnce = 8;

// (x - mean) scale of the columns from c.
template <class D, class V>
HWY_INLINE auto XhatOf(D d, V x, Normalizer of, int64_t c) {
  return hn::Mul(hn::Sub(x, hn::LoadU(d, of.mean + c)), hn::LoadU(d, of.scale + c));
}

void AddMoments(int rows, int n, Columns x, double* sums) {
  double* const squares = sums + n;
  for (int first = 0; first < rows; first += kRowsAtOnce) {
    const int end = std::min(first + kRowsAtOnce, rows);
    ForEachElement<double>(n, [&](auto d, int64_t c) HWY_ATTR {
      const hn::Rebind<float, decltype(d)> f;
      auto sum = hn::LoadU(d, sums + c), square = hn::LoadU(d, squares + c);
      for (int r = first; r < end; ++r) {
        const auto value = hn::PromoteTo(d, hn::LoadU(f, x.Row(r) + c));
        sum = hn::Add(sum, value);
        square = hn::Add(square, hn::Mul(value, value));
      }
      hn::StoreU(sum, d, sums + c);
      hn::StoreU(square, d, squares + c);
    });
  }
}

void NormalizeColumns(int rows, int n, Columns x, Normalizer of, const float* gain, const float* b,
                      Columns y) {
  for (int r = 0; r < rows; ++r) {
    const float* HWY_RESTRICT from = x.Row(r);
    float* HWY_RESTRICT to = y.Row(r);
    ForEachElement(n, [&](auto d, int64_t c) HWY_ATTR {
      const auto xhat = XhatOf(d, hn::LoadU(d, from + c), of, c);
      const auto scaled = hn::Mul(xhat, hn::LoadU(d, gain + c));
      hn::StoreU(hn::Add(scaled, hn::LoadU(d, b + c)), d, to + c);
    });
  }
}

void AddGradientMoments(int rows, int n, Columns x, Normalizer of, Columns dy, double* sums) {
  double* const products = sums + n;
  for (int first = 0; first < rows; first += kRowsAtOnce) {
    const int end = std::min(first + kRowsAtOnce, rows);
    ForEachElement<double>(n, [&](auto d, int64_t c) HWY_ATTR {
      const hn::Rebind<float, decltype(d)> f;
      auto sum = hn::LoadU(d, sums + c), product = hn::LoadU(d, products + c);
      for (int r = first; r < end; ++r) {
        const auto xhat = hn::PromoteTo(d, XhatOf(f, hn::LoadU(f, x.Row(r) + c), of, c));
        const auto up = hn::PromoteTo(d, hn::LoadU(f, dy.Row(r) + c));
        sum = hn::Add(sum, up);
        product = hn::Add(product, hn::Mul(up, xhat));
      }
      hn::StoreU(sum, d, sums + c);
      hn::StoreU(product, d, products + c);
    });
  }
}

void NormalizeColumnsGradient(const NormalizedColumns& of, Columns x, Columns dy, Columns dx,
                              bool accumulate) {
  for (int r = 0; r < of.rows; ++r) {
    const float* HWY_RESTRICT from = x.Row(r);
    const float* HWY_RESTRICT up = dy.Row(r);
    float* HWY_RESTRICT to = dx.Row(r);
    ForEachElement(of.width, [&](auto d, int64_t c) HWY_ATTR {
      const auto xhat = XhatOf(d, hn::LoadU(d, from + c), of.normalizer, c);
      const auto mean =
          hn::Add(hn::LoadU(d, of.mean_dy + c), hn::Mul(xhat, hn::LoadU(d, of.mean_product + c)));
      const auto slope = hn::Mul(hn::LoadU(d, of.gain + c), hn::LoadU(d, of.normalizer.scale + c));
      const auto old = accumulate ? hn::LoadU(d, to + c) : hn::Zero(d);
      const auto centred = hn::Sub(hn::LoadU(d, up + c), mean);
      hn::StoreU(hn::Add(old, hn::Mul(slope, centred)), d, to + c);
    });
  }
  for (int r = of.rows; r < of.padded_rows && !accumulate; ++r) {
    std::fill_n(dx.Row(r), of.width, 0.0f);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace pagoda
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace pagoda {

HWY_EXPORT(AddMoments);
HWY_EXPORT(NormalizeColumns);
HWY_EXPORT(AddGradientMoments);
HWY_EXPORT(NormalizeColumnsGradient);

void AddMoments(int rows, int n, Columns x, double* sums) {
  HWY_DYNAMIC_DISPATCH(AddMoments)(rows, n, x, sums);
}

void NormalizeColumns(int rows, int n, Columns x, Normalizer of, const float* gain, const float* b,
                      Columns y) {
  HWY_DYNAMIC_DISPATCH(NormalizeColumns)(rows, n, x, of, gain, b, y);
}

void AddGradientMoments(int rows, int n, Columns x, Normalizer of, Columns dy, double* sums) {
  HWY_DYNAMIC_DISPATCH(AddGradientMoments)(rows, n, x, of, dy, sums);
}

void NormalizeColumnsGradient(const NormalizedColumns& of, Columns x, Columns dy, Columns dx,
                              bool accumulate) {
  HWY_DYNAMIC_DISPATCH(NormalizeColumnsGradient)(of, x, dy, dx, accumulate);
}

}  // namespace pagoda
#endif  // HWY_ONCE
