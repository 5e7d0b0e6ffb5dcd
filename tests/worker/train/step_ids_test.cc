#include "worker/train/step_ids.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "common/hash.h"
#include "common/random.h"

namespace pagoda {
namespace {

// One feature of one id an example, in one table of dim 4.
InputLayout OneFeature() {
  InputLayout input;
  input.embeddings = {{"f", 0, 4, 0, FeatureConfig::SUM, false, 0}};
  input.width = 4;
  return input;
}

Schema OneTable() {
  Schema schema;
  schema.add_table()->set_dim(4);
  return schema;
}

// Ids that no task's network reads are in no plan.
TEST(IdPlanner, AFeatureWithoutATableIsLeftOut) {
  InputLayout input = OneFeature();
  input.embeddings.insert(input.embeddings.begin(), input.embeddings[0]);
  input.embeddings[0].table = -1;
  input.embeddings[0].dim = 7;
  const IdPlanner planner(&input, OneTable(), 2);
  Batch batch;
  batch.rows = 3;
  batch.ids.resize(2);
  batch.ids[0].ids = {1, 2, 3};
  batch.ids[1].ids = {9, 8, 9};
  IdPlan plan;
  planner.Plan({{&batch, 0, batch.rows}}, &plan);
  std::vector<uint64_t> ids(plan.ids->data(), plan.ids->data() + plan.ids->size());
  std::sort(ids.begin(), ids.end());
  EXPECT_EQ(ids, (std::vector<uint64_t>{8, 9}));
}

Batch BatchOf(std::vector<uint64_t> ids) {
  Batch batch;
  batch.rows = static_cast<int>(ids.size());
  batch.ids.resize(1);
  batch.ids[0].ids = std::move(ids);
  return batch;
}

// Checks a plan of lanes of one feature against a map.
void ExpectPlanFits(const std::vector<Batch>& lanes, int shards) {
  const InputLayout input = OneFeature();
  const IdPlanner planner(&input, OneTable(), shards);
  std::vector<RowRange> ranges;
  std::map<uint64_t, std::vector<uint64_t>> rows_of;  // By mixed id: examples, lanes in order.
  uint64_t row = 0;
  for (const Batch& batch : lanes) {
    ranges.push_back({&batch, 0, batch.rows});
    for (int b = 0; b < batch.rows; ++b) rows_of[MixId(batch.ids[0].ids[b])].push_back(row++);
  }
  IdPlan plan;
  planner.Plan(ranges, &plan);
  ASSERT_EQ(plan.ids->size(), rows_of.size());
  ASSERT_EQ(static_cast<int>(plan.segment_begin.size()), shards + 1);
  auto it = rows_of.begin();
  uint32_t blocks = 0;
  for (const IdPlan::Block& block : plan.blocks) blocks += block.count;
  EXPECT_EQ(blocks, rows_of.size());
  for (const IdPlan::Segment& segment : plan.segments) {
    for (uint32_t i = 0; i < segment.count; ++i, ++it) {
      const uint64_t id = (*plan.ids)[segment.id_offset + i];
      ASSERT_EQ(MixId(id), it->first);
      EXPECT_EQ(ShardOfPartition(PartitionOf(id), shards), segment.shard);
      const uint32_t u = segment.first + i;
      ASSERT_EQ(plan.run[u + 1] - plan.run[u], it->second.size());
      for (size_t k = 0; k < it->second.size(); ++k) {
        EXPECT_EQ(plan.occurrences[plan.run[u] + k].gradient, it->second[k] * 4);
        const IdPlan::RowSource source = plan.sources[it->second[k]];
        EXPECT_EQ(static_cast<int>(source.shard), segment.shard);
        EXPECT_EQ(source.offset, segment.value_offset + i * 4);
      }
    }
  }
}

std::vector<uint64_t> DrawIds(int n, uint64_t vocabulary, uint64_t seed) {
  std::vector<uint64_t> ids;
  for (int i = 0; i < n; ++i) ids.push_back(Philox(seed, 0, i)[0] % vocabulary);
  return ids;
}

TEST(StepIdsTest, Empty) {
  ExpectPlanFits({Batch()}, 1);
  ExpectPlanFits({Batch(), Batch()}, 3);
}
TEST(StepIdsTest, One) { ExpectPlanFits({BatchOf({42})}, 2); }
TEST(StepIdsTest, ExtremeIds) {
  ExpectPlanFits({BatchOf({0, ~uint64_t{0}, UnmixId(0), UnmixId(~uint64_t{0}), 0})}, 2);
}
TEST(StepIdsTest, AllEqual) { ExpectPlanFits({BatchOf(std::vector<uint64_t>(5000, 7))}, 3); }
TEST(StepIdsTest, ManyWithDuplicates) {
  ExpectPlanFits({BatchOf(DrawIds(5000, 300, 1)), Batch(), BatchOf(DrawIds(3000, 4000, 2))}, 3);
}
TEST(StepIdsTest, ManyShards) { ExpectPlanFits({BatchOf(DrawIds(100, 50, 3))}, 1024); }

TEST(StepIdsTest, IdsChosenToCollideInTheSortedBits) {
  // All agree in the upper 33 bits that the passes sort by.
  std::vector<uint64_t> ids;
  for (int i = 0; i < 4000; ++i) ids.push_back(UnmixId(Philox(4, 0, i)[0] & 0x3FFFFFFF));
  ExpectPlanFits({BatchOf(std::move(ids))}, 1);
}

TEST(StepIdsTest, ReusedPlanForgets) {
  const InputLayout input = OneFeature();
  const IdPlanner planner(&input, OneTable(), 2);
  const Batch large = BatchOf(DrawIds(1000, 500, 5)), small = BatchOf({1, 2, 1});
  const RowRange large_range = {&large, 0, large.rows}, small_range = {&small, 0, small.rows};
  IdPlan plan;
  planner.Plan({large_range}, &plan);
  const std::shared_ptr<Array<uint64_t>> in_flight = plan.ids;
  const std::vector<uint64_t> before(in_flight->data(), in_flight->data() + in_flight->size());
  planner.Plan({small_range}, &plan);
  EXPECT_EQ(plan.ids->size(), 2u);
  // A message of the first plan may still travel: its ids must not change.
  EXPECT_TRUE(std::equal(before.begin(), before.end(), in_flight->data()));
}

TEST(StepIdsTest, PoolingScales) {
  EXPECT_EQ(PoolingScale(FeatureConfig::SUM, nullptr, 4), 1);
  EXPECT_EQ(PoolingScale(FeatureConfig::MAX, nullptr, 4), 1);
  EXPECT_EQ(PoolingScale(FeatureConfig::MEAN, nullptr, 4), 0.25f);
  EXPECT_EQ(PoolingScale(FeatureConfig::SQRT_N, nullptr, 4), 0.5f);
  EXPECT_EQ(PoolingScale(FeatureConfig::MEAN, nullptr, 0), 1);  // Of nothing: a sum of zeros.
  const float weights[] = {3, 0, 4};
  EXPECT_EQ(PoolingScale(FeatureConfig::SUM, weights, 3), 1);
  EXPECT_EQ(PoolingScale(FeatureConfig::MEAN, weights, 3), 1 / 7.0f);
  EXPECT_EQ(PoolingScale(FeatureConfig::SQRT_N, weights, 3), 0.2f);
  EXPECT_EQ(PoolingScale(FeatureConfig::MEAN, weights + 1, 1), 1);  // Of weight 0: zeros.
}

}  // namespace
}  // namespace pagoda
