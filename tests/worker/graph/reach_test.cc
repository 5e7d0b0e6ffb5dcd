#include "worker/graph/reach.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace pagoda {
namespace {

using Names = std::vector<std::string>;

TEST(Reach, FollowsGradients) {
  Graph g(6);
  const Value shared = g.Dense("shared", g.Columns(g.Input(), {{0, 2}}), 3, RELU);
  const Value a = g.Dense("a", shared, 1);
  const Value own = g.Columns(g.Columns(g.Input(), {{1, 3}}), {{2, 1}});  // Column 3.
  const Value b =
      g.Dense("b", g.Concat({shared, own, g.StopGradient(g.Dense("stopped", g.Input(), 2))}), 1);
  g.Head("a", HeadKind::kProbability, a);
  g.Head("ab", HeadKind::kProduct, a, b);
  g.Output("b", HeadKind::kNumber, g.Dense("reported", g.Input(), 1));
  const Reach reach(g);
  EXPECT_EQ(reach.TasksOfParameter("shared/w"), (Names{"a", "ab"}));
  EXPECT_EQ(reach.TasksOfParameter("a/b"), (Names{"a", "ab"}));
  EXPECT_EQ(reach.TasksOfParameter("b/w"), Names{"ab"});
  EXPECT_EQ(reach.TasksOfParameter("stopped/w"), Names());
  EXPECT_EQ(reach.TasksOfParameter("reported/w"), Names());
  EXPECT_EQ(reach.TasksOfInputColumn(0), (Names{"a", "ab"}));
  EXPECT_EQ(reach.TasksOfInputColumn(2), Names());
  EXPECT_EQ(reach.TasksOfInputColumn(3), Names{"ab"});
  EXPECT_EQ(reach.TasksOfInputColumn(5), Names());
}

// With a loss or without, and behind StopGradient, too.
TEST(Reach, ColumnsReadAreThoseThatSomeHeadIsComputedFrom) {
  Graph g(7);
  g.Dense("no head reads it", g.Input(), 2);
  g.Head("a", HeadKind::kProbability, g.Dense("a", g.Columns(g.Input(), {{1, 1}}), 1));
  g.Output("b", HeadKind::kNumber, g.SumColumns(g.Columns(g.Input(), {{3, 1}})));
  const Value stopped = g.StopGradient(g.Columns(g.Input(), {{4, 2}}));
  const Value x = g.Dense("x", g.Columns(g.Concat({stopped, g.Input()}), {{1, 1}}), 1);
  g.Head("c", HeadKind::kProduct, x, g.Dense("y", g.Columns(g.Input(), {{6, 1}}), 1));
  EXPECT_EQ(ColumnsRead(g), (std::vector<bool>{false, true, false, true, false, true, true}));
  EXPECT_EQ(ColumnsRead(Graph(2)), (std::vector<bool>{false, false}));
}

TEST(ReachDeathTest, UnknownParameterIsABug) {
  Graph g(2);
  g.Head("a", HeadKind::kNumber, g.Dense("a", g.Input(), 1));
  EXPECT_DEATH(Reach(g).TasksOfParameter("b/w"), "no parameter is called b/w");
}

}  // namespace
}  // namespace pagoda
