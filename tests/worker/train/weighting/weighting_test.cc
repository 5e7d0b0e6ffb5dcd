// Every weighting against the same method written out on whole gradient vectors, or against what
// its paper says it converges to.
#include "worker/train/weighting/weighting.h"

#include <glog/logging.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <set>

#include "common/errors.h"
#include "common/random.h"
#include "google/protobuf/text_format.h"

namespace pagoda {
namespace {

using Vector = std::vector<double>;

double Dot(const Vector& a, const Vector& b) {
  return std::inner_product(a.begin(), a.end(), b.begin(), 0.0);
}

WeightingConfig ConfigOf(const std::string& text) {
  WeightingConfig config;
  CHECK(google::protobuf::TextFormat::ParseFromString(text, &config)) << text;
  return config;
}

WeightingArgs ArgsOf(int tasks, bool is_regression = false) {
  WeightingArgs args;
  for (int k = 0; k < tasks; ++k) {
    args.tasks.push_back({std::string(1, static_cast<char>('a' + k)), is_regression});
  }
  args.steps_per_epoch = 10;
  auto rule = MakeRule("sgd", *ResolveParameters("sgd", Rules().at("sgd").parameters, {}));
  args.rule = *std::move(rule);
  return args;
}

std::unique_ptr<Weighting> Make(const std::string& text, const WeightingArgs& args) {
  auto made = MakeWeighting(ConfigOf(text), args);
  CHECK(made.ok()) << made.status();
  return *std::move(made);
}

// What a step tells a weighting, with everything in it.
struct Facts {
  explicit Facts(int tasks) : present(new bool[tasks]), tasks(tasks) {
    std::fill_n(present.get(), tasks, true);
    losses.assign(tasks, 1.0);
    losses_after = losses;
    gram.assign(tasks * tasks, 0.0);
  }
  WeightingStep Step() const {
    return {.step = step,
            .learning_rate = learning_rate,
            .present = absl::MakeConstSpan(present.get(), tasks),
            .losses = losses,
            .losses_after = losses_after,
            .gram = gram};
  }
  void SetGradients(const std::vector<Vector>& g) {
    for (int i = 0; i < tasks; ++i) {
      for (int j = 0; j < tasks; ++j) gram[i * tasks + j] = Dot(g[i], g[j]);
    }
  }

