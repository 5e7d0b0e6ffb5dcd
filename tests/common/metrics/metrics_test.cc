#include "common/metrics/metrics.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>
#include <vector>

namespace pagoda {
namespace {

BinaryMetrics Binary(const std::vector<float>& p, const std::vector<float>& y) {
  return ComputeBinary(p, y, std::vector<float>(p.size(), 1.0f));
}

// The definition, O(n^2).
double PairwiseAuc(const std::vector<float>& p, const std::vector<float>& y) {
  double wins = 0, pairs = 0;
  for (size_t i = 0; i < p.size(); ++i) {
    for (size_t j = 0; j < p.size(); ++j) {
      if (y[i] != 1 || y[j] != 0) continue;
      wins += p[i] > p[j] ? 1 : p[i] == p[j] ? 0.5 : 0;
      ++pairs;
    }
  }
  return wins / pairs;
}

TEST(Metrics, AucEqualsItsDefinition) {
  std::mt19937 random(3);
  for (const int levels : {2, 7, 100, 1 << 24}) {  // Few levels: many ties.
    std::vector<float> p, y;
    for (int i = 0; i < 400; ++i) {
      p.push_back(static_cast<float>(random() % levels) / levels - 0.25f);  // Negative ones too.
      y.push_back(static_cast<float>(random() % 3 == 0));
    }
    EXPECT_DOUBLE_EQ(Binary(p, y).auc, PairwiseAuc(p, y));
  }
}

TEST(Metrics, AucAtItsEnds) {
  EXPECT_EQ(Binary({0.1f, 0.2f, 0.3f}, {0, 0, 1}).auc, 1.0);
  EXPECT_EQ(Binary({0.3f, 0.2f, 0.1f}, {0, 0, 1}).auc, 0.0);
  EXPECT_EQ(Binary({0.5f, 0.5f}, {0, 1}).auc, 0.5);
  EXPECT_EQ(Binary({-0.0f, 0.0f}, {0, 1}).auc, 0.5);
  EXPECT_TRUE(std::isnan(Binary({0.5f}, {1}).auc));
  EXPECT_TRUE(std::isnan(Binary({}, {}).auc));
  EXPECT_TRUE(std::isnan(Binary({}, {}).logloss));
}

TEST(Metrics, LoglossAndCalibrationByHand) {
  const BinaryMetrics m = Binary({0.25f, 0.5f, 0.75f}, {0, 1, 1});
  EXPECT_EQ(m.rows, 3);
  EXPECT_EQ(m.positives, 2);
  EXPECT_DOUBLE_EQ(m.logloss, -(std::log(0.75) + std::log(0.5) + std::log(0.75)) / 3);
  EXPECT_DOUBLE_EQ(m.pcoc, 1.5 / 2);
  // A sure mistake costs the clip, not infinity.
  EXPECT_NEAR(Binary({1.0f}, {0}).logloss, -std::log(1e-7), 1e-6);
  EXPECT_TRUE(std::isnan(Binary({0.5f}, {0}).pcoc));
}

TEST(Metrics, WeightZeroLeavesARowOut) {
  const std::vector<float> p = {0.1f, 0.9f, 0.8f}, y = {0, 0, 1}, w = {1, 0, 2.5f};
  const BinaryMetrics m = ComputeBinary(p, y, w);
  EXPECT_EQ(m.rows, 2);
  EXPECT_EQ(m.auc, 1.0);
  const NumberMetrics n = ComputeNumber(p, y, w);
  EXPECT_EQ(n.rows, 2);
  EXPECT_NEAR(n.mse, (0.01 + 0.04) / 2, 1e-8);
  EXPECT_NEAR(n.mae, 0.15, 1e-7);
}

TEST(Metrics, NanShows) {
  const BinaryMetrics m = Binary({std::numeric_limits<float>::quiet_NaN(), 0.5f}, {0, 1});
  EXPECT_TRUE(std::isnan(m.auc));
  EXPECT_TRUE(std::isnan(m.logloss));
}

}  // namespace
}  // namespace pagoda
