// Which checkpoints a job may go on from.
#include "worker/train/engine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace pagoda {
namespace {

using ::testing::HasSubstr;

Schema Stored() {
  Schema schema;
  schema.add_table()->set_name("user");
  schema.mutable_table(0)->set_dim(4);
  schema.mutable_table(0)->add_optimizer(0);
  for (const char* name : {"sparse", "dense"}) {
    schema.add_optimizer()->set_name(name);
    schema.mutable_optimizer()->rbegin()->set_rule("adam");
  }
  return schema;
}

std::string Error(const Schema& configured) {
  return std::string(CheckSameTables(Stored(), configured).message());
}

TEST(CheckSameTables, TablesAndOptimizersAreThoseOfTheCheckpoint) {
  EXPECT_EQ(Error(Stored()), "");
  Schema other = Stored();
  (*other.mutable_optimizer(0)->mutable_parameter())["beta1"] = 0.5;
  EXPECT_EQ(Error(other), "");
  other.mutable_table(0)->set_dim(8);
  EXPECT_THAT(Error(other), HasSubstr("user[8]"));
}

TEST(CheckSameTables, AnotherRuleOrStateIsRefused) {
  Schema other = Stored();
  other.mutable_optimizer(1)->set_rule("adamw");
  EXPECT_THAT(Error(other), HasSubstr("dense (adamw)"));
  other = Stored();
  other.mutable_optimizer(0)->set_name("rows");
  EXPECT_THAT(Error(other), HasSubstr("rows (adam)"));
  other = Stored();
  other.mutable_table(0)->set_optimizer(0, 1);
  EXPECT_THAT(Error(other), HasSubstr("optimizers are not those"));
  other = Stored();
  (*other.mutable_optimizer(0)->mutable_parameter())["per_row_count"] = 1;
  EXPECT_THAT(Error(other), HasSubstr("\"sparse\""));
}

}  // namespace
}  // namespace pagoda
