#include "worker/train/step_ids.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <utility>

#include "common/hash.h"
#include "glog/logging.h"

namespace pagoda {
namespace {

using Item = IdPlan::Item;

// Three passes of 11 bits order the upper 33 bits of a mixed id: among 65k ids, which are as good
// as random there, one pair in four steps is left to the final comparison.
constexpr int kDigitBits = 11;
constexpr int kDigits = 3;
constexpr int kBuckets = 1 << kDigitBits;
constexpr int kLowestBit = 64 - kDigits * kDigitBits;
// Below this, clearing the counters costs more than comparing.
constexpr size_t kSmallSort = 512;
// Unique ids of one Block: 1024 rows of 16 floats are 64 KiB, far more than a claim costs.
constexpr uint32_t kBlockIds = 1024;

bool ItemLess(const Item& a, const Item& b) {
  return a.mixed != b.mixed ? a.mixed < b.mixed : a.occurrence < b.occurrence;
}

size_t Digit(uint64_t mixed, int digit) {
  return mixed >> (kLowestBit + digit * kDigitBits) & (kBuckets - 1);
}

// Items whose upper bits agree but whose ids differ are still in the order in which they came.
void SortTies(Item* items, size_t n) {
  for (size_t begin = 0, end; begin < n; begin = end) {
    const uint64_t upper = items[begin].mixed >> kLowestBit;
    bool sorted = true;
    for (end = begin + 1; end < n && items[end].mixed >> kLowestBit == upper; ++end) {
      sorted &= items[end - 1].mixed <= items[end].mixed;
    }
    if (!sorted) std::sort(items + begin, items + end, ItemLess);
  }
}

// The occurrences of one feature in one range: [first, first + size) of the column's ids.
struct Column {
  const Batch::IdColumn* ids;
  size_t first;
  size_t size;
};

Column ColumnOf(const EmbeddingFeature& feature, int index, const RowRange& range) {
  const Batch::IdColumn& ids = range.batch->ids[feature.column < 0 ? index : feature.column];
  if (!feature.is_list) {
    return {&ids, static_cast<size_t>(range.begin), static_cast<size_t>(range.rows())};
  }
  const size_t first = ids.offsets[range.begin];
  return {&ids, first, ids.offsets[range.end] - first};
}

}  // namespace

float PoolingScale(FeatureConfig::Pooling pooling, const float* weights, size_t n) {
  const bool is_mean = pooling == FeatureConfig::MEAN;
  if (!is_mean && pooling != FeatureConfig::SQRT_N) return 1;
  float sum = weights == nullptr ? static_cast<float>(n) : 0;
  for (size_t i = 0; weights != nullptr && i < n; ++i) {
    sum += is_mean ? weights[i] : weights[i] * weights[i];
  }
  if (sum == 0) return 1;
  return is_mean ? 1 / sum : 1 / std::sqrt(sum);
}

void SortByMixed(size_t n, Array<Item>* items, Array<Item>* swap) {
  if (n < kSmallSort) {
    std::sort(items->data(), items->data() + n, ItemLess);
    return;
  }
  std::array<std::array<uint32_t, kBuckets>, kDigits> begin{};
  for (size_t i = 0; i < n; ++i) {
    for (int d = 0; d < kDigits; ++d) ++begin[d][Digit((*items)[i].mixed, d)];
  }
  for (int d = 0; d < kDigits; ++d) {
    uint32_t sum = 0;
    for (uint32_t& b : begin[d]) sum += std::exchange(b, sum);
    const Item* from = items->data();
    Item* to = swap->data();
    for (size_t i = 0; i < n; ++i) to[begin[d][Digit(from[i].mixed, d)]++] = from[i];
    std::swap(*items, *swap);
  }
  SortTies(items->data(), n);
}

IdPlanner::IdPlanner(const InputLayout* layout, const Schema& schema, int shard_count)
    : layout_(layout), shard_count_(shard_count) {
  CHECK_GE(shard_count, 1);
  for (const TableSchema& table : schema.table()) dims_.push_back(static_cast<int>(table.dim()));
  for (const EmbeddingFeature& feature : layout->embeddings) {
    if (feature.table < 0) continue;
    CHECK_LT(feature.table, schema.table_size()) << feature.name;
    CHECK_EQ(feature.dim, dims_[feature.table]) << feature.name;
    if (!feature.is_list || feature.pooling != FeatureConfig::MAX) continue;
    has_max_.resize(dims_.size());
    has_max_[feature.table] = true;
  }
}

void IdPlanner::Plan(absl::Span<const RowRange> ranges, IdPlan* plan) const {
  const size_t n = CountOccurrences(ranges, plan);
  plan->sources.Resize(n);
  plan->occurrences.Resize(n);
  plan->unsorted.Resize(n);
  plan->order.Resize(n);
  plan->mixed.Resize(n);
  plan->run.Resize(n + 1);
  plan->has_max = has_max_;
  if (!has_max_.empty()) plan->winner.Resize(plan->first_row.back() * layout_->width);
  plan->table_begin.assign(1, 0);
  uint32_t unique = 0, sorted = 0;
  for (int table = 0; table < static_cast<int>(dims_.size()); ++table) {
    const size_t count = CollectTable(ranges, table, plan);
    SortByMixed(count, &plan->items, &plan->items_swap);
    const Item* items = plan->items.data();
    for (size_t i = 0; i < count; ++i, ++sorted) {
      if (i == 0 || items[i].mixed != items[i - 1].mixed) {
        plan->mixed[unique] = items[i].mixed;
        plan->run[unique++] = sorted;
      }
      plan->order[sorted] = static_cast<uint32_t>(items[i].occurrence);
      plan->occurrences[sorted] = plan->unsorted[items[i].occurrence];
    }
    plan->table_begin.push_back(unique);
  }
  plan->run[unique] = sorted;
  CutIntoSegments(plan);
  for (const IdPlan::Segment& segment : plan->segments) PlaceSegment(segment, plan);
}

size_t IdPlanner::CountOccurrences(absl::Span<const RowRange> ranges, IdPlan* plan) const {
  size_t n = 0, rows = 0;
  plan->column.clear();
  plan->first_row.clear();
  for (const RowRange& range : ranges) {
    plan->first_row.push_back(rows);
    rows += range.rows();
    for (size_t f = 0; f < layout_->embeddings.size(); ++f) {
      plan->column.push_back(n);
      const EmbeddingFeature& feature = layout_->embeddings[f];
      if (range.rows() == 0 || feature.table < 0) continue;
      n += ColumnOf(feature, static_cast<int>(f), range).size;
    }
  }
  plan->first_row.push_back(rows);
  CHECK_LT(n, std::numeric_limits<uint32_t>::max());
  return n;
}

size_t IdPlanner::CollectTable(absl::Span<const RowRange> ranges, int table, IdPlan* plan) const {
  const size_t features = layout_->embeddings.size();
  const size_t width = layout_->width;
  plan->items.Resize(plan->sources.size());
  plan->items_swap.Resize(plan->sources.size());
  Item* item = plan->items.data();
  for (size_t r = 0; r < ranges.size(); ++r) {
    if (ranges[r].rows() == 0) continue;
    for (size_t f = 0; f < features; ++f) {
      const EmbeddingFeature& feature = layout_->embeddings[f];
      if (feature.table != table) continue;
      const Column column = ColumnOf(feature, static_cast<int>(f), ranges[r]);
      const uint64_t* ids = column.ids->ids.data() + column.first;
      size_t occurrence = plan->column[r * features + f];
      const float* weights =
          feature.is_weighted ? column.ids->weights.data() + column.first : nullptr;
      uint64_t gradient = plan->first_row[r] * width + feature.input_offset;
      // A sequence's values stand side by side.
      const size_t place_stride = feature.length > 0 ? feature.dim : 0;
      const bool is_max = feature.is_list && feature.pooling == FeatureConfig::MAX;
      for (int row = ranges[r].begin; row < ranges[r].end; ++row, gradient += width) {
        const size_t length =
            feature.is_list ? column.ids->offsets[row + 1] - column.ids->offsets[row] : 1;
        const float scale = feature.is_list ? PoolingScale(feature.pooling, weights, length) : 1;
        for (size_t i = 0; i < length; ++i, ++occurrence) {
          *item++ = {MixId(*ids++), occurrence};
          plan->unsorted[occurrence] = {gradient + i * place_stride, static_cast<uint32_t>(r),
                                        is_max, weights == nullptr ? scale : scale * weights[i]};
        }
        if (weights != nullptr) weights += length;
      }
    }
  }
  return static_cast<size_t>(item - plan->items.data());
}

void IdPlanner::CutIntoSegments(IdPlan* plan) const {
  const int tables = static_cast<int>(dims_.size());
  plan->segments.clear();
  plan->blocks.clear();
  plan->segment_begin.assign(1, 0);
  plan->id_begin.assign(1, 0);
  plan->value_count.clear();
  size_t ids = 0;
  // Where shard s ends in each table: partitions are the top bits of the mixed id.
  std::vector<uint32_t>& first = plan->table_first;
  first.assign(plan->table_begin.begin(), plan->table_begin.end() - 1);
  for (int shard = 0; shard < shard_count_; ++shard) {
    const int end_partition = FirstPartition(shard + 1, shard_count_);
    size_t values = 0;
    for (int table = 0; table < tables; ++table) {
      const uint64_t* mixed = plan->mixed.data();
      const uint64_t* end =
          std::partition_point(mixed + first[table], mixed + plan->table_begin[table + 1],
                               [&](uint64_t m) { return PartitionOfMixed(m) < end_partition; });
      const uint32_t count = static_cast<uint32_t>(end - mixed) - first[table];
      if (count == 0) continue;
      const int dim = dims_[table];
      for (uint32_t done = 0; done < count; done += kBlockIds) {
        plan->blocks.push_back({static_cast<int>(plan->segments.size()), first[table] + done,
                                std::min(kBlockIds, count - done)});
      }
      plan->segments.push_back({shard, table, dim, first[table], count, ids, values});
      first[table] += count;
      ids += count;
      values += size_t{count} * dim;
    }
    CHECK_LT(values, std::numeric_limits<uint32_t>::max());
    plan->segment_begin.push_back(static_cast<int>(plan->segments.size()));
    plan->id_begin.push_back(ids);
    plan->value_count.push_back(values);
  }
  // A message that still travels keeps its ids.
  if (plan->ids == nullptr || plan->ids.use_count() > 1) {
    plan->ids = std::make_shared<Array<uint64_t>>();
  }
  plan->ids->Resize(ids);
}

void IdPlanner::PlaceSegment(const IdPlan::Segment& segment, IdPlan* plan) const {
  uint64_t* ids = plan->ids->data() + segment.id_offset;
  const uint32_t dim = static_cast<uint32_t>(segment.dim);
  for (uint32_t i = 0; i < segment.count; ++i) {
    const uint32_t unique = segment.first + i;
    ids[i] = UnmixId(plan->mixed[unique]);
    const IdPlan::RowSource source = {static_cast<uint32_t>(segment.shard),
                                      static_cast<uint32_t>(segment.value_offset) + i * dim};
    for (uint32_t j = plan->run[unique]; j < plan->run[unique + 1]; ++j) {
      plan->sources[plan->order[j]] = source;
    }
  }
}

}  // namespace pagoda
