// Predictions and losses from logits, without overflow or cancellation at any finite logit (but
// Poisson's and log-normal's predictions, which are e^x).
//
// s = sigmoid. Everything with probabilities is built from softplus(x) = log(1 + e^x):
//   log s(x) = -softplus(-x),  log(1 - s(x)) = -softplus(x).
// Product of two probabilities (ESMM, Ma et al., SIGIR 2018, eq. (2)): p = s(x) s(y),
//   log p       = -softplus(-x) - softplus(-y)
//   1 - p       = s(-x) + s(x) s(-y), a sum of two positive terms, so no 1 - p is ever subtracted:
//   log (1 - p) = logaddexp(-softplus(x), -softplus(-x) - softplus(y)).
// The other formulas and their sources stand at their functions; worker/graph/losses.h lists them.
//
// Letters: R rows, C logits a row (classes; 1 of all other kinds).
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

// The prediction of a head with one logit. `y` is used by kProduct only.
template <typename T>
T HeadPrediction(HeadKind kind, T x, T y) {
  switch (kind) {
    case HeadKind::kProbability:
    case HeadKind::kFocal:
      return Sigmoid(x);
    case HeadKind::kProduct:
      return std::exp(-Softplus(-x) - Softplus(-y));
    case HeadKind::kPoisson:
    case HeadKind::kLogNormal:
      return std::exp(x);
    case HeadKind::kNumber:
    case HeadKind::kHuber:
    case HeadKind::kPairwise:
      return x;
    case HeadKind::kClasses:
    case HeadKind::kClass:
    case HeadKind::kElement:
      break;  // PredictionOfRow.
    case HeadKind::kValue:
    case HeadKind::kEntropy:
    case HeadKind::kInversePropensity:
    case HeadKind::kDoublyRobust:
      break;  // Not reported.
  }
  return x;
}

template <typename T>
struct HeadLoss {
  T loss = 0;
  T dx = 0;  // dloss / dx
  T dy = 0;  // dloss / dy
};

// One class's side of the focal loss (Lin et al., ICCV 2017, eq. (5)): z is the logit of the true
// class, p_t = s(z), FL = -(1 - p_t)^gamma log p_t; appendix B: dFL/dz = (1 - p_t)^gamma (gamma p_t
// log p_t + p_t - 1).
template <typename T>
HeadLoss<T> FocalSide(T z, T gamma) {
  const T modulation = std::exp(-gamma * Softplus(z));
  const T log_p = -Softplus(-z);
  return {-modulation * log_p, modulation * (gamma * Sigmoid(z) * log_p - Sigmoid(-z)), 0};
}

// Binary cross-entropy of p = s(x) s(y).
template <typename T>
HeadLoss<T> ProductLoss(T x, T y, T label) {
  const T log_p = -Softplus(-x) - Softplus(-y);
  const T log_q = LogAddExp(-Softplus(x), -Softplus(-x) - Softplus(y));
  // d log p / dx = s(-x); d log (1 - p) / dx = -p s(-x) / (1 - p), whose exponent is <= 0.
  const T dx = -label * Sigmoid(-x) + (1 - label) * std::exp(log_p - log_q - Softplus(x));
  const T dy = -label * Sigmoid(-y) + (1 - label) * std::exp(log_p - log_q - Softplus(y));
  return {-label * log_p - (1 - label) * log_q, dx, dy};
}

