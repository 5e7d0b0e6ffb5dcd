// Kernels of nodes without a matrix product; plain_nodes.h is their oracle.
#include <algorithm>
#include <cmath>

#include "worker/graph/kernels.h"
#include "worker/graph/plain_nodes.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "worker/graph/node_kernels.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
// Behind highway.h: they are compiled once a target.
#include "common/for_each_element-inl.h"
#include "hwy/contrib/math/math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace pagoda {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

void ScaleRows(int rows, int n, Columns x, float scale, Columns y, bool accumulate) {
  for (int r = 0; r < rows; ++r) {
    const float* HWY_RESTRICT in = x.data + r * x.ld;
    float* HWY_RESTRICT out = y.data + r * y.ld;
    if (!accumulate && scale == 1) {
      std::copy_n(in, n, out);
      continue;
    }
    ForEachElement(n, [&](auto d, int64_t i) HWY_ATTR {
      const auto old = accumulate ? hn::LoadU(d, out + i) : hn::Zero(d);
      hn::StoreU(hn::MulAdd(hn::Set(d, scale), hn::LoadU(d, in + i), old), d, out + i);
    });
  }
}

void MultiplyRows(int rows, int n, Columns a, Columns b, Columns y, bool accumulate) {
  for (int r = 0; r < rows; ++r) {
    const float* left = a.data + r * a.ld;
    const float* right = b.data + r * b.ld;
    float* HWY_RESTRICT out = y.data + r * y.ld;
    ForEachElement(n, [&](auto d, int64_t i) HWY_ATTR {
      const auto old = accumulate ? hn::LoadU(d, out + i) : hn::Zero(d);
      hn::StoreU(hn::MulAdd(hn::LoadU(d, left + i), hn::LoadU(d, right + i), old), d, out + i);
    });
  }
}

// Phi(x) and its density times x. Phi by Abramowitz and Stegun, 7.1.26: erfc(z) = t (a1 + t (a2 +
// ...)) e^(-z^2), t = 1 / (1 + p z), z >= 0, off by 1.5e-7 at most: half a unit of a float near 1.
// std::erf takes 15 times as long.
template <typename D>
struct NormalParts {
  hn::Vec<D> cdf, x_density;
};
template <typename D, typename V>
HWY_INLINE NormalParts<D> NormalOf(D d, V x) {
  const auto z = hn::Mul(hn::Abs(x), hn::Set(d, static_cast<float>(M_SQRT1_2)));
  const auto t = hn::Div(hn::Set(d, 1.0f), hn::MulAdd(hn::Set(d, 0.3275911f), z, hn::Set(d, 1.0f)));
  auto poly = hn::MulAdd(hn::Set(d, 1.061405429f), t, hn::Set(d, -1.453152027f));
  poly = hn::MulAdd(poly, t, hn::Set(d, 1.421413741f));
  poly = hn::MulAdd(poly, t, hn::Set(d, -0.284496736f));
  poly = hn::MulAdd(poly, t, hn::Set(d, 0.254829592f));
  const auto bell = hn::Exp(d, hn::Neg(hn::Mul(z, z)));
  const auto half_erfc = hn::Mul(hn::Set(d, 0.5f), hn::Mul(hn::Mul(poly, t), bell));
  const auto cdf =
      hn::IfThenElse(hn::Lt(x, hn::Zero(d)), half_erfc, hn::Sub(hn::Set(d, 1.0f), half_erfc));
  constexpr float kDensity = static_cast<float>(M_SQRT1_2 * 0.5 * M_2_SQRTPI);
  return {cdf, hn::Mul(hn::Mul(x, hn::Set(d, kDensity)), bell)};
}

void GeluRows(int rows, int n, Columns x, Columns y) {
  for (int r = 0; r < rows; ++r) {
    const float* HWY_RESTRICT in = x.data + r * x.ld;
    float* HWY_RESTRICT out = y.data + r * y.ld;
    ForEachElement(n, [&](auto d, int64_t i) HWY_ATTR {
      const auto v = hn::LoadU(d, in + i);
      hn::StoreU(hn::Mul(v, NormalOf(d, v).cdf), d, out + i);
    });
  }
}

