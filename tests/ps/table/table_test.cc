// The table against a std::map of rows, in memory and with budgets that push most rows into a
// store.
#include "ps/table/table.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <map>
#include <random>
#include <utility>

#include "common/hash.h"

namespace pagoda {
namespace {

// A store in memory with the contract of the real one, which tests/ps/store holds against it.
class MapStore : public RowStore {
 public:
  absl::Status Get(int, absl::Span<const uint64_t> ids, size_t row_bytes,
                   absl::Span<std::byte* const> rows, std::vector<bool>* found) override {
    found->assign(ids.size(), false);
    for (size_t i = 0; i < ids.size(); ++i) {
      const auto row = rows_.find({PartitionOf(ids[i]), ids[i]});
      if (row == rows_.end()) continue;
      std::memcpy(rows[i], row->second.data(), row_bytes);
      (*found)[i] = true;
    }
    return absl::OkStatus();
  }
  absl::Status Put(int, absl::Span<const uint64_t> ids, size_t row_bytes,
                   absl::Span<const std::byte* const> rows) override {
    for (size_t i = 0; i < ids.size(); ++i) {
      const std::pair<int, uint64_t> key{PartitionOf(ids[i]), ids[i]};
      if (i > 0) {
        EXPECT_LT((std::pair{PartitionOf(ids[i - 1]), ids[i - 1]}), key);
      }
      rows_[key].assign(rows[i], rows[i] + row_bytes);
    }
    return absl::OkStatus();
  }
  absl::Status ForEach(
      int, int partition, size_t,
      const std::function<absl::Status(uint64_t, const std::byte*)>& visit) override {
    for (auto row = rows_.lower_bound({partition, 0});
         row != rows_.end() && row->first.first == partition; ++row) {
      absl::Status status = visit(row->first.second, row->second.data());
      if (!status.ok()) return status;
    }
    return absl::OkStatus();
  }
  size_t size() const { return rows_.size(); }

 private:
  std::map<std::pair<int, uint64_t>, std::vector<std::byte>> rows_;
};

// w -= rate * g; state: sum of g.
class PlainRule : public Rule {
 public:
  int state_per_weight() const override { return 1; }
  void InitState(float* state, int64_t n) const override { std::fill_n(state, n, 0.25f); }
  void InitState(double* state, int64_t n) const override { std::fill_n(state, n, 0.25); }
  void Apply(const RuleStep& step, float* w, float* state, const float* g,
             int64_t n) const override {
    for (int64_t i = 0; i < n; ++i) {
      w[i] -= static_cast<float>(step.learning_rate) * g[i];
      state[i] += g[i];
    }
  }
  void Apply(const RuleStep&, double*, double*, const double*, int64_t) const override {}
};
PAGODA_REGISTER_RULE({"table_test_plain", "", "", {}, [](const std::map<std::string, double>&) {
                        return std::unique_ptr<Rule>(new PlainRule());
                      }});

RowLayout MakeLayout(int dim, int optimizers = 1) {
  Schema schema;
  schema.set_seed(3);
  TableSchema& table = *schema.add_table();
  table.set_name("user");
  table.set_dim(dim);
  table.set_init_range(0.05);
  for (int i = 0; i < optimizers; ++i) {
    schema.add_optimizer()->set_rule("table_test_plain");
    table.add_optimizer(i);
  }
  return *RowLayout::Make(schema, 0);
}

std::vector<uint64_t> Sorted(std::vector<uint64_t> ids) {
  std::sort(ids.begin(), ids.end(), [](uint64_t a, uint64_t b) { return MixId(a) < MixId(b); });
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  return ids;
}

using Rows = std::map<std::pair<int, uint64_t>, std::vector<std::byte>>;  // By (partition, id).

Rows AllRows(Table& table) {
  Rows rows;
  const size_t bytes = table.layout().row_bytes();
  for (int partition = 0; partition < kPartitions; ++partition) {
    uint64_t before = 0;
    bool first = true;
    EXPECT_TRUE(table
                    .ForEach(partition,
                             [&](uint64_t id, const std::byte* row) {
                               EXPECT_EQ(PartitionOf(id), partition);
                               EXPECT_TRUE(first || id > before);
                               first = false;
                               before = id;
                               rows[{partition, id}].assign(row, row + bytes);
                               return absl::OkStatus();
                             })
                    .ok());
  }
  return rows;
}

// What the table must hold, one id at a time and without any cleverness.
class Model {
 public:
  explicit Model(const RowLayout& layout) : layout_(layout) {}
  void Update(absl::Span<const uint64_t> ids, const float* gradients, int optimizer,
              const RuleStep& rule_step, int64_t step) {
    for (size_t i = 0; i < ids.size(); ++i) {
      auto [entry, is_new] = rows_.try_emplace({PartitionOf(ids[i]), ids[i]});
      std::vector<std::byte>& row = entry->second;
      if (is_new) {
        row.resize(layout_.row_bytes());
        layout_.InitialRow(ids[i], row.data());
      }
      const RowOptimizer& o = layout_.optimizers()[optimizer];
      o.rule->Apply(rule_step, reinterpret_cast<float*>(row.data() + RowLayout::kWeightsOffset),
                    reinterpret_cast<float*>(row.data() + o.state_offset),
                    gradients + i * layout_.dim(), layout_.dim());
      auto* header = reinterpret_cast<RowHeader*>(row.data());
      if (header->updates == 0 || header->last_step != step) ++header->updates;
      header->last_step = static_cast<uint32_t>(step);
    }
  }
  std::vector<float> Lookup(absl::Span<const uint64_t> ids) const {
    std::vector<float> out(ids.size() * layout_.dim());
    for (size_t i = 0; i < ids.size(); ++i) {
      const auto row = rows_.find({PartitionOf(ids[i]), ids[i]});
      float* weights = out.data() + i * layout_.dim();
      if (row == rows_.end()) {
        layout_.InitialWeights(ids[i], weights);
      } else {
        std::memcpy(weights, row->second.data() + RowLayout::kWeightsOffset, 4 * layout_.dim());
      }
    }
    return out;
  }
  // Places in ids without a row, ascending.
  std::vector<size_t> Absent(absl::Span<const uint64_t> ids) const {
    std::vector<size_t> absent;
    for (size_t i = 0; i < ids.size(); ++i) {
      if (rows_.count({PartitionOf(ids[i]), ids[i]}) == 0) absent.push_back(i);
    }
    return absent;
  }
  const Rows& rows() const { return rows_; }

