// Predictions and losses from logits, without overflow or cancellation at any finite logit.
//
// s = sigmoid. Everything is built from softplus(x) = log(1 + e^x):
//   log s(x) = -softplus(-x),  log(1 - s(x)) = -softplus(x).
// Product of two probabilities (ESMM, Ma et al., SIGIR 2018, eq. (2)): p = s(x) s(y),
//   log p       = -softplus(-x) - softplus(-y)
//   1 - p       = s(-x) + s(x) s(-y), a sum of two positive terms, so no 1 - p is ever subtracted:
//   log (1 - p) = logaddexp(-softplus(x), -softplus(-x) - softplus(y)).
//
// Thread-safe (pure functions).
#ifndef PAGODA_WORKER_GRAPH_HEADS_H_
#define PAGODA_WORKER_GRAPH_HEADS_H_

#include <algorithm>
#include <cmath>

#include "worker/graph/graph.h"

namespace pagoda {

template <typename T>
T Softplus(T x) {
  return std::max(x, T{0}) + std::log1p(std::exp(-std::abs(x)));
}

template <typename T>
T Sigmoid(T x) {
  const T e = std::exp(-std::abs(x));
  return x >= 0 ? 1 / (1 + e) : e / (1 + e);
}

template <typename T>
T LogAddExp(T a, T b) {
  return std::max(a, b) + std::log1p(std::exp(-std::abs(a - b)));
}

// `y` is used by kProduct only.
template <typename T>
T HeadPrediction(HeadKind kind, T x, T y) {
  switch (kind) {
    case HeadKind::kProbability:
      return Sigmoid(x);
    case HeadKind::kNumber:
      return x;
    case HeadKind::kProduct:
      return std::exp(-Softplus(-x) - Softplus(-y));
  }
  return x;
}

template <typename T>
struct HeadLoss {
  T loss = 0;
  T dx = 0;  // dloss / dx
  T dy = 0;  // dloss / dy
};

template <typename T>
HeadLoss<T> LossOfHead(HeadKind kind, T x, T y, T label) {
  switch (kind) {
    case HeadKind::kProbability:
      return {Softplus(x) - label * x, Sigmoid(x) - label, 0};
    case HeadKind::kNumber:
      return {(x - label) * (x - label), 2 * (x - label), 0};
    case HeadKind::kProduct: {
      const T log_p = -Softplus(-x) - Softplus(-y);
      const T log_q = LogAddExp(-Softplus(x), -Softplus(-x) - Softplus(y));
      // d log p / dx = s(-x); d log (1 - p) / dx = -p s(-x) / (1 - p), whose exponent is <= 0.
      const T dx = -label * Sigmoid(-x) + (1 - label) * std::exp(log_p - log_q - Softplus(x));
      const T dy = -label * Sigmoid(-y) + (1 - label) * std::exp(log_p - log_q - Softplus(y));
      return {-label * log_p - (1 - label) * log_q, dx, dy};
    }
  }
  return {};
}

}  // namespace pagoda

#endif  // PAGODA_WORKER_GRAPH_HEADS_H_
