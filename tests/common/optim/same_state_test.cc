#include "common/optim/same_state.h"

#include <gtest/gtest.h>

#include <map>
#include <string>

namespace pagoda {
namespace {

OptimizerSchema Optimizer(const std::string& rule, const std::map<std::string, double>& parameters,
                          const std::string& name = "o") {
  OptimizerSchema optimizer;
  optimizer.set_name(name);
  optimizer.set_rule(rule);
  optimizer.mutable_parameter()->insert(parameters.begin(), parameters.end());
  return optimizer;
}

TEST(HaveSameState, OfOneNameRuleAndLayout) {
  const OptimizerSchema adam = Optimizer("adam", {});
  EXPECT_TRUE(HaveSameState(adam, adam));
  EXPECT_TRUE(HaveSameState(adam, Optimizer("adam", {{"beta1", 0.8}})));
  EXPECT_FALSE(HaveSameState(adam, Optimizer("adam", {{"per_row_count", 1}})));
  EXPECT_FALSE(HaveSameState(adam, Optimizer("adamw", {})));
  EXPECT_FALSE(HaveSameState(adam, Optimizer("adam", {}, "p")));
  EXPECT_FALSE(HaveSameState(Optimizer("rmsprop", {}), Optimizer("rmsprop", {{"momentum", 0.9}})));
  EXPECT_FALSE(HaveSameState(Optimizer("none", {}), Optimizer("none", {})));
}

}  // namespace
}  // namespace pagoda
