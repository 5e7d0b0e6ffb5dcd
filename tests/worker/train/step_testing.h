// A small job in one process for the tests of the step: a network, real shards, synthetic batches,
// and workers that are threads.
#ifndef PAGODA_TESTS_WORKER_TRAIN_STEP_TESTING_H_
#define PAGODA_TESTS_WORKER_TRAIN_STEP_TESTING_H_

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/clock.h"
#include "common/group/group.h"
#include "common/hash.h"
#include "common/net/client.h"
#include "common/net/transport.h"
#include "common/optim/rule.h"
#include "common/random.h"
#include "glog/logging.h"
#include "proto/wire.pb.h"
#include "ps/shard.h"
#include "tests/worker/train/thread_group.h"
#include "worker/data/batch.h"
#include "worker/graph/program.h"
#include "worker/train/method.h"
#include "worker/train/step.h"

namespace pagoda::testing {

// ---- the job: what is trained

struct Job {
  Schema schema;
  InputLayout input;
  std::vector<TaskConfig> tasks;
  TrainingMethod method;  // Of MakeJob: optimizer 0 is the rows', 1 the dense parameters'.
  WeightingConfig weighting;
  double ema_decay = 0;
  std::optional<Graph> graph;                // MakeGraph's unless it is set.
  std::function<void(Batch*)> change_batch;  // What MakeBatch does at its end.
};

// Features a, b (one id each, in table 0, dim 8), c (a list, table 1, dim 3), two dense ones; tasks
// "click" (a class) and "time" (a number).
inline Job MakeJob(FeatureConfig::Pooling pooling = FeatureConfig::MEAN,
                   const std::string& rule = "adam") {
  Job job;
  job.input.embeddings = {{"a", 0, 8, 1, FeatureConfig::SUM, false, 0},
                          {"b", 0, 8, 2, FeatureConfig::SUM, false, 8},
                          {"c", 1, 3, 0, pooling, true, 16}};
  job.input.dense = {{"p", 19}, {"q", 20}};
  job.input.width = 21;
  auto parameters = ResolveParameters(rule, Rules().at(rule).parameters, {});
  CHECK(parameters.ok()) << parameters.status();
  job.method.passes = {{{"click", "time"}}};
  for (const char* name : {"sparse", "dense"}) {
    StepOptimizer& optimizer = job.method.optimizers.emplace_back();
    optimizer.name = name;
    optimizer.tasks = {"click", "time"};
    optimizer.config.set_rule(rule);
    optimizer.config.set_learning_rate(job.method.optimizers.size() == 1 ? 0.02 : 0.01);
    for (const auto& [parameter, value] : *parameters) {
      Parameter* added = optimizer.config.add_parameter();
      added->set_name(parameter);
      added->set_value(value);
    }
    OptimizerSchema* in_schema = job.schema.add_optimizer();
    in_schema->set_name(name);
    in_schema->set_rule(rule);
    in_schema->mutable_parameter()->insert(parameters->begin(), parameters->end());
  }
  job.method.optimizers[0].tables = {0, 1};
  job.method.optimizers[1].owns_all_parameters = true;
  for (const int dim : {8, 3}) {
    TableSchema* table = job.schema.add_table();
    table->set_name(absl::StrCat("table", dim));
    table->set_dim(dim);
    table->add_optimizer(0);
    table->set_init_range(0.05);
  }
  job.schema.set_seed(5);
  job.tasks.resize(2);
  job.tasks[0].set_name("click");
  job.tasks[1].set_name("time");
  job.tasks[1].set_loss(TaskConfig::MSE);
  job.tasks[1].set_weight(0.25);
  job.tasks[1].set_normalize(TaskConfig::BATCH);
  return job;
}

inline Graph MakeGraph(const Job& job) {
  if (job.graph.has_value()) return *job.graph;
  Graph g(job.input.width);
  const Value bottom = g.Mlp("bottom", g.Input(), {32, 16}, RELU);
  g.Head("click", HeadKind::kProbability, g.Dense("click/out", bottom, 1));
  g.Head("time", HeadKind::kNumber, g.Dense("time/out", bottom, 1));
  return g;
}

inline std::unique_ptr<Program> MakeProgram(const Job& job) {
  auto program = Program::Compile(MakeGraph(job), ProgramOptions(job.method));
  CHECK(program.ok()) << program.status();
  return *std::move(program);
}

inline StepOptions OptionsFor(const Job& job, int threads, int lanes) {
  StepOptions options;
  options.threads = threads;
  options.lane_count = lanes;
  options.tasks = job.tasks;
  options.method = job.method;
  options.weighting.config = job.weighting;
  options.ema_decay = job.ema_decay;
  options.seed = 7;
  return options;
}

// Examples [first, first + rows) of an endless synthetic data set; ids repeat a lot, some lists are
// empty, some weights are 0.
inline Batch MakeBatch(const Job& job, int64_t first, int rows) {
  Batch batch;
  if (rows == 0) return batch;
  batch.rows = rows;
  batch.ids.resize(job.input.embeddings.size());
  batch.ids[2].offsets.push_back(0);
  batch.labels.resize(2 * rows);
  batch.weights.resize(2 * rows);
  for (int b = 0; b < rows; ++b) {
    const auto u = Philox(11, 0, first + b), v = Philox(11, 1, first + b);
    batch.ids[0].ids.push_back(SaltId(1, u[0] % 50));
    batch.ids[1].ids.push_back(SaltId(2, u[1] % 200));
    for (uint32_t i = 0; i < u[2] % 4; ++i) batch.ids[2].ids.push_back(v[i] % 30);
    batch.ids[2].offsets.push_back(static_cast<uint32_t>(batch.ids[2].ids.size()));
    batch.dense.push_back(ToUnitFloat(v[2]) - 0.5f);
    batch.dense.push_back(ToUnitFloat(v[3]) * 2);
    batch.labels[b] = u[0] % 3 == 0;
    batch.labels[rows + b] = static_cast<float>(u[1] % 7);
    batch.weights[b] = u[3] % 5 == 0 ? 0 : 1 + u[3] % 3;
    batch.weights[rows + b] = 1;
    batch.record.push_back(first + b);
  }
  if (job.change_batch) job.change_batch(&batch);
  return batch;
}

// Lane l of L of a global batch that starts at example `first`: its l-th contiguous piece.
inline Batch MakeLane(const Job& job, int64_t first, int rows, int lane, int lanes) {
  const int size = (rows + lanes - 1) / lanes;
  const int begin = std::min(rows, lane * size), end = std::min(rows, begin + size);
  return MakeBatch(job, first + begin, end - begin);
}

// ---- shards in this process, behind a lock, so that workers may be threads

class LockedShard {
 public:
  LockedShard() : shard_({}, Clock::Steady()) {}

