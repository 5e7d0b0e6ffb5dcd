// The element-wise work of BatchNorm. Loops over columns, which are neighbours, become vectors.
#include <algorithm>

#include "worker/graph/kernels.h"

namespace pagoda {

void AddMoments(int rows, int n, Columns x, double* sums) {
  double* const squares = sums + n;
  for (int r = 0; r < rows; ++r) {
    const float* const row = x.data + r * x.ld;
    for (int c = 0; c < n; ++c) {
      const double value = row[c];
      sums[c] += value;
      squares[c] += value * value;
    }
  }
}

void NormalizeColumns(int rows, int n, Columns x, const Normalizer* of, const float* gain,
                      const float* b, Columns y) {
  for (int r = 0; r < rows; ++r) {
    const float* const from = x.data + r * x.ld;
    float* const to = y.data + r * y.ld;
    for (int c = 0; c < n; ++c) to[c] = (from[c] - of[c].mean) * of[c].scale * gain[c] + b[c];
  }
}

void AddGradientMoments(int rows, int n, Columns x, const Normalizer* of, Columns dy,
                        double* sums) {
  double* const products = sums + n;
  for (int r = 0; r < rows; ++r) {
    const float* const from = x.data + r * x.ld;
    const float* const d = dy.data + r * dy.ld;
    for (int c = 0; c < n; ++c) {
      const float xhat = (from[c] - of[c].mean) * of[c].scale;
      sums[c] += d[c];
      products[c] += static_cast<double>(d[c]) * xhat;
    }
  }
}

void NormalizeColumnsGradient(const NormalizedColumns& of, Columns x, Columns dy, Columns dx,
                              bool accumulate) {
  const int n = of.width;
  for (int r = 0; r < of.padded_rows; ++r) {
    float* const to = dx.data + r * dx.ld;
    if (!accumulate) std::fill_n(to, n, 0.0f);
    if (r >= of.rows) continue;
    const float* const from = x.data + r * x.ld;
    const float* const d = dy.data + r * dy.ld;
    for (int c = 0; c < n; ++c) {
      const Normalizer& by = of.normalizers[c];
      float centred = d[c];
      if (of.lane_sums != nullptr) {
        const float mean_dy = static_cast<float>(of.lane_sums[c] / of.lane_rows);
        const float mean_product = static_cast<float>(of.lane_sums[n + c] / of.lane_rows);
        centred -= mean_dy + (from[c] - by.mean) * by.scale * mean_product;
      }
      to[c] += of.gain[c] * by.scale * centred;
    }
  }
}

}  // namespace pagoda
