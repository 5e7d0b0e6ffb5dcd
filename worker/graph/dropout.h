// Inverted dropout: y = x m, m = 0 with probability `rate`, else 1 / (1 - rate), so that E[y] = x.
//
// Srivastava, Hinton, Krizhevsky, Sutskever and Salakhutdinov, "Dropout: A Simple Way to Prevent
// Neural Networks from Overfitting", JMLR 2014; scaled while training (section 10) and not after.
// A draw is a function of (seed, node's name, step, the row's global number, column) alone: not of
// what else is in the network, nor of slices, lanes or threads.
//
// DrawDropout is the definition and the oracle; the product keeps a bit a column (DrawKept), drawn
// forward and read again backward: the multipliers themselves would be as large as the activations,
// which do not fit a core's caches.
//
// Thread-safe (functions).
#ifndef PAGODA_WORKER_GRAPH_DROPOUT_H_
#define PAGODA_WORKER_GRAPH_DROPOUT_H_

#include <cmath>
#include <cstdint>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "common/random.h"
#include "worker/graph/kernels.h"

namespace pagoda {

inline uint64_t DropoutKey(uint64_t seed, const std::string& name) {
  return StreamKey(seed, absl::StrCat("dropout/", name));
}

// A column whose draw u in [0, 1) (ToUnitFloat) is below the rate is dropped. u is compared as the
// integer that it is, times 2^24: kept from here on.
inline uint32_t LeastKept(double rate) { return static_cast<uint32_t>(std::ceil(rate * 0x1p24)); }

// What a column that is kept is multiplied with.
template <typename T>
T KeptMultiplier(double rate) {
  return static_cast<T>(1 / (1 - rate));
}

// m [n] of one row. One draw of the generator serves four columns.
template <typename T>
void DrawDropout(uint64_t key, int64_t step, int64_t row, double rate, int n, T* m) {
  const uint64_t per_row = (static_cast<uint64_t>(n) + 3) / 4;
  for (int i = 0; i < n; i += 4) {
    const auto bits = Philox(key, static_cast<uint64_t>(step),
                             static_cast<uint64_t>(row) * per_row + static_cast<uint64_t>(i) / 4);
    for (int j = 0; j < 4 && i + j < n; ++j) {
      m[i + j] = bits[j] >> 8 >= LeastKept(rate) ? KeptMultiplier<T>(rate) : 0;
    }
  }
}

// ---------------------------------------------------------------------------- dropout.cc
// kept [T, KeptFloats(n)] is bits, not numbers: column c of a row is bit c % 8 of the row's byte
// c / 8, set where it is kept; those from n on mean nothing.
constexpr int KeptFloats(int n) { return (n + 31) / 32; }

struct DropoutDraw {
  uint64_t key;
  int64_t step;
  double rate;
};

// Row r is that of the global number rows[r]: as DrawDropout.
void DrawKept(const DropoutDraw& of, absl::Span<const int64_t> rows, int n, Columns kept);

// y [T, n] (+)= x m, m = multiplier where it is kept, else 0; as MultiplyRows, bit for bit, with
// the multipliers as numbers.
struct KeptProduct {
  int rows, width;  // T, n
  Columns x, kept, y;
  float multiplier;
  bool accumulate;
};
void MultiplyKept(const KeptProduct& of);

}  // namespace pagoda

#endif  // PAGODA_WORKER_GRAPH_DROPOUT_H_
