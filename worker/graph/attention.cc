// AttentionRow<float> with a row's filled places side by side in vectors. Sums go in the order of
// the plain form, of products that are rounded before they are added, so that the bits are its own:
// <q_i, k_j> over columns, for many j at once; sums over places for many columns at once; the sum
// of the exponentials one by one.
#include "worker/graph/attention.h"

#include <cstddef>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "worker/graph/attention.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
// Behind highway.h: it is compiled once a target.
#include "common/for_each_element-inl.h"

HWY_BEFORE_NAMESPACE();
namespace pagoda {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// One row. F filled places, the f-th of them place filled_[f]; arrays over them are [stride_], and
// what stands behind F in a vector is never read for a result. Queries are taken by blocks of G =
// kQueries or less, one kind of operation at a time, so that none waits for the one before.
class PlacesRow {
 public:
  PlacesRow(const AttentionShape& shape, const AttentionInputs<float>& in,
            AttentionScratch* scratch)
      : width_(shape.width),
        d_h_(shape.width / shape.heads),
        stride_(AttentionScratch::Stride(shape)),
        root_(std::sqrt(static_cast<float>(d_h_))),
        in_(in),
        filled_(scratch->filled.data()),
        p_(scratch->floats.data()),
        ds_(p_ + kQueries * stride_),
        w_(ds_ + kQueries * stride_),
        dw_(w_ + stride_),
        keys_(dw_ + stride_),
        values_(keys_ + width_ * stride_) {
    for (int j = 0; j < shape.places; ++j) {
      if (in.mask[j] > 0) filled_[count_++] = j;
    }
    n_ = static_cast<float>(count_);
  }

  void Forward(float* HWY_RESTRICT y) {
    std::fill_n(y, width_, 0.0f);
    if (count_ == 0) return;
    Transpose(in_.k, keys_);
    for (int c = 0; c < width_; c += d_h_) {
      std::fill_n(w_, count_, 0.0f);
      ForQueries([&](int first, int count) HWY_ATTR {
        FindShares(first, count, c);
        AddShares(count);
      });
      AddPlaces(w_, in_.v, c, y + c);
    }
  }

  // REQUIRES: dq and dk are not the same.
  void Backward(const float* HWY_RESTRICT dy, const AttentionGradients& out) {
    if (count_ == 0) return;
    Transpose(in_.k, keys_);
    Transpose(in_.v, values_);
    for (int c = 0; c < width_; c += d_h_) {
      std::fill_n(w_, count_, 0.0f);
      DotPlaces(dy + c, values_ + c * stride_, 1, dw_);
      ForQueries([&](int first, int count) HWY_ATTR {
        FindShares(first, count, c);
        FindScoreGradients(count);
        AddShares(count);
        for (int g = 0; out.dq != nullptr && g < count; ++g) {
          AddPlaces(ds_ + g * stride_, in_.k, c, out.dq + At(first + g, c));
        }
        if (out.dk != nullptr) AddToKeys(first, count, c, out.dk);
      });
      for (int f = 0; out.dv != nullptr && f < count_; ++f) {
        float* const dv = out.dv + At(f, c);
        ForEachElement(d_h_, [&](auto d, int64_t i) HWY_ATTR {
          const auto product = hn::Mul(hn::Set(d, w_[f]), hn::LoadU(d, dy + c + i));
          hn::StoreU(hn::Add(hn::LoadU(d, dv + i), product), d, dv + i);
        });
      }
    }
  }

 private:
  static constexpr int kQueries = AttentionScratch::kQueries;

  // Column c of the f-th filled place, in an array [P, width].
  HWY_INLINE int64_t At(int f, int c) const { return int64_t{filled_[f]} * width_ + c; }

  // visit(first, count) for each block of filled places.
  template <class Visit>
  HWY_INLINE void ForQueries(const Visit& visit) const {
    for (int f = 0; f < count_; f += kQueries) visit(f, std::min(kQueries, count_ - f));
  }

  // visit(d, j) for whole vectors of places, the last one beyond F.
  template <class Visit>
  HWY_INLINE void ForPlaces(const Visit& visit) const {
    const hn::CappedTag<float, AttentionScratch::kMostLanes> d;
    for (int j = 0; j < count_; j += static_cast<int>(hn::Lanes(d))) visit(d, j);
  }

  // to [width, stride] <- the filled places of `from` [P, width].
  void Transpose(const float* HWY_RESTRICT from, float* HWY_RESTRICT to) const {
    for (int f = 0; f < count_; ++f) {
      const float* const place = from + At(f, 0);
      for (int c = 0; c < width_; ++c) to[c * stride_ + f] = place[c];
    }
  }

  // out [F] <- scale <x, place>, x [d_h], places [d_h, stride].
  HWY_INLINE void DotPlaces(const float* x, const float* places, float scale, float* out) const {
    ForPlaces([&](auto d, int j) HWY_ATTR {
      auto sum = hn::Zero(d);
      for (int i = 0; i < d_h_; ++i) {
        sum = hn::Add(sum, hn::Mul(hn::Set(d, x[i]), hn::LoadU(d, places + i * stride_ + j)));
      }
      hn::StoreU(hn::Mul(hn::Set(d, scale), sum), d, out + j);
    });
  }

