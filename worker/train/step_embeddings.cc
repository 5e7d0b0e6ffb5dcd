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

// Column [rows, dim] of x with row stride `width`, or, of a later feature of a field, added to it.
void CopyRows(const EmbeddingFeature& feature, const RowSource* source, int rows, size_t width,
              absl::Span<const float* const> shard_values, float* x) {
  WithDim(feature.dim, [&](auto size) {
    for (int b = 0; b < rows; ++b) {
      const float* row = shard_values[source[b].shard] + source[b].offset;
      float* out = x + b * width;
      if (feature.adds) {
        for (int d = 0; d < size(); ++d) out[d] += row[d];
      } else {
        std::memcpy(out, row, size() * sizeof(float));
      }
    }
  });
}

// The lists of a feature's examples in a range.
struct Lists {
  const RowSource* source;  // Of the first example's first value.
  const uint32_t* offsets;  // [rows + 1] example b has values [offsets[b], offsets[b + 1]) of ...
  const float* weights;     // ... these, or null.
  int rows;
  absl::Span<const float* const> shard_values;
};

// x [rows, dim] with row stride `width` <- the pooled lists; of a later feature of a field, +=.
void PoolRows(const EmbeddingFeature& feature, const Lists& lists, size_t width, float* x) {
  const int dim = feature.dim;
  const RowSource* source = lists.source;
  for (int b = 0; b < lists.rows; ++b, x += width) {
    const size_t length = lists.offsets[b + 1] - lists.offsets[b];
    const float* weights = lists.weights == nullptr ? nullptr : lists.weights + lists.offsets[b];
    const float scale = PoolingScale(feature.pooling, weights, length);
    if (!feature.adds) std::fill_n(x, dim, 0.0f);
    for (size_t i = 0; i < length; ++i, ++source) {
      const float* row = lists.shard_values[source->shard] + source->offset;
      const float weight = (weights == nullptr ? 1 : weights[i]) * (feature.adds ? scale : 1);
      if (weight == 1) {
        for (int d = 0; d < dim; ++d) x[d] += row[d];
      } else {
        for (int d = 0; d < dim; ++d) x[d] += weight * row[d];
      }
    }
    if (scale == 1 || feature.adds) continue;
    for (int d = 0; d < dim; ++d) x[d] *= scale;
  }
}

// The same for MAX. winner, as x: the source that is the largest, the first of equal ones.
void MaxRows(const EmbeddingFeature& feature, const Lists& lists, const RowSource* sources,
             size_t width, float* x, uint32_t* winner) {
  const RowSource* source = lists.source;
  for (int b = 0; b < lists.rows; ++b, x += width, winner += width) {
    const size_t length = lists.offsets[b + 1] - lists.offsets[b];
    if (length == 0) std::fill_n(x, feature.dim, 0.0f);
    for (size_t i = 0; i < length; ++i, ++source) {
      const float* row = lists.shard_values[source->shard] + source->offset;
      for (int d = 0; d < feature.dim; ++d) {
        if (i > 0 && !(row[d] > x[d])) continue;
        x[d] = row[d];
        winner[d] = static_cast<uint32_t>(source - sources);
      }
    }
  }
}

// Sequences: T places and the mask behind them. At most T values an example.
void PlaceRows(const EmbeddingFeature& feature, const Lists& lists, size_t width, float* x) {
  const RowSource* source = lists.source;
  for (int b = 0; b < lists.rows; ++b, x += width) {
    const int length = static_cast<int>(lists.offsets[b + 1] - lists.offsets[b]);
    float* mask = x + feature.mask_offset - feature.input_offset;
    for (int i = 0; i < length; ++i, ++source) {
      const float* row = lists.shard_values[source->shard] + source->offset;
      std::memcpy(x + i * feature.dim, row, feature.dim * sizeof(float));
    }
    std::fill(x + length * feature.dim, x + feature.width(), 0.0f);
    std::fill_n(mask, length, 1.0f);
    std::fill_n(mask + length, feature.length - length, 0.0f);
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

// The same where MAX features take part: of those, a column's gradient is its winner's alone.
void SumLaneOfMax(const IdPlan& plan, const Occurrence* begin, const Occurrence* end,
                  const float* dx, int dim, float* sum) {
  std::fill_n(sum, dim, 0.0f);
  for (const Occurrence* o = begin; o != end; ++o) {
    const float* g = dx + o->gradient;
    const uint32_t source = plan.order[o - plan.occurrences.data()];
    for (int d = 0; d < dim; ++d) {
      if (o->is_max && plan.winner[o->gradient + d] != source) continue;
      sum[d] += g[d] * o->scale;
    }
  }
}

// The same over several lanes, each by sum_lane(begin, end, sum).
// slots [TreeOrder::kMaxDepth, dim].
template <typename SumOne, typename Size>
void SumLanes(const Occurrence* begin, const Occurrence* end, const SumOne& sum_lane, Size size,
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
    sum_lane(begin, lane_end, slot(tree.Push(lane, merge)));
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
    if (feature.table < 0) continue;
    const RowSource* source = plan.sources.data() + plan.column[index * features + f];
    float* column = x + feature.input_offset;
    if (!feature.is_list) {
      CopyRows(feature, source + begin, rows, width, shard_values, column);
      continue;
    }
    const Batch::IdColumn& ids = batch.ids[feature.column < 0 ? f : feature.column];
    const uint32_t* offsets = ids.offsets.data();
    const Lists lists = {source + offsets[first] - offsets[range.begin], offsets + first,
                         feature.is_weighted ? ids.weights.data() : nullptr, rows, shard_values};
    if (feature.length > 0) {
      PlaceRows(feature, lists, width, column);
    } else if (feature.pooling == FeatureConfig::MAX) {
      const size_t row = plan.first_row[index] + begin;
      MaxRows(feature, lists, plan.sources.data(), width, column,
              plan.winner.data() + row * width + feature.input_offset);
    } else {
      PoolRows(feature, lists, width, column);
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
  const int table = plan.segments[block.segment].table;
  const bool has_max = !plan.has_max.empty() && plan.has_max[table];
  const auto sum_all = [&](auto size, const auto& sum_lane) {
    float* sum = gradients;
    for (uint32_t u = block.first; u < block.first + block.count; ++u, sum += size()) {
      const Occurrence *begin = all + plan.run[u], *end = all + plan.run[u + 1];
      if (begin->lane == (end - 1)->lane) {
        sum_lane(begin, end, sum);
      } else {
        SumLanes(begin, end, sum_lane, size, scratch->data(), sum);
      }
    }
  };
  if (has_max) {
    return sum_all([dim] { return dim; },
                   [&](const Occurrence* begin, const Occurrence* end, float* sum) {
                     SumLaneOfMax(plan, begin, end, dx, dim, sum);
                   });
  }
  WithDim(dim, [&](auto size) {
    sum_all(size, [&](const Occurrence* begin, const Occurrence* end, float* sum) {
      SumLane(begin, end, dx, size, sum);
    });
  });
}

}  // namespace pagoda
