#include "common/sparse_sum.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <optional>
#include <random>

#include "common/hash.h"

namespace pagoda {
namespace {

using Row = std::vector<float>;
using Rows = std::map<uint64_t, Row>;  // By mixed id.

SparseGradient FromRows(const Rows& rows) {
  SparseGradient gradient;
  for (const auto& [mixed, row] : rows) {
    gradient.ids.push_back(UnmixId(mixed));
    gradient.values.insert(gradient.values.end(), row.begin(), row.end());
  }
  return gradient;
}

// The definition: node i of a level is the sum of nodes 2i and 2i + 1 of the level below, id by id.
Rows Reference(std::vector<Rows> level) {
  while (level.size() > 1) {
    std::vector<Rows> above((level.size() + 1) / 2);
    for (size_t i = 0; i < level.size(); ++i) {
      for (const auto& [mixed, row] : level[i]) {
        const auto [slot, is_new] = above[i / 2].emplace(mixed, row);
        for (size_t d = 0; !is_new && d < row.size(); ++d) slot->second[d] += row[d];
      }
    }
    level = std::move(above);
  }
  return level.empty() ? Rows() : level[0];
}

void ExpectSameBits(const SparseGradient& a, const SparseGradient& b) {
  ASSERT_EQ(a.ids, b.ids);
  ASSERT_EQ(a.values.size(), b.values.size());
  EXPECT_TRUE(a.values.empty() ||
              std::memcmp(a.values.data(), b.values.data(), 4 * a.values.size()) == 0);
}

SparseGradient Sum(const std::vector<SparseGradient>& leaves, int dim) {
  std::vector<SparseView> views;
  for (const SparseGradient& leaf : leaves) views.push_back({leaf.ids, leaf.values});
  SparseGradient sum;
  sum.ids = {1, 2, 3};  // Leftovers of an earlier step must not show.
  sum.values.assign(3 * dim, 7.0f);
  SumTree(views, dim, &sum);
  return sum;
}

std::vector<Rows> RandomLeaves(int leaves, int dim, uint64_t id_range, std::mt19937* random) {
  std::uniform_real_distribution<float> value(-1, 1);
  std::vector<Rows> rows(leaves);
  for (Rows& leaf : rows) {
    const size_t count = (*random)() % 40;
    for (size_t i = 0; i < count; ++i) {
      Row row(dim);
      for (float& x : row) x = value(*random);
      leaf[MixId((*random)() % id_range)] = row;
    }
  }
  return rows;
}

TEST(SparseSum, NothingAndOneLeaf) {
  EXPECT_TRUE(Sum({}, 8).ids.empty());
  EXPECT_TRUE(Sum({{}, {}, {}}, 8).values.empty());
  const SparseGradient one = FromRows({{5, {1, 2}}, {9, {3, -0.0f}}});
  ExpectSameBits(Sum({one}, 2), one);
  ExpectSameBits(Sum({{}, one, {}}, 2), one);  // Never added to zero: -0 stays -0.
}

TEST(SparseSum, IsTheTreeForAnyNumberOfLeaves) {
  std::mt19937 random(7);
  for (const int leaves : {1, 2, 3, 4, 5, 7, 8, 13, 16, 64, 65}) {
    for (const int dim : {1, 8, 11, 64}) {
      for (const uint64_t id_range : {uint64_t{10}, uint64_t{60}, uint64_t{1} << 60}) {
        const std::vector<Rows> rows = RandomLeaves(leaves, dim, id_range, &random);
        std::vector<SparseGradient> gradients;
        for (const Rows& leaf : rows) gradients.push_back(FromRows(leaf));
        ExpectSameBits(Sum(gradients, dim), FromRows(Reference(rows)));
      }
    }
  }
}

TEST(SparseSum, WorkersWithAlignedSubtreesGiveTheSameBits) {
  std::mt19937 random(11);
  const int dim = 16;
  std::vector<SparseGradient> lanes;
  for (const Rows& leaf : RandomLeaves(16, dim, 50, &random)) lanes.push_back(FromRows(leaf));
  const SparseGradient whole = Sum(lanes, dim);
  for (const size_t workers : {1, 2, 4, 8, 16}) {
    std::vector<SparseGradient> partial;
    const size_t own = lanes.size() / workers;
    for (size_t w = 0; w < workers; ++w) {
      partial.push_back(Sum({lanes.begin() + w * own, lanes.begin() + (w + 1) * own}, dim));
    }
    ExpectSameBits(Sum(partial, dim), whole);
  }
}

// The merge marks the end of a list with the largest mixed id, which is also an id's.
TEST(SparseSum, KeepsTheIdThatMixesToAllOnes) {
  const uint64_t last = ~uint64_t{0};
  const SparseGradient a = FromRows({{3, {1}}, {last, {2}}}), b = FromRows({{last, {5}}});
  const SparseGradient sum = Sum({a, b, {}}, 1);
  EXPECT_EQ(sum.ids, (std::vector<uint64_t>{UnmixId(3), UnmixId(last)}));
  EXPECT_EQ(sum.values, (std::vector<float>{1, 7}));
}

}  // namespace
}  // namespace pagoda
