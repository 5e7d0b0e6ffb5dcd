// A gradient that is not finite is found whatever is clipped, and nothing is applied along it.
#include "worker/train/step_update.h"

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

// The dense half of a worker of MakeJob with one optimizer of these limits.
class Half {
 public:
  explicit Half(const ClipLimits& limits) : group_(0, 1, std::make_shared<ThreadGroup::Post>()) {
    std::vector<DenseOptimizer> optimizers(1);
    auto rule = MakeRule("sgd", {});
    CHECK(rule.ok()) << rule.status();
    optimizers[0].rule = *std::move(rule);
    optimizers[0].limits = limits;
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
      Half half(limits);
      const std::vector<float> before = half.Weights();
      EXPECT_THAT(std::string(half.Apply(odd).message()), ::testing::HasSubstr("not finite"));
      EXPECT_EQ(half.Weights(), before);
    }
    EXPECT_TRUE(Half(limits).Apply(2).ok());
  }
}

// w falls by rate * scale * clipped g, the scale that of the clipped gradient's norm.
TEST(DenseUpdateTest, ValuesAreClippedBeforeTheNormIsTaken) {
  Half plain({}), clipped({.norm = 1, .value = 0.25});
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

}  // namespace
}  // namespace pagoda::testing
