// Between rows and the network: pooling rows into its input, and its input's gradient into rows'.
//
// Thread-safe (pure functions, each on its own part of the output).
#ifndef PAGODA_WORKER_TRAIN_STEP_EMBEDDINGS_H_
#define PAGODA_WORKER_TRAIN_STEP_EMBEDDINGS_H_

#include "absl/types/span.h"
#include "worker/data/batch.h"
#include "worker/train/step_array.h"
#include "worker/train/step_ids.h"

namespace pagoda {

// x [end - begin, layout.width] <- examples [begin, end) of range `index`, counted from its first:
// pooled rows, then dense features. shard_values [S]: the rows as the shards sent them.
void GatherInput(const InputLayout& layout, const IdPlan& plan, int index, const RowRange& range,
                 int begin, int end, absl::Span<const float* const> shard_values, float* x);

// gradients [block.count, dim] <- of each unique id: the sum over its occurrences in a lane, in
// order, then over lanes along the tree (the sums of common/sparse_sum.h). dx [rows of all ranges,
// width]. `scratch` belongs to the calling thread.
void SumRowGradients(const IdPlan& plan, const IdPlan::Block& block, const float* dx,
                     Array<float>* scratch, float* gradients);

}  // namespace pagoda

#endif  // PAGODA_WORKER_TRAIN_STEP_EMBEDDINGS_H_