  // p_ [G, stride] <- the shares of the filled places from `first` on; the head in columns c, ...
  HWY_INLINE void FindShares(int first, int count, int c) const {
    float sums[kQueries];
    for (int g = 0; g < count; ++g) {
      DotPlaces(in_.q + At(first + g, c), keys_ + c * stride_, 1 / root_, p_ + g * stride_);
    }
    for (int g = 0; g < count; ++g) sums[g] = Exponentiate(p_ + g * stride_);
    for (int g = 0; g < count; ++g) {
      float* const p = p_ + g * stride_;
      ForPlaces([&](auto d, int j) HWY_ATTR {
        hn::StoreU(hn::Div(hn::LoadU(d, p + j), hn::Set(d, sums[g])), d, p + j);
      });
    }
  }

  // p [F] <- e^(p - their largest); returns the sum.
  HWY_INLINE float Exponentiate(float* p) const {
    float most = -std::numeric_limits<float>::infinity(), sum = 0;
    for (int j = 0; j < count_; ++j) most = std::max(most, p[j]);
    for (int j = 0; j < count_; ++j) sum += p[j] = std::exp(p[j] - most);
    return sum;
  }

  // w_ += p_ / n
  HWY_INLINE void AddShares(int count) const {
    ForPlaces([&](auto d, int j) HWY_ATTR {
      auto w = hn::LoadU(d, w_ + j);
      for (int g = 0; g < count; ++g) {
        w = hn::Add(w, hn::Div(hn::LoadU(d, p_ + g * stride_ + j), hn::Set(d, n_)));
      }
      hn::StoreU(w, d, w_ + j);
    });
  }

  // ds_ [G, stride] from p_ and dw_.
  HWY_INLINE void FindScoreGradients(int count) const {
    for (int g = 0; g < count; ++g) {
      const float* const p = p_ + g * stride_;
      float mean = 0;
      for (int j = 0; j < count_; ++j) mean += p[j] * dw_[j];
      ForPlaces([&](auto d, int j) HWY_ATTR {
        const auto share = hn::Div(hn::LoadU(d, p + j), hn::Set(d, n_));
        const auto above = hn::Sub(hn::LoadU(d, dw_ + j), hn::Set(d, mean));
        const auto ds = hn::Div(hn::Mul(share, above), hn::Set(d, root_));
        hn::StoreU(ds, d, ds_ + g * stride_ + j);
      });
    }
  }

  // to [d_h] += sum over filled places of scales [F] x [P, width], its columns c, ...
  HWY_INLINE void AddPlaces(const float* scales, const float* x, int c, float* to) const {
    ForEachElement(d_h_, [&](auto d, int64_t i) HWY_ATTR {
      auto sum = hn::LoadU(d, to + i);
      for (int f = 0; f < count_; ++f) {
        sum = hn::Add(sum, hn::Mul(hn::Set(d, scales[f]), hn::LoadU(d, x + At(f, c) + i)));
      }
      hn::StoreU(sum, d, to + i);
    });
  }

  // dk [P, width], its columns c, ... += what a block of queries asks of each filled place.
  HWY_INLINE void AddToKeys(int first, int count, int c, float* dk) const {
    ForEachElement(d_h_, [&](auto d, int64_t i) HWY_ATTR {
      for (int f = 0; f < count_; ++f) {
        float* const to = dk + At(f, c) + i;
        auto sum = hn::LoadU(d, to);
        for (int g = 0; g < count; ++g) {
          const auto q = hn::LoadU(d, in_.q + At(first + g, c) + i);
          sum = hn::Add(sum, hn::Mul(hn::Set(d, ds_[g * stride_ + f]), q));
        }
        hn::StoreU(sum, d, to);
      }
    });
  }

  const int width_, d_h_;
  const int64_t stride_;
  const float root_;
  const AttentionInputs<float> in_;
  int* const filled_;                  // [F]
  float *const p_, *const ds_;         // [G, stride]
  float *const w_, *const dw_;         // [stride]
  float *const keys_, *const values_;  // [width, stride]
  int count_ = 0;                      // F
  float n_ = 0;
};

void AttendRow(const AttentionShape& shape, const AttentionInputs<float>& in,
               AttentionScratch* scratch, float* y) {
  PlacesRow(shape, in, scratch).Forward(y);
}

void AttendRowGradient(const AttentionShape& shape, const AttentionInputs<float>& in,
                       const float* dy, AttentionScratch* scratch, const AttentionGradients& out) {
  PlacesRow(shape, in, scratch).Backward(dy, out);
}

}  // namespace HWY_NAMESPACE
}  // namespace pagoda
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace pagoda {

HWY_EXPORT(AttendRow);
HWY_EXPORT(AttendRowGradient);

void AttendRow(const AttentionShape& shape, const AttentionInputs<float>& in,
               AttentionScratch* scratch, float* y) {
  HWY_DYNAMIC_DISPATCH(AttendRow)(shape, in, scratch, y);
}

void AttendRowGradient(const AttentionShape& shape, const AttentionInputs<float>& in,
                       const float* dy, AttentionScratch* scratch, const AttentionGradients& out) {
  if (out.dq != nullptr && out.dq == out.dk) {  // One value: its two gradients take turns.
    AttentionRow<float>(shape, in, scratch->floats.data()).Backward(dy, out.dq, out.dk, out.dv);
    return;
  }
  HWY_DYNAMIC_DISPATCH(AttendRowGradient)(shape, in, dy, scratch, out);
}

}  // namespace pagoda
#endif  // HWY_ONCE
