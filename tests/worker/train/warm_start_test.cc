// What of another job's checkpoint may be taken: by name, and states only where they mean the same.
#include "worker/train/warm_start.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <string>
#include <vector>

namespace pagoda {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr float kOne = 1;

struct Rows {
  std::string rule;
  std::map<std::string, double> parameters = {};
};

// Optimizer "sparse" for the one table, and one of dense parameters for each of `dense`.
Schema SchemaOf(const std::map<std::string, Rows>& dense) {
  Schema schema;
  schema.add_table()->add_optimizer(0);
  schema.add_optimizer()->set_name("sparse");
  schema.mutable_optimizer(0)->set_rule("sgd");
  for (const auto& [name, rule] : dense) {
    OptimizerSchema* const added = schema.add_optimizer();
    added->set_name(name);
    added->set_rule(rule.rule);
    added->mutable_parameter()->insert(rule.parameters.begin(), rule.parameters.end());
  }
  return schema;
}

std::vector<std::string> Left(const std::vector<std::string>& names, const Schema& from,
                              const Schema& wanted) {
  std::vector<Tensor> tensors;
  for (const std::string& name : names) tensors.push_back(Tensor::F32(name, {1}, &kOne));
  std::vector<std::string> left;
  for (const Tensor& one : DropForeignStates(tensors, from, wanted)) left.push_back(one.name);
  return left;
}

TEST(DropForeignStates, OneDenseOptimizerByItsRule) {
  const std::vector<std::string> names = {"w", "w.ema", "w.state0", "w.state1"};
  const Schema adam = SchemaOf({{"dense", {"adam"}}});
  EXPECT_EQ(Left(names, adam, adam), names);
  EXPECT_EQ(Left(names, adam, SchemaOf({{"dense", {"adam", {{"beta1", 0.5}}}}})), names);
  for (const Schema& other :
       {SchemaOf({{"dense", {"adagrad"}}}), SchemaOf({{"dense", {"adam", {{"per_row_count", 1}}}}}),
        SchemaOf({{"other", {"adam"}}}), SchemaOf({})}) {
    EXPECT_THAT(Left(names, adam, other), ElementsAre("w", "w.ema")) << other.DebugString();
  }
}

TEST(DropForeignStates, SeveralByTheirNames) {
  const std::vector<std::string> names = {"w", "w.a/x.state0", "w.b/x.state0", "w.gone.state0"};
  const Schema from = SchemaOf({{"a/x", {"adagrad"}}, {"b/x", {"adagrad"}}});
  EXPECT_THAT(Left(names, from, SchemaOf({{"a/x", {"rmsprop"}}, {"b/x", {"adagrad"}}})),
              ElementsAre("w", "w.b/x.state0"));
}

TEST(DropForeignStates, AParameterMayBeCalledLikeAState) {
  const Schema adam = SchemaOf({{"dense", {"adam"}}});
  EXPECT_THAT(Left({"w.state"}, adam, SchemaOf({})), ElementsAre("w.state"));
  EXPECT_THAT(Left({}, adam, adam), IsEmpty());
}

TEST(TakeClocks, OnlyWithTheStates) {
  Manifest manifest;
  *manifest.mutable_schema() = SchemaOf({{"dense", {"adam"}}});
  for (const uint32_t optimizer : {0u, 1u, 9u}) {
    OptimizerClock* const clock = manifest.mutable_state()->add_clock();
    clock->set_optimizer(optimizer);
    clock->set_step(10 + optimizer);
  }
  EXPECT_THAT(TakeClocks(manifest, SchemaOf({{"dense", {"adam"}}})), ElementsAre(10, 11));
  EXPECT_THAT(TakeClocks(manifest, SchemaOf({{"dense", {"adamw"}}})), ElementsAre(10, 0));
  EXPECT_THAT(TakeClocks(manifest, SchemaOf({{"a", {"adam"}}, {"dense", {"adam"}}})),
              ElementsAre(10, 0, 11));
}

}  // namespace
}  // namespace pagoda