// The loss of a row of a kind whose rows are on their own and have one logit. Labels of
// probabilities may be soft. parameter, parameter2: HeadSpec's.
template <typename T>
HeadLoss<T> LossOfHead(HeadKind kind, T x, T y, T label, double parameter = 0,
                       double parameter2 = 0) {
  switch (kind) {
    case HeadKind::kProbability:
      return {Softplus(x) - label * x, Sigmoid(x) - label, 0};
    case HeadKind::kNumber:
      return {(x - label) * (x - label), 2 * (x - label), 0};
    case HeadKind::kProduct:
      return ProductLoss(x, y, label);
    case HeadKind::kHuber: {
      // Huber, Ann. Math. Statist. 1964: r^2 / 2 up to |r| = delta, a tangent after it.
      const T delta = static_cast<T>(parameter), r = x - label;
      if (std::abs(r) <= delta) return {r * r / 2, r, 0};
      return {delta * (std::abs(r) - delta / 2), r > 0 ? delta : -delta, 0};
    }
    case HeadKind::kPoisson: {
      // Half the deviance, mu - label + label log(label / mu), mu = e^x (log link: McCullagh and
      // Nelder, Generalized Linear Models, 1989, section 6.2; deviance: section 2.3): the negative
      // log likelihood without its constant, from 0 on. With r = log(mu / label) it is
      // label (e^r - 1 - r), in which nothing large cancels.
      const T mu = std::exp(x);
      if (label == 0) return {mu, mu, 0};
      const T r = x - std::log(label);
      return {label * std::max(T{0}, std::expm1(r) - r), mu - label, 0};
    }
    case HeadKind::kLogNormal: {
      // Maximum likelihood of log label ~ N(x, sigma^2) with one sigma, its factor 1 / (2 sigma^2)
      // and its constant left out, as in kNumber.
      const T r = x - std::log(label);
      return {r * r, 2 * r, 0};
    }
    case HeadKind::kFocal: {
      const T gamma = static_cast<T>(parameter), alpha = static_cast<T>(parameter2);
      const HeadLoss<T> on = FocalSide(x, gamma), off = FocalSide(-x, gamma);
      const T a = alpha * label, b = (1 - alpha) * (1 - label);
      return {a * on.loss + b * off.loss, a * on.dx - b * off.dx, 0};
    }
    case HeadKind::kPairwise:
    case HeadKind::kClasses:
    case HeadKind::kClass:
    case HeadKind::kValue:
    case HeadKind::kEntropy:
    case HeadKind::kInversePropensity:
    case HeadKind::kDoublyRobust:
    case HeadKind::kElement:
      break;  // LossOfRows; kClass and kElement have no loss.
  }
  return {};
}

// Some rows of a head, in order. A row of weight 0 has no loss, and its label is not read.
template <typename T>
struct HeadRows {
  int rows = 0;                // R
  int width = 1;               // C
  const T* x = nullptr;        // [R, C]
  const T* y = nullptr;        // [R], kProduct's
  const T* labels = nullptr;   // [R]
  const T* weights = nullptr;  // [R]
  // Of the sum of weight * loss; overwritten.
  T* dx = nullptr;  // [R, C]
  T* dy = nullptr;  // [R], kProduct's
};

// Rows of a slice stand in windows of so many, from the slice's first row on; a pairwise loss
// compares the rows of one window. Every tile's height is a multiple of it, so that the pairs are a
// function of the slice alone.
inline constexpr int kPairRows = 64;

// RankNet (Burges et al., ICML 2005, eq. (3) with P = 1): a pair in which i's label is above j's
// costs softplus(-(x_i - x_j)). A row's loss is the mean over the rows of its window with another
// label (and a weight), 0 if there is none; so its size does not depend on how many there are.
template <typename T>
T PairwiseLoss(const HeadRows<T>& head) {
  std::fill(head.dx, head.dx + head.rows, T{0});
  T sum = 0;
  const auto is_pair = [&head](int i, int j) {
    return head.weights[j] != 0 && head.labels[i] != head.labels[j];
  };
  for (int i = 0; i < head.rows; ++i) {
    if (head.weights[i] == 0) continue;
    int partners = 0;
    for (int j = 0; j < head.rows; ++j) partners += is_pair(i, j);
    for (int j = 0; j < head.rows; ++j) {
      if (!is_pair(i, j)) continue;
      const T sign = head.labels[i] > head.labels[j] ? 1 : -1;
      const T margin = sign * (head.x[i] - head.x[j]);
      const T scale = head.weights[i] / static_cast<T>(partners);
      sum += scale * Softplus(-margin);
      const T slope = scale * sign * Sigmoid(-margin);
      head.dx[i] -= slope;
      head.dx[j] += slope;
    }
  }
  return sum;
}

// Cross-entropy of softmax(x) and class `label`: log sum e^x - x[label]. Returns the loss; dx [C].
template <typename T>
T ClassesLoss(const T* x, int classes, T label, T weight, T* dx) {
  const T max = *std::max_element(x, x + classes);
  T sum = 0;
  for (int c = 0; c < classes; ++c) sum += dx[c] = std::exp(x[c] - max);
  for (int c = 0; c < classes; ++c) dx[c] *= weight / sum;
  const int own = std::clamp(static_cast<int>(label), 0, classes - 1);
  dx[own] -= weight;
  return std::log(sum) + (max - x[own]);
}

// Wang et al., "ESCM2: Entire Space Counterfactual Multi-Task Model for Post-Click Conversion Rate
// Estimation", SIGIR 2022, of one clicked row; x = {conversion's logit, click's logit}. eq. (7):
// e / p, e the conversion's cross-entropy, p = s(x[1]) the propensity, not below `floor`, of which
// no gradient is taken.
template <typename T>
HeadLoss<T> InversePropensityLoss(const T* x, T label, T floor) {
  const T p = std::max(Sigmoid(x[1]), floor);
  return {(Softplus(x[0]) - label * x[0]) / p, (Sigmoid(x[0]) - label) / p, 0};
}

