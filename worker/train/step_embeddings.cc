#include "worker/train/step_embeddings.h"

#include <algorithm>
#include <cstring>

#include "worker/train/step_tree.h"

namespace pagoda {
namespace {

using RowSource = IdPlan::RowSource;
using Occurrence = IdPlan::Occurrence;

// The usual dims get loops of known length: a call of memcpy costs more than a row of 64 bytes.
template <typename Visit>
void WithDim(int dim, Visit&& visit) {
  switch (dim) {
    case 8:
      return visit([] { return 8; });
    case 16:
      return visit([] { return 16; });
    case 32:
      return visit([] { return 32; });
    case 64:
      return visit([] { return 64; });
    default:
      return visit([dim] { return dim; });
  }
}

// Column [rows, dim] of x with row stride `width`.
void CopyRows(const RowSource* source, int rows, int dim, size_t width,
              absl::Span<const float* const> shard_values, float* x) {
  WithDim(dim, [&](auto size) {
    for (int b = 0; b < rows; ++b) {
      const float* row = shard_values[source[b].shard] + source[b].offset;
      std::memcpy(x + b * width, row, size() * sizeof(float));
    }
  });
}

// The same for lists: row b is the pooled sum of sources [offsets[b], offsets[b + 1]) - offsets[0].
void PoolRows(const EmbeddingFeature& feature, const RowSource* source, const uint32_t* offsets,
              int rows, size_t width, absl::Span<const float* const> shard_values, float* x) {
  const int dim = feature.dim;
  for (int b = 0; b < rows; ++b, x += width) {
    const size_t length = offsets[b + 1] - offsets[b];
    std::fill_n(x, dim, 0.0f);
    for (size_t i = 0; i < length; ++i, ++source) {
      const float* row = shard_values[source->shard] + source->offset;
      for (int d = 0; d < dim; ++d) x[d] += row[d];
    }
    const float scale = PoolingScale(feature.pooling, length);
    if (scale == 1) continue;
    for (int d = 0; d < dim; ++d) x[d] *= scale;
  }
}

// sum [dim] <- the gradients of occurrences [begin, end) of one lane, in order.
template <typename Size>
void SumLane(const Occurrence* begin, const Occurrence* end, const float* dx, Size size,
             float* sum) {
  const float* first = dx + begin->gradient;
  const float first_scale = begin->scale;
  for (int d = 0; d < size(); ++d) sum[d] = first[d] * first_scale;
  for (const Occurrence* o = begin + 1; o != end; ++o) {
    const float* g = dx + o->gradient;
    const float scale = o->scale;
    for (int d = 0; d < size(); ++d) sum[d] += g[d] * scale;
  }
}

// The same over several lanes; slots [TreeOrder::kMaxDepth, dim].
template <typename Size>
void SumLanes(const Occurrence* begin, const Occurrence* end, const float* dx, Size size,
              float* slots, float* sum) {
  const auto slot = [&](int k) { return slots + k * size(); };
  const auto merge = [&](int k) {
    float* left = slot(k);
    const float* right = slot(k + 1);
    for (int d = 0; d < size(); ++d) left[d] += right[d];
  };
  TreeOrder tree;
  while (begin != end) {
    const uint32_t lane = begin->lane;
    const Occurrence* lane_end = begin + 1;
    while (lane_end != end && lane_end->lane == lane) ++lane_end;
    SumLane(begin, lane_end, dx, size, slot(tree.Push(lane, merge)));
    begin = lane_end;
  }
  tree.Finish(merge);
  std::copy_n(slots, size(), sum);
}

}  // namespace

void GatherInput(const InputLayout& layout, const IdPlan& plan, int index, const RowRange& range,
                 int begin, int end, absl::Span<const float* const> shard_values, float* x) {
  const size_t features = layout.embeddings.size(), width = layout.width;
  const Batch& batch = *range.batch;
  const int first = range.begin + begin, rows = end - begin;
  if (rows == 0) return;
  for (size_t f = 0; f < features; ++f) {
    const EmbeddingFeature& feature = layout.embeddings[f];
    const RowSource* source = plan.sources.data() + plan.column[index * features + f];
    float* column = x + feature.input_offset;
    if (feature.is_list) {
      const uint32_t* offsets = batch.ids[f].offsets.data();
      source += offsets[first] - offsets[range.begin];
      PoolRows(feature, source, offsets + first, rows, width, shard_values, column);
    } else {
      CopyRows(source + begin, rows, feature.dim, width, shard_values, column);
    }
  }
  const size_t dense = layout.dense.size();
  const float* from = batch.dense.data() + first * dense;
  for (int b = 0; b < rows; ++b, from += dense, x += width) {
    for (size_t f = 0; f < dense; ++f) x[layout.dense[f].input_offset] = from[f];
  }
}

void SumRowGradients(const IdPlan& plan, const IdPlan::Block& block, const float* dx,
                     Array<float>* scratch, float* gradients) {
  const int dim = plan.segments[block.segment].dim;
  scratch->Resize(size_t{TreeOrder::kMaxDepth} * dim);
  const Occurrence* all = plan.occurrences.data();
  WithDim(dim, [&](auto size) {
    float* sum = gradients;
    for (uint32_t u = block.first; u < block.first + block.count; ++u, sum += size()) {
      const Occurrence *begin = all + plan.run[u], *end = all + plan.run[u + 1];
      if (begin->lane == (end - 1)->lane) {
        SumLane(begin, end, dx, size, sum);
      } else {
        SumLanes(begin, end, dx, size, scratch->data(), sum);
      }
    }
  });
}

}  // namespace pagoda
