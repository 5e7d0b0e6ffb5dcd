// What of another job's checkpoint may be taken: by name, and states only where they mean the same.
#include "worker/train/warm_start.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "common/errors.h"

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

// Tables with features, by slot.
Schema TablesOf(
    const std::map<std::string, std::vector<std::pair<std::string, uint32_t>>>& tables) {
  Schema schema;
  for (const auto& [name, features] : tables) {
    TableSchema* const table = schema.add_table();
    table->set_name(name);
    for (const auto& [feature, slot] : features) {
      FeatureSchema* const added = table->add_feature();
      added->set_name(feature);
      added->set_slot(slot);
    }
  }
  return schema;
}

TEST(HasIds, OfATableAndASlot) {
  const Schema schema = TablesOf({{"own", {{"a", 0}}}, {"shared_8", {{"b", 1}, {"d", 3}}}});
  EXPECT_TRUE(HasIds(schema, "own", 0));
  EXPECT_TRUE(HasIds(schema, "shared_8", 3));
  EXPECT_FALSE(HasIds(schema, "shared_8", 2));
  EXPECT_FALSE(HasIds(schema, "shared_4", 1));
}

TEST(CheckSameIds, FeaturesMayComeBehindAndGoFromBehind) {
  const Schema two = TablesOf({{"own", {{"a", 0}}}, {"shared_8", {{"b", 1}, {"c", 2}}}});
  const Schema more = TablesOf({{"new", {{"e", 0}}},
                                {"own", {{"x", 0}, {"a", 0}}},
                                {"shared_8", {{"b", 1}, {"c", 2}, {"d", 3}}}});
  EXPECT_TRUE(CheckSameIds(two, more).ok());
  EXPECT_TRUE(CheckSameIds(more, two).ok());
  // c has moved to a table of another dim: nothing of it is taken.
  EXPECT_TRUE(
      CheckSameIds(two, TablesOf({{"shared_4", {{"c", 2}}}, {"shared_8", {{"b", 1}}}})).ok());
}

TEST(CheckSameIds, AFeatureMustNotTakeAnothersRows) {
  const Schema stored = TablesOf({{"shared_8", {{"a", 1}, {"b", 2}}}});
  for (const Schema& wanted :
       {TablesOf({{"shared_8", {{"b", 1}}}}),                        // a has gone,
        TablesOf({{"shared_8", {{"new", 1}, {"a", 2}, {"b", 3}}}}),  // one came before it,
        TablesOf({{"shared_8", {{"a", 1}, {"c", 2}}}})}) {           // or in place of another.
    EXPECT_EQ(ExitCodeOf(CheckSameIds(stored, wanted)), ExitCode::kUsage) << wanted.DebugString();
  }
}

TEST(TakeDense, CountsWhatTheCheckpointHasAndNamesWhatStartsAnew) {
  const auto tensor = [](const std::string& name) { return Tensor::F32(name, {1}, &kOne); };
  std::string note;
  const std::vector<Tensor> taken =
      TakeDense({tensor("w"), tensor("gone")}, /*all=*/4,
                {tensor("w"), tensor("w.ema"), tensor("new"), tensor("new.ema")}, &note);
  ASSERT_EQ(taken.size(), 1u);
  EXPECT_EQ(taken[0].name, "w");
  EXPECT_EQ(note, "1 of its 4 dense tensors are taken; these start anew: new");
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