 private:
  const RowLayout& layout_;
  Rows rows_;
};

// Steps as a shard drives them: t + 1 is pinned while t is pinned, t is updated, then unpinned;
// evaluation pulls between.
void RunAgainstModel(uint64_t budget_bytes, uint64_t* spills, uint64_t* reloads) {
  constexpr int kDim = 5;  // No multiple of four: padding, and a last draw that is cut.
  constexpr uint64_t kIds = 20000;
  const RowLayout layout = MakeLayout(kDim, 2);
  MapStore store;
  MemoryBudget budget{budget_bytes};
  Table table(0, MakeLayout(kDim, 2), {}, &budget, budget_bytes > 0 ? &store : nullptr);
  Model model(layout);
  std::mt19937_64 random(5);
  const auto draw = [&](size_t n) {
    std::vector<uint64_t> ids;
    for (size_t i = 0; i < n; ++i) ids.push_back(random() % kIds);
    if (random() % 4 == 0) ids.push_back(std::numeric_limits<uint64_t>::max());
    return Sorted(ids);
  };
  std::vector<uint64_t> now = draw(500);
  ASSERT_TRUE(table.Pin(now).ok());
  for (int64_t step = 0; step < 100; ++step) {
    const std::vector<uint64_t> next = draw(random() % 8 == 0 ? 0 : 500);
    ASSERT_TRUE(table.Pin(next).ok());
    std::vector<float> gradients[2];
    std::vector<RowUpdate> updates;
    for (int optimizer = 0; optimizer < 2; ++optimizer) {
      gradients[optimizer].resize(now.size() * kDim);
      for (float& g : gradients[optimizer]) {
        g = static_cast<float>(static_cast<int>(random() % 200) - 100);
      }
      updates.push_back({optimizer, gradients[optimizer].data(), {step + 1, 0.125}});
    }
    // Both at once, one by one, the second alone.
    const absl::Span<const RowUpdate> all = updates;
    if (step % 3 == 0) {
      ASSERT_TRUE(table.Update(now, all, step).ok());
    } else {
      if (step % 3 == 2) updates.erase(updates.begin());
      for (const RowUpdate& one : updates) ASSERT_TRUE(table.Update(now, {&one, 1}, step).ok());
    }
    for (const RowUpdate& one : updates) {
      model.Update(now, one.gradients, one.optimizer, one.rule_step, step);
    }
    table.Unpin(now);
    for (const std::vector<uint64_t>& ids : {next, draw(300)}) {
      std::vector<float> out(ids.size() * kDim);
      std::vector<size_t> absent;
      ASSERT_TRUE(table.Lookup(ids, out.data(), &absent).ok());
      ASSERT_EQ(out, model.Lookup(ids)) << "step " << step;
      std::sort(absent.begin(), absent.end());
      ASSERT_EQ(absent, model.Absent(ids)) << "step " << step;
    }
    now = next;
  }
  EXPECT_EQ(AllRows(table), model.rows());
  EXPECT_EQ(table.stats().rows, model.rows().size());
  *spills = table.stats().spills;
  *reloads = table.stats().reloads;
  if (budget_bytes > 0) {
    EXPECT_LE(budget.used_bytes, budget.limit_bytes);
  }
}

TEST(TableTest, MatchesTheModelInMemory) {
  uint64_t spills, reloads;
  RunAgainstModel(0, &spills, &reloads);
  EXPECT_EQ(spills + reloads, 0u);
}

TEST(TableTest, MatchesTheModelWithBudgets) {
  // 20000 rows of 72 bytes and their slots: about 2 MB.
  for (const uint64_t percent : {100, 20, 5}) {
    uint64_t spills, reloads;
    RunAgainstModel(2'000'000 * percent / 100, &spills, &reloads);
    if (percent < 100) {
      EXPECT_GT(spills, 1000u) << percent;
      EXPECT_GT(reloads, 1000u) << percent;
    }
  }
}

TEST(TableTest, EmptyListsAndEmptyTable) {
  MemoryBudget budget;
  Table table(0, MakeLayout(4), {}, &budget, nullptr);
  EXPECT_TRUE(table.Pin({}).ok());
  EXPECT_TRUE(table.Lookup({}, nullptr).ok());
  EXPECT_TRUE(table.Update({}, {}, 0).ok());
  EXPECT_TRUE(AllRows(table).empty());
}

TEST(TableTest, LookupLeavesNoTrace) {
  MapStore store;
  MemoryBudget budget{1 << 20};
  Table table(0, MakeLayout(4), {}, &budget, &store);
  const std::vector<uint64_t> ids = Sorted({1, 2, 3, 4, 5});
  std::vector<float> out(ids.size() * 4);
  ASSERT_TRUE(table.Pin(ids).ok());
  ASSERT_TRUE(table.Lookup(ids, out.data()).ok());
  table.Unpin(ids);
  ASSERT_TRUE(table.Lookup(ids, out.data()).ok());
  EXPECT_TRUE(AllRows(table).empty());
  EXPECT_EQ(table.stats().rows, 0u);
  for (const float w : out) EXPECT_TRUE(-0.05f <= w && w < 0.05f) << w;
}

TEST(TableTest, GradientsThatAreNotFiniteAreFound) {
  const RowLayout layout = MakeLayout(2);
  const std::vector<uint64_t> ids = Sorted({10, 11, 12});
  for (const float bad :
       {std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity(),
        std::numeric_limits<float>::quiet_NaN()}) {
    std::vector<float> gradients = {1, 1, 1, bad, 1, 1};
    const absl::Status status = CheckFinite(layout, ids, gradients.data());
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
    EXPECT_NE(status.message().find(std::to_string(ids[1])), absl::string_view::npos) << status;
  }
  const std::vector<float> largest(6, std::numeric_limits<float>::max());
  EXPECT_TRUE(CheckFinite(layout, ids, largest.data()).ok());
}

TEST(TableTest, PinnedRowsAreTheFloorOfTheBudget) {
  MapStore store;
  MemoryBudget budget{1};  // Nothing fits.
  Table table(0, MakeLayout(4), {}, &budget, &store);
  std::vector<uint64_t> ids;
  for (uint64_t id = 0; id < 3000; ++id) ids.push_back(id);
  ids = Sorted(ids);
  const std::vector<float> gradients(ids.size() * 4, 1.0f);
  ASSERT_TRUE(table.Pin(ids).ok());
  ASSERT_TRUE(table.Update(ids, {{0, gradients.data(), {}}}, 0).ok());
  EXPECT_TRUE(budget.warned);
  EXPECT_EQ(table.stats().resident_rows, ids.size());
  table.Unpin(ids);
  std::vector<uint64_t> others;
  for (uint64_t id = 10000; id < 13000; ++id) others.push_back(id);
  others = Sorted(others);
  const uint64_t limit = budget.limit_bytes;
  ASSERT_TRUE(table.Update(others, {{0, gradients.data(), {}}}, 1).ok());
  EXPECT_GT(table.stats().spills, 0u);
  EXPECT_LE(budget.limit_bytes, limit + 65536);
  EXPECT_EQ(AllRows(table).size(), 6000u);
}

TEST(TableTest, OwnsAFewPartitionsAndSurvivesCollidingHomes) {
  // Mixed ids that differ in their last bits only: one home for all, the run wraps around the
  // slab's end.
  MemoryBudget budget;
  Table table(0, MakeLayout(1), {1000, kPartitions}, &budget, nullptr);
  std::vector<uint64_t> ids;
  for (uint64_t i = 0; i < 2000; ++i) ids.push_back(UnmixId(~uint64_t{0} - 1999 + i));
  const std::vector<float> gradients(ids.size(), 1.0f);
  ASSERT_TRUE(table.Update(ids, {{0, gradients.data(), {1, 1.0}}}, 0).ok());
  std::vector<float> out(ids.size());
  ASSERT_TRUE(table.Lookup(ids, out.data()).ok());
  for (const float w : out) EXPECT_LT(w, -0.9f);
  uint64_t count = 0;
  for (int partition = 1000; partition < kPartitions; ++partition) {
    ASSERT_TRUE(table
                    .ForEach(partition,
                             [&](uint64_t, const std::byte*) {
                               ++count;
                               return absl::OkStatus();
                             })
                    .ok());
  }
  EXPECT_EQ(count, ids.size());
}

TEST(TableTest, InsertPutsARowAsItIs) {
  MemoryBudget budget;
  Table table(0, MakeLayout(4), {}, &budget, nullptr);
  std::vector<std::byte> row(table.layout().row_bytes(), std::byte{7});
  ASSERT_TRUE(table.Insert(42, row.data()).ok());
  ASSERT_TRUE(table.Insert(42, row.data()).ok());
  ASSERT_TRUE(table.InsertNew(43, row.data()).ok());
  ASSERT_TRUE(table.Insert(43, row.data()).ok());
  const Rows rows = AllRows(table);
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_EQ(rows.begin()->second, row);
  EXPECT_EQ(table.stats().rows, 2u);
}

TEST(RowLayoutTest, RefusesWhatItCannotHold) {
  Schema schema;
  schema.add_table()->set_name("t");
  EXPECT_FALSE(RowLayout::Make(schema, 0).ok());
  schema.mutable_table(0)->set_dim(70000);
  EXPECT_FALSE(RowLayout::Make(schema, 0).ok());
  schema.mutable_table(0)->set_dim(4);
  EXPECT_TRUE(RowLayout::Make(schema, 0).ok());
  schema.mutable_table(0)->add_optimizer(0);
  EXPECT_FALSE(RowLayout::Make(schema, 0).ok());
  schema.add_optimizer()->set_rule("no such rule");
  EXPECT_FALSE(RowLayout::Make(schema, 0).ok());
}

TEST(RowLayoutTest, InitialWeightsDependOnNothingElse) {
  const RowLayout one = MakeLayout(8), other = MakeLayout(5, 2);
  float a[8], b[5];
  one.InitialWeights(99, a);
  other.InitialWeights(99, b);
  for (int i = 0; i < 5; ++i) EXPECT_EQ(a[i], b[i]);
}

// Nothing would ever make such a row: training reads what serving does.
TEST(RowLayoutTest, RowsThatNoOptimizerOwnsAreTheDefaultRow) {
  float weights[8] = {1, 1, 1, 1, 1, 1, 1, 1};
  MakeLayout(8, 0).InitialWeights(99, weights);
  for (const float w : weights) EXPECT_EQ(w, RowLayout::kDefaultWeight);
}

}  // namespace
}  // namespace pagoda
