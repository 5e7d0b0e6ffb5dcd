// A gradient that is not finite is found whatever is clipped, and nothing is applied along it;
// optimizers that own the same parameters are applied one after the other.
#include "worker/train/step_update.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "tests/worker/train/step_testing.h"

namespace pagoda::testing {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

// The dense half of a worker of MakeJob with optimizers of these limits, which all own everything:
// SGD with L2 decay.
class Half {
 public:
  explicit Half(const std::vector<ClipLimits>& limits, double l2 = 0)
      : group_(0, 1, std::make_shared<ThreadGroup::Post>()) {
    std::vector<DenseOptimizer> optimizers(limits.size());
    for (size_t o = 0; o < limits.size(); ++o) {
      auto rule = MakeRule("sgd", {{"l2", l2}});
      CHECK(rule.ok()) << rule.status();
      optimizers[o].label = absl::StrCat("o", o);
      optimizers[o].rule = *std::move(rule);
      optimizers[o].limits = limits[o];
    }
    dense_ = std::make_unique<DenseParameters>(program_.get(), std::move(optimizers), 1);
    gradients_.emplace_back(dense_->size(), 1, 1);
    update_ = std::make_unique<DenseUpdate>(dense_.get(), &gradients_, &group_, &threads_);
  }

  // Applies 0.5 everywhere but for one element.
  absl::Status Apply(float odd) {
    const OptimizerMove move;
    update_->SetMoves({&move, 1});
    std::vector<float> sums(dense_->element_count(), 0.5f);
    sums[sums.size() / 2] = odd;
    return update_->Apply(3, sums);
  }
  // Applies `gradient` everywhere, as of one slice, with one rate for each optimizer; 0: it stands.
  absl::Status Apply(float gradient, const std::vector<double>& rates) {
    std::vector<OptimizerMove> moves(rates.size());
    for (size_t o = 0; o < rates.size(); ++o) {
      moves[o].moves = rates[o] > 0;
      moves[o].rule_step.learning_rate = rates[o];
    }
    update_->SetMoves(moves);
    gradients_[0].MakeBuffer(0, 0);
    std::fill_n(gradients_[0].Buffer(0, 0), dense_->size(), gradient);
    const int slices = 1;
    update_->Start({&slices, 1});
    double seconds = 0;
    return update_->Finish(3, &seconds, &seconds);
  }
  std::vector<float> Weights() const { return {dense_->data(), dense_->data() + dense_->size()}; }

 private:
  const Job job_ = MakeJob();
  const std::unique_ptr<Program> program_ = MakeProgram(job_);
  ThreadGroup group_;
  ComputeThreads threads_{1};
  std::unique_ptr<DenseParameters> dense_;
  std::vector<DenseGradients> gradients_;
  std::unique_ptr<DenseUpdate> update_;
};

TEST(DenseUpdateTest, ClippingHidesNoInfinity) {
  for (const ClipLimits& limits : {ClipLimits{}, ClipLimits{.norm = 0, .value = 1},
                                   ClipLimits{.norm = 1, .value = 0}, ClipLimits{1, 1}}) {
    for (const float odd : {kInfinity, -kInfinity, kNaN}) {
      SCOPED_TRACE(absl::StrCat("norm ", limits.norm, " value ", limits.value, " odd ", odd));
      Half half({limits});
      const std::vector<float> before = half.Weights();
      EXPECT_THAT(std::string(half.Apply(odd).message()), ::testing::HasSubstr("not finite"));
      EXPECT_EQ(half.Weights(), before);
    }
    EXPECT_TRUE(Half({limits}).Apply(2).ok());
  }
}

// w falls by rate * scale * clipped g, the scale that of the clipped gradient's norm.
TEST(DenseUpdateTest, ValuesAreClippedBeforeTheNormIsTaken) {
  Half plain({ClipLimits{}}), clipped({ClipLimits{.norm = 1, .value = 0.25}});
  const std::vector<float> before = plain.Weights();
  ASSERT_TRUE(plain.Apply(0.5f).ok());
  ASSERT_TRUE(clipped.Apply(100).ok());
  const std::vector<float> along = plain.Weights(), after = clipped.Weights();
  double moved = 0, moved_clipped = 0;
  for (size_t i = 0; i < before.size(); ++i) {
    moved += std::pow(double{before[i]} - along[i], 2);
    moved_clipped += std::pow(double{before[i]} - after[i], 2);
  }
  const double rate = RuleStep().learning_rate;
  // Weights below 1 round by at most 3e-8, each element of a step of 1e-3 / sqrt(E).
  EXPECT_NEAR(std::sqrt(moved_clipped), rate, 3e-8 * std::sqrt(before.size()));
  EXPECT_GT(moved, moved_clipped);
}

// w1 = w - r1 (g1 + l2 w), w2 = w1 - r2 (g2 + l2 w1): with a decay, the order can be told.
TEST(DenseUpdateTest, OptimizersOfTheSameParametersGoOneAfterTheOther) {
  constexpr double kL2 = 0.5, kGradient = 0.25;
  const std::vector<double> rates = {0.5, 0.125};
  const ClipLimits none, norm = {.norm = 1, .value = 0};
  using Limits = std::vector<ClipLimits>;
  for (const Limits& limits :
       {Limits{none, none}, Limits{norm, none}, Limits{none, norm}, Limits{norm, norm}}) {
    SCOPED_TRACE(absl::StrCat("limits ", limits[0].norm, " and ", limits[1].norm));
    Half half(limits, kL2);
    std::vector<float> expected = half.Weights();
    // Of the gradient alone: decay is the rule's.
    const double scale = 1 / (kGradient * std::sqrt(static_cast<double>(expected.size())));
    ASSERT_LT(scale, 1);
    ASSERT_TRUE(half.Apply(kGradient, rates).ok());
    for (float& w : expected) {
      for (size_t o = 0; o < rates.size(); ++o) {
        const double g = kGradient * (limits[o].norm > 0 ? scale : 1);
        w = static_cast<float>(w - rates[o] * (g + kL2 * w));
      }
    }
    // Each of two steps rounds three times at values below 1.
    EXPECT_THAT(half.Weights(), ::testing::Pointwise(::testing::FloatNear(6 * 6e-8), expected));
  }
}

TEST(DenseUpdateTest, AnOptimizerThatStandsLeavesTheOthersTheirTurn) {
  Half two({ClipLimits{}, ClipLimits{}}), one({ClipLimits{}});
  ASSERT_TRUE(one.Apply(0.25, {0.5}).ok());
  for (const std::vector<double>& rates : {std::vector<double>{0, 0.5}, {0, 0}}) {
    ASSERT_TRUE(two.Apply(0.25, rates).ok());
    EXPECT_EQ(two.Weights(), one.Weights());
  }
}

}  // namespace
}  // namespace pagoda::testing
