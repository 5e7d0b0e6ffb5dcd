// Averages of the dense weights: against a plain recurrence, in all arrangements, through saving
// and loading.
#include "worker/train/step_average.h"

#include <cmath>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "common/errors.h"
#include "tests/worker/train/step_testing.h"

namespace pagoda {
namespace {

using namespace pagoda::testing;

using Values = std::map<std::string, std::vector<float>>;

// By tensor name; the averages only, or the weights only.
Values Tensors(const Stepper& stepper, bool averages) {
  Values values;
  for (const Tensor& tensor : stepper.DenseTensors()) {
    if (absl::StrContains(tensor.name, ".state")) continue;
    std::string name = tensor.name;
    const bool is_average = absl::EndsWith(name, ".ema");
    if (is_average != averages) continue;
    if (is_average) name.resize(name.size() - 4);
    values[name].assign(tensor.f32(), tensor.f32() + tensor.size());
  }
  return values;
}

class AverageTest : public ::testing::Test {
 protected:
  static Job Averaged(double decay) {
    Job job = MakeJob();
    job.ema_decay = decay;
    return job;
  }
  std::unique_ptr<Stepper> MakeStepper(const Job& job, Cluster* cluster) {
    return std::make_unique<Stepper>(OptionsFor(job, 2, 1), program_.get(), &job.schema, job.input,
                                     group_.get(), cluster->Clients(0));
  }
  static void RunOne(const Job& job, Stepper& stepper, int64_t step) {
    PreparedStepPtr prepared = stepper.Prepare(step, {MakeBatch(job, step * 90, 90)});
    ASSERT_TRUE(stepper.Announce(*prepared).ok());
    ASSERT_TRUE(stepper.PullFirst(*prepared).ok());
    ASSERT_TRUE(stepper.Run(*prepared, nullptr).ok());
  }

