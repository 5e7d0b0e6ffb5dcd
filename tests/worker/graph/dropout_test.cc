#include "worker/graph/dropout.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <vector>

#include "tests/worker/graph/every_target.h"
#include "tests/worker/graph/sample.h"
#include "worker/graph/program.h"

namespace pagoda {
namespace {

// Behind a layer, behind an expert each, on the input; `others` makes nodes that nothing reads.
Graph DropoutGraph(bool others = false) {
  Graph g(9);
  if (others) g.Dropout(g.Dense("other", g.Input(), 30), {"other"}, 0.9);
  const Value x = g.Dropout(g.Input(), {"input"}, 0.1);
  const Value h = g.Dropout(g.Dense("h", x, 13, TANH), {"h"}, 0.5);
  const ExpertGroup e = g.Experts("e", h, 2, {6}, TANH);
  const Value kept = g.Dropout(e.value, {"e/0", "e/1"}, 0.3);
  g.Head("a", HeadKind::kProbability, g.Dense("out", kept, 1));
  return g;
}

struct Given {
  std::vector<float> predictions, gradients, dx;
};

Given RunProgram(const Graph& graph, const Sample& sample, const StepContext& context) {
  const auto program = MustCompile(graph, {.isolate_tasks = true});
  std::vector<float> flat(program->parameter_count());
  program->InitParameters(3, flat.data());
  Given given{std::vector<float>(sample.rows), std::vector<float>(flat.size()),
              std::vector<float>(sample.x.size())};
  RunArgs args = ArgsOf(sample, flat.data());
  args.context = context;
  args.predictions = {given.predictions.data()};
  args.passes = {{.gradients = given.gradients.data(), .dx = given.dx.data()}};
  program->NewRunner()->Run(args);
  return given;
}

std::vector<int64_t> Numbers(int count) {
  std::vector<int64_t> numbers(count);
  std::iota(numbers.begin(), numbers.end(), int64_t{1} << 40);
  return numbers;
}

TEST(Dropout, DropsAtItsRateAndKeepsTheMean) {
  for (double rate : {0.1, 0.5, 0.9}) {
    constexpr int kRows = 1000, kWidth = 101;
    int dropped = 0;
    std::vector<double> m(kWidth);
    for (int row = 0; row < kRows; ++row) {
      DrawDropout(DropoutKey(1, "x"), 7, row, rate, kWidth, m.data());
      for (double value : m) {
        dropped += value == 0;
        EXPECT_TRUE(value == 0 || value == 1 / (1 - rate)) << value;
      }
    }
    const double n = kRows * kWidth;
    EXPECT_NEAR(dropped / n, rate, 5 * std::sqrt(rate * (1 - rate) / n));
  }
}

std::vector<int> Widths() {
  std::vector<int> widths(70);
  std::iota(widths.begin(), widths.end(), 1);
  widths.insert(widths.end(), {128, 255, 256, 300});
  return widths;
}

// A step, and a row whose counters wrap at 2^64 or pass 2^32 inside it, are as good as any.
TEST(DrawKept, IsDrawDropoutOnEveryTarget) {
  const std::vector<int64_t> rows = {0,           1,
                                     77,          (int64_t{1} << 32) / 15,
                                     1ll << 40,   std::numeric_limits<int64_t>::max(),
                                     int64_t{-1}, std::numeric_limits<int64_t>::max() / 3};
  const uint64_t keys[] = {0, DropoutKey(1, "x"), ~uint64_t{0}};
  const double rates[] = {1e-12, 0.1, 0.5, 0.999, 1 - 0x1p-30};
  const auto check = [&](const DropoutDraw& draw, int n) {
    const int floats = KeptFloats(n) + 1;  // The last belongs to others.
    std::vector<float> kept(rows.size() * floats, 7.0f), m(n);
    DrawKept(draw, rows, n, {kept.data(), floats});
    for (size_t r = 0; r < rows.size(); ++r) {
      DrawDropout(draw.key, draw.step, rows[r], draw.rate, n, m.data());
      const auto* bits = reinterpret_cast<const uint8_t*>(&kept[r * floats]);
      for (int c = 0; c < n; ++c) {
        ASSERT_EQ(bits[c / 8] >> (c % 8) & 1, m[c] != 0) << n << " columns, row " << r << ": " << c;
      }
      ASSERT_EQ(kept[(r + 1) * floats - 1], 7.0f) << n << " columns: behind row " << r;
    }
  };
  OnEveryTarget([&] {
    for (const int n : Widths()) {
      for (const uint64_t key : keys) {
        for (const int64_t step : {int64_t{0}, int64_t{7}, int64_t{1} << 33}) {
          for (const double rate : rates) check({key, step, rate}, n);
        }
      }
    }
    DrawKept({1, 1, 0.5}, {}, 9, {});  // No rows.
  });
}

bool SameBits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

// Of zeros of both signs, infinities and denormals too; MultiplyRows on the same target, as what is
// no fused product there is two roundings.
TEST(MultiplyKept, IsMultiplyRowsOnEveryTarget) {
  constexpr int kRows = 3;
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  const float hostile[] = {0.0f, -0.0f, kInfinity, -kInfinity, 1e-40f, -1e-40f};
  const std::vector<int64_t> rows = {0, 5, int64_t{1} << 40};
  const auto check = [&](int n, bool accumulate) {
    const int ld = n + 1, kept_ld = KeptFloats(n);  // One column that belongs to others.
    std::vector<float> x(kRows * ld), m(kRows * ld), kept(kRows * kept_ld), fast(kRows * ld);
    for (size_t i = 0; i < x.size(); ++i) {
      x[i] = i % 3 == 0 ? hostile[i / 3 % std::size(hostile)] : std::sin(float(i));
      fast[i] = std::cos(float(i));
    }
    const DropoutDraw draw{DropoutKey(1, "x"), 3, 0.3};
    DrawKept(draw, rows, n, {kept.data(), kept_ld});
    for (int r = 0; r < kRows; ++r) {
      DrawDropout(draw.key, draw.step, rows[r], draw.rate, n, &m[r * ld]);
    }
    std::vector<float> plain = fast;
    MultiplyRows(kRows, n, {x.data(), ld}, {m.data(), ld}, {plain.data(), ld}, accumulate);
    MultiplyKept({.rows = kRows,
                  .width = n,
                  .x = {x.data(), ld},
                  .kept = {kept.data(), kept_ld},
                  .y = {fast.data(), ld},
                  .multiplier = KeptMultiplier<float>(draw.rate),
                  .accumulate = accumulate});
    ASSERT_TRUE(SameBits(fast, plain)) << n << " columns";
  };
  OnEveryTarget([&] {
    for (const int n : Widths()) {
      for (const bool accumulate : {false, true}) check(n, accumulate);
    }
  });
}

TEST(Dropout, FastMatchesReference) {
  const Graph graph = DropoutGraph();
  const ReferenceNetwork<double> reference(graph);
  const auto program = MustCompile(graph);
  std::vector<float> flat(program->parameter_count());
  program->InitParameters(3, flat.data());
  for (int rows : {1, 65, 300}) {
    const Sample sample = MakeSample(graph, rows);
    const std::vector<int64_t> numbers = Numbers(rows);
    const StepContext context{
        .training = true, .seed = 4, .step = 11, .global_rows = numbers.data()};
    const Given given = RunProgram(graph, sample, context);
    const auto expected =
        reference.Run(rows, {sample.x.begin(), sample.x.end()}, Pack(*program, flat),
                      {{sample.labels[0].begin(), sample.labels[0].end()}},
                      {{sample.weights[0].begin(), sample.weights[0].end()}}, context);
    const auto near = [](const std::vector<double>& a, const std::vector<double>& b) {
      EXPECT_LE(Distance(a, b), 1e-5 * Norm(b));
    };
    near({given.predictions.begin(), given.predictions.end()}, expected.predictions);
    near({given.dx.begin(), given.dx.end()}, expected.passes[0].dx);
    near(Pack(*program, given.gradients), expected.passes[0].gradients);
  }
}

// A layer and experts of the style, each behind a dropout, or each times columns of multipliers
// that follow the network's own of its input. `residual`: the layer has another reader.
struct Styled {
  LayerStyle style;
  bool residual;
};
constexpr int kOwn = 9, kHidden = 13, kExperts = 3, kExpert = 37;
constexpr double kRate = 0.3;
const struct {
  const char* name;
  int width;
} kParts[] = {{"x", kOwn}, {"h", kHidden}, {"e/0", kExpert}, {"e/1", kExpert}, {"e/2", kExpert}};
constexpr int kColumns = 2 * kOwn + kHidden + kExperts * kExpert;

Graph StyledGraph(const Styled& of, bool drops) {
  Graph g(kColumns);
  int column = kOwn;
  const auto drop = [&](Value x, const std::vector<std::string>& names) {
    const ColumnRange multipliers = {column, g.width(x)};
    column += g.width(x);
    if (drops) return g.Dropout(x, names, kRate);
    return g.Multiply(x, g.Columns(g.Input(), {multipliers}));
  };
  const Value x = drop(g.Columns(g.Input(), {{0, kOwn}}), {"x"});
  const Value h = g.Mlp("h", x, {kHidden}, of.style);
  Value kept = drop(h, {"h"});
  if (of.residual) kept = g.Add({kept, h});
  const ExpertGroup e = g.Experts("e", kept, kExperts, {kExpert}, of.style);
  const Value out = g.Dense("out", drop(e.value, {"e/0", "e/1", "e/2"}), 1);
  g.Head("a", HeadKind::kProbability, out);
  return g;
}

// Of the network's own columns.
Given RunStyled(const Styled& of, bool drops, const Sample& sample, const StepContext& context) {
  Given given = RunProgram(StyledGraph(of, drops), sample, context);
  std::vector<float> own;
  for (int r = 0; r < sample.rows; ++r) {
    own.insert(own.end(), &given.dx[r * kColumns], &given.dx[r * kColumns] + kOwn);
  }
  given.dx = std::move(own);
  return given;
}

// Where nothing is kept but bits, and where a layer is dropped in its place, as where it is not.
TEST(Dropout, IsAProductWithItsMultipliersBitForBit) {
  const auto check = [](const Styled& of, int rows) {
    Sample sample = MakeSample(StyledGraph(of, false), rows);
    const std::vector<int64_t> numbers = Numbers(rows);
    const StepContext context{
        .training = true, .seed = 4, .step = 11, .global_rows = numbers.data()};
    for (int r = 0; r < rows; ++r) {
      float* m = &sample.x[r * kColumns + kOwn];
      for (const auto& [name, width] : kParts) {
        DrawDropout(DropoutKey(4, name), context.step, numbers[r], kRate, width, m);
        m += width;
      }
    }
    const Given dropped = RunStyled(of, true, sample, context);
    const Given multiplied = RunStyled(of, false, sample, context);
    EXPECT_TRUE(SameBits(dropped.predictions, multiplied.predictions));
    EXPECT_TRUE(SameBits(dropped.gradients, multiplied.gradients));
    EXPECT_TRUE(SameBits(dropped.dx, multiplied.dx));
    EXPECT_GT(Norm({dropped.gradients.begin(), dropped.gradients.end()}), 0);
  };
  for (const Activation activation : {IDENTITY, RELU, TANH, SIGMOID, GELU, PRELU}) {
    for (const auto normalization : {ModelConfig::NONE, ModelConfig::LAYER, ModelConfig::BATCH}) {
      for (const bool residual : {false, true}) {
        LayerStyle style(activation);
        style.normalization = normalization;
        for (const int rows : {1, 65, 300}) {
          SCOPED_TRACE(absl::StrCat(Activation_Name(activation), " ",
                                    ModelConfig::Normalization_Name(normalization), " residual ",
                                    residual, ", ", rows, " rows"));
          check({style, residual}, rows);
        }
      }
    }
  }
}

// The oracle with its draws held fixed, against central differences; as gradient_test.cc.
TEST(Dropout, DerivedGradientMatchesDifferences) {
  const Graph graph = DropoutGraph();
  const ReferenceNetwork<double> network(graph);
  constexpr int kRows = 4;
  constexpr double kStep = 1e-6;
  const std::vector<int64_t> numbers = Numbers(kRows);
  const StepContext context{.training = true, .seed = 4, .step = 2, .global_rows = numbers.data()};
  std::vector<double> x = Uniform("x", kRows * 9), p = Uniform("p", network.parameter_count());
  const auto run = [&] {
    return network.Run(kRows, x, p, {{0, 1, 1, 0}}, {{1, 2, 0.5, 1}}, context);
  };
  const auto derived = run().passes[0];
  const auto check = [&](std::vector<double>* of, const std::vector<double>& gradient) {
    for (size_t i = 0; i < of->size(); ++i) {
      const double at = (*of)[i];
      (*of)[i] = at + kStep;
      const double above = run().losses[0];
      (*of)[i] = at - kStep;
      const double below = run().losses[0];
      (*of)[i] = at;
      EXPECT_NEAR((above - below) / (2 * kStep), gradient[i], 1e-7) << i;
    }
  };
  check(&x, derived.dx);
  check(&p, derived.gradients);
}

TEST(Dropout, IsTheIdentityAfterTraining) {
  const Graph graph = DropoutGraph();
  const Sample sample = MakeSample(graph, 70);
  const std::vector<int64_t> numbers = Numbers(70);
  const Given one = RunProgram(graph, sample, {.seed = 1, .step = 1});
  const Given other = RunProgram(graph, sample, {.seed = 2, .step = 5});
  EXPECT_EQ(one.predictions, other.predictions);
  EXPECT_EQ(one.gradients, other.gradients);
  const Given training = RunProgram(
      graph, sample, {.training = true, .seed = 1, .step = 1, .global_rows = numbers.data()});
  EXPECT_NE(training.predictions, one.predictions);
}

// Other nodes, other rows of the slice and the place in it change nothing; seed and step do.
TEST(Dropout, DrawsAreKeyedByNameStepAndGlobalRow) {
  const Graph graph = DropoutGraph();
  const Sample sample = MakeSample(graph, 300);
  const std::vector<int64_t> numbers = Numbers(300);
  const StepContext context{.training = true, .seed = 1, .step = 1, .global_rows = numbers.data()};
  const Given all = RunProgram(graph, sample, context);
  EXPECT_EQ(RunProgram(DropoutGraph(/*others=*/true), sample, context).predictions,
            all.predictions);
  Sample tail = MakeSample(graph, 43);
  tail.x.assign(sample.x.begin() + 257 * 9, sample.x.end());
  StepContext of_tail = context;
  of_tail.global_rows += 257;
  EXPECT_EQ(RunProgram(graph, tail, of_tail).predictions,
            std::vector<float>(all.predictions.begin() + 257, all.predictions.end()));
  StepContext other_seed = context, other_step = context;
  ++other_seed.seed;
  ++other_step.step;
  for (const StepContext& another : {other_seed, other_step}) {
    EXPECT_NE(RunProgram(graph, sample, another).predictions, all.predictions);
  }
}

}  // namespace
}  // namespace pagoda