void GeluRowsGradient(int rows, int n, Columns x, Columns dy, Columns dx, bool accumulate) {
  for (int r = 0; r < rows; ++r) {
    const float* HWY_RESTRICT in = x.data + r * x.ld;
    const float* HWY_RESTRICT up = dy.data + r * dy.ld;
    float* HWY_RESTRICT out = dx.data + r * dx.ld;
    ForEachElement(n, [&](auto d, int64_t i) HWY_ATTR {
      const auto parts = NormalOf(d, hn::LoadU(d, in + i));
      const auto slope = hn::Add(parts.cdf, parts.x_density);
      const auto old = accumulate ? hn::LoadU(d, out + i) : hn::Zero(d);
      hn::StoreU(hn::MulAdd(hn::LoadU(d, up + i), slope, old), d, out + i);
    });
  }
}

// PReLU; RELU is a slope of 0, but for the sign of a zero.
void PreluRows(int rows, int n, float slope, Columns x, Columns y) {
  for (int r = 0; r < rows; ++r) {
    const float* HWY_RESTRICT in = x.Row(r);
    float* HWY_RESTRICT out = y.Row(r);
    ForEachElement(n, [&](auto d, int64_t i) HWY_ATTR {
      const auto v = hn::LoadU(d, in + i);
      const auto is_on = hn::Gt(v, hn::Zero(d));
      hn::StoreU(hn::IfThenElse(is_on, v, hn::Mul(hn::Set(d, slope), v)), d, out + i);
    });
  }
}

void ReluRows(int rows, int n, Columns x, Columns y) {
  for (int r = 0; r < rows; ++r) {
    const float* HWY_RESTRICT in = x.Row(r);
    float* HWY_RESTRICT out = y.Row(r);
    ForEachElement(n, [&](auto d, int64_t i) HWY_ATTR {
      const auto v = hn::LoadU(d, in + i);
      hn::StoreU(hn::IfThenElseZero(hn::Gt(v, hn::Zero(d)), v), d, out + i);
    });
  }
}

// dx (+)= dy where x is above 0, else slope dy: PReLU's, and RELU's with a slope of 0.
void PreluRowsGradient(int rows, int n, float slope, Columns x, Columns dy, Columns dx,
                       bool accumulate) {
  for (int r = 0; r < rows; ++r) {
    const float* HWY_RESTRICT in = x.Row(r);
    const float* HWY_RESTRICT up = dy.Row(r);
    float* HWY_RESTRICT out = dx.Row(r);
    ForEachElement(n, [&](auto d, int64_t i) HWY_ATTR {
      const auto is_on = hn::Gt(hn::LoadU(d, in + i), hn::Zero(d));
      const auto act_slope = hn::IfThenElse(is_on, hn::Set(d, 1.0f), hn::Set(d, slope));
      const auto down = hn::Mul(hn::LoadU(d, up + i), act_slope);
      hn::StoreU(accumulate ? hn::Add(hn::LoadU(d, out + i), down) : down, d, out + i);
    });
  }
}

// Products are made vector by vector and added one by one, in double, since a whole tile has too
// many terms for a float. No branch: signs are hard to foresee.
double PreluSlopeGradient(int rows, int n, Columns x, Columns dy) {
  HWY_ALIGN float terms[HWY_MAX_BYTES / sizeof(float)];
  double dslope = 0;
  for (int r = 0; r < rows; ++r) {
    const float *in = x.Row(r), *up = dy.Row(r);
    ForEachElement(n, [&](auto d, int64_t i) HWY_ATTR {
      const auto v = hn::LoadU(d, in + i);
      const auto is_off = hn::Le(v, hn::Zero(d));
      hn::Store(hn::IfThenElseZero(is_off, hn::Mul(hn::LoadU(d, up + i), v)), d, terms);
      const int lanes = static_cast<int>(hn::Lanes(d));
      for (int k = 0; k < lanes; ++k) dslope += terms[k];
    });
  }
  return dslope;
}

// MomentsOf of K rows, each of whose sums is added in its own order: K chains of additions go on at
// once, where one would wait for each (4 cycles on Zen 4).
template <int K>
struct Moments {
  float mean[K] = {}, inverse_deviation[K] = {};

  Moments(int first, int n, Columns x) {
    float variance[K] = {};
    for (int i = 0; i < n; ++i) {
      for (int k = 0; k < K; ++k) mean[k] += x.Row(first + k)[i];
    }
    for (float& value : mean) value /= n;
    for (int i = 0; i < n; ++i) {
      for (int k = 0; k < K; ++k) {
        const float off = x.Row(first + k)[i] - mean[k];
        variance[k] += off * off;
      }
    }
    for (int k = 0; k < K; ++k) {
      inverse_deviation[k] = 1 / std::sqrt(variance[k] / n + static_cast<float>(kLayerNormEpsilon));
    }
  }
};