  std::unique_ptr<bool[]> present;
  int tasks;
  int64_t step = 0;
  double learning_rate = 0.1;
  Vector losses, losses_after, gram;
};

Vector WeightsOf(Weighting& weighting, const Facts& facts) {
  Vector c(facts.tasks);
  weighting.Weights(facts.Step(), absl::MakeSpan(c));
  return c;
}

// Gradients that often point against each other.
std::vector<Vector> RandomGradients(int tasks, int size, uint64_t seed) {
  std::vector<Vector> g(tasks, Vector(size));
  for (int k = 0; k < tasks; ++k) {
    for (int i = 0; i < size; ++i) g[k][i] = ToUnitFloat(Philox(seed, k, i)[0]) - 0.5;
  }
  return g;
}

Vector Combine(const Vector& c, const std::vector<Vector>& g) {
  Vector sum(g[0].size(), 0.0);
  for (size_t k = 0; k < g.size(); ++k) {
    for (size_t i = 0; i < sum.size(); ++i) sum[i] += c[k] * g[k][i];
  }
  return sum;
}

TEST(WeightingTest, EveryOneRunsWithOneTwoAndSevenTasks) {
  for (const auto& [name, info] : Weightings()) {
    for (const int tasks : {1, 2, 7}) {
      const auto weighting = Make("name: '" + name + "'", ArgsOf(tasks));
      Facts facts(tasks);
      facts.SetGradients(RandomGradients(tasks, 5, 3));
      for (facts.step = 0; facts.step < 30; ++facts.step) {
        for (const double c : WeightsOf(*weighting, facts)) {
          EXPECT_TRUE(std::isfinite(c)) << name;
        }
        weighting->Observe(facts.Step());
      }
    }
  }
}

TEST(WeightingTest, AnAbsentTaskWeighsNothingAndMovesNothingOfItsOwn) {
  for (const auto& [name, info] : Weightings()) {
    const auto weighting = Make("name: '" + name + "'", ArgsOf(2));
    Facts facts(2);
    facts.SetGradients(RandomGradients(2, 5, 3));
    facts.present[1] = false;
    EXPECT_EQ(WeightsOf(*weighting, facts)[1], 0) << name;
  }
  const auto uwl = Make("name: 'uwl'", ArgsOf(2));
  Facts facts(2);
  facts.present[1] = false;
  uwl->Observe(facts.Step());
  EXPECT_NE(uwl->state()[0], 0);
  EXPECT_EQ(uwl->state()[1], 0);
}

TEST(WeightingTest, StateIsAllThatIsNeededToGoOn) {
  for (const auto& [name, info] : Weightings()) {
    Facts facts(3);
    facts.SetGradients(RandomGradients(3, 5, 4));
    const auto whole = Make("name: '" + name + "'", ArgsOf(3));
    const auto first = Make("name: '" + name + "'", ArgsOf(3));
    const auto second = Make("name: '" + name + "'", ArgsOf(3));
    const auto run = [&](Weighting& weighting, int from, int to) {
      for (facts.step = from; facts.step < to; ++facts.step) {
        for (int k = 0; k < 3; ++k) {
          facts.losses[k] = 1.0 / (1 + facts.step * (k + 1));
          facts.losses_after[k] = facts.losses[k] * (0.9 + 0.01 * k);
        }
        WeightsOf(weighting, facts);
        weighting.Observe(facts.Step());
      }
    };
    run(*whole, 0, 25);
    run(*first, 0, 13);
    ASSERT_EQ(second->state().size(), first->state().size()) << name;
    std::copy(first->state().begin(), first->state().end(), second->state().begin());
    run(*second, 13, 25);
    EXPECT_EQ(Vector(whole->state().begin(), whole->state().end()),
              Vector(second->state().begin(), second->state().end()))
        << name;
  }
}

TEST(WeightingTest, ScheduleFollowsStraightLines) {
  const auto schedule = Make(
      "name: 'schedule' point { task: 'b' step: 10 weight: 2 } point { task: 'b' step: 0 weight: 1 "
      "}",
      ArgsOf(2));
  Facts facts(2);
  for (const auto& [step, weight] : std::map<int64_t, double>{{0, 1}, {5, 1.5}, {10, 2}, {99, 2}}) {
    facts.step = step;
    EXPECT_EQ(WeightsOf(*schedule, facts), (Vector{1, weight})) << step;
  }
}

// Yu et al., algorithm 1, on vectors; the order does not matter with two tasks.
TEST(PcGradTest, IsProjectionOfVectors) {
  for (uint64_t seed = 0; seed < 50; ++seed) {
    const std::vector<Vector> g = RandomGradients(2, 3, seed);
    Vector expected(3, 0.0);
    for (int i = 0; i < 2; ++i) {
      const Vector& other = g[1 - i];
      const double along = std::min(0.0, Dot(g[i], other)) / Dot(other, other);
      for (int d = 0; d < 3; ++d) expected[d] += g[i][d] - along * other[d];
    }
    Facts facts(2);
    facts.SetGradients(g);
    const Vector sum = Combine(WeightsOf(*Make("name: 'pcgrad'", ArgsOf(2)), facts), g);
    for (int d = 0; d < 3; ++d) EXPECT_NEAR(sum[d], expected[d], 1e-12);
  }
}

TEST(PcGradTest, IsThePlainSumWithoutConflict) {
  Facts facts(3);
  facts.SetGradients({{1, 0, 0}, {1, 1, 0}, {0, 1, 1}});
  EXPECT_EQ(WeightsOf(*Make("name: 'pcgrad'", ArgsOf(3)), facts), (Vector{1, 1, 1}));
}

TEST(PcGradTest, OrderIsDrawnAnewEachStep) {
  const std::vector<Vector> g = {{1, 0.1}, {-1, 0.3}, {-0.2, -1}};
  Facts facts(3);
  facts.SetGradients(g);
  const auto pcgrad = Make("name: 'pcgrad'", ArgsOf(3));
  std::set<Vector> seen;
  for (facts.step = 0; facts.step < 40; ++facts.step) seen.insert(WeightsOf(*pcgrad, facts));
  EXPECT_GT(seen.size(), 1u);
}

// Solves a x = b by elimination with pivots; a [n, n]. Empty: singular.
Vector Solve(std::vector<Vector> a, Vector b) {
  const size_t n = b.size();
  for (size_t i = 0; i < n; ++i) {
    size_t pivot = i;
    for (size_t r = i; r < n; ++r) {
      if (std::abs(a[r][i]) > std::abs(a[pivot][i])) pivot = r;
    }
    if (a[pivot][i] == 0) return {};
    std::swap(a[i], a[pivot]);
    std::swap(b[i], b[pivot]);
    for (size_t r = 0; r < n; ++r) {
      if (r == i) continue;
      const double factor = a[r][i] / a[i][i];
      for (size_t c = i; c < n; ++c) a[r][c] -= factor * a[i][c];
      b[r] -= factor * b[i];
    }
  }
  for (size_t i = 0; i < n; ++i) b[i] /= a[i][i];
  return b;
}

// min |sum_k alpha_k g_k|^2 over alpha_k >= 0, sum_k alpha_k = 1, face by face: on the plane
// through some of the gradients G alpha = m 1 holds, with m = |v|^2; the least m of a plane whose
// shortest vector lies in the hull is the minimum.
double ShortestSquared(const std::vector<Vector>& g) {
  double shortest = INFINITY;
  for (uint32_t face = 1; face < uint32_t{1} << g.size(); ++face) {
    std::vector<Vector> equations;
    for (size_t i = 0; i < g.size(); ++i) {
      if (!(face >> i & 1)) continue;
      Vector& row = equations.emplace_back();
      for (size_t j = 0; j < g.size(); ++j) {
        if (face >> j & 1) row.push_back(Dot(g[i], g[j]));
      }
      row.push_back(-1);
    }
    Vector sum(equations.size() + 1, 1.0), right(equations.size() + 1, 0.0);
    sum.back() = 0;
    right.back() = 1;
    equations.push_back(sum);
    const Vector x = Solve(equations, right);
    const bool is_in_hull = !x.empty() && *std::min_element(x.begin(), x.end() - 1) >= 0;
    if (is_in_hull) shortest = std::min(shortest, x.back());
  }
  return shortest;
}

// v descends for every task, too: <g_k, v> >= <v, v> for all k.
TEST(MgdaTest, FindsTheShortestVectorOfTheHull) {
  for (const int tasks : {1, 2, 3, 5, 7}) {
    for (uint64_t seed = 0; seed < 20; ++seed) {
      const std::vector<Vector> g = RandomGradients(tasks, 8, seed);
      Facts facts(tasks);
      facts.SetGradients(g);
      const Vector alpha = WeightsOf(*Make("name: 'mgda'", ArgsOf(tasks)), facts);
      EXPECT_NEAR(std::accumulate(alpha.begin(), alpha.end(), 0.0), 1, 1e-12);
      EXPECT_GE(*std::min_element(alpha.begin(), alpha.end()), 0);
      const Vector v = Combine(alpha, g);
      double greatest = 0;
      for (const Vector& one : g) greatest = std::max(greatest, Dot(one, one));
      EXPECT_NEAR(Dot(v, v), ShortestSquared(g), 1e-14 * greatest) << tasks << ", seed " << seed;
      // Searches end where alpha moves by 1e-12 or less: at <g_s - g_t, v> <= 1e-12 |g_s - g_t|^2
      // before that move, and it adds at most 1e-12 <g_k, g_t - g_s>.
      for (int k = 0; k < tasks; ++k) EXPECT_GE(Dot(g[k], v), Dot(v, v) - 6e-12 * greatest);
    }
  }
}

TEST(UwlTest, ConvergesToTheLogarithmOfTheLosses) {
  for (const bool is_regression : {true, false}) {
    const auto uwl = Make("name: 'uwl'", ArgsOf(2, is_regression));
    Facts facts(2);
    facts.losses = {0.3, 4.0};
    for (int i = 0; i < 2000; ++i) uwl->Observe(facts.Step());
    for (int k = 0; k < 2; ++k) {
      const double factor = is_regression ? 1 : 2;
      EXPECT_NEAR(uwl->state()[k], std::log(factor * facts.losses[k]), 1e-9);
      EXPECT_NEAR(WeightsOf(*uwl, facts)[k] * facts.losses[k], 1, 1e-9);
    }
  }
}

TEST(UwlTest, FrozenIsFixedWeightsOneAndTwo) {
  WeightingArgs args = ArgsOf(2);
  args.tasks[0].is_regression = true;
  const auto uwl = Make("name: 'uwl' parameter { name: 'frozen' value: 1 }", args);
  Facts facts(2);
  uwl->Observe(facts.Step());
  EXPECT_EQ(WeightsOf(*uwl, facts), (Vector{1, 2}));
}

TEST(DwaTest, FavoursTheTaskThatFallsSlowlyAfterTwoWindows) {
  const auto dwa = Make("name: 'dwa' parameter { name: 'window_steps' value: 2 }", ArgsOf(2));
  Facts facts(2);
  for (int step = 0; step < 4; ++step) {
    EXPECT_EQ(WeightsOf(*dwa, facts), (Vector{1, 1})) << step;
    facts.losses = {step < 2 ? 1.0 : 0.5, step < 2 ? 1.0 : 0.9};
    dwa->Observe(facts.Step());
  }
  const double a = std::exp(0.5 / 2), b = std::exp(0.9 / 2);
  const Vector c = WeightsOf(*dwa, facts);
  EXPECT_NEAR(c[0], 2 * a / (a + b), 1e-12);
  EXPECT_NEAR(c[1], 2 * b / (a + b), 1e-12);
}

TEST(DwaTest, AHighTemperatureIsEqualWeights) {
  const auto dwa = Make(
      "name: 'dwa' parameter { name: 'window_steps' value: 1 } parameter { name: 'temperature' "
      "value: 1e9 }",
      ArgsOf(2));
  Facts facts(2);
  for (int step = 0; step < 5; ++step) {
    facts.losses = {1.0 / (step + 1), 1.0};
    for (const double c : WeightsOf(*dwa, facts)) EXPECT_NEAR(c, 1, 1e-8);
    dwa->Observe(facts.Step());
  }
}

TEST(GradNormTest, EvensOutTheNorms) {
  const auto gradnorm = Make("name: 'gradnorm' parameter { name: 'rate' value: 0.001 }", ArgsOf(2));
  Facts facts(2);
  facts.SetGradients({{3, 0}, {0, 1}});
  for (int i = 0; i < 5000; ++i) gradnorm->Observe(facts.Step());
  const Vector w = WeightsOf(*gradnorm, facts);
  EXPECT_NEAR(w[0] + w[1], 2, 1e-12);
  EXPECT_NEAR(w[0] * 3, w[1] * 1, 0.02);  // Within one step of the rate.
}

// An absent task keeps its weight, and the present ones share what was theirs.
TEST(GradNormTest, AnAbsentTaskKeepsItsWeight) {
  const auto gradnorm = Make("name: 'gradnorm'", ArgsOf(3));
  Facts facts(3);
  facts.SetGradients({{3, 0, 0}, {0, 1, 0}, {0, 0, 7}});
  gradnorm->Observe(facts.Step());
  const Vector before(gradnorm->state().begin(), gradnorm->state().begin() + 3);
  facts.present[2] = false;
  for (int i = 0; i < 10; ++i) gradnorm->Observe(facts.Step());
  const absl::Span<const double> after = gradnorm->state();
  EXPECT_EQ(after[2], before[2]);
  EXPECT_NE(after[0], before[0]);
  EXPECT_NEAR(after[0] + after[1], before[0] + before[1], 1e-12);
}

TEST(FamoTest, RaisesTheTaskWhoseLogLossFallsLeast) {
  const auto famo = Make("name: 'famo'", ArgsOf(2));
  Facts facts(2);
  facts.losses = {1.0, 2.0};
  const Vector before = WeightsOf(*famo, facts);
  EXPECT_NEAR(before[0] / before[1], 2, 1e-6);  // z equal: in proportion to 1 / L.
  EXPECT_NEAR(before[0] + before[1], 1, 1e-12);
  facts.losses_after = {0.5, 1.9};
  famo->Observe(facts.Step());
  EXPECT_LT(famo->state()[0], 0);
  EXPECT_GT(famo->state()[1], 0);
}

TEST(WeightingTest, ARateOfZeroIsFixedWeights) {
  for (const char* name : {"famo", "gradnorm"}) {
    const auto weighting =
        Make(std::string("name: '") + name + "' parameter { name: 'rate' value: 0 }", ArgsOf(2));
    Facts facts(2);
    facts.SetGradients(RandomGradients(2, 4, 1));
    facts.losses = {0.2, 5};
    for (int i = 0; i < 3; ++i) {
      EXPECT_EQ(WeightsOf(*weighting, facts), (Vector{1, 1})) << name;
      weighting->Observe(facts.Step());
    }
  }
}

TEST(WeightingTest, MistakesAreNamed) {
  const auto error = [](const std::string& text) {
    return std::string(MakeWeighting(ConfigOf(text), ArgsOf(2)).status().message());
  };
  EXPECT_NE(error("name: 'pcgard'").find("pcgrad"), std::string::npos);
  EXPECT_NE(error("name: 'dwa' parameter { name: 'temprature' value: 2 }").find("temperature"),
            std::string::npos);
  EXPECT_NE(error("name: 'dwa' parameter { name: 'window_steps' value: 2.5 }").find("whole"),
            std::string::npos);
  EXPECT_NE(error("name: 'uwl' parameter { name: 'frozen' value: 0.5 }").find("0 or 1"),
            std::string::npos);
  EXPECT_NE(error("name: 'schedule' point { task: 'c' step: 1 weight: 1 }").find("not trained"),
            std::string::npos);
  EXPECT_NE(error("name: 'uwl' point { task: 'a' step: 1 weight: 1 }").find("schedule"),
            std::string::npos);
}

}  // namespace
}  // namespace pagoda