  void Send(const PeerId& from, Message request) {
    request.header.set_protocol_version(kProtocolVersion);
    absl::MutexLock lock(&mu_);
    Outbox outbox;
    shard_.Handle(from, std::move(request), outbox);
    for (Outgoing& reply : outbox) {
      reply.message.header.set_protocol_version(kProtocolVersion);
      mailboxes_[reply.to].push_back(std::move(reply.message));
    }
  }

  absl::StatusOr<Message> Receive(const PeerId& by, int64_t timeout_ms) {
    absl::MutexLock lock(&mu_);
    std::deque<Message>& mailbox = mailboxes_[by];
    const auto has_mail = [&mailbox] { return !mailbox.empty(); };
    if (!mu_.AwaitWithTimeout(absl::Condition(&has_mail), absl::Milliseconds(timeout_ms))) {
      return absl::DeadlineExceededError("no message");
    }
    Message message = std::move(mailbox.front());
    mailbox.pop_front();
    return message;
  }

 private:
  absl::Mutex mu_;
  Shard shard_ ABSL_GUARDED_BY(mu_);
  std::map<PeerId, std::deque<Message>> mailboxes_ ABSL_GUARDED_BY(mu_);
};

class LockedChannel : public Channel {
 public:
  LockedChannel(LockedShard* shard, std::string id) : shard_(shard), id_(std::move(id)) {}
  absl::Status Send(const Message& message) override {
    shard_->Send(id_, message);
    return absl::OkStatus();
  }
  absl::StatusOr<Message> Receive(int64_t timeout_ms) override {
    return shard_->Receive(id_, timeout_ms);
  }
  const std::string& peer() const override { return id_; }