  const Job plain_ = MakeJob();
  const std::unique_ptr<Program> program_ = MakeProgram(plain_);
  const std::unique_ptr<Group> group_ = *OpenGroup(false, {});
};

TEST_F(AverageTest, FollowsThePlainRecurrence) {
  constexpr double kDecay = 0.4;  // Reached after 5 steps of the rise.
  const Job job = Averaged(kDecay);
  Cluster cluster(job, 1, 1, 1);
  const auto stepper = MakeStepper(job, &cluster);
  std::map<std::string, std::vector<double>> expected;
  for (const auto& [name, values] : Tensors(*stepper, /*averages=*/false)) {
    expected[name].assign(values.begin(), values.end());
  }
  for (int64_t t = 1; t <= 12; ++t) {
    RunOne(job, *stepper, t - 1);
    const double d = std::min(kDecay, (1.0 + t) / (10.0 + t));
    for (const auto& [name, weights] : Tensors(*stepper, false)) {
      for (size_t i = 0; i < weights.size(); ++i) {
        expected[name][i] = d * expected[name][i] + (1 - d) * weights[i];
      }
    }
  }
  const Values averages = Tensors(*stepper, true);
  ASSERT_EQ(averages.size(), expected.size());
  const Values weights = Tensors(*stepper, false);
  double away = 0;
  for (const auto& [name, values] : averages) {
    for (size_t i = 0; i < values.size(); ++i) {
      // A step rounds three times, by 6e-8 each; its error then fades by d <= 13/22 a step, so that
      // all of them add up to less than 3 / (1 - d) = 7.4 such errors.
      EXPECT_NEAR(values[i], expected[name][i],
                  16 * 6e-8 * std::max(1.0, std::fabs(expected[name][i])))
          << name << " " << i;
      away = std::max(away, std::fabs(double{values[i]} - weights.at(name)[i]));
    }
  }
  EXPECT_GT(away, 1e-4);
}

TEST_F(AverageTest, DoesNotChangeTraining) {
  Job job = Averaged(0.9);
  const Outcome with = Train(job, {}), without = Train(plain_, {});
  EXPECT_EQ(with.digest, without.digest);
  EXPECT_EQ(with.losses, without.losses);
  EXPECT_NE(with.predictions, without.predictions);
  EXPECT_GT(with.dense.size(), without.dense.size());
}

TEST_F(AverageTest, ArrangementsGiveTheSameBits) {
  const Job job = Averaged(0.99);
  const Outcome one = Train(job, {});
  for (const int workers : {1, 2, 4}) {
    for (const int threads : {1, 3}) {
      RunOptions run;
      run.workers = workers;
      run.threads = threads;
      ExpectSame(Train(job, run), one);
    }
  }
}

TEST_F(AverageTest, PredictionsAreMadeWithAverages) {
  const Job job = Averaged(0.9);
  Cluster cluster(job, 1, 1, 1), other(plain_, 1, 1, 1);
  const auto stepper = MakeStepper(job, &cluster);
  const auto same_rows = MakeStepper(plain_, &other);
  for (int64_t t = 0; t < 6; ++t) {
    RunOne(job, *stepper, t);
    RunOne(plain_, *same_rows, t);
  }
  std::vector<Tensor> averages;
  for (Tensor tensor : stepper->DenseTensors()) {
    if (!absl::EndsWith(tensor.name, ".ema")) continue;
    tensor.name.resize(tensor.name.size() - 4);
    averages.push_back(std::move(tensor));
  }
  ASSERT_FALSE(averages.empty());
  std::vector<std::vector<float>> predicted, by_weights, by_averages;
  ASSERT_TRUE(stepper->Predict(MakeBatch(job, 0, 50), &predicted).ok());
  ASSERT_TRUE(same_rows->Predict(MakeBatch(job, 0, 50), &by_weights).ok());
  ASSERT_TRUE(same_rows->LoadDense(averages, /*require_states=*/false).ok());
  ASSERT_TRUE(same_rows->Predict(MakeBatch(job, 0, 50), &by_averages).ok());
  EXPECT_EQ(predicted, by_averages);
  EXPECT_NE(predicted, by_weights);
}

TEST_F(AverageTest, LoadsWhatWasSaved) {
  const Job job = Averaged(0.9);
  Cluster cluster(job, 1, 1, 1), other(job, 1, 1, 1);
  const auto stepper = MakeStepper(job, &cluster);
  for (int64_t t = 0; t < 3; ++t) RunOne(job, *stepper, t);
  const std::vector<Tensor> saved = stepper->DenseTensors();
  const auto loaded = MakeStepper(job, &other);
  ASSERT_TRUE(loaded->LoadDense(saved, /*require_states=*/true).ok());
  ExpectSame({saved, "", {}, {}}, {loaded->DenseTensors(), "", {}, {}});

  // A checkpoint without averages is not one of this run; --init's averages start at its weights.
  std::vector<Tensor> weights;
  for (const Tensor& tensor : saved) {
    if (!absl::EndsWith(tensor.name, ".ema")) weights.push_back(tensor);
  }
  const absl::Status status = loaded->LoadDense(weights, /*require_states=*/true);
  EXPECT_EQ(ExitCodeOf(status), ExitCode::kData);
  EXPECT_THAT(std::string(status.message()), ::testing::HasSubstr(".ema is missing"));
  ASSERT_TRUE(loaded->LoadDense(weights, /*require_states=*/false).ok());
  EXPECT_EQ(Tensors(*loaded, true), Tensors(*stepper, false));
}

TEST_F(AverageTest, StandsWhereItsOptimizersStand) {
  const auto& views = program_->parameters();
  // Parameter 0 has none, 1 has optimizer 0, all others 0 and 1.
  std::vector<std::vector<int>> owners(views.size(), {0, 1});
  owners[0].clear();
  owners[1] = {0};
  const size_t size = program_->parameter_count();
  const std::vector<float> zeros(size, 0.0f), ones(size, 1.0f), twos(size, 2.0f);
  WeightAverages averages(0.999, program_.get(), owners, zeros);
  ComputeThreads threads(2);
  averages.Step({0, 4}, ones.data(), &threads);
  EXPECT_FALSE(averages.Has(views[0]));
  EXPECT_TRUE(averages.Has(views[1]));
  EXPECT_EQ(averages.data()[views[1].offset], 0);
  for (size_t v = 2; v < views.size(); ++v) {
    const int64_t last = views[v].offset + (views[v].rows - 1) * views[v].stride;
    EXPECT_EQ(averages.data()[views[v].offset], static_cast<float>(1 - 5.0 / 14)) << v;
    EXPECT_EQ(averages.data()[last + views[v].columns - 1], static_cast<float>(1 - 5.0 / 14)) << v;
  }
  EXPECT_EQ(averages.data()[views[0].offset], 0);
  EXPECT_EQ(averages.Serving(twos.data())[views[0].offset], 2);
  EXPECT_EQ(averages.data()[views[1].offset], 0);
}

}  // namespace
}  // namespace pagoda
