// Inverted dropout: y = x m, m = 0 with probability `rate`, else 1 / (1 - rate), so that E[y] = x.
//
// Srivastava, Hinton, Krizhevsky, Sutskever and Salakhutdinov, "Dropout: A Simple Way to Prevent
// Neural Networks from Overfitting", JMLR 2014; scaled while training (section 10) and not after.
// A draw is a function of (seed, node's name, step, the row's global number, column) alone: not of
// what else is in the network, nor of slices, lanes or threads.
//
// Thread-safe (functions).
#ifndef PAGODA_WORKER_GRAPH_DROPOUT_H_
#define PAGODA_WORKER_GRAPH_DROPOUT_H_

#include <cmath>
#include <cstdint>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/random.h"

namespace pagoda {

inline uint64_t DropoutKey(uint64_t seed, const std::string& name) {
  return StreamKey(seed, absl::StrCat("dropout/", name));
}

// m [n] of one row: a column whose draw u in [0, 1) (ToUnitFloat) is below the rate is dropped. One
// draw of the generator serves four columns; u is compared as the integer that it is, times 2^24,
// and without a branch, which would be mispredicted once in 1 / rate times.
template <typename T>
void DrawDropout(uint64_t key, int64_t step, int64_t row, double rate, int n, T* m) {
  const uint64_t per_row = (static_cast<uint64_t>(n) + 3) / 4;
  const T multipliers[] = {0, static_cast<T>(1 / (1 - rate))};
  const auto least_kept = static_cast<uint32_t>(std::ceil(rate * 0x1p24));
  for (int i = 0; i < n; i += 4) {
    const auto bits = Philox(key, static_cast<uint64_t>(step),
                             static_cast<uint64_t>(row) * per_row + static_cast<uint64_t>(i) / 4);
    for (int j = 0; j < 4 && i + j < n; ++j) m[i + j] = multipliers[bits[j] >> 8 >= least_kept];
  }
}

}  // namespace pagoda

#endif  // PAGODA_WORKER_GRAPH_DROPOUT_H_
