// Holds every registered rule, present and future, to its reference in double.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>

#include "common/optim/rule.h"
#include "hwy/targets.h"

namespace pagoda {
namespace {

using ::testing::HasSubstr;

// Every parameter off its default, inside its range.
std::map<std::string, double> OffDefaults(const RuleInfo& info) {
  std::map<std::string, double> values;
  for (const ParameterSpec& spec : info.parameters) {
    double value = spec.default_value == 0 ? 0.01 : spec.default_value * 0.9;
    if (value < spec.minimum || value > spec.maximum) value = (spec.minimum + spec.maximum) / 2;
    EXPECT_NE(value, spec.default_value) << info.name << "." << spec.name;
    values[spec.name] = value;
  }
  return values;
}

std::unique_ptr<Rule> Make(const RuleInfo& info) {
  absl::StatusOr<std::unique_ptr<Rule>> rule = MakeRule(info.name, OffDefaults(info));
  EXPECT_TRUE(rule.ok()) << rule.status();
  return *std::move(rule);
}

template <typename T>
struct Weights {
  Weights(const Rule& rule, size_t n) : w(n), state(n * rule.state_per_weight()) {
    for (size_t i = 0; i < n && !rule.StartsAtZero(); ++i) w[i] = T(0.05) * T(int(i % 7) - 3);
    rule.InitState(state.data(), static_cast<int64_t>(n));
  }
  std::vector<T> w, state;
};

// Gradients of both signs, some zero, over several orders of magnitude. [n]
std::vector<float> Gradients(size_t n, int step) {
  std::mt19937 random(100 + step);
  std::normal_distribution<float> normal;
  std::vector<float> g(n);
  for (size_t i = 0; i < n; ++i) {
    g[i] = i % 5 == 0 ? 0.0f : normal(random) * std::pow(10.0f, static_cast<float>(i % 4) - 3);
  }
  return g;
}

RuleStep StepOf(int step) { return {.step = step, .learning_rate = 0.05 / step}; }

template <typename T>
bool SameBits(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() &&
         (a.empty() || std::memcmp(a.data(), b.data(), sizeof(T) * a.size()) == 0);
}

TEST(Rules, AllAreThere) {
  for (const char* name : {"sgd", "adagrad", "adam", "sparse_adam", "ftrl"}) {
    EXPECT_EQ(Rules().count(name), 1u) << name;
  }
}

TEST(Rules, FloatFollowsDouble) {
  constexpr size_t kN = 103;
  constexpr int kSteps = 20;
  for (const auto& [name, info] : Rules()) {
    SCOPED_TRACE(name);
    const std::unique_ptr<Rule> rule = Make(info);
    Weights<float> f(*rule, kN);
    Weights<double> d(*rule, kN);
    for (int step = 1; step <= kSteps; ++step) {
      const std::vector<float> g = Gradients(kN, step);
      const std::vector<double> gd(g.begin(), g.end());
      rule->Apply(StepOf(step), f.w.data(), f.state.data(), g.data(), kN);
      rule->Apply(StepOf(step), d.w.data(), d.state.data(), gd.data(), kN);
    }
    // Ten roundings a step of 2^-24 relative each, against the largest weight.
    double norm = 0;
    for (const double w : d.w) norm = std::max(norm, std::abs(w));
    EXPECT_GT(norm, 0);
    const double tolerance = 10 * kSteps * 0x1p-24 * norm;
    for (size_t i = 0; i < kN; ++i) ASSERT_NEAR(f.w[i], d.w[i], tolerance) << "weight " << i;
  }
}

TEST(Rules, StepsAgainstTheGradient) {
  for (const auto& [name, info] : Rules()) {
    const std::unique_ptr<Rule> rule = Make(info);
    for (const float sign : {1.0f, -1.0f}) {
      Weights<float> f(*rule, 3);  // All weights start at zero or on either side of it.
      const std::vector<float> before = f.w;
      const std::vector<float> g(3, sign);
      rule->Apply(StepOf(1), f.w.data(), f.state.data(), g.data(), 3);
      for (size_t i = 0; i < 3; ++i) EXPECT_LT((f.w[i] - before[i]) * sign, 0) << name;
    }
  }
}

// Element-wise: neither n, nor the cut, nor the alignment changes a bit.
TEST(Rules, BitsDoNotDependOnTheCut) {
  constexpr size_t kN = 67;
  for (const auto& [name, info] : Rules()) {
    SCOPED_TRACE(name);
    const std::unique_ptr<Rule> rule = Make(info);
    const size_t k = rule->state_per_weight();
    Weights<float> whole(*rule, kN), cut(*rule, kN);
    for (int step = 1; step <= 3; ++step) {
      const std::vector<float> g = Gradients(kN, step);
      rule->Apply(StepOf(step), whole.w.data(), whole.state.data(), g.data(), kN);
      for (size_t begin = 0, length = 1; begin < kN; begin += length, ++length) {
        length = std::min(length, kN - begin);
        std::vector<float> state;  // [k, length] of this piece.
        for (size_t s = 0; s < k; ++s) {
          const auto from = cut.state.begin() + s * kN + begin;
          state.insert(state.end(), from, from + length);
        }
        rule->Apply(StepOf(step), cut.w.data() + begin, state.data(), g.data() + begin, length);
        for (size_t s = 0; s < k; ++s) {
          std::copy_n(state.begin() + s * length, length, cut.state.begin() + s * kN + begin);
        }
      }
    }
    EXPECT_TRUE(SameBits(whole.w, cut.w));
    EXPECT_TRUE(SameBits(whole.state, cut.state));
  }
}

// Many rows at once are each row by itself; none is fine too.
TEST(Rules, ManyRowsAreEachRow) {
  constexpr size_t kRows = 9, kDim = 19;
  for (const auto& [name, info] : Rules()) {
    SCOPED_TRACE(name);
    const std::unique_ptr<Rule> rule = Make(info);
    const size_t row_floats = kDim * (1 + rule->state_per_weight());  // Weights, then state.
    std::vector<float> one_by_one;
    for (size_t r = 0; r < kRows; ++r) {
      const Weights<float> row(*rule, kDim);
      one_by_one.insert(one_by_one.end(), row.w.begin(), row.w.end());
      one_by_one.insert(one_by_one.end(), row.state.begin(), row.state.end());
    }
    std::vector<float> together = one_by_one;
    // Not in the order of memory.
    std::vector<float*> weights;
    for (size_t r = 0; r < kRows; ++r) {
      weights.push_back(together.data() + (r * 4 % kRows) * row_floats);
    }
    for (int step = 1; step <= 3; ++step) {
      const std::vector<float> g = Gradients(kRows * kDim, step);
      for (size_t r = 0; r < kRows; ++r) {
        float* w = one_by_one.data() + (r * 4 % kRows) * row_floats;
        rule->Apply(StepOf(step), w, w + kDim, g.data() + r * kDim, kDim);
      }
      rule->ApplyRows(StepOf(step), {weights, kDim}, g.data(), kDim);
      rule->ApplyRows(StepOf(step), {{}, kDim}, nullptr, kDim);
    }
    EXPECT_TRUE(SameBits(one_by_one, together));
  }
}

TEST(Rules, BitsDoNotDependOnTheInstructionSet) {
  constexpr size_t kN = 53;
  for (const auto& [name, info] : Rules()) {
    const std::unique_ptr<Rule> rule = Make(info);
    std::vector<std::vector<float>> results;
    const auto targets = hwy::SupportedTargets();
    for (auto bits = targets; bits != 0; bits &= bits - 1) {
      hwy::SetSupportedTargetsForTest(bits & -bits);
      hwy::GetChosenTarget().Update(hwy::SupportedTargets());
      Weights<float> f(*rule, kN);
      for (int step = 1; step <= 3; ++step) {
        rule->Apply(StepOf(step), f.w.data(), f.state.data(), Gradients(kN, step).data(), kN);
      }
      f.w.insert(f.w.end(), f.state.begin(), f.state.end());
      results.push_back(f.w);
    }
    hwy::SetSupportedTargetsForTest(0);
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
    EXPECT_GE(results.size(), 2u);
    for (const auto& result : results) EXPECT_TRUE(SameBits(result, results[0])) << name;
  }
}

TEST(Rules, NoWeightsAtAll) {
  for (const auto& [name, info] : Rules()) {
    Make(info)->Apply(StepOf(1), static_cast<float*>(nullptr), nullptr, nullptr, 0);
  }
}

// By torch's documented formulas at step 1, w = 1, g = 0.5: Adam moves by lr g / (|g| + eps).
TEST(Rules, AdamAddsEpsilonWhereTorchDoes) {
  const std::map<std::string, double> parameters = {{"epsilon", 0.01}};
  const double g = 0.5;
  double w = 1, state[2] = {0, 0};
  (*MakeRule("adam", parameters))->Apply({1, 0.1}, &w, state, &g, 1);
  EXPECT_DOUBLE_EQ(w, 1 - 0.1 * 0.5 / (0.5 + 0.01));
  double lazy = 1, lazy_state[2] = {0, 0};
  (*MakeRule("sparse_adam", parameters))->Apply({1, 0.1}, &lazy, lazy_state, &g, 1);
  // SparseAdam: step size lr sqrt(1 - beta2) / (1 - beta1), denominator sqrt(v) + eps.
  const double v = 0.001 * 0.25;
  EXPECT_NEAR(lazy, 1 - 0.1 * std::sqrt(0.001) / 0.1 * (0.1 * 0.5) / (std::sqrt(v) + 0.01), 1e-15);
}

// By hand: alpha 0.5, beta 1, l1 0.1, l2 0.2; g = 1 from w = z = n = 0.
TEST(Rules, FtrlByHand) {
  const auto rule = *MakeRule("ftrl", {{"beta", 1}, {"l1", 0.1}, {"l2", 0.2}});
  double w = 0, state[2] = {0, 0}, g = 1;
  rule->Apply({1, 0.5}, &w, state, &g, 1);
  EXPECT_DOUBLE_EQ(state[0], 1);  // z
  EXPECT_DOUBLE_EQ(state[1], 1);  // n
  EXPECT_DOUBLE_EQ(w, -(1 - 0.1) / ((1 + 1) / 0.5 + 0.2));
  g = -0.05 - 1;  // Back to |z| <= l1, but for sigma w, which is positive as w < 0.
  const double sigma = (std::sqrt(1 + g * g) - 1) / 0.5, z = 1 + g - sigma * w;
  rule->Apply({2, 0.5}, &w, state, &g, 1);
  EXPECT_DOUBLE_EQ(state[0], z);
  float wf = 0, statef[2] = {0, 0}, gf = 0.05f;  // |z| <= l1: stays zero.
  rule->Apply({1, 0.5}, &wf, statef, &gf, 1);
  EXPECT_EQ(wf, 0.0f);
}

TEST(Rules, ErrorsNameTheNearAndTheRange) {
  EXPECT_THAT(MakeRule("adm", {}).status().message(), HasSubstr("did you mean adam"));
  EXPECT_THAT(MakeRule("nothing_like_it", {}).status().message(), HasSubstr("known: adagrad"));
  EXPECT_THAT(MakeRule("adam", {{"beta_1", 0.9}}).status().message(),
              HasSubstr("no parameter \"beta_1\"; did you mean beta1"));
  EXPECT_THAT(MakeRule("adam", {{"beta1", 1.5}}).status().message(), HasSubstr("out of range"));
  EXPECT_FALSE(MakeRule("adam", {{"beta1", std::nan("")}}).ok());
  EXPECT_THAT(MakeRule("sgd", {{"x", 1}}).status().message(), HasSubstr("none is known"));
}

}  // namespace
}  // namespace pagoda
