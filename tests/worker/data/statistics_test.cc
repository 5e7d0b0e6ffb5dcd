#include "worker/data/statistics.h"

#include <gtest/gtest.h>

#include <cmath>
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

using Transforms = std::vector<FeatureConfig::Transform>;

// What the transforms make of `xs` when `training` are the training rows.
std::vector<float> Transformed(const Transforms& transforms, std::vector<double> training,
                               const std::vector<float>& xs) {
  FeatureConfig feature;
  feature.set_name("x");
  feature.set_kind(FeatureConfig::DENSE);
  for (const auto transform : transforms) feature.add_transform(transform);
  const NumberTransform apply(feature, ComputeFeatureStatistics(feature, std::move(training)));
  std::vector<float> out;
  for (const float x : xs) out.push_back(apply.Apply(x));
  return out;
}

// 0.1f, summed ten times and divided by ten, is not 0.1f: what is left must not count as a
// deviation.
TEST(NumberTransformTest, AConstantColumnBecomesZeros) {
  const std::vector<Transforms> all = {{FeatureConfig::Z_SCORE},
                                       {FeatureConfig::MIN_MAX},
                                       {FeatureConfig::LOG1P, FeatureConfig::Z_SCORE},
                                       {FeatureConfig::LOG1P, FeatureConfig::MIN_MAX},
                                       {FeatureConfig::Z_SCORE, FeatureConfig::MIN_MAX},
                                       {FeatureConfig::MIN_MAX, FeatureConfig::Z_SCORE}};
  for (const Transforms& transforms : all) {
    for (const float constant : {0.1f, -0.1f, 0.0f, 3e38f, 1e-40f}) {
      // The last two values occur outside of the training rows only.
      const std::vector<float> out =
          Transformed(transforms, std::vector<double>(10, constant), {constant, NAN, 7.0f, -1e30f});
      EXPECT_EQ(out, std::vector<float>(4, 0.0f)) << constant;
    }
  }
}

TEST(NumberTransformTest, NoTrainingRowsGiveZeros) {
  for (const auto transform : {FeatureConfig::Z_SCORE, FeatureConfig::MIN_MAX}) {
    EXPECT_EQ(Transformed({transform}, {}, {5, -5}), (std::vector<float>{0, 0}));
  }
}

TEST(NumberTransformTest, Log1pKeepsTheSignOfNegatives) {
  const float e = std::exp(1.0f) - 1;
  const std::vector<float> out = Transformed({FeatureConfig::LOG1P}, {0}, {e, -e, 0, -1, -3e38f});
  EXPECT_FLOAT_EQ(out[0], 1);
  EXPECT_FLOAT_EQ(out[1], -1);
  EXPECT_EQ(out[2], 0);
  EXPECT_FLOAT_EQ(out[3], -std::log(2.0f));
  EXPECT_FLOAT_EQ(out[4], -std::log1p(3e38));
}

TEST(NumberTransformTest, ZScoreAndMinMaxOfTwoValues) {
  EXPECT_EQ(Transformed({FeatureConfig::Z_SCORE}, {1, 3}, {1, 3, 5}),
            (std::vector<float>{-1, 1, 3}));
  EXPECT_EQ(Transformed({FeatureConfig::MIN_MAX}, {1, 3}, {1, 3, 5}),
            (std::vector<float>{0, 1, 2}));
}

}  // namespace
}  // namespace pagoda
