// Samples/s of whole training steps, and their share of this machine's fp32 matrix peak.
//
// Workload: MMoE with 8 experts [256, 128], towers [128, 64], 2 tasks; 16 id features of dim 16
// over 100k ids each in one shared table, 8 dense ones; Adam on rows and dense parameters; one
// shard in the process; batches of 128, 512, 2048, 4096 on 1 and 2 threads. Every step is counted
// whole: deduplicating the ids (inline on 1 thread, on a reader thread beside 2), announce, gather,
// forward, backward, push, the shard's Adam, the dense Adam. Batches are made before.
//
//   taskset -c 0 step_bench --threads=1
//   step_bench --threads=2 --zipf
//   taskset -c 0 step_bench --threads=1 --alternating   (what alternating training costs, in pairs)
//   taskset -c 0 step_bench --threads=1 --weightings=uwl,pcgrad       (the same of weightings)
#include <gflags/gflags.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <condition_variable>
#include <cstdio>
#include <ctime>
#include <fstream>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/clock.h"
#include "common/group/group.h"
#include "common/hash.h"
#include "common/optim/rule.h"
#include "common/random.h"
#include "glog/logging.h"
#include "ps/shard.h"
#include "tests/bench/peak.h"
#include "worker/graph/program.h"
#include "worker/train/step.h"

DEFINE_string(threads, "1,2", "Numbers of compute threads, separated by commas.");
DEFINE_string(batches, "128,512,2048,4096", "Batch sizes, separated by commas.");
DEFINE_double(seconds, 4, "Time of each measurement.");
DEFINE_int32(rounds, 3, "Measurements a row; the best is printed, and the median.");
DEFINE_bool(zipf, false, "Ids by Zipf's law with exponent 1 instead of uniform.");
DEFINE_bool(cpu_time, false,
            "Take CPU time for time, for one thread on a machine that is busy with other things.");
DEFINE_bool(alternating, false,
            "Steps of tasks that alternate, each with optimizers for all that its loss reaches, "
            "against joint steps, measured in turn.");
DEFINE_string(weightings, "",
              "Names of weightings, separated by commas: their steps against those of fixed "
              "weights, measured in turn.");
DEFINE_bool(profile, false, "Print where a step's time went; of a pair, the joint step's first.");

