#include "worker/train/step.h"

#include <cmath>
#include <limits>
#include <map>
#include <set>

#include "common/errors.h"
#include "ps/table/row.h"
#include "tests/worker/train/step_testing.h"

namespace pagoda::testing {
namespace {

// The outcome of 4 lanes that every other arrangement of the same lanes must have.
const Outcome& Plain() {
  static const Outcome outcome = Train(MakeJob(), {});
  return outcome;
}

TEST(StepTest, LossesFall) {
  RunOptions run;
  run.steps = 40;
  const Outcome outcome = Train(MakeJob(), run);
  ASSERT_EQ(outcome.losses.size(), 40u);
  EXPECT_LT(outcome.losses[39][0], outcome.losses[0][0]);
  EXPECT_LT(outcome.losses[39][1], outcome.losses[0][1]);
}

TEST(StepTest, LanesMatter) {
  // The comparison of the tests below can fail: other lanes, other sums.
  RunOptions run;
  run.lanes = 2;
  const Outcome outcome = Train(MakeJob(), run);
  EXPECT_NE(outcome.digest, Plain().digest);
}

struct Arrangement {
  int threads, shards, workers;
};
class ArrangementTest : public ::testing::TestWithParam<Arrangement> {};

TEST_P(ArrangementTest, ChangesNoBits) {
  RunOptions run;
  run.threads = GetParam().threads;
  run.shards = GetParam().shards;
  run.workers = GetParam().workers;
  ExpectSame(Train(MakeJob(), run), Plain());
}

INSTANTIATE_TEST_SUITE_P(All, ArrangementTest,
                         ::testing::Values(Arrangement{2, 1, 1}, Arrangement{3, 1, 1},
                                           Arrangement{1, 2, 1}, Arrangement{1, 3, 1},
                                           Arrangement{3, 3, 1}, Arrangement{1, 1, 2},
                                           Arrangement{2, 3, 2}, Arrangement{1, 2, 4}),
                         [](const auto& info) {
                           return absl::StrCat(info.param.threads, "threads", info.param.shards,
                                               "shards", info.param.workers, "workers");
                         });

TEST(StepTest, ManyLanesInWaves) {
  // 32 lanes of one worker are several waves on one thread and fewer on three.
  RunOptions run;
  run.lanes = 32;
  run.rows = run.last_rows = 32 * 7;
  const Outcome one = Train(MakeJob(), run);
  run.threads = 3;
  ExpectSame(Train(MakeJob(), run), one);
  run.threads = 1;
  run.workers = 8;
  ExpectSame(Train(MakeJob(), run), one);
}

TEST(StepTest, ShortLastStepWithEmptyLanes) {
  RunOptions run;
  run.last_rows = 1;
  const Outcome one = Train(MakeJob(), run);
  run.workers = 4;  // Three of them have no examples in the last step.
  run.shards = 2;
  ExpectSame(Train(MakeJob(), run), one);
}

TEST(StepTest, PullsBetweenStepsChangeNothing) {
  RunOptions run;
  run.clean_cuts = true;
  ExpectSame(Train(MakeJob(), run), Plain());
}

// ---- one step against plain loops in double

double RelativeError(const std::vector<double>& want, const float* got) {
  double difference = 0, norm = 0;
  for (size_t i = 0; i < want.size(); ++i) {
    difference += (want[i] - got[i]) * (want[i] - got[i]);
    norm += want[i] * want[i];
  }
  return std::sqrt(difference) / std::max(std::sqrt(norm), 1e-30);
}

// The plain form of a step: rows in a map, pooling and its gradient by their definitions.
class PlainStep {
 public:
  using Rows = std::map<std::pair<int, uint64_t>, std::vector<double>>;  // By (table, id).

  PlainStep(const Job& job, const Batch& batch, Rows rows)
      : job_(job), batch_(batch), rows_(std::move(rows)), x_(batch.rows * job.input.width) {
    for (size_t f = 0; f < job.input.embeddings.size(); ++f) {
      ForEach(f, [&](int b, const EmbeddingFeature& feature, uint64_t id, double scale) {
        const std::vector<double>& row = rows_.at({feature.table, id});
        for (int d = 0; d < feature.dim; ++d) X(b, feature.input_offset + d) += row[d] * scale;
      });
    }
    for (int b = 0; b < batch.rows; ++b) {
      X(b, 19) = batch.dense[2 * b];
      X(b, 20) = batch.dense[2 * b + 1];
    }
  }