template <class D, class V>
HWY_INLINE auto XhatOf(D d, V x, float mean, float inverse_deviation) {
  return hn::Mul(hn::Sub(x, hn::Set(d, mean)), hn::Set(d, inverse_deviation));
}

template <int K>
void NormalizeSomeRows(int first, int n, Columns x, const float* gain, const float* b, Columns y) {
  const Moments<K> m(first, n, x);
  for (int k = 0; k < K; ++k) {
    const float* HWY_RESTRICT in = x.Row(first + k);
    float* HWY_RESTRICT out = y.Row(first + k);
    ForEachElement(n, [&](auto d, int64_t i) HWY_ATTR {
      const auto xhat = XhatOf(d, hn::LoadU(d, in + i), m.mean[k], m.inverse_deviation[k]);
      const auto scaled = hn::Mul(xhat, hn::LoadU(d, gain + i));
      hn::StoreU(hn::Add(scaled, hn::LoadU(d, b + i)), d, out + i);
    });
  }
}

template <int K>
void NormalizeSomeRowsGradient(int first, int n, Columns x, const float* gain, Columns dy,
                               const NormalizeGradient& out) {
  const Moments<K> m(first, n, x);
  float sum[K] = {}, dot[K] = {};  // Of dxhat, and of dxhat xhat.
  for (int i = 0; i < n; ++i) {
    for (int k = 0; k < K; ++k) {
      const float dxhat = dy.Row(first + k)[i] * gain[i];
      sum[k] += dxhat;
      dot[k] += dxhat * ((x.Row(first + k)[i] - m.mean[k]) * m.inverse_deviation[k]);
    }
  }
  for (int k = 0; k < K; ++k) {
    const float* HWY_RESTRICT in = x.Row(first + k);
    const float* HWY_RESTRICT up = dy.Row(first + k);
    const float mean = m.mean[k], inverse = m.inverse_deviation[k];
    if (out.dgain != nullptr) {
      ForEachElement(n, [&](auto d, int64_t i) HWY_ATTR {
        const auto xhat = XhatOf(d, hn::LoadU(d, in + i), mean, inverse);
        const auto product = hn::Mul(hn::LoadU(d, up + i), xhat);
        hn::StoreU(hn::Add(hn::LoadU(d, out.dgain + i), product), d, out.dgain + i);
      });
    }
    if (out.db != nullptr) {
      ForEachElement(n, [&](auto d, int64_t i) HWY_ATTR {
        hn::StoreU(hn::Add(hn::LoadU(d, out.db + i), hn::LoadU(d, up + i)), d, out.db + i);
      });
    }
    if (out.dx.data == nullptr) continue;
    float* HWY_RESTRICT down = out.dx.Row(first + k);
    ForEachElement(n, [&](auto d, int64_t i) HWY_ATTR {
      const auto xhat = XhatOf(d, hn::LoadU(d, in + i), mean, inverse);
      const auto dxhat = hn::Mul(hn::LoadU(d, up + i), hn::LoadU(d, gain + i));
      const auto both = hn::Add(hn::Set(d, sum[k]), hn::Mul(xhat, hn::Set(d, dot[k])));
      const auto shift = hn::Div(both, hn::Set(d, static_cast<float>(n)));
      const auto value = hn::Mul(hn::Set(d, inverse), hn::Sub(dxhat, shift));
      hn::StoreU(out.accumulate ? hn::Add(hn::LoadU(d, down + i), value) : value, d, down + i);
    });
  }
}

void NormalizeRows(int rows, int n, Columns x, const float* gain, const float* b, Columns y) {
  int r = 0;
  for (; r + 8 <= rows; r += 8) NormalizeSomeRows<8>(r, n, x, gain, b, y);
  for (; r < rows; ++r) NormalizeSomeRows<1>(r, n, x, gain, b, y);
}