 private:
  LockedShard* const shard_;
  const std::string id_;
};

class Cluster {
 public:
  Cluster(const Job& job, int shard_count, int workers, int lanes, int64_t next_step = 0) {
    for (int s = 0; s < shard_count; ++s) shards_.push_back(std::make_unique<LockedShard>());
    coordinator_ = Clients(kCoordinatorClient);
    for (int s = 0; s < shard_count; ++s) {
      Message message;
      message.header.set_kind(WireHeader::HELLO);
      Hello* hello = message.header.mutable_hello();
      *hello->mutable_schema() = job.schema;
      hello->set_shard(s);
      hello->set_shard_count(shard_count);
      hello->set_worker_count(workers);
      hello->set_lane_count(lanes);
      hello->set_next_step(next_step);
      hello->set_holder("test:1");
      hello->set_peer_timeout_ms(30'000);
      const auto reply = coordinator_[s]->Call(std::move(message));
      CHECK(reply.ok()) << reply.status();
    }
  }

  std::vector<std::unique_ptr<ShardClient>> Clients(uint32_t id) {
    std::vector<std::unique_ptr<ShardClient>> clients;
    for (auto& shard : shards_) {
      ClientOptions options;
      options.job_id = 77;
      options.run_epoch = 1;
      options.client_id = id;
      auto channel = std::make_unique<LockedChannel>(shard.get(), absl::StrCat("client ", id));
      clients.push_back(
          std::make_unique<ShardClient>(std::move(channel), options, Clock::Steady()));
    }
    return clients;
  }

  // The sum of all shards' digests, and the number of rows.
  std::string Digest() {
    unsigned __int128 sum = 0;
    uint64_t rows = 0;
    for (auto& client : coordinator_) {
      Message message;
      message.header.set_kind(WireHeader::DIGEST);
      const auto reply = client->Call(std::move(message));
      CHECK(reply.ok()) << reply.status();
      const DigestReply& digest = reply->header.digest_reply();
      sum += static_cast<unsigned __int128>(digest.digest_high()) << 64 | digest.digest_low();
      rows += digest.rows();
    }
    return absl::StrCat(absl::Hex(static_cast<uint64_t>(sum >> 64)), " ",
                        absl::Hex(static_cast<uint64_t>(sum)), " of ", rows, " rows");
  }

 private:
  std::vector<std::unique_ptr<LockedShard>> shards_;
  std::vector<std::unique_ptr<ShardClient>> coordinator_;
};

// ---- runs

struct RunOptions {
  int lanes = 4, workers = 1, threads = 1, shards = 1, steps = 4;
  int rows = 300;           // Global batch.
  int last_rows = 300;      // Of the last step.
  bool clean_cuts = false;  // No step pulls the next one's rows: each begins with PullFirst.
};

// Everything that training has changed.
struct Outcome {
  std::vector<Tensor> dense;
  std::string digest;
  std::vector<std::vector<double>> losses;      // [step][task]
  std::vector<std::vector<float>> predictions;  // [head][row], of the first 100 examples.
};

inline void ExpectSame(const Outcome& a, const Outcome& b) {
  EXPECT_EQ(a.digest, b.digest);
  EXPECT_EQ(a.losses, b.losses);
  EXPECT_EQ(a.predictions, b.predictions);
  ASSERT_EQ(a.dense.size(), b.dense.size());
  for (size_t i = 0; i < a.dense.size(); ++i) {
    EXPECT_EQ(a.dense[i].name, b.dense[i].name);
    EXPECT_TRUE(a.dense[i].bytes == b.dense[i].bytes) << a.dense[i].name << " differs";
  }
}

inline PreparedStepPtr PrepareStep(const Job& job, const Stepper& stepper, const RunOptions& run,
                                   int worker, int64_t step) {
  const int own = run.lanes / run.workers;
  const int rows = step + 1 == run.steps ? run.last_rows : run.rows;
  std::vector<Batch> batches;
  for (int i = 0; i < own; ++i) {
    batches.push_back(MakeLane(job, step * run.rows, rows, worker * own + i, run.lanes));
  }
  return stepper.Prepare(step, std::move(batches));
}

// Runs all steps of one worker.
inline void RunWorker(const Job& job, const RunOptions& run, int worker, Stepper& stepper,
                      std::vector<std::vector<double>>* losses) {
  PreparedStepPtr step = PrepareStep(job, stepper, run, worker, 0);
  ASSERT_TRUE(stepper.Announce(*step).ok());
  const absl::Status pulled = stepper.PullFirst(*step);
  ASSERT_TRUE(pulled.ok()) << pulled;
  for (int64_t t = 0; t < run.steps; ++t) {
    PreparedStepPtr next;
    if (t + 1 < run.steps) {
      next = PrepareStep(job, stepper, run, worker, t + 1);
      ASSERT_TRUE(stepper.Announce(*next).ok());
    }
    const bool pull = next != nullptr && !run.clean_cuts;
    const absl::StatusOr<StepResult> result = stepper.Run(*step, pull ? next.get() : nullptr);
    ASSERT_TRUE(result.ok()) << result.status();
    losses->push_back(result->losses);
    if (next != nullptr && !pull) {
      ASSERT_TRUE(stepper.PullFirst(*next).ok());
    }
    step = std::move(next);
  }
}

// A job from its first to its last step; workers are threads.
inline Outcome Train(const Job& job, const RunOptions& run) {
  const std::unique_ptr<Program> program = MakeProgram(job);
  Cluster cluster(job, run.shards, run.workers, run.lanes);
  auto post = std::make_shared<ThreadGroup::Post>();
  std::vector<Outcome> outcomes(run.workers);
  std::vector<std::thread> threads;
  for (int w = 0; w < run.workers; ++w) {
    threads.emplace_back([&, w] {
      ThreadGroup group(w, run.workers, post);
      Stepper stepper(OptionsFor(job, run.threads, run.lanes / run.workers), program.get(),
                      &job.schema, job.input, &group, cluster.Clients(w));
      RunWorker(job, run, w, stepper, &outcomes[w].losses);
      outcomes[w].dense = stepper.DenseTensors();
      const absl::Status predicted =
          stepper.Predict(MakeBatch(job, 0, 100), &outcomes[w].predictions);
      EXPECT_TRUE(predicted.ok()) << predicted;
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (Outcome& outcome : outcomes) outcome.digest = cluster.Digest();
  for (int w = 1; w < run.workers; ++w) ExpectSame(outcomes[0], outcomes[w]);
  return outcomes[0];
}

}  // namespace pagoda::testing

#endif  // PAGODA_TESTS_WORKER_TRAIN_STEP_TESTING_H_