  // One step of SGD on rows and parameters; returns the tasks' unweighted losses.
  std::vector<double> Run(double dense_rate, double row_rate, std::vector<double>* parameters) {
    const int n = batch_.rows;
    std::vector<std::vector<double>> labels(2), weights(2);
    for (int k = 0; k < 2; ++k) {
      double sum = 0;
      for (int b = 0; b < n; ++b) sum += batch_.weights[k * n + b];
      const double scale = k == 0 ? 1 / sum : 0.25 / n;  // As MakeJob says.
      for (int b = 0; b < n; ++b) {
        labels[k].push_back(batch_.labels[k * n + b]);
        weights[k].push_back(scale * batch_.weights[k * n + b]);
      }
    }
    const ReferenceNetwork<double> network(MakeGraph(job_));
    const auto result = network.Run(n, x_, *parameters, labels, weights);
    for (size_t i = 0; i < parameters->size(); ++i) {
      (*parameters)[i] -= dense_rate * result.passes[0].gradients[i];
    }
    for (size_t f = 0; f < job_.input.embeddings.size(); ++f) {
      ForEach(f, [&](int b, const EmbeddingFeature& feature, uint64_t id, double scale) {
        const double* dx = result.passes[0].dx.data() + b * job_.input.width + feature.input_offset;
        std::vector<double>& row = rows_.at({feature.table, id});
        for (int d = 0; d < feature.dim; ++d) row[d] -= row_rate * scale * dx[d];
      });
    }
    return {result.losses[0], result.losses[1] / 0.25};
  }

  const Rows& rows() const { return rows_; }

 private:
  double& X(int b, int column) { return x_[b * job_.input.width + column]; }

  template <typename Visit>
  void ForEach(size_t f, Visit&& visit) {
    const EmbeddingFeature& feature = job_.input.embeddings[f];
    const Batch::IdColumn& column = batch_.ids[f];
    for (int b = 0; b < batch_.rows; ++b) {
      const size_t begin = feature.is_list ? column.offsets[b] : b;
      const size_t end = feature.is_list ? column.offsets[b + 1] : b + 1;
      const double n = static_cast<double>(end - begin);
      const double scale = feature.pooling == FeatureConfig::MEAN     ? 1 / n
                           : feature.pooling == FeatureConfig::SQRT_N ? 1 / std::sqrt(n)
                                                                      : 1;
      for (size_t i = begin; i < end; ++i) visit(b, feature, column.ids[i], scale);
    }
  }

  const Job& job_;
  const Batch& batch_;
  Rows rows_;
  std::vector<double> x_;
};

// The rows of all ids of a batch, pulled one by one; without a row, what it would start from.
PlainStep::Rows PullRows(const Job& job, Cluster& cluster, const Batch& batch) {
  PlainStep::Rows rows;
  auto clients = cluster.Clients(kControlClient);
  for (size_t f = 0; f < job.input.embeddings.size(); ++f) {
    const int table = job.input.embeddings[f].table;
    for (const uint64_t id : batch.ids[f].ids) {
      if (rows.count({table, id}) > 0) continue;
      Message message;
      message.header.set_kind(WireHeader::PULL);
      message.header.add_segment()->set_table(table);
      message.header.mutable_segment(0)->set_count(1);
      message.ids = Buffer::Of(std::vector<uint64_t>{id});
      const auto reply = clients[0]->Call(std::move(message));
      CHECK(reply.ok()) << reply.status();
      const absl::Span<const float> values = Values(*reply);
      std::vector<float> row(values.begin(), values.end());
      if (!reply->header.absent().empty()) {
        RowLayout::Make(job.schema, table)->InitialWeights(id, row.data());
      }
      rows[{table, id}].assign(row.begin(), row.end());
    }
  }
  return rows;
}

class PoolingTest : public ::testing::TestWithParam<FeatureConfig::Pooling> {};

TEST_P(PoolingTest, OneStepIsThatOfPlainLoops) {
  Job job = MakeJob(GetParam(), "sgd");
  const double row_rate = 30;  // So large that the step stands out of the rows' rounding.
  job.method.optimizers[0].config.set_learning_rate(row_rate);
  const std::unique_ptr<Program> program = MakeProgram(job);
  Cluster cluster(job, 1, 1, 1);
  const std::unique_ptr<Group> group = *OpenGroup(false, {});
  Stepper stepper(OptionsFor(job, 1, 1), program.get(), &job.schema, job.input, group.get(),
                  cluster.Clients(0));
  const Batch batch = MakeBatch(job, 0, 150);
  PlainStep plain(job, batch, PullRows(job, cluster, batch));
  std::vector<double> parameters;
  for (const Tensor& t : stepper.DenseTensors()) {
    parameters.insert(parameters.end(), t.f32(), t.f32() + t.size());
  }
  const std::vector<double> losses = plain.Run(0.01, row_rate, &parameters);

  PreparedStepPtr step = stepper.Prepare(0, {batch});
  ASSERT_TRUE(stepper.Announce(*step).ok());
  ASSERT_TRUE(stepper.PullFirst(*step).ok());
  const absl::StatusOr<StepResult> result = stepper.Run(*step, nullptr);
  ASSERT_TRUE(result.ok()) << result.status();
  for (int k = 0; k < 2; ++k) EXPECT_NEAR(result->losses[k], losses[k], 1e-5 * losses[k]);

  // float's 6e-8, a few dozen operations deep.
  const double tolerance = 5e-6;
  const double* want = parameters.data();
  for (const Tensor& t : stepper.DenseTensors()) {
    EXPECT_LT(RelativeError({want, want + t.size()}, t.f32()), tolerance) << t.name;
    want += t.size();
  }
  for (const auto& [key, row] : PullRows(job, cluster, batch)) {
    const std::vector<float> got(row.begin(), row.end());
    EXPECT_LT(RelativeError(plain.rows().at(key), got.data()), 10 * tolerance)
        << "table " << key.first << " id " << key.second;
  }
}

INSTANTIATE_TEST_SUITE_P(All, PoolingTest,
                         ::testing::Values(FeatureConfig::SUM, FeatureConfig::MEAN,
                                           FeatureConfig::SQRT_N));

// ---- one worker, one shard, step by step

class OneWorkerTest : public ::testing::Test {
 protected:
  std::unique_ptr<Stepper> MakeStepper() {
    return std::make_unique<Stepper>(OptionsFor(job_, 2, 1), program_.get(), &job_.schema,
                                     job_.input, group_.get(), cluster_.Clients(0));
  }
  absl::StatusOr<StepResult> RunOne(Stepper& stepper, int64_t step, Batch batch) {
    PreparedStepPtr prepared = stepper.Prepare(step, {std::move(batch)});
    RETURN_IF_ERROR(stepper.Announce(*prepared));
    RETURN_IF_ERROR(stepper.PullFirst(*prepared));
    return stepper.Run(*prepared, nullptr);
  }

