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
    if (spec.kind == ParameterKind::kFlag) value = 1 - spec.default_value;
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
  Weights(const Rule& rule, size_t n) : w(n), state(rule.state_size(n)) {
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
  for (const char* name : {"sgd", "momentum", "adagrad", "rowwise_adagrad", "rmsprop", "adam",
                           "sparse_adam", "adamw", "lamb", "ftrl"}) {
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
    std::map<std::string, double> parameters = OffDefaults(info);
    if (parameters.count("weight_decay")) parameters["weight_decay"] = 0;  // Has a pull of its own.
    const std::unique_ptr<Rule> rule = *MakeRule(name, parameters);
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
    std::map<std::string, double> parameters = OffDefaults(info);
    // Adam is element-wise without this.
    if (parameters.count("per_row_count")) parameters["per_row_count"] = 0;
    const std::unique_ptr<Rule> rule = *MakeRule(name, parameters);
    if (!rule->is_element_wise()) continue;
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
    const size_t row_floats = kDim + rule->state_size(kDim);  // Weights, then state.
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
    const std::unique_ptr<Rule> rule = Make(info);
    Weights<float> none(*rule, 0);
    rule->Apply(StepOf(1), none.w.data(), none.state.data(), nullptr, 0);
  }
}

// With its parameter at 0, an addition to a rule changes no bit of what the rule was.
TEST(Rules, MomentumOfZeroIsSgd) {
  const auto sgd = *MakeRule("sgd", {}), momentum = *MakeRule("momentum", {{"momentum", 0}});
  Weights<float> a(*sgd, 37), b(*momentum, 37);
  for (int step = 1; step <= 3; ++step) {
    const std::vector<float> g = Gradients(37, step);
    sgd->Apply(StepOf(step), a.w.data(), a.state.data(), g.data(), 37);
    momentum->Apply(StepOf(step), b.w.data(), b.state.data(), g.data(), 37);
  }
  EXPECT_TRUE(SameBits(a.w, b.w));
}

TEST(Rules, AdamWWithoutDecayIsAdam) {
  const auto adam = *MakeRule("adam", {}), adamw = *MakeRule("adamw", {{"weight_decay", 0}});
  Weights<float> a(*adam, 37), b(*adamw, 37);
  for (int step = 1; step <= 3; ++step) {
    const std::vector<float> g = Gradients(37, step);
    adam->Apply(StepOf(step), a.w.data(), a.state.data(), g.data(), 37);
    adamw->Apply(StepOf(step), b.w.data(), b.state.data(), g.data(), 37);
  }
  EXPECT_TRUE(SameBits(a.w, b.w));
  EXPECT_TRUE(SameBits(a.state, b.state));
}

// A row's own count is a clock of its own: touched at 1, 7 and 900, it steps as if at 1, 2, 3.
TEST(Rules, PerRowCountIsARowsOwnClock) {
  const auto own = *MakeRule("adam", {{"per_row_count", 1}}), plain = *MakeRule("adam", {});
  EXPECT_FALSE(own->is_element_wise());
  Weights<float> a(*own, 16), b(*plain, 16);
  int count = 0;
  for (const int step : {1, 7, 900}) {
    const std::vector<float> g = Gradients(16, step);
    own->Apply({.step = step, .learning_rate = 0.1}, a.w.data(), a.state.data(), g.data(), 16);
    plain->Apply({.step = ++count, .learning_rate = 0.1}, b.w.data(), b.state.data(), g.data(), 16);
  }
  EXPECT_TRUE(SameBits(a.w, b.w));
  EXPECT_EQ(a.state.back(), 3);
}

// You et al.: a tensor's step has the size of its weights, whatever the size of its gradient.
TEST(Rules, LambStepsByTheSizeOfTheWeights) {
  const auto rule = *MakeRule("lamb", {});
  for (const double scale : {1e-3, 1.0, 1e3}) {
    std::vector<double> w = {3, 4}, g = {scale, -scale}, state(4);
    rule->Apply({1, 0.01}, w.data(), state.data(), g.data(), 2);
    EXPECT_NEAR(std::hypot(w[0] - 3, w[1] - 4), 0.01 * 5, 1e-12);
  }
  std::vector<double> w = {0, 0}, g = {1, -1}, state(4);  // Weights of zero move all the same.
  rule->Apply({1, 0.01}, w.data(), state.data(), g.data(), 2);
  EXPECT_NEAR(w[0], -0.01, 1e-7);
}

// One accumulator: the mean of the squares. By hand: g = (3, 4), s = 25 / 2.
TEST(Rules, RowwiseAdagradByHand) {
  const auto rule = *MakeRule("rowwise_adagrad", {{"initial_accumulator", 0.5}});
  double w[2] = {1, 1}, state[1], g[2] = {3, 4};
  EXPECT_EQ(rule->state_size(2), 1);
  rule->InitState(state, 2);
  rule->Apply({1, 0.1}, w, state, g, 2);
  EXPECT_DOUBLE_EQ(state[0], 13);
  EXPECT_NEAR(w[0], 1 - 0.1 * 3 / std::sqrt(13), 1e-10);
  EXPECT_NEAR(w[1], 1 - 0.1 * 4 / std::sqrt(13), 1e-10);
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
  EXPECT_THAT(MakeRule("sgd", {{"x", 1}}).status().message(), HasSubstr("no parameter \"x\""));
  EXPECT_THAT(MakeRule("momentum", {{"nesterov", 0.5}}).status().message(),
              HasSubstr("must be 0 or 1"));
}

TEST(Parameters, AreOfTheirKind) {
  const std::vector<ParameterSpec> declared = {
      {"rate", 0.5, 0, 1, "a number"},
      {"steps", 2, 0, 100, "how many", ParameterKind::kWhole},
      {"on", 0, 0, 1, "a switch", ParameterKind::kFlag}};
  const auto error = [&](const std::string& name, double value) {
    return std::string(ResolveParameters("x", declared, {{name, value}}).status().message());
  };
  EXPECT_EQ(error("rate", 0.25), "");
  EXPECT_EQ(error("steps", 3), "");
  EXPECT_EQ(error("on", 1), "");
  EXPECT_THAT(error("steps", 2.5), HasSubstr("steps = 2.5: must be a whole number (how many)"));
  EXPECT_THAT(error("on", 0.5), HasSubstr("must be 0 or 1 (a switch)"));
}

}  // namespace
}  // namespace pagoda