void NormalizeRowsGradient(int rows, int n, Columns x, const float* gain, Columns dy,
                           const NormalizeGradient& out) {
  int r = 0;
  for (; r + 8 <= rows; r += 8) NormalizeSomeRowsGradient<8>(r, n, x, gain, dy, out);
  for (; r < rows; ++r) NormalizeSomeRowsGradient<1>(r, n, x, gain, dy, out);
}

}  // namespace HWY_NAMESPACE
}  // namespace pagoda
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace pagoda {

HWY_EXPORT(ScaleRows);
HWY_EXPORT(MultiplyRows);
HWY_EXPORT(GeluRows);
HWY_EXPORT(GeluRowsGradient);
HWY_EXPORT(PreluRows);
HWY_EXPORT(ReluRows);
HWY_EXPORT(PreluRowsGradient);
HWY_EXPORT(PreluSlopeGradient);
HWY_EXPORT(NormalizeRows);
HWY_EXPORT(NormalizeRowsGradient);

void ScaleRows(int rows, int n, Columns x, float scale, Columns y, bool accumulate) {
  HWY_DYNAMIC_DISPATCH(ScaleRows)(rows, n, x, scale, y, accumulate);
}

void MultiplyRows(int rows, int n, Columns a, Columns b, Columns y, bool accumulate) {
  HWY_DYNAMIC_DISPATCH(MultiplyRows)(rows, n, a, b, y, accumulate);
}

void SumParts(int rows, int part, int groups, Columns x, Columns y) {
  for (int r = 0; r < rows; ++r) {
    const float* in = x.data + r * x.ld;
    for (int g = 0; g < groups; ++g, in += part) {
      float sum = 0;
      for (int i = 0; i < part; ++i) sum += in[i];
      y.data[r * y.ld + g] = sum;
    }
  }
}

void SpreadParts(int rows, int part, int groups, Columns dy, Columns dx, bool accumulate) {
  for (int r = 0; r < rows; ++r) {
    float* out = dx.data + r * dx.ld;
    for (int g = 0; g < groups; ++g, out += part) {
      const float up = dy.data[r * dy.ld + g];
      for (int i = 0; i < part; ++i) out[i] = accumulate ? out[i] + up : up;
    }
  }
}

void ActivateRows(Activation activation, int rows, int n, float slope, Columns x, Columns y) {
  switch (activation) {
    case GELU:
      HWY_DYNAMIC_DISPATCH(GeluRows)(rows, n, x, y);
      return;
    case PRELU:
      HWY_DYNAMIC_DISPATCH(PreluRows)(rows, n, slope, x, y);
      return;
    case RELU:
      HWY_DYNAMIC_DISPATCH(ReluRows)(rows, n, x, y);
      return;
    default:
      for (int r = 0; r < rows; ++r) {
        for (int i = 0; i < n; ++i) y.Row(r)[i] = Activate(activation, x.Row(r)[i]);
      }
  }
}

float ActivateRowsGradient(Activation activation, int rows, int n, float slope, Columns x,
                           Columns y, Columns dy, Columns dx, bool accumulate) {
  if (dx.data != nullptr) {
    switch (activation) {
      case GELU:
        HWY_DYNAMIC_DISPATCH(GeluRowsGradient)(rows, n, x, dy, dx, accumulate);
        break;
      case PRELU:
      case RELU:
        HWY_DYNAMIC_DISPATCH(PreluRowsGradient)(rows, n, slope, x, dy, dx, accumulate);
        break;
      default:
        for (int r = 0; r < rows; ++r) {
          for (int i = 0; i < n; ++i) {
            const float down = dy.Row(r)[i] * ActivationSlope(activation, x.Row(r)[i], y.Row(r)[i]);
            dx.Row(r)[i] = accumulate ? dx.Row(r)[i] + down : down;
          }
        }
    }
  }
  if (activation != PRELU) return 0;
  return static_cast<float>(HWY_DYNAMIC_DISPATCH(PreluSlopeGradient)(rows, n, x, dy));
}

void NormalizeRows(int rows, int n, Columns x, const float* gain, const float* b, Columns y) {
  HWY_DYNAMIC_DISPATCH(NormalizeRows)(rows, n, x, gain, b, y);
}

void NormalizeRowsGradient(int rows, int n, Columns x, const float* gain, Columns dy,
                           const NormalizeGradient& out) {
  for (float* sum : {out.dgain, out.db}) {
    if (sum != nullptr && !out.accumulate_parameters) std::fill_n(sum, n, 0.0f);
  }
  HWY_DYNAMIC_DISPATCH(NormalizeRowsGradient)(rows, n, x, gain, dy, out);
}

void SelectRows(int rows, int m, float gamma, Columns x, Columns y) {
  for (int r = 0; r < rows; ++r) SelectorRow(x.data + r * x.ld, m, gamma, y.data + r * y.ld);
}

void SelectRowsGradient(int rows, int m, float gamma, Columns x, Columns dy, Columns dx,
                        bool accumulate) {
  for (int r = 0; r < rows; ++r) {
    float* out = dx.data + r * dx.ld;
    if (!accumulate) std::fill_n(out, m, 0.0f);
    SelectorRowGradient(x.data + r * x.ld, dy.data + r * dy.ld, m, gamma, out);
  }
}

}  // namespace pagoda
#endif  // HWY_ONCE
