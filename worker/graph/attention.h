// Self-attention over the places of one row's sequence: what a kAttention node is. AttentionRow, in
// plain loops, is its definition and the oracle; attention.cc is the same in vectors (a sequence
// has tens of places of a few columns: its products are too small for a matrix library).
//
// Vaswani et al., "Attention Is All You Need", NIPS 2017, eq. (1), with the heads of section 3.2.2
// side by side, averaged over the n filled places i:
//
//   p_ij = softmax over filled j of <q_i, k_j> / sqrt(d_h)
//   y = 1/n sum_i sum_j p_ij v_j = sum_j w_j v_j,  w_j = 1/n sum_i p_ij
//
// An empty place has no part in any sum, so what stands there changes no bit; without a filled one
// y is 0.
//
// Letters: P places; d columns of one, h heads of d_h = d / h each. q, k, v [P, d]; mask [P],
// filled where it is above 0. A `d` before a name is the gradient of the loss with respect to it;
// gradients are added to, and null ones are not wanted.
//
// Thread-safe (pure functions).
#ifndef PAGODA_WORKER_GRAPH_ATTENTION_H_
#define PAGODA_WORKER_GRAPH_ATTENTION_H_

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

namespace pagoda {

struct AttentionShape {
  int places;  // P
  int width;   // d
  int heads;   // Divides d.
};

template <typename T>
struct AttentionInputs {
  const T *q, *k, *v;  // [P, d]
  const T* mask;       // [P]
};

template <typename T>
class AttentionRow {
 public:
  // scratch [3 P].
  AttentionRow(const AttentionShape& shape, const AttentionInputs<T>& in, T* scratch)
      : shape_(shape),
        in_(in),
        d_h_(shape.width / shape.heads),
        root_(std::sqrt(T(d_h_))),
        inverse_root_(1 / root_),
        p_(scratch),
        w_(scratch + shape.places),
        dw_(scratch + 2 * shape.places) {
    int filled = 0;
    for (int j = 0; j < shape.places; ++j) filled += in.mask[j] > 0;
    n_ = T(filled);
  }

  // y [d]
  void Forward(T* y) {
    std::fill_n(y, shape_.width, T{0});
    for (int c = 0; c < shape_.width && n_ > 0; c += d_h_) {
      std::fill_n(w_, shape_.places, T{0});
      ForFilled([&](int i) {
        FindShares(i, c);
        ForFilled([&](int j) { w_[j] += p_[j] / n_; });
      });
      ForFilled([&](int j) { AddTo(y + c, w_[j], At(in_.v, j, c)); });
    }
  }

  // dy [d]; dq, dk, dv [P, d].
  void Backward(const T* dy, T* dq, T* dk, T* dv) {
    for (int c = 0; c < shape_.width && n_ > 0; c += d_h_) {
      std::fill_n(w_, shape_.places, T{0});
      ForFilled([&](int j) { dw_[j] = Dot(dy + c, At(in_.v, j, c)); });
      ForFilled([&](int i) { BackwardOfPlace(i, c, dq, dk); });
      if (dv == nullptr) continue;
      ForFilled([&](int j) { AddTo(dv + j * shape_.width + c, w_[j], dy + c); });
    }
  }

 private:
  template <typename Visit>
  void ForFilled(Visit visit) const {
    for (int j = 0; j < shape_.places; ++j) {
      if (in_.mask[j] > 0) visit(j);
    }
  }
  const T* At(const T* of, int place, int column) const {
    return of + place * shape_.width + column;
  }
  T Dot(const T* a, const T* b) const {
    T sum = 0;
    for (int i = 0; i < d_h_; ++i) sum += a[i] * b[i];
    return sum;
  }
  void AddTo(T* to, T scale, const T* x) const {
    for (int i = 0; i < d_h_; ++i) to[i] += scale * x[i];
  }

  // p_ [P] <- the shares of place i, of the head in columns c, ...
  void FindShares(int i, int c) {
    T most = -std::numeric_limits<T>::infinity(), sum = 0;
    ForFilled([&](int j) {
      p_[j] = inverse_root_ * Dot(At(in_.q, i, c), At(in_.k, j, c));
      most = std::max(most, p_[j]);
    });
    ForFilled([&](int j) { sum += p_[j] = std::exp(p_[j] - most); });
    ForFilled([&](int j) { p_[j] /= sum; });
  }

  // Of the scores s_ij before the softmax: ds_ij = p_ij / n (dw_j - sum_k p_ik dw_k).
  void BackwardOfPlace(int i, int c, T* dq, T* dk) {
    FindShares(i, c);
    T mean = 0;
    ForFilled([&](int j) { mean += p_[j] * dw_[j]; });
    ForFilled([&](int j) {
      const T share = p_[j] / n_;
      const T ds = share * (dw_[j] - mean) / root_;
      w_[j] += share;
      if (dq != nullptr) AddTo(dq + i * shape_.width + c, ds, At(in_.k, j, c));
      if (dk != nullptr) AddTo(dk + j * shape_.width + c, ds, At(in_.q, i, c));
    });
  }

  const AttentionShape shape_;
  const AttentionInputs<T> in_;
  const int d_h_;
  const T root_, inverse_root_;        // sqrt(d_h), 1 / sqrt(d_h)
  T *const p_, *const w_, *const dw_;  // [P]
  T n_ = 0;
};

// ---------------------------------------------------------------------------- attention.cc

// Room for one row of the largest sequence that it was fitted to.
struct AttentionScratch {
  static constexpr int kMostLanes = 16;  // Of a vector.
  static constexpr int kQueries = 8;     // At a time.
  static int64_t Stride(const AttentionShape& shape) {
    return (int64_t{shape.places} + kMostLanes - 1) / kMostLanes * kMostLanes;
  }
  void Fit(const AttentionShape& shape) {
    const size_t size = Stride(shape) * (2 * (kQueries + 1 + int64_t{shape.width}));
    floats.resize(std::max(floats.size(), size));
    filled.resize(std::max(filled.size(), static_cast<size_t>(shape.places)));
  }
  std::vector<float> floats;
  std::vector<int> filled;
};

struct AttentionGradients {
  float *dq, *dk, *dv;  // [P, d]; null: not wanted. Two of them may be one array.
};

// AttentionRow<float>'s Forward and Backward, bit for bit. REQUIRES: scratch fits the shape.
void AttendRow(const AttentionShape& shape, const AttentionInputs<float>& in,
               AttentionScratch* scratch, float* y);
void AttendRowGradient(const AttentionShape& shape, const AttentionInputs<float>& in,
                       const float* dy, AttentionScratch* scratch, const AttentionGradients& out);

}  // namespace pagoda

#endif  // PAGODA_WORKER_GRAPH_ATTENTION_H_
