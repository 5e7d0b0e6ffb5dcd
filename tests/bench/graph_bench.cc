// The dense part of a training step beside the machine's fp32 peak.
//
// Workloads: MMoE, 8 experts [256, 128], towers [128, 64], 2 tasks, input 16 features x 16 + 8 =
// 264; batch 128, 512, 2048, 4096; one thread. `train` is what a lane's step costs here: forward
// and backward of each slice into a gradient buffer of its own, and the sum of the buffers;
// `two_passes` is the same with a backward pass a task, each of its own loss (5/3 of `train` if all
// were shared); `predict` is forward alone. Counters: GFLOP/s of multiply-adds that the model needs
// (3 x 2 x a row's for training, passes counted once), and the share of the peak, which a loop of
// register multiply-adds finds in this program. `beside_plain` is a step of the same model with
// another kind of layer, or with a sequence of 20 places of 16 columns for one of the features,
// each behind a step of the plain model: `plain_ms` and `ms` are their means, `cost_%` the
// difference.
//
//   taskset -c 0 build/bin/graph_bench [--benchmark_filter=train]
//
// All times are the thread's CPU time, so that a busy machine does not count.
#include <benchmark/benchmark.h>
#include <glog/logging.h>

#include <algorithm>
#include <ctime>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

#include "common/random.h"
#include "google/protobuf/text_format.h"
#include "worker/graph/program.h"
#include "worker/models/model.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "tests/bench/graph_bench.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace pagoda {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// `rounds` of 16 independent chains of one multiply-add each: more than latency (4) x units (2).
// Returns the floating-point operations done.
double MultiplyAdds(int64_t rounds, float* sink) {
  const hn::ScalableTag<float> d;
  const auto a = hn::Set(d, 0.999f), b = hn::Set(d, 0.001f);
#define PAGODA_CHAINS(X) \
  X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14) X(15)
#define PAGODA_DECLARE(i) auto c##i = hn::Set(d, static_cast<float>(i));
#define PAGODA_STEP(i) c##i = hn::MulAdd(c##i, a, b);
#define PAGODA_STORE(i) total = hn::Add(total, c##i);
  PAGODA_CHAINS(PAGODA_DECLARE)
  for (int64_t r = 0; r < rounds; ++r) {
    PAGODA_CHAINS(PAGODA_STEP)
  }
  auto total = hn::Zero(d);
  PAGODA_CHAINS(PAGODA_STORE)