  const Job job_ = MakeJob();
  const std::unique_ptr<Program> program_ = MakeProgram(job_);
  Cluster cluster_{job_, 1, 1, 1};
  const std::unique_ptr<Group> group_ = *OpenGroup(false, {});
};

TEST_F(OneWorkerTest, LossThatIsNotFiniteStopsBeforeThePush) {
  const auto stepper = MakeStepper();
  ASSERT_TRUE(RunOne(*stepper, 0, MakeBatch(job_, 0, 100)).ok());
  const std::string digest = cluster_.Digest();
  Batch bad = MakeBatch(job_, 100, 100);
  bad.labels[100 + 17] = std::numeric_limits<float>::quiet_NaN();
  const absl::Status status = RunOne(*stepper, 1, bad).status();
  EXPECT_EQ(ExitCodeOf(status), ExitCode::kData);
  EXPECT_THAT(std::string(status.message()), ::testing::HasSubstr("step 1"));
  EXPECT_THAT(std::string(status.message()), ::testing::HasSubstr("task time"));
  EXPECT_EQ(cluster_.Digest(), digest);
}

TEST_F(OneWorkerTest, StepWithoutExamples) {
  const auto stepper = MakeStepper();
  const auto result = RunOne(*stepper, 0, Batch());
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->losses, (std::vector<double>{0, 0}));
}

TEST_F(OneWorkerTest, LoadedDenseTensorsGoOnAlike) {
  Cluster other(job_, 1, 1, 1);
  const auto straight = MakeStepper();
  Stepper reloaded(OptionsFor(job_, 1, 1), program_.get(), &job_.schema, job_.input, group_.get(),
                   other.Clients(0));
  for (int64_t t = 0; t < 5; ++t) {
    ASSERT_TRUE(RunOne(*straight, t, MakeBatch(job_, t * 90, 90)).ok());
    if (t == 3) {
      std::vector<Tensor> saved = reloaded.DenseTensors(), zeros = saved;
      std::reverse(saved.begin(), saved.end());
      for (Tensor& t : zeros) t.bytes.assign(t.bytes.size(), '\0');
      ASSERT_TRUE(reloaded.LoadDense(zeros, /*require_states=*/true).ok());
      ASSERT_TRUE(reloaded.LoadDense(saved, /*require_states=*/true).ok());
    }
    ASSERT_TRUE(RunOne(reloaded, t, MakeBatch(job_, t * 90, 90)).ok());
  }
  ExpectSame({straight->DenseTensors(), cluster_.Digest(), {}, {}},
             {reloaded.DenseTensors(), other.Digest(), {}, {}});
}

TEST_F(OneWorkerTest, LoadRefusesWhatDoesNotFit) {
  const auto stepper = MakeStepper();
  const std::vector<Tensor> good = stepper->DenseTensors();
  const auto load = [&](auto&& change, bool require_states = true) {
    std::vector<Tensor> tensors = good;
    change(tensors);
    return stepper->LoadDense(tensors, require_states);
  };
  EXPECT_TRUE(load([](auto&) {}).ok());
  const auto drop = [](auto& t) { t.pop_back(); };
  EXPECT_EQ(ExitCodeOf(load(drop)), ExitCode::kData);
  EXPECT_TRUE(load(drop, /*require_states=*/false).ok());
  EXPECT_EQ(ExitCodeOf(load([](auto& t) { t[0].name = "unknown"; }, false)), ExitCode::kUsage);
  EXPECT_EQ(ExitCodeOf(load([](auto& t) { t[0].shape.push_back(2); })), ExitCode::kData);
  EXPECT_EQ(ExitCodeOf(load([](auto& t) { t[0].dtype = "F64"; })), ExitCode::kData);
  EXPECT_EQ(ExitCodeOf(load([](auto& t) { t[0].bytes.pop_back(); })), ExitCode::kData);
  EXPECT_EQ(ExitCodeOf(load([](auto& t) { t.push_back(t[0]); })), ExitCode::kData);
  EXPECT_EQ(ExitCodeOf(load([](auto& t) {
              const float inf = std::numeric_limits<float>::infinity();
              std::memcpy(&t[1].bytes[0], &inf, sizeof(inf));
            })),
            ExitCode::kData);
}

TEST_F(OneWorkerTest, ValuesWithoutARowAreCounted) {
  // Several shards, and more than one block of rows.
  Cluster cluster(job_, 3, 1, 1);
  Stepper stepper(OptionsFor(job_, 1, 1), program_.get(), &job_.schema, job_.input, group_.get(),
                  cluster.Clients(0));
  constexpr int kRows = 5000;
  const Batch all = MakeBatch(job_, 0, kRows);
  std::vector<std::vector<float>> predictions;
  ASSERT_TRUE(stepper.Predict(all, &predictions).ok());
  EXPECT_THAT(stepper.unseen(), ::testing::ElementsAre(kRows, kRows, all.ids[2].ids.size()));

  const Batch trained = MakeBatch(job_, 0, 40);
  ASSERT_TRUE(RunOne(stepper, 0, trained).ok());
  std::vector<int64_t> expected(3);
  for (int f = 0; f < 3; ++f) {
    const std::set<uint64_t> seen(trained.ids[f].ids.begin(), trained.ids[f].ids.end());
    for (const uint64_t id : all.ids[f].ids) expected[f] += seen.count(id) == 0;
  }
  EXPECT_GT(expected[1], 0);
  ASSERT_TRUE(stepper.Predict(all, &predictions).ok());
  EXPECT_THAT(stepper.unseen(), ::testing::ElementsAreArray(expected));
  ASSERT_TRUE(stepper.Predict(trained, &predictions).ok());
  EXPECT_THAT(stepper.unseen(), ::testing::ElementsAre(0, 0, 0));
}

TEST_F(OneWorkerTest, PredictionsOfARowDoNotDependOnOthers) {
  const auto stepper = MakeStepper();
  ASSERT_TRUE(RunOne(*stepper, 0, MakeBatch(job_, 0, 100)).ok());
  const std::string digest = cluster_.Digest();
  std::vector<std::vector<float>> all, part, none;
  // More than one block of rows, and not a whole number of tiles.
  ASSERT_TRUE(stepper->Predict(MakeBatch(job_, 0, 5000), &all).ok());
  ASSERT_TRUE(stepper->Predict(MakeBatch(job_, 4090, 20), &part).ok());
  ASSERT_TRUE(stepper->Predict(Batch(), &none).ok());
  ASSERT_EQ(all.size(), 2u);
  for (int head = 0; head < 2; ++head) {
    EXPECT_TRUE(none[head].empty());
    for (int b = 0; b < 20; ++b) EXPECT_EQ(part[head][b], all[head][4090 + b]) << b;
  }
  EXPECT_EQ(cluster_.Digest(), digest);  // Predictions change nothing.
}

}  // namespace
}  // namespace pagoda::testing
