#include "worker/data/statistics.h"

#include <gtest/gtest.h>

#include <vector>

namespace pagoda {
namespace {

std::vector<double> Boundaries(int buckets, std::vector<double> values) {
  FeatureConfig feature;
  feature.set_name("x");
  feature.set_kind(FeatureConfig::BUCKET);
  feature.set_buckets(buckets);
  const FeatureStatistics statistics = ComputeFeatureStatistics(feature, std::move(values));
  return {statistics.boundary().begin(), statistics.boundary().end()};
}

std::vector<double> Range(int begin, int end) {
  std::vector<double> values;
  for (int x = begin; x < end; ++x) values.push_back(x);
  return values;
}

TEST(BoundariesTest, NoneForNothingAndForOneValue) {
  EXPECT_TRUE(Boundaries(4, {}).empty());
  EXPECT_TRUE(Boundaries(4, {7, 7, 7}).empty());
  EXPECT_TRUE(Boundaries(1, Range(0, 100)).empty());
}

TEST(BoundariesTest, FewValuesGetABucketEach) {
  EXPECT_EQ(Boundaries(4, {3, 1, 2, 1, 3, 3}), (std::vector<double>{2, 3}));
}

TEST(BoundariesTest, EvenSharesWhereNoValueIsHeavy) {
  EXPECT_EQ(Boundaries(4, Range(0, 100)), (std::vector<double>{25, 50, 75}));
}

TEST(BoundariesTest, AHeavyValueLeavesTheOtherBucketsToTheRest) {
  std::vector<double> values = Range(1, 31);
  values.insert(values.end(), 970, 0.0);
  EXPECT_EQ(Boundaries(4, values), (std::vector<double>{1, 11, 21}));
}

TEST(BoundariesTest, AHeavyValueInTheMiddleHasItsOwnBucket) {
  std::vector<double> values = Range(0, 40);
  values.insert(values.end(), 100, 20.0);
  EXPECT_EQ(Boundaries(3, values), (std::vector<double>{20, 21}));
}

TEST(BoundariesTest, NeverMoreThanAskedForAndAlwaysAscending) {
  for (int buckets = 1; buckets <= 40; ++buckets) {
    std::vector<double> values;
    for (int x = 0; x < 64; ++x) values.insert(values.end(), 1 + (x * 37) % 11 * (x % 5), x);
    const std::vector<double> boundaries = Boundaries(buckets, values);
    EXPECT_LT(boundaries.size(), static_cast<size_t>(buckets));
    for (size_t i = 1; i < boundaries.size(); ++i) EXPECT_LT(boundaries[i - 1], boundaries[i]);
  }
}

}  // namespace
}  // namespace pagoda