#undef PAGODA_STORE
#undef PAGODA_STEP
#undef PAGODA_DECLARE
#undef PAGODA_CHAINS
  *sink = hn::GetLane(hn::SumOfLanes(d, total));
  return static_cast<double>(rounds) * 16 * 2 * hn::Lanes(d);
}

}  // namespace HWY_NAMESPACE
}  // namespace pagoda
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace pagoda {
namespace {

HWY_EXPORT(MultiplyAdds);

double ThreadSeconds() {
  timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

// FLOP/s of one core: the best of a few tries.
double PeakFlops() {
  static const double peak = [] {
    double best = 0;
    for (int i = 0; i < 20; ++i) {
      float sink;
      const double start = ThreadSeconds();
      const double flops = HWY_DYNAMIC_DISPATCH(MultiplyAdds)(4'000'000, &sink);
      benchmark::DoNotOptimize(sink);
      best = std::max(best, flops / (ThreadSeconds() - start));
    }
    return best;
  }();
  return peak;
}

// Text of a Config over the workload's; a sequence: "clicks" instead of one feature.
struct Variant {
  const char* name;
  const char* text = "";
  bool has_sequence = false;
};

constexpr Variant kVariants[] = {
    {"batch_norm", "model { normalization: BATCH }"},
    {"layer_norm", "model { normalization: LAYER }"},
    {"prelu", "model { activation: PRELU }"},
    {"gelu", "model { activation: GELU }"},
    {"dropout", "model { dropout: 0.2 }"},
    {"self_attention", "model { sequence { feature: 'clicks' heads: 2 } }", true},
    {"target_attention",
     "model { sequence { feature: 'clicks' pooling: TARGET target: 'item' hidden: 36 } }", true},
};

Config MmoeConfig(const Variant& variant) {
  Config config;
  ModelConfig& model = *config.mutable_model();
  model.set_name("mmoe");
  model.set_experts(8);
  for (int width : {256, 128}) model.add_expert(width);
  for (int width : {128, 64}) model.add_tower(width);
  for (const char* task : {"a", "b"}) config.mutable_dataset()->add_task()->set_name(task);
  Config over;
  CHECK(google::protobuf::TextFormat::ParseFromString(variant.text, &over)) << variant.text;
  config.MergeFrom(over);
  return config;
}

constexpr int kDim = 16, kPlaces = 20, kDense = 8;

ModelInput InputOf(const Variant& variant) {
  ModelInput input;
  const auto add = [&](const std::string& name, int count) {
    input.features.push_back({"", name, {input.width, count}});
    input.width += count;
  };
  add("item", kDim);
  if (variant.has_sequence) {
    add("clicks", kPlaces * kDim);
    input.features.back().mask = {input.width, kPlaces};
    input.width += kPlaces;
  } else {
    add("clicks", kDim);
  }
  for (int f = 2; f < 16; ++f) add("f" + std::to_string(f), kDim);
  add("dense", kDense);
  input.features.back().is_dense = true;
  return input;
}

// One lane's buffers for `rows` rows.
class Lane {
 public:
  // A backward pass for each of `pass_tasks`; none: one of all tasks.
  explicit Lane(int rows, const std::vector<std::string>& pass_tasks = {},
                const Variant& variant = {"plain"})
      : rows_(rows), width_(InputOf(variant).width) {
    auto graph = BuildModel(MmoeConfig(variant), InputOf(variant));
    CHECK(graph.ok()) << graph.status();
    Program::Options options;
    for (const std::string& task : pass_tasks) options.passes.push_back({.tasks = {task}});
    auto program = Program::Compile(*std::move(graph), options);
    CHECK(program.ok()) << program.status();
    program_ = *std::move(program);
    runner_ = program_->NewRunner();
    parameters_.resize(program_->parameter_count());
    program_->InitParameters(1, parameters_.data());
    x_.resize(size_t(rows) * width_);
    for (size_t i = 0; i < x_.size(); ++i) x_[i] = ToUnitFloat(Philox(1, 2, i)[0]) - 0.5f;
    if (variant.has_sequence) FillPlaces(InputOf(variant).features[1].mask);
    for (int r = 0; r < rows; ++r) records_.push_back(r);
    labels_.resize(rows);
    for (int r = 0; r < rows; ++r) labels_[r] = static_cast<float>(Philox(1, 3, r)[0] & 1);
    weights_.assign(rows, 1.0f / static_cast<float>(rows));
    passes_ = program_->pass_count();
    dx_.resize(passes_ * x_.size());
    predictions_.resize(size_t{2} * rows);
    slices_ = SliceCount(rows);
    gradients_.assign(slices_, std::vector<float>(passes_ * parameters_.size()));
  }

  void Train() {
    double losses[2];
    for (int s = 0; s < slices_; ++s) {
      RunArgs args = Slice(s);
      args.passes.resize(passes_);
      for (int p = 0; p < passes_; ++p) {
        args.passes[p].gradients = gradients_[s].data() + p * parameters_.size();
        args.passes[p].dx =
            dx_.data() + p * x_.size() + size_t(SliceBegin(rows_, s, slices_)) * width_;
      }
      args.losses = losses;
      runner_->Run(args);
    }
    if (slices_ == 2) Sum<2>();
    if (slices_ == 4) Sum<4>();
  }

  void Predict() {
    RunArgs args;
    args.rows = rows_;
    args.x = x_.data();
    args.parameters = parameters_.data();
    args.predictions = {predictions_.data(), predictions_.data() + rows_};
    runner_->Run(args);
  }

  double multiply_adds() const { return double(program_->multiply_adds_per_row()) * rows_; }

 private:
  // Row r has r % 21 values: ten places of twenty on average.
  void FillPlaces(ColumnRange mask) {
    for (int r = 0; r < rows_; ++r) {
      for (int place = 0; place < mask.count; ++place) {
        x_[size_t(r) * width_ + mask.begin + place] = place < r % (kPlaces + 1) ? 1 : 0;
      }
    }
  }

  RunArgs Slice(int s) const {
    const int begin = SliceBegin(rows_, s, slices_);
    RunArgs args;
    args.rows = SliceBegin(rows_, s + 1, slices_) - begin;
    args.x = x_.data() + size_t(begin) * width_;
    args.context = {.training = true, .seed = 1, .global_rows = records_.data() + begin};
    args.parameters = parameters_.data();
    args.labels.assign(2, labels_.data() + begin);
    args.loss_weights.assign(2, weights_.data() + begin);
    return args;
  }

  // As the trainer sums: a fixed binary tree.
  template <int kSlices>
  void Sum() {
    float* s0 = gradients_[0].data();
    const float* s1 = gradients_[1].data();
    const float* s2 = gradients_[kSlices - 2].data();
    const float* s3 = gradients_[kSlices - 1].data();
    for (size_t i = 0; i < gradients_[0].size(); ++i) {
      s0[i] = kSlices == 2 ? s0[i] + s1[i] : (s0[i] + s1[i]) + (s2[i] + s3[i]);
    }
  }

  int rows_, width_, slices_, passes_;
  std::unique_ptr<Program> program_;
  std::unique_ptr<Runner> runner_;
  std::vector<float> parameters_, x_, labels_, weights_, dx_, predictions_;
  std::vector<int64_t> records_;
  std::vector<std::vector<float>> gradients_;  // [slice][pass, parameter_count]
};

void Report(benchmark::State& state, double flops_per_iteration, double seconds) {
  const double rate = flops_per_iteration * static_cast<double>(state.iterations()) / seconds;
  state.counters["GFLOP/s"] = rate * 1e-9;
  state.counters["peak_GFLOP/s"] = PeakFlops() * 1e-9;
  state.counters["share_%"] = 100 * rate / PeakFlops();
}

void BM_train(benchmark::State& state) {
  Lane lane(static_cast<int>(state.range(0)));
  lane.Train();
  const double start = ThreadSeconds();
  for (auto _ : state) lane.Train();
  Report(state, 6 * lane.multiply_adds(), ThreadSeconds() - start);
}
BENCHMARK(BM_train)->Arg(128)->Arg(512)->Arg(2048)->Arg(4096)->Unit(benchmark::kMillisecond);

void BM_two_passes(benchmark::State& state) {
  Lane lane(static_cast<int>(state.range(0)), {"a", "b"});
  lane.Train();
  const double start = ThreadSeconds();
  for (auto _ : state) lane.Train();
  Report(state, 6 * lane.multiply_adds(), ThreadSeconds() - start);
}
BENCHMARK(BM_two_passes)->Arg(128)->Arg(512)->Arg(2048)->Arg(4096)->Unit(benchmark::kMillisecond);

void BM_predict(benchmark::State& state) {
  Lane lane(static_cast<int>(state.range(0)));
  lane.Predict();
  const double start = ThreadSeconds();
  for (auto _ : state) lane.Predict();
  Report(state, 2 * lane.multiply_adds(), ThreadSeconds() - start);
}
BENCHMARK(BM_predict)->Arg(1)->Arg(128)->Arg(512)->Arg(4096)->Unit(benchmark::kMillisecond);

void BM_beside_plain(benchmark::State& state) {
  const Variant& variant = kVariants[state.range(0)];
  const int rows = static_cast<int>(state.range(1));
  Lane plain(rows), other(rows, {}, variant);
  plain.Train();
  other.Train();
  double seconds[2] = {};
  const auto time = [](Lane* lane) {
    const double start = ThreadSeconds();
    lane->Train();
    return ThreadSeconds() - start;
  };
  for (auto _ : state) {
    seconds[0] += time(&plain);
    seconds[1] += time(&other);
  }
  state.SetLabel(variant.name);
  state.counters["plain_ms"] = 1e3 * seconds[0] / static_cast<double>(state.iterations());
  state.counters["ms"] = 1e3 * seconds[1] / static_cast<double>(state.iterations());
  state.counters["cost_%"] = 100 * (seconds[1] / seconds[0] - 1);
}
BENCHMARK(BM_beside_plain)
    ->ArgsProduct({benchmark::CreateDenseRange(0, std::size(kVariants) - 1, 1), {512, 2048}})
    ->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace pagoda

BENCHMARK_MAIN();
#endif  // HWY_ONCE
