// The element-wise kernels of the dense network: fp32, SIMD chosen at run time (Highway).
//
// Letters: T rows of a tile; `ld` is the distance between rows, in floats. A row's result depends
// on that row alone, except for column sums, which add rows in order.
//
// Thread-safe (functions).
#ifndef PAGODA_WORKER_GRAPH_KERNELS_H_
#define PAGODA_WORKER_GRAPH_KERNELS_H_

#include <cstdint>

#include "proto/config.pb.h"
#include "worker/graph/batch_norm.h"

namespace pagoda {

// A block of columns: row r begins at data + r * ld.
struct Columns {
  float* data = nullptr;
  int64_t ld = 0;

  float* Row(int r) const { return data + r * ld; }
};

// y [T, n] <- act(y).
void ApplyActivation(Activation activation, int rows, int n, Columns y);

// dy [T, n] <- dy * act'(y); y is the activation's output.
void ApplyActivationGradient(Activation activation, int rows, int n, Columns y, Columns dy);

// sum [n] = (accumulate ? sum : 0) + the sum over rows of x [T, n].
void SumRows(int rows, int n, Columns x, bool accumulate, float* sum);

// y [T, n] <- softmax of each row of x.
void SoftmaxRows(int rows, int n, Columns x, Columns y);
// dx [T, n] (+)= y * (dy - <dy, y>).
void SoftmaxRowsGradient(int rows, int n, Columns y, Columns dy, Columns dx, bool accumulate);

// y [T, d] (+)= gate [T, 1] * expert [T, d].
void AddScaledRows(int rows, int d, Columns gate, Columns expert, Columns y, bool accumulate);
// dgate [T, 1] (+)= the rows' <dy, expert>.
void DotRows(int rows, int d, Columns dy, Columns expert, Columns dgate, bool accumulate);

// node_kernels.cc: what plain_nodes.h says of one row, over T rows. `accumulate`: (+)= adds.

// y [T, n] (+)= scale * x.
void ScaleRows(int rows, int n, Columns x, float scale, Columns y, bool accumulate);
// y [T, n] (+)= a * b.
void MultiplyRows(int rows, int n, Columns a, Columns b, Columns y, bool accumulate);
// y [T, groups] <- the sums of `groups` equal parts of x [T, groups * part].
void SumParts(int rows, int part, int groups, Columns x, Columns y);
// dx [T, groups * part] (+)= dy [T, groups], each over its part.
void SpreadParts(int rows, int part, int groups, Columns dy, Columns dx, bool accumulate);
// y [T, n] <- act(x); `slope` is PReLU's.
void ActivateRows(Activation activation, int rows, int n, float slope, Columns x, Columns y);
// dx [T, n] (+)= dy * act'(x), y being act(x); returns PReLU's dslope.
float ActivateRowsGradient(Activation activation, int rows, int n, float slope, Columns x,
                           Columns y, Columns dy, Columns dx, bool accumulate);
// gain, b [n].
void NormalizeRows(int rows, int n, Columns x, const float* gain, const float* b, Columns y);
// dx [T, n] (+)= ...; dgain, db [n] (+)= ..., where accumulate_parameters says so. Null: not
// wanted.
struct NormalizeGradient {
  Columns dx;
  bool accumulate = false;
  float *dgain = nullptr, *db = nullptr;
  bool accumulate_parameters = false;
};
void NormalizeRowsGradient(int rows, int n, Columns x, const float* gain, Columns dy,
                           const NormalizeGradient& out);
// x [T, m] -> y [T, 2^m].
void SelectRows(int rows, int m, float gamma, Columns x, Columns y);
void SelectRowsGradient(int rows, int m, float gamma, Columns x, Columns dy, Columns dx,
                        bool accumulate);

// batch_norm_kernels.cc: BatchNorm (batch_norm.h), column by column.

// sums [2 n] += sum x, sum x^2 of the rows of x [T, n].
void AddMoments(int rows, int n, Columns x, double* sums);
// y [T, n] <- (x - mean) scale gain + b; gain, b [n].
void NormalizeColumns(int rows, int n, Columns x, Normalizer of, const float* gain, const float* b,
                      Columns y);
// sums [2 n] += sum dy, sum dy xhat.
void AddGradientMoments(int rows, int n, Columns x, Normalizer of, Columns dy, double* sums);
struct NormalizedColumns {
  int rows;         // Those that exist.
  int padded_rows;  // T
  int width;        // n
  Normalizer normalizer;
  const float* gain;                    // [n]
  const float *mean_dy, *mean_product;  // [n]: the lane's means of dy and dy xhat; or zeros.
};
// dx [T, n] (+)= gain scale (dy - mean_dy - xhat mean_product); rows of padding get no gradient.
void NormalizeColumnsGradient(const NormalizedColumns& of, Columns x, Columns dy, Columns dx,
                              bool accumulate);

// Sets the calling thread's flush-to-zero and denormals-are-zero modes; restores them at the end.
class FlushDenormals {
 public:
  FlushDenormals();
  ~FlushDenormals();
  FlushDenormals(const FlushDenormals&) = delete;
  FlushDenormals& operator=(const FlushDenormals&) = delete;

 private:
  uint32_t saved_ = 0;
};

}  // namespace pagoda

#endif  // PAGODA_WORKER_GRAPH_KERNELS_H_
