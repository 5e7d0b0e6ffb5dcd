// What blocks read of the input: sets, `reads`, `wide`, `interaction`, and styles of layers.
#include "worker/models/model_input.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/worker/models/support.h"

namespace pagoda {
namespace {

using testing::HasSubstr;

// user [4], item [4], tags [2], age [1, dense].
ModelInput ShopInput() {
  return {.width = 11,
          .features = {{.set = "", .feature = "user", .columns = {0, 4}},
                       {.set = "", .feature = "item", .columns = {4, 4}},
                       {.set = "", .feature = "tags", .columns = {8, 2}},
                       {.set = "", .feature = "age", .columns = {10, 1}, .is_dense = true}}};
}

// Rows of the parameter's matrix; 0: there is none.
int RowsOf(const Graph& graph, const std::string& parameter) {
  const ReferenceNetwork<float> network(graph);
  for (const ParameterView& view : network.parameters()) {
    if (view.name == parameter) return view.rows;
  }
  return 0;
}

void AddReads(const std::string& match, const std::vector<std::string>& features, Config* config) {
  ReadsConfig* reads = config->mutable_model()->add_reads();
  reads->set_match(match);
  for (const std::string& feature : features) reads->add_feature(feature);
}

TEST(Reads, PicksFeaturesForBlocks) {
  Config config = SmallConfig("mmoe", {"a", "b"});
  AddReads("a/gate", {"age", "user"}, &config);
  AddReads("experts", {"item", "user"}, &config);
  AddReads("*/tower", {"tags"}, &config);
  const auto graph = BuildModel(config, ShopInput());
  ASSERT_TRUE(graph.ok()) << graph.status();
  EXPECT_EQ(RowsOf(*graph, "a/gate/w"), 5);
  EXPECT_EQ(RowsOf(*graph, "b/gate/w"), 11);
  EXPECT_EQ(RowsOf(*graph, "experts/0/layer0/w"), 8);
  EXPECT_EQ(RowsOf(*graph, "a/tower/layer0/w"), 6 + 2) << "a tower reads it beside its input";
}

TEST(Reads, RefusesWhatIsNotThere) {
  const auto refusal = [](const std::string& model, const std::string& match,
                          const std::string& feature) {
    Config config = SmallConfig(model, {"a", "b"});
    AddReads(match, {feature}, &config);
    return std::string(BuildModel(config, ShopInput()).status().message());
  };
  EXPECT_THAT(refusal("mmoe", "a/gate", "users"), HasSubstr("did you mean user"));
  EXPECT_THAT(refusal("mmoe", "c/gate", "user"), HasSubstr("c/gate"));
  EXPECT_THAT(refusal("ple", "level1/*/gate", "user"), HasSubstr("level below"));
  EXPECT_THAT(refusal("mmoe", "a/gate", ""), HasSubstr("no feature is called"));
}

// Bits must not depend on which other features there are: a block that names all of them does what
// one does that names some.
TEST(Reads, AreColumnsOfTheirOwnEvenIfTheyAreAll) {
  Config config = SmallConfig("shared_bottom", {"a", "b"});
  AddReads("bottom", {"user", "item", "tags", "age"}, &config);
  const auto graph = BuildModel(config, ShopInput());
  ASSERT_TRUE(graph.ok()) << graph.status();
  for (const Graph::Node& node : graph->nodes()) {
    if (node.kind != NodeKind::kDense || node.block_names[0] != "bottom/layer0") continue;
    EXPECT_EQ(graph->nodes()[node.inputs[0].node].kind, NodeKind::kColumns);
  }
  EXPECT_EQ(RowsOf(*graph, "bottom/layer0/w"), 11);
}

// Features of one field are one vector, which each of their names stands for.
TEST(Reads, NameAFieldByAnyOfItsFeatures) {
  ModelInput input = ShopInput();
  input.features[1].added = {"brand", "shop"};
  const auto rows = [&](const std::vector<std::string>& features) {
    Config config = SmallConfig("shared_bottom", {"a", "b"});
    AddReads("bottom", features, &config);
    const auto graph = BuildModel(config, input);
    EXPECT_TRUE(graph.ok()) << graph.status();
    return graph.ok() ? RowsOf(*graph, "bottom/layer0/w") : 0;
  };
  EXPECT_EQ(rows({"shop"}), 4);
  EXPECT_EQ(rows({"brand", "item", "tags"}), 6);
}

TEST(Wide, IsASetOfWeightsATask) {
  Config config = SmallConfig("mmoe", {"a", "b"});
  config.mutable_model()->mutable_wide()->add_feature("user");
  const auto sets = EmbeddingSetsOf(config);
  ASSERT_TRUE(sets.ok());
  ASSERT_EQ(sets->size(), 2u);
  EXPECT_EQ((*sets)[1].name(), "wide/b");
  EXPECT_EQ((*sets)[1].dim(), 1);
  EXPECT_EQ((*sets)[1].feature(0), "user");
}

// A weight of each value, whatever the number of logits: a sequence's are added up over the places
// that are filled.
TEST(Wide, AddsUpASequence) {
  constexpr int kPlaces = 2;
  for (const int logits : {1, 3}) {
    Config config = SmallConfig("shared_bottom", {"a"});
    TaskConfig* const task = config.mutable_dataset()->mutable_task(0);
    if (logits > 1) task->set_loss(TaskConfig::SOFTMAX);
    if (logits > 1) task->set_classes(logits);
    config.mutable_model()->mutable_wide();
    const ColumnRange user = {5, logits}, history = {5 + logits, kPlaces * logits};
    const ColumnRange mask = {history.begin + history.count, kPlaces};
    const auto graph =
        BuildModel(config, ModelInput{.width = mask.begin + kPlaces,
                                      .features = {{"", "age", {0, 5}, {}, true},
                                                   {"wide/a", "user", user},
                                                   {"wide/a", "clicks", history, mask}}});
    ASSERT_TRUE(graph.ok()) << graph.status();
    const auto program = MustCompile(*graph);
    const int width = graph->width(graph->Input());
    Sample sample = MakeSample(*graph, 3);
    const std::vector<float> parameters = StartingPoint(*program);
    for (int r = 0; r < 3; ++r) {  // Row r has r values.
      for (int place = 0; place < kPlaces; ++place) {
        float* const x = sample.x.data() + r * width;
        x[mask.begin + place] = place < r ? 1 : 0;
        if (place >= r) std::fill_n(x + history.begin + place * logits, logits, 0.0f);
      }
    }
    const Outcome outcome = RunFast(*program, sample, parameters);
    for (int r = 0; r < 3; ++r) {
      for (int c = 0; c < logits; ++c) {
        const double of_user = outcome.dx[r * width + user.begin + c];
        EXPECT_NE(of_user, 0);
        for (int place = 0; place < r; ++place) {
          EXPECT_EQ(outcome.dx[r * width + history.begin + place * logits + c], of_user)
              << logits << " logits, row " << r << " place " << place;
        }
      }
      for (int place = 0; place < kPlaces; ++place) {
        EXPECT_EQ(outcome.dx[r * width + mask.begin + place], 0);
      }
    }
    const ReferenceNetwork<double> reference(*graph);
    ExpectNear(outcome, RunReference(reference, sample, parameters), reference.parameters(),
               /*tolerance=*/2e-5);
  }
}

// With a wide part of zeros it is the deep part; a weight moves its task's logit alone.
TEST(Wide, AddsToItsTasksLogit) {
  Config config = SmallConfig("shared_bottom", {"a", "b"});
  const Graph deep = MustBuild(config);
  config.mutable_model()->mutable_wide();
  const Graph both = MustBuild(config);
  ASSERT_EQ(both.width(both.Input()), 13);
  const ReferenceNetwork<double> deep_network(deep), network(both);
  const std::vector<double> parameters(network.parameter_count(), 0.02);
  std::vector<double> x(11, 0.5), wide_x = x;
  wide_x.insert(wide_x.end(), {0.75, 0});
  const auto alone = deep_network.Run(1, x, parameters, {{0}, {0}}, {{0}, {0}});
  const auto beside = network.Run(1, wide_x, parameters, {{0}, {0}}, {{0}, {0}});
  const auto logit = [](double p) { return std::log(p / (1 - p)); };
  EXPECT_NEAR(logit(beside.predictions[0]), logit(alone.predictions[0]) + 0.75, 1e-9);
  EXPECT_EQ(beside.predictions[1], alone.predictions[1]);
}

TEST(Interaction, FmAppendsPairsOfOneDim) {
  Config config = SmallConfig("shared_bottom", {"a"});
  config.mutable_model()->mutable_interaction()->set_kind(InteractionConfig::FM);
  const auto graph = BuildModel(config, ShopInput());
  ASSERT_TRUE(graph.ok()) << graph.status();
  EXPECT_EQ(RowsOf(*graph, "bottom/layer0/w"), 11 + 4) << "user x item; tags have no partner";
  EXPECT_THAT(std::string(BuildModel(config, 11).status().message()), HasSubstr("same dim"));
}

TEST(Interaction, CrossLayersKeepTheWidth) {
  Config config = SmallConfig("mmoe", {"a"});
  config.mutable_model()->mutable_interaction()->set_layers(3);
  const Graph graph = MustBuild(config);
  EXPECT_EQ(RowsOf(graph, "interaction/layer2/w"), 11);
  EXPECT_EQ(RowsOf(graph, "interaction/layer3/w"), 0);
  EXPECT_EQ(RowsOf(graph, "experts/0/layer0/w"), 11);
}

// Every activation, with and without normalization and residual: the fast form is the oracle's.
TEST(Style, MatchesTheOracle) {
  for (int activation = Activation_MIN; activation <= Activation_MAX; ++activation) {
    for (const bool is_normalized : {false, true}) {
      Config config = SmallConfig("ple", TaskNames(2));
      ModelConfig* model = config.mutable_model();
      model->set_activation(static_cast<Activation>(activation));
      if (is_normalized) model->set_normalization(ModelConfig::LAYER);
      model->set_residual(is_normalized);
      model->mutable_interaction()->set_kind(InteractionConfig::DCN_V2);
      model->mutable_wide();
      const Graph graph = MustBuild(config);
      const auto program = MustCompile(graph);
      const ReferenceNetwork<double> reference(graph);
      const Sample sample = MakeSample(graph, 130);  // Two tiles: gradients add up.
      const std::vector<float> parameters = StartingPoint(*program);
      ExpectNear(RunFast(*program, sample, parameters), RunReference(reference, sample, parameters),
                 reference.parameters(), /*tolerance=*/2e-5);
    }
  }
}

TEST(Style, DropoutStandsBehindEveryHiddenLayer) {
  Config config = SmallConfig("mmoe", {"a", "b"});
  config.mutable_model()->set_dropout(0.25);
  const Graph graph = MustBuild(config);
  int nodes = 0;
  for (const Graph::Node& node : graph.nodes()) nodes += node.kind == NodeKind::kDropout;
  EXPECT_EQ(nodes, 2 + 2) << "two layers of the experts, and one of each tower";
}

}  // namespace
}  // namespace pagoda