// The same with x[2] = the imputed error e^: eq. (11) and (12) without the term e^ that all rows
// have, (delta + delta^2) / p with delta = e - e^. dx of the conversion's logit; dy of e^. No
// gradient of delta^2 is taken through e: e^ learns from a given prediction, as in Wang et al.,
// "Doubly Robust Joint Learning for Recommendation on Data Missing Not at Random", ICML 2019. With
// it, conversions, whose errors are the large ones, weigh more, and pCVR comes out far too high.
template <typename T>
HeadLoss<T> DoublyRobustLoss(const T* x, T label, T floor) {
  const T p = std::max(Sigmoid(x[1]), floor);
  const T delta = Softplus(x[0]) - label * x[0] - x[2];
  return {(delta + delta * delta) / p, (Sigmoid(x[0]) - label) / p, -(1 + 2 * delta) / p};
}

// - sum of x log x over parts of a distribution, 0 log 0 = 0; its slope is cut off below 1e-12.
template <typename T>
T EntropyLoss(const T* x, int width, T weight, T* dx) {
  T sum = 0;
  for (int c = 0; c < width; ++c) {
    const T log_x = std::log(std::max(x[c], T(1e-12)));
    sum -= x[c] * log_x;
    dx[c] = -weight * (log_x + 1);
  }
  return sum;
}

// A loss beside the tasks'. Returns the loss; dx [C].
template <typename T>
T AuxiliaryLoss(const Graph::HeadSpec& head, const T* x, int width, T label, T weight, T* dx) {
  HeadLoss<T> l;
  const T floor = static_cast<T>(head.parameter);
  switch (head.kind) {
    case HeadKind::kValue:
      dx[0] = weight;
      return x[0];
    case HeadKind::kEntropy:
      return EntropyLoss(x, width, weight, dx);
    case HeadKind::kInversePropensity:
      l = InversePropensityLoss(x, label, floor);
      break;
    default:
      l = DoublyRobustLoss(x, label, floor);
      dx[2] = weight * l.dy;
  }
  dx[0] = weight * l.dx;
  dx[1] = 0;
  return l.loss;
}

// Sum of weight * loss over a window: R <= kPairRows for kPairwise, any for the others.
template <typename T>
T LossOfRows(const Graph::HeadSpec& head, const HeadRows<T>& rows) {
  if (head.kind == HeadKind::kPairwise) return PairwiseLoss(rows);
  T sum = 0;
  for (int r = 0; r < rows.rows; ++r) {
    const T weight = rows.weights[r];
    T* const dx = rows.dx + r * rows.width;
    if (weight == 0) {
      std::fill(dx, dx + rows.width, T{0});
      if (rows.dy != nullptr) rows.dy[r] = 0;
      continue;
    }
    if (head.kind == HeadKind::kClasses) {
      sum += weight * ClassesLoss(rows.x + r * rows.width, rows.width, rows.labels[r], weight, dx);
      continue;
    }
    if (IsAuxiliary(head.kind)) {
      sum += weight *
             AuxiliaryLoss(head, rows.x + r * rows.width, rows.width, rows.labels[r], weight, dx);
      continue;
    }
    const T y = rows.y != nullptr ? rows.y[r] : T{0};
    const HeadLoss<T> l =
        LossOfHead(head.kind, rows.x[r], y, rows.labels[r], head.parameter, head.parameter2);
    sum += weight * l.loss;
    *dx = weight * l.dx;
    if (rows.dy != nullptr) rows.dy[r] = weight * l.dy;
  }
  return sum;
}

// x [C], y of kProduct only. kClasses: the likeliest class's number; kClass: the probability of
// class HeadSpec::parameter, as kElement's column is.
template <typename T>
T PredictionOfRow(const Graph::HeadSpec& head, const T* x, int width, T y) {
  if (head.kind == HeadKind::kElement) return x[static_cast<int>(head.parameter)];
  if (head.kind != HeadKind::kClasses && head.kind != HeadKind::kClass) {
    return HeadPrediction(head.kind, *x, y);
  }
  const T* const likeliest = std::max_element(x, x + width);
  if (head.kind == HeadKind::kClasses) return static_cast<T>(likeliest - x);
  T sum = 0;
  for (int c = 0; c < width; ++c) sum += std::exp(x[c] - *likeliest);
  return std::exp(x[static_cast<int>(head.parameter)] - *likeliest) / sum;
}

}  // namespace pagoda

#endif  // PAGODA_WORKER_GRAPH_HEADS_H_
