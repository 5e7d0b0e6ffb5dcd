// Sums of sparse gradients: lists of (id, vector) added along a fixed tree.
//
// The gradients of one step come as one list a lane, or a worker's partial sum. They are added as a
// perfect binary tree over the leaves, ((l0 + l1) + (l2 + l3)) + ..., id by id; where an id is in
// one list only, its vector is taken as it is, never added to zero. Workers that hold aligned
// subtrees and shards that finish the tree so get the bits of one process that holds all leaves.
//
// Thread-safe (values).
#ifndef PAGODA_COMMON_SPARSE_SUM_H_
#define PAGODA_COMMON_SPARSE_SUM_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"

namespace pagoda {

// n ids in MixId order, unique, and their gradients [n, dim].
struct SparseGradient {
  std::vector<uint64_t> ids;
  std::vector<float> values;
};
// A view of one.
struct SparseView {
  absl::Span<const uint64_t> ids;
  absl::Span<const float> values;
};

// Adds leaves [n] along the tree into *sum (its capacity is reused). A leaf may be empty. One leaf:
// a copy.
void SumTree(absl::Span<const SparseView> leaves, int dim, SparseGradient* sum);

}  // namespace pagoda

#endif  // PAGODA_COMMON_SPARSE_SUM_H_
