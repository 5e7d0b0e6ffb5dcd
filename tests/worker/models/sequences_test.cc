#include "worker/models/sequences.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/worker/models/support.h"

namespace pagoda {
namespace {

using ::testing::HasSubstr;

constexpr int kPlaces = 3, kDim = 4;

// item [0, 4), clicks [4, 16) with their mask [16, 19), other [19, 22), a dense column; and the
// same of set "wide/a", of dim 1.
ModelInput HistoryInput(bool has_wide = false) {
  ModelInput input{.width = 23,
                   .features = {{"", "item", {0, kDim}},
                                {"", "clicks", {4, kPlaces * kDim}, {16, kPlaces}},
                                {"", "other", {19, 3}},
                                {"", "hour", {22, 1}, {}, /*is_dense=*/true}}};
  if (!has_wide) return input;
  input.features.push_back({"wide/a", "item", {23, 1}});
  input.features.push_back({"wide/a", "clicks", {24, kPlaces}, {27, kPlaces}});
  input.features.push_back({"wide/a", "other", {30, 1}});
  input.width = 31;
  return input;
}

Config WithSequence(const std::string& sequence, const std::string& more = "") {
  Config config = SmallConfig("shared_bottom", {"a"});
  config.MergeFrom(Parse("model { sequence { feature: 'clicks' " + sequence + " } " + more + "}"));
  return config;
}

std::vector<std::string> Ways() {
  return {"", "heads: 2", "pooling: TARGET target: 'item'",
          "pooling: TARGET target: 'item' hidden: [5, 3]"};
}

Graph MustBuild(const Config& config, const ModelInput& input) {
  auto graph = BuildModel(config, input);
  EXPECT_TRUE(graph.ok()) << graph.status();
  return *std::move(graph);
}

// Row r has r % 4 values; places without one hold `padding`.
Sample HistorySample(const Graph& graph, int rows, float padding) {
  Sample sample = MakeSample(graph, rows);
  const int width = graph.width(graph.Input());
  for (int r = 0; r < rows; ++r) {
    float* const x = sample.x.data() + r * width;
    for (int place = 0; place < kPlaces; ++place) {
      const bool is_filled = place < r % 4;
      x[16 + place] = is_filled ? 1 : 0;
      if (!is_filled) std::fill_n(x + 4 + place * kDim, kDim, padding);
    }
  }
  return sample;
}

TEST(Sequences, FastMatchesTheOracle) {
  for (const std::string& way : Ways()) {
    SCOPED_TRACE(way);
    const Graph graph = MustBuild(WithSequence(way), HistoryInput());
    const auto program = MustCompile(graph);
    const ReferenceNetwork<double> reference(graph);
    const Sample sample = HistorySample(graph, 131, 0);
    const std::vector<float> parameters = StartingPoint(*program);
    ExpectNear(RunFast(*program, sample, parameters), RunReference(reference, sample, parameters),
               reference.parameters(), /*tolerance=*/2e-5);
  }
}

// What stands where there is no value reaches nothing: neither predictions nor any gradient.
TEST(Sequences, PaddingHasNoEffect) {
  for (const std::string& way : Ways()) {
    SCOPED_TRACE(way);
    const Graph graph = MustBuild(WithSequence(way), HistoryInput());
    const auto program = MustCompile(graph);
    const std::vector<float> parameters = StartingPoint(*program);
    const Outcome zeros = RunFast(*program, HistorySample(graph, 70, 0), parameters);
    const Outcome others = RunFast(*program, HistorySample(graph, 70, 3.5), parameters);
    EXPECT_EQ(zeros.predictions, others.predictions);
    EXPECT_EQ(zeros.losses, others.losses);
    EXPECT_EQ(zeros.gradients, others.gradients);
    const int width = graph.width(graph.Input());
    for (int r = 0; r < 70; ++r) {
      for (int c = 0; c < width; ++c) {
        EXPECT_EQ(zeros.dx[r * width + c], others.dx[r * width + c]) << r << " " << c;
        const bool is_padding = c >= 4 && c < 16 && (c - 4) / kDim >= r % 4;
        if (is_padding || (c >= 16 && c < 19)) {
          EXPECT_EQ(others.dx[r * width + c], 0);
        }
      }
    }
  }
}

// Values of no sequence: the network is told 0, whatever its weights are.
TEST(Sequences, AnEmptyOneIsZero) {
  for (const std::string& way : Ways()) {
    SCOPED_TRACE(way);
    Graph graph(23);
    const Config config = WithSequence(way);
    const auto pooled = PoolSequences(config.model(), HistoryInput(), &graph);
    ASSERT_TRUE(pooled.ok()) << pooled.status();
    const FeatureColumns& clicks = pooled->columns.features[1];
    EXPECT_EQ(clicks.columns.count, kDim);
    EXPECT_EQ(clicks.mask.count, 0);
    EXPECT_EQ(pooled->columns.width, 23 - 12 - 3 + kDim);
    const Value value = graph.Columns(pooled->value, {clicks.columns});
    graph.Head("a", HeadKind::kNumber, graph.SumColumns(graph.Multiply(value, value)));
    const auto program = MustCompile(graph);
    const Outcome outcome = RunFast(*program, HistorySample(graph, 8, 2), StartingPoint(*program));
    for (int r = 0; r < 8; ++r) {
      EXPECT_EQ(outcome.predictions[r] == 0, r % 4 == 0) << r;
    }
  }
}

// Column by column, other features are what they were: of every set, dense ones, a wide part's
// sequence with its mask.
TEST(Sequences, OtherFeaturesStay) {
  const ModelInput input = HistoryInput(/*has_wide=*/true);
  Graph graph(input.width);
  const Config config = WithSequence("", "wide {}");
  const auto pooled = PoolSequences(config.model(), input, &graph);
  ASSERT_TRUE(pooled.ok()) << pooled.status();
  ASSERT_EQ(pooled->columns.features.size(), input.features.size());
  std::vector<int> from;  // [head]: the column of the network's input that it must show.
  const auto watch = [&](ColumnRange old, ColumnRange now) {
    ASSERT_EQ(old.count, now.count);
    for (int c = 0; c < old.count; ++c) {
      from.push_back(old.begin + c);
      graph.Output(std::to_string(from.back()), HeadKind::kNumber,
                   graph.Columns(pooled->value, {{now.begin + c, 1}}));
    }
  };
  for (size_t i = 0; i < input.features.size(); ++i) {
    const FeatureColumns& old = input.features[i];
    const FeatureColumns& now = pooled->columns.features[i];
    EXPECT_EQ(now.set, old.set);
    EXPECT_EQ(now.feature, old.feature);
    EXPECT_EQ(now.is_dense, old.is_dense);
    if (old.set.empty() && old.feature == "clicks") continue;
    watch(old.columns, now.columns);
    watch(old.mask, now.mask);
  }
  EXPECT_EQ(from.size(), size_t{31 - 12 - 3});
  const auto program = MustCompile(graph);
  const Sample sample = HistorySample(graph, 5, 2);
  const Outcome outcome = RunFast(*program, sample, StartingPoint(*program));
  for (size_t head = 0; head < from.size(); ++head) {
    for (int r = 0; r < 5; ++r) {
      EXPECT_EQ(outcome.predictions[head * 5 + r], sample.x[r * 31 + from[head]]) << from[head];
    }
  }
}

// The deep part reads the others beside the pooled sequence; a wide part still weighs each value,
// whatever is filled, by one weight each: logit = deep + sum of wide columns.
TEST(Sequences, DeepAndWidePartsReadTheirColumns) {
  const Graph graph = MustBuild(WithSequence("", "wide {}"), HistoryInput(/*has_wide=*/true));
  int bottom = 0;
  const ReferenceNetwork<float> network(graph);
  for (const ParameterView& view : network.parameters()) {
    if (view.name == "bottom/layer0/w") bottom = view.rows;
  }
  EXPECT_EQ(bottom, kDim + kDim + 3 + 1);
  const auto program = MustCompile(graph);
  const Outcome outcome = RunFast(*program, HistorySample(graph, 4, 0), StartingPoint(*program));
  const double* const dx = outcome.dx.data() + 3 * 31;  // Of a row whose places are filled.
  EXPECT_NE(dx[23], 0);
  for (const int wide : {24, 25, 26, 30}) EXPECT_EQ(dx[wide], dx[23]) << wide;
  for (const int mask : {16, 17, 18, 27, 28, 29}) EXPECT_EQ(dx[mask], 0) << mask;
  for (const int deep : {0, 1, 2, 3, 4, 8, 12, 19, 20, 21, 22}) {
    EXPECT_NE(dx[deep], 0) << deep;
    EXPECT_NE(dx[deep], dx[23]) << deep;
  }
}

// A field's vector, by the name of any of its features.
TEST(Sequences, MayTargetAField) {
  ModelInput input = HistoryInput();
  input.features[0].added = {"brand"};
  const auto graph = BuildModel(WithSequence("pooling: TARGET target: 'brand'"), input);
  EXPECT_TRUE(graph.ok()) << graph.status();
}

TEST(Sequences, RefusesWhatDoesNotFit) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"heads: 3", "do not divide"},
      {"heads: 0", "do not divide"},
      {"target: 'item'", "is for pooling: TARGET"},
      {"hidden: 4", "is for pooling: TARGET"},
      {"pooling: TARGET", "wants a target"},
      {"pooling: TARGET target: ''", "wants a target"},
      {"pooling: TARGET target: 'item' heads: 2", "is for pooling: SELF_ATTENTION"},
      {"pooling: TARGET target: 'item' hidden: [3, 0]", "[clicks].hidden = 0"},
      {"pooling: TARGET target: 'item' hidden: 65537", "between 1 and 65536"},
      {"pooling: TARGET target: 'other'", "of dim 4"},
      {"pooling: TARGET target: 'hour'", "of dim 4"},
      {"pooling: TARGET target: 'clicks'", "of dim 4"},
      {"pooling: TARGET target: 'nobody'", "no feature is called"},
      {"} sequence { feature: 'clicks'", "twice"},
      {"} sequence { feature: 'click'", "did you mean clicks"},
      {"} sequence { feature: 'item'", "SEQUENCE"},
  };
  for (const auto& [sequence, message] : cases) {
    const absl::Status status = BuildModel(WithSequence(sequence), HistoryInput()).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << sequence;
    EXPECT_THAT(std::string(status.message()), HasSubstr(message)) << sequence;
  }
}

}  // namespace
}  // namespace pagoda