namespace pagoda {
namespace {

constexpr int kFeatures = 16, kDim = 16, kDense = 8, kVocabulary = 100'000;
constexpr int kWarmUpSteps = 10;

double Now() {
  if (FLAGS_cpu_time) return static_cast<double>(std::clock()) / CLOCKS_PER_SEC;
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// ---- the workload

Graph MakeMmoe(int input_width) {
  Graph g(input_width);
  const ExpertGroup experts = g.Experts("experts", g.Input(), 8, {256, 128}, RELU);
  for (const std::string task : {"click", "buy"}) {
    const Value gate = g.Softmax(g.Dense(task + "/gate", g.Input(), 8, IDENTITY, false));
    const Value tower = g.Mlp(task + "/tower", g.Mixture(gate, {experts}), {128, 64}, RELU);
    g.Head(task, HeadKind::kProbability, g.Dense(task + "/out", tower, 1));
  }
  return g;
}

InputLayout MakeInput() {
  InputLayout input;
  for (int f = 0; f < kFeatures; ++f) {
    input.embeddings.push_back({absl::StrCat("f", f), 0, kDim, static_cast<uint32_t>(f + 1),
                                FeatureConfig::SUM, false, f * kDim});
  }
  for (int f = 0; f < kDense; ++f) {
    input.dense.push_back({absl::StrCat("d", f), kFeatures * kDim + f});
  }
  input.width = kFeatures * kDim + kDense;
  return input;
}

using Adam = std::map<std::string, double>;

// Adam's two optimizers of one pass: of the table, and of dense parameters (empty: all).
void AddOptimizers(const Adam& adam, int pass, const std::string& prefix,
                   std::vector<std::string> parameters, TrainingMethod* method) {
  for (const char* name : {"sparse", "dense"}) {
    StepOptimizer& optimizer = method->optimizers.emplace_back();
    optimizer.name = prefix + name;
    optimizer.pass = pass;
    optimizer.tasks = method->passes[pass].tasks;
    optimizer.config.set_rule("adam");
    optimizer.config.set_learning_rate(1e-3);
    for (const auto& [parameter, value] : adam) {
      Parameter* added = optimizer.config.add_parameter();
      added->set_name(parameter);
      added->set_value(value);
    }
  }
  method->optimizers.rbegin()[1].tables = {0};
  method->optimizers.back().owns_all_parameters = parameters.empty();
  method->optimizers.back().parameters = std::move(parameters);
}

Adam AdamDefaults() { return *ResolveParameters("adam", Rules().at("adam").parameters, {}); }

TrainingMethod JointMethod(const Adam& adam) {
  TrainingMethod method;
  method.passes = {{{"click", "buy"}}};
  AddOptimizers(adam, 0, "", {}, &method);
  return method;
}

TrainingMethod AlternatingMethod(const Adam& adam, const Graph& graph) {
  TrainingMethod method;
  method.has_one_dense_optimizer = false;
  method.isolates_tasks = true;
  method.passes = {{{"click"}}, {{"buy"}}};
  const std::string tasks[] = {"click/", "buy/"};
  const ReferenceNetwork<float> network(graph);
  for (int pass = 0; pass < 2; ++pass) {
    std::vector<std::string> reached;
    for (const ParameterView& view : network.parameters()) {
      if (view.name.rfind(tasks[1 - pass], 0) != 0) reached.push_back(view.name);
    }
    AddOptimizers(adam, pass, tasks[pass], std::move(reached), &method);
  }
  return method;
}

Schema MakeSchema(const TrainingMethod& method, const Adam& adam) {
  Schema schema;
  TableSchema* table = schema.add_table();
  table->set_name("shared_16");
  table->set_dim(kDim);
  table->set_init_range(0.05);
  for (const StepOptimizer& one : method.optimizers) {
    if (!one.tables.empty()) table->add_optimizer(schema.optimizer_size());
    OptimizerSchema* optimizer = schema.add_optimizer();
    optimizer->set_name(one.name);
    optimizer->set_rule("adam");
    optimizer->mutable_parameter()->insert(adam.begin(), adam.end());
  }
  schema.set_seed(1);
  return schema;
}

uint64_t DrawId(uint32_t bits) {
  if (!FLAGS_zipf) return bits % kVocabulary;
  // The inverse of the continuous law's distribution, density ~ 1 / rank on [1, vocabulary + 1).
  return static_cast<uint64_t>(std::pow(kVocabulary + 1.0, ToUnitFloat(bits))) - 1;
}

// Ids `id(feature, row)`, everything else drawn by `number`.
template <typename Id>
Batch MakeBatch(int number, int rows, const Id& id) {
  Batch batch;
  batch.rows = rows;
  batch.ids.resize(kFeatures);
  for (int f = 0; f < kFeatures; ++f) {
    for (int b = 0; b < rows; ++b) batch.ids[f].ids.push_back(SaltId(f + 1, id(f, b)));
  }
  for (int i = 0; i < rows * kDense; ++i) {
    batch.dense.push_back(ToUnitFloat(Philox(100, number, i)[0]) * 2 - 1);
  }
  for (int i = 0; i < rows * 2; ++i) {
    batch.labels.push_back(static_cast<float>(Philox(200, number, i)[0] % 4 == 0));
    batch.weights.push_back(1);
  }
  return batch;
}

// What a Bench has spent since it was made.
struct Spent {
  StepProfile profile;
  double prepare_seconds;
  int64_t steps;
};

// One job: a stepper and its shard.
class Bench {
 public:
  Bench(const Program* program, const TrainingMethod& method, int threads, int rows,
        const WeightingConfig& weighting = {})
      : schema_(MakeSchema(method, AdamDefaults())),
        shard_({}, Clock::Steady()),
        group_(*OpenGroup(false, {})) {
    std::vector<std::unique_ptr<ShardClient>> clients;
    clients.push_back(MakeClient(0));
    SayHello();
    StepOptions options;
    options.threads = threads;
    options.tasks.resize(2);
    options.tasks[0].set_name("click");
    options.tasks[1].set_name("buy");
    options.method = method;
    options.weighting.config = weighting;
    stepper_.emplace(options, program, &schema_, MakeInput(), group_.get(), std::move(clients));
    const int count = std::clamp(1'000'000 / rows, 32, 512);
    for (int i = 0; i < count; ++i) {
      batches_.push_back(MakeBatch(
          i, rows, [i](int feature, int row) { return DrawId(Philox(feature, i, row)[0]); }));
    }
    step_ = Prepare(0);
    CHECK(stepper_->Announce(*step_).ok());
    const absl::Status pulled = stepper_->PullFirst(*step_);
    CHECK(pulled.ok()) << pulled;
  }

  // Every id once, so that no row is made while steps are measured.
  void TouchEveryRow() {
    const int rows = batches_[0].rows;
    for (int first = 0; first < kVocabulary; first += rows) {
      std::vector<Batch> lanes = {
          MakeBatch(0, rows, [first](int, int row) { return (first + row) % kVocabulary; })};
      RunStep(stepper_->Prepare(next_, std::move(lanes)));
    }
  }

  // Steps/s over about `seconds`.
  double Measure(double seconds, bool reader) {
    for (int i = 0; i < kWarmUpSteps; ++i) RunStep(Prepare(next_));
    const double start = Now();
    int64_t steps = 0;
    if (!reader) {
      for (; Now() - start < seconds; ++steps) RunStep(Prepare(next_));
      return steps / (Now() - start);
    }
    // One step ahead, as the trainer's reader thread.
    std::mutex mu;
    std::condition_variable changed;
    PreparedStepPtr ready;
    bool stop = false;
    std::thread thread([&, number = next_]() mutable {
      for (;;) {
        PreparedStepPtr made = Prepare(number++);
        std::unique_lock<std::mutex> lock(mu);
        changed.wait(lock, [&] { return ready == nullptr || stop; });
        if (stop) return;
        ready = std::move(made);
        changed.notify_all();
      }
    });
    for (; Now() - start < seconds; ++steps) {
      std::unique_lock<std::mutex> lock(mu);
      changed.wait(lock, [&] { return ready != nullptr; });
      PreparedStepPtr next = std::move(ready);
      changed.notify_all();
      lock.unlock();
      RunStep(std::move(next));
    }
    const double rate = steps / (Now() - start);
    {
      std::lock_guard<std::mutex> lock(mu);
      stop = true;
    }
    changed.notify_all();
    thread.join();
    return rate;
  }

  Spent spent() const { return {stepper_->profile(), prepare_seconds_, next_}; }

 private:
  std::unique_ptr<ShardClient> MakeClient(uint32_t id) {
    ClientOptions options;
    options.job_id = 1;
    options.run_epoch = 1;
    options.client_id = id;
    return std::make_unique<ShardClient>(OpenInProcessChannel(&shard_, "the shard"), options,
                                         Clock::Steady());
  }

  void SayHello() {
    Message message;
    message.header.set_kind(WireHeader::HELLO);
    Hello* hello = message.header.mutable_hello();
    *hello->mutable_schema() = schema_;
    hello->set_shard_count(1);
    hello->set_worker_count(1);
    hello->set_lane_count(1);
    hello->set_holder("step_bench");
    hello->set_peer_timeout_ms(10'000);
    CHECK(MakeClient(kCoordinatorClient)->Call(std::move(message)).ok());
  }

  PreparedStepPtr Prepare(int64_t number) {
    const double start = Now();
    // The copy stands for the reader's work.
    std::vector<Batch> lanes(1, batches_[number % batches_.size()]);
    PreparedStepPtr step = stepper_->Prepare(number, std::move(lanes));
    prepare_seconds_ = prepare_seconds_ + Now() - start;
    return step;
  }

  void RunStep(PreparedStepPtr next) {
    CHECK(stepper_->Announce(*next).ok());
    const absl::StatusOr<StepResult> result = stepper_->Run(*step_, next.get());
    CHECK(result.ok()) << result.status();
    step_ = std::move(next);
    ++next_;
  }

  const Schema schema_;
  Shard shard_;
  const std::unique_ptr<Group> group_;
  std::optional<Stepper> stepper_;
  std::vector<Batch> batches_;
  PreparedStepPtr step_;
  int64_t next_ = 1;
  std::atomic<double> prepare_seconds_ = 0;  // The reader thread's.
};

std::vector<int> ParseNumbers(const std::string& text) {
  std::vector<int> numbers;
  for (const absl::string_view part : absl::StrSplit(text, ',')) {
    int number = 0;
    CHECK(absl::SimpleAtoi(part, &number) && number > 0) << text;
    numbers.push_back(number);
  }
  return numbers;
}

std::string MachineName() {
  std::ifstream cpuinfo("/proc/cpuinfo");
  for (std::string line; std::getline(cpuinfo, line);) {
    const size_t colon = line.find(": ");
    if (line.rfind("model name", 0) == 0 && colon != std::string::npos) {
      return line.substr(colon + 2);
    }
  }
  return "unknown processor";
}

void PrintProfile(const Spent& before, const Spent& after) {
  const double ms = 1000.0 / static_cast<double>(after.steps - before.steps);
  const StepProfile &from = before.profile, &to = after.profile;
  std::printf(
      "    ms a step: prepare %.2f, wait for rows %.2f, gather %.2f, forward and backward "
      "%.2f, losses %.2f, dense update %.2f, row sums %.2f, push and shard %.2f\n",
      (after.prepare_seconds - before.prepare_seconds) * ms, (to.pull_wait - from.pull_wait) * ms,
      (to.gather - from.gather) * ms, (to.forward_backward - from.forward_backward) * ms,
      (to.dense_sync - from.dense_sync) * ms, (to.dense_apply - from.dense_apply) * ms,
      (to.sparse_sum - from.sparse_sum) * ms, (to.push - from.push) * ms);
}

void MeasureRow(const Program& program, int threads, int rows, double peak) {
  Bench bench(&program, JointMethod(AdamDefaults()), threads, rows);
  const bool reader = threads > 1;
  bench.TouchEveryRow();
  const Spent before = bench.spent();
  std::vector<double> rates;
  for (int i = 0; i < FLAGS_rounds; ++i) rates.push_back(bench.Measure(FLAGS_seconds, reader));
  std::sort(rates.begin(), rates.end());
  const double flops_a_step = 2.0 * 3 * program.multiply_adds_per_row() * rows;
  const auto share = [&](double rate) { return 100 * rate * flops_a_step / peak; };
  const double median = rates[rates.size() / 2], best = rates.back();
  std::printf("| %d | %d | %.0f | %.1f | %.0f | %.1f |\n", threads, rows, median * rows,
              share(median), best * rows, share(best));
  if (FLAGS_profile) PrintProfile(before, bench.spent());
  std::fflush(stdout);
}

// Seconds of a step of this method and weighting over those of a joint one with fixed weights.
void Compare(const Program& joint, const std::string& label, const TrainingMethod& method,
             const WeightingConfig& weighting, int threads, int rows) {
  const Graph graph = MakeMmoe(kFeatures * kDim + kDense);
  const auto program = Program::Compile(graph, ProgramOptions(method));
  CHECK(program.ok()) << program.status();
  Bench one(&joint, JointMethod(AdamDefaults()), threads, rows);
  Bench other(program->get(), method, threads, rows, weighting);
  const bool reader = threads > 1;
  one.TouchEveryRow();
  other.TouchEveryRow();
  const Spent one_before = one.spent(), other_before = other.spent();
  std::vector<double> ratios;
  for (int i = 0; i < FLAGS_rounds; ++i) {
    const double rate = one.Measure(FLAGS_seconds, reader);
    ratios.push_back(rate / other.Measure(FLAGS_seconds, reader));
  }
  std::sort(ratios.begin(), ratios.end());
  std::printf("| %s | %d | %d | %.2f | %.2f to %.2f |\n", label.c_str(), threads, rows,
              ratios[ratios.size() / 2], ratios.front(), ratios.back());
  if (FLAGS_profile) {
    PrintProfile(one_before, one.spent());
    PrintProfile(other_before, other.spent());
  }
  std::fflush(stdout);
}

void CompareWeighting(const Program& joint, const std::string& name, int threads, int rows) {
  Config config;
  for (const char* task : {"click", "buy"}) config.mutable_dataset()->add_task()->set_name(task);
  WeightingConfig& weighting = *config.mutable_train()->mutable_weighting();
  weighting.set_name(name);
  if (name == "gradnorm") weighting.set_group("experts/*/layer1/*");  // The paper's last layer.
  TrainingMethod method = JointMethod(AdamDefaults());
  const Graph graph = MakeMmoe(kFeatures * kDim + kDense);
  const absl::Status arranged = ArrangeWeighting(config, graph, &method);
  CHECK(arranged.ok()) << arranged;
  Compare(joint, name, method, weighting, threads, rows);
}

void Main() {
  for (const int threads : ParseNumbers(FLAGS_threads)) {
    CHECK(threads == 1 || !FLAGS_cpu_time) << "--cpu_time is for one thread";
  }
  const absl::StatusOr<std::unique_ptr<Program>> program =
      Program::Compile(MakeMmoe(kFeatures * kDim + kDense));
  CHECK(program.ok()) << program.status();
  std::printf(
      "%s, %u cores; MMoE 8 x [256, 128], towers [128, 64], %d features of dim %d x %d "
      "ids (%s), Adam\n",
      MachineName().c_str(), std::thread::hardware_concurrency(), kFeatures, kDim, kVocabulary,
      FLAGS_zipf ? "Zipf" : "uniform");
  std::printf("%lld multiply-adds a row forward; %lld parameters\n",
              static_cast<long long>((*program)->multiply_adds_per_row()),
              static_cast<long long>((*program)->parameter_count()));
  if (FLAGS_alternating || !FLAGS_weightings.empty()) {
    const Graph graph = MakeMmoe(kFeatures * kDim + kDense);
    std::printf("| against joint | threads | batch | ratio of seconds, median | range |\n");
    for (const int threads : ParseNumbers(FLAGS_threads)) {
      for (const int rows : ParseNumbers(FLAGS_batches)) {
        if (FLAGS_alternating) {
          Compare(**program, "alternating", AlternatingMethod(AdamDefaults(), graph), {}, threads,
                  rows);
        }
        for (const auto name : absl::StrSplit(FLAGS_weightings, ',', absl::SkipEmpty())) {
          CompareWeighting(**program, std::string(name), threads, rows);
        }
      }
    }
    return;
  }
  for (const int threads : ParseNumbers(FLAGS_threads)) {
    const double peak = MeasurePeak(threads, Now);
    std::printf("fp32 peak on %d threads: %.0f GFLOP/s\n", threads, peak / 1e9);
    std::printf("| threads | batch | samples/s | %% of peak | best samples/s | best %% |\n");
    for (const int rows : ParseNumbers(FLAGS_batches)) MeasureRow(**program, threads, rows, peak);
  }
}

}  // namespace
}  // namespace pagoda

int main(int argc, char** argv) {
  gflags::ParseCommandLineFlags(&argc, &argv, true);
  pagoda::Main();
  return 0;
}
