#include "worker/graph/kernels.h"

#include <algorithm>
#include <cmath>

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "worker/graph/kernels.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
// Behind highway.h: it is compiled once a target.
#include "common/for_each_element-inl.h"

HWY_BEFORE_NAMESPACE();
namespace pagoda {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

void ReluGradient(int rows, int n, Columns y, Columns dy) {
  for (int r = 0; r < rows; ++r) {
    const float* HWY_RESTRICT y_row = y.data + r * y.ld;
    float* HWY_RESTRICT dy_row = dy.data + r * dy.ld;
    ForEachElement(n, [&](auto d, int64_t i) HWY_ATTR {
      const auto zero = hn::Zero(d);
      const auto is_on = hn::Gt(hn::LoadU(d, y_row + i), zero);
      hn::StoreU(hn::IfThenElseZero(is_on, hn::LoadU(d, dy_row + i)), d, dy_row + i);
    });
  }
}

// Rows are added four at a time, so that `sum` is loaded and stored a quarter as often.
void SumRows(int rows, int n, Columns x, bool accumulate, float* sum) {
  if (!accumulate) std::fill(sum, sum + n, 0.0f);
  int r = 0;
  for (; r + 4 <= rows; r += 4) {
    const float* HWY_RESTRICT row = x.data + r * x.ld;
    const int64_t ld = x.ld;
    ForEachElement(n, [&](auto d, int64_t i) HWY_ATTR {
      const auto low = hn::Add(hn::LoadU(d, row + i), hn::LoadU(d, row + ld + i));
      const auto high = hn::Add(hn::LoadU(d, row + 2 * ld + i), hn::LoadU(d, row + 3 * ld + i));
      hn::StoreU(hn::Add(hn::LoadU(d, sum + i), hn::Add(low, high)), d, sum + i);
    });
  }
  for (; r < rows; ++r) {
    const float* HWY_RESTRICT row = x.data + r * x.ld;
    ForEachElement(n, [&](auto d, int64_t i) HWY_ATTR {
      hn::StoreU(hn::Add(hn::LoadU(d, sum + i), hn::LoadU(d, row + i)), d, sum + i);
    });
  }
}

void AddScaledRows(int rows, int d, Columns gate, Columns expert, Columns y, bool accumulate) {
  for (int r = 0; r < rows; ++r) {
    const float g = gate.data[r * gate.ld];
    const float* HWY_RESTRICT e = expert.data + r * expert.ld;
    float* HWY_RESTRICT out = y.data + r * y.ld;
    ForEachElement(d, [&](auto tag, int64_t i) HWY_ATTR {
      const auto old = accumulate ? hn::LoadU(tag, out + i) : hn::Zero(tag);
      hn::StoreU(hn::MulAdd(hn::Set(tag, g), hn::LoadU(tag, e + i), old), tag, out + i);
    });
  }
}

void DotRows(int rows, int d, Columns dy, Columns expert, Columns dgate, bool accumulate) {
  const hn::ScalableTag<float> tag;
  const int lanes = static_cast<int>(hn::Lanes(tag));
  for (int r = 0; r < rows; ++r) {
    const float* HWY_RESTRICT a = dy.data + r * dy.ld;
    const float* HWY_RESTRICT b = expert.data + r * expert.ld;
    auto sum = hn::Zero(tag);
    int i = 0;
    for (; i + lanes <= d; i += lanes) {
      sum = hn::MulAdd(hn::LoadU(tag, a + i), hn::LoadU(tag, b + i), sum);
    }
    float dot = hn::GetLane(hn::SumOfLanes(tag, sum));
    for (; i < d; ++i) dot += a[i] * b[i];
    float* out = dgate.data + r * dgate.ld;
    *out = accumulate ? *out + dot : dot;
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace pagoda
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace pagoda {

HWY_EXPORT(ReluGradient);
HWY_EXPORT(SumRows);
HWY_EXPORT(AddScaledRows);
HWY_EXPORT(DotRows);

void SumRows(int rows, int n, Columns x, bool accumulate, float* sum) {
  HWY_DYNAMIC_DISPATCH(SumRows)(rows, n, x, accumulate, sum);
}

void AddScaledRows(int rows, int d, Columns gate, Columns expert, Columns y, bool accumulate) {
  HWY_DYNAMIC_DISPATCH(AddScaledRows)(rows, d, gate, expert, y, accumulate);
}

void DotRows(int rows, int d, Columns dy, Columns expert, Columns dgate, bool accumulate) {
  HWY_DYNAMIC_DISPATCH(DotRows)(rows, d, dy, expert, dgate, accumulate);
}

void ApplyActivation(Activation activation, int rows, int n, Columns y) {
  for (int r = 0; r < rows; ++r) {
    float* row = y.data + r * y.ld;
    for (int i = 0; i < n; ++i) {
      switch (activation) {
        case IDENTITY:
          break;
        case RELU:
          row[i] = std::max(row[i], 0.0f);
          break;
        case SIGMOID:
          row[i] = 1 / (1 + std::exp(-row[i]));
          break;
        case TANH:
          row[i] = std::tanh(row[i]);
          break;
        case GELU:
        case PRELU:
          break;  // Not in place: nodes of their own.
      }
    }
  }
}

void ApplyActivationGradient(Activation activation, int rows, int n, Columns y, Columns dy) {
  if (activation == IDENTITY) return;
  if (activation == RELU) {
    HWY_DYNAMIC_DISPATCH(ReluGradient)(rows, n, y, dy);
    return;
  }
  for (int r = 0; r < rows; ++r) {
    const float* y_row = y.data + r * y.ld;
    float* dy_row = dy.data + r * dy.ld;
    for (int i = 0; i < n; ++i) {
      dy_row[i] *= activation == SIGMOID ? y_row[i] * (1 - y_row[i]) : 1 - y_row[i] * y_row[i];
    }
  }
}

// A gate has few columns (one an expert): scalar code.
void SoftmaxRows(int rows, int n, Columns x, Columns y) {
  for (int r = 0; r < rows; ++r) {
    const float* in = x.data + r * x.ld;
    float* out = y.data + r * y.ld;
    const float max = *std::max_element(in, in + n);
    float sum = 0;
    for (int i = 0; i < n; ++i) sum += out[i] = std::exp(in[i] - max);
    for (int i = 0; i < n; ++i) out[i] /= sum;
  }
}

void SoftmaxRowsGradient(int rows, int n, Columns y, Columns dy, Columns dx, bool accumulate) {
  for (int r = 0; r < rows; ++r) {
    const float* p = y.data + r * y.ld;
    const float* dp = dy.data + r * dy.ld;
    float* out = dx.data + r * dx.ld;
    float dot = 0;
    for (int i = 0; i < n; ++i) dot += p[i] * dp[i];
    for (int i = 0; i < n; ++i) {
      const float dlogit = p[i] * (dp[i] - dot);
      out[i] = accumulate ? out[i] + dlogit : dlogit;
    }
  }
}

#if defined(__x86_64__)
FlushDenormals::FlushDenormals() : saved_(_mm_getcsr()) {
  constexpr uint32_t kFlushToZero = 1u << 15, kDenormalsAreZero = 1u << 6;
  _mm_setcsr(saved_ | kFlushToZero | kDenormalsAreZero);
}
FlushDenormals::~FlushDenormals() { _mm_setcsr(saved_); }
#else
FlushDenormals::FlushDenormals() = default;
FlushDenormals::~FlushDenormals() = default;
#endif

}  // namespace pagoda
#endif  // HWY_ONCE
