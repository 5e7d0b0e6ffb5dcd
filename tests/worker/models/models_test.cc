// Every registered model, unasked: it builds for 1, 2, 3 and 7 tasks, its gradients agree with the
// oracle, and it learns. Then the identities that the papers state.
#include <gmock/gmock.h>
#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <sstream>

#include "tests/worker/graph/sample.h"
#include "worker/models/model.h"

namespace pagoda {
namespace {

using testing::HasSubstr;

Config Parse(const std::string& text) {
  Config config;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &config)) << text;
  return config;
}

// A little of everything that some model reads.
Config SmallConfig(const std::string& model, const std::vector<std::string>& tasks) {
  Config config = Parse(R"(model {
    bottom: [12, 9] expert: [10, 6] tower: [7] experts: 3
    level { task_experts: 2 shared_experts: 1 }
  })");
  config.mutable_model()->set_name(model);
  if (model == "ple") {
    *config.mutable_model()->add_level() = Parse(R"(model {
      level { task_experts: 1 shared_experts: 2 expert: 5 }
    })")
                                               .model()
                                               .level(0);
  }
  for (const std::string& task : tasks) config.mutable_dataset()->add_task()->set_name(task);
  return config;
}

Graph MustBuild(const Config& config, int input_width = 11) {
  auto graph = BuildModel(config, input_width);
  EXPECT_TRUE(graph.ok()) << graph.status();
  return *std::move(graph);
}

std::unique_ptr<Program> MustCompile(Graph graph) {
  auto program = Program::Compile(std::move(graph));
  EXPECT_TRUE(program.ok()) << program.status();
  return *std::move(program);
}

std::vector<std::string> TaskNames(int count) {
  std::vector<std::string> names;
  for (int k = 0; k < count; ++k) names.push_back("task" + std::to_string(k));
  return names;
}

class EveryModel : public testing::TestWithParam<std::string> {
 protected:
  // ESMM is defined for two tasks only.
  static std::vector<int> TaskCounts() {
    return GetParam() == "esmm" ? std::vector<int>{2} : std::vector<int>{1, 2, 3, 7};
  }
};

TEST_P(EveryModel, MatchesTheOracle) {
  for (int tasks : TaskCounts()) {
    const Graph graph = MustBuild(SmallConfig(GetParam(), TaskNames(tasks)));
    const auto program = MustCompile(graph);
    const ReferenceNetwork<double> reference(graph);
    const Sample sample = MakeSample(graph, 70);
    const std::vector<float> parameters = StartingPoint(*program);
    ExpectNear(RunFast(*program, sample, parameters), RunReference(reference, sample, parameters),
               reference.parameters(), /*tolerance=*/1e-5);
  }
}

TEST_P(EveryModel, HeadsStandInTaskOrder) {
  for (int tasks : TaskCounts()) {
    std::vector<std::string> names = TaskNames(tasks), heads;
    std::reverse(names.begin(), names.end());
    const Graph graph = MustBuild(SmallConfig(GetParam(), names));
    for (const Graph::HeadSpec& head : graph.heads()) {
      if (head.has_loss) heads.push_back(head.name);
    }
    EXPECT_EQ(heads, names);
  }
}

// Labels by a rule in x; plain SGD must find most of it.
TEST_P(EveryModel, LowersItsLoss) {
  constexpr int kRows = 128, kWidth = 11, kSteps = 150;
  for (int tasks : TaskCounts()) {
    const Graph graph = MustBuild(SmallConfig(GetParam(), TaskNames(tasks)), kWidth);
    const auto program = MustCompile(graph);
    const auto runner = program->NewRunner();
    Sample sample = MakeSample(graph, kRows);
    for (size_t k = 0; k < sample.labels.size(); ++k) {
      for (int r = 0; r < kRows; ++r) {
        // The second of a funnel happens only if the first does.
        const float* x = sample.x.data() + r * kWidth;
        const bool first = x[0] + x[1] > 0, later = first && x[2 + k] > -0.3f;
        sample.labels[k][r] = k == 0 ? first : later;
        sample.weights[k][r] = 1.0f / kRows;
      }
    }
    std::vector<float> parameters(program->parameter_count());
    program->InitParameters(1, parameters.data());
    std::vector<float> gradients(parameters.size());
    std::vector<double> losses(tasks);
    double first_loss = 0, last_loss = 0;
    for (int step = 0; step < kSteps; ++step) {
      RunArgs args = ArgsOf(sample, parameters.data());
      args.gradients = gradients.data();
      args.losses = losses.data();
      runner->Run(args);
      last_loss = 0;
      for (double loss : losses) last_loss += loss;
      if (step == 0) first_loss = last_loss;
      for (size_t i = 0; i < parameters.size(); ++i) parameters[i] -= 0.5f * gradients[i];
    }
    EXPECT_LT(last_loss, 0.6 * first_loss) << tasks << " tasks";
  }
}

TEST_P(EveryModel, HasAConfigurationThatBuilds) {
  const std::string path =
      std::string(PAGODA_SOURCE_DIR) + "/configs/models/" + GetParam() + ".textproto";
  std::ifstream file(path);
  ASSERT_TRUE(file.good()) << path;
  std::stringstream text;
  text << file.rdbuf();
  Config config = Parse(text.str());
  EXPECT_EQ(config.model().name(), GetParam());
  EXPECT_FALSE(config.model().description().empty());
  EXPECT_EQ(config.optimizer_size(), 2);
  for (const std::string& task : TaskNames(2)) config.mutable_dataset()->add_task()->set_name(task);
  EXPECT_FALSE(MustBuild(config).heads().empty());
}

TEST_P(EveryModel, SaysWhatItIs) {
  const ModelInfo& info = Models().at(GetParam());
  EXPECT_FALSE(info.help.empty());
  EXPECT_FALSE(info.source.empty());
}

std::vector<std::string> ModelNames() {
  std::vector<std::string> names;
  for (const auto& [name, info] : Models()) names.push_back(name);
  return names;
}

INSTANTIATE_TEST_SUITE_P(Models, EveryModel, testing::ValuesIn(ModelNames()),
                         [](const auto& info) { return info.param; });

// ---------------------------------------------------------------------------------- identities

using Renaming = std::vector<std::pair<std::string, std::string>>;

// Predictions of `graph`; its parameters are those of a common dictionary by name, after the first
// prefix that a renaming knows is replaced.
Outcome RunByName(const Graph& graph, const Renaming& renaming) {
  const auto program = MustCompile(graph);
  std::vector<float> packed;
  for (const ParameterView& view : program->parameters()) {
    std::string name = view.name;
    for (const auto& [from, to] : renaming) {
      if (name.compare(0, from.size(), from) != 0) continue;
      name = to + name.substr(from.size());
      break;
    }
    for (double v : Uniform(name, view.rows * view.columns)) packed.push_back(0.5 * v);
  }
  return RunFast(*program, MakeSample(graph, 97), packed);
}

TEST(Identity, MmoeWithOneExpertIsSharedBottom) {
  const std::vector<std::string> tasks = TaskNames(3);
  Config mmoe = SmallConfig("mmoe", tasks), bottom = SmallConfig("shared_bottom", tasks);
  mmoe.mutable_model()->set_experts(1);
  *mmoe.mutable_model()->mutable_expert() = bottom.model().bottom();
  const Outcome a = RunByName(MustBuild(mmoe), {{"experts/0/", "bottom/"}});
  const Outcome b = RunByName(MustBuild(bottom), {});
  EXPECT_EQ(a.predictions, b.predictions);
  EXPECT_EQ(a.losses, b.losses);
  // The towers' gradients meet in one product there and in a sum of mixtures here: the order of
  // addition differs.
  EXPECT_LE(Distance(a.dx, b.dx), 1e-6 * Norm(b.dx));
}

TEST(Identity, MoeWithOneTaskIsMmoe) {
  const std::vector<std::string> tasks = {"a"};
  const Outcome moe = RunByName(MustBuild(SmallConfig("moe", tasks)), {{"gate/", "a/gate/"}});
  const Outcome mmoe = RunByName(MustBuild(SmallConfig("mmoe", tasks)), {});
  EXPECT_EQ(moe.predictions, mmoe.predictions);
}

TEST(Identity, CgcIsPleWithOneLevel) {
  Config ple = SmallConfig("ple", TaskNames(3));
  ple.mutable_model()->mutable_level()->RemoveLast();
  const Outcome a = RunByName(MustBuild(ple), {});
  const Outcome b = RunByName(MustBuild(SmallConfig("cgc", TaskNames(3))), {});
  EXPECT_EQ(a.predictions, b.predictions);
  EXPECT_EQ(a.gradients, b.gradients);
}

TEST(Identity, PleWithOneLevelAndNoSharedExpertsIsIndependentNetworks) {
  const std::vector<std::string> tasks = TaskNames(3);
  Config ple = SmallConfig("ple", tasks), single = SmallConfig("single", tasks);
  ple.mutable_model()->mutable_level()->RemoveLast();
  ple.mutable_model()->mutable_level(0)->set_task_experts(1);
  ple.mutable_model()->mutable_level(0)->set_shared_experts(0);
  *ple.mutable_model()->mutable_expert() = single.model().bottom();
  Renaming renaming;
  for (const std::string& task : tasks) {
    renaming.push_back({"level0/" + task + "/experts/0/", task + "/bottom/"});
  }
  EXPECT_EQ(RunByName(MustBuild(ple), renaming).predictions,
            RunByName(MustBuild(single), {}).predictions);

  // With two experts each, too, no task knows of the others.
  ple.mutable_model()->mutable_level(0)->set_task_experts(2);
  const Outcome together = RunByName(MustBuild(ple), {});
  for (size_t k = 0; k < tasks.size(); ++k) {
    Config alone = ple;
    alone.mutable_dataset()->clear_task();
    alone.mutable_dataset()->add_task()->set_name(tasks[k]);
    const Outcome one = RunByName(MustBuild(alone), {});
    EXPECT_TRUE(std::equal(one.predictions.begin(), one.predictions.end(),
                           together.predictions.begin() + k * one.predictions.size()));
  }
}

TEST(Identity, PermutingTasksPermutesPredictions) {
  for (const std::string& model : ModelNames()) {
    if (model == "esmm") continue;  // Its tasks have roles, by the funnel.
    const Outcome abc = RunByName(MustBuild(SmallConfig(model, {"a", "b", "c"})), {});
    const Outcome cab = RunByName(MustBuild(SmallConfig(model, {"c", "a", "b"})), {});
    const size_t rows = abc.predictions.size() / 3;
    const auto of = [&](const Outcome& o, int head) {
      return std::vector<double>(o.predictions.begin() + head * rows,
                                 o.predictions.begin() + (head + 1) * rows);
    };
    EXPECT_EQ(of(abc, 0), of(cab, 1)) << model;
    EXPECT_EQ(of(abc, 1), of(cab, 2)) << model;
    EXPECT_EQ(of(abc, 2), of(cab, 0)) << model;
  }
}

TEST(Esmm, FunnelGivesTheRoles) {
  Config config = SmallConfig("esmm", {"buy", "click"});
  for (const char* name : {"click", "buy"}) config.mutable_dataset()->add_funnel(name);
  const Graph graph = MustBuild(config);
  ASSERT_EQ(graph.heads().size(), 3u);
  EXPECT_EQ(graph.heads()[0].name, "buy");
  EXPECT_EQ(graph.heads()[0].kind, HeadKind::kProduct);
  EXPECT_EQ(graph.heads()[1].name, "click");
  EXPECT_EQ(graph.heads()[1].kind, HeadKind::kProbability);
  EXPECT_EQ(graph.heads()[2].name, "pCVR");
  EXPECT_FALSE(graph.heads()[2].has_loss);
  const Outcome o = RunByName(graph, {});
  const size_t rows = o.predictions.size() / 3;
  for (size_t r = 0; r < rows; ++r) {
    EXPECT_NEAR(o.predictions[r], o.predictions[rows + r] * o.predictions[2 * rows + r], 1e-6);
  }
}

TEST(Ple, LastLevelHasNoSharedGate) {
  Config config = SmallConfig("ple", TaskNames(2));
  std::vector<std::string> gates;
  const ReferenceNetwork<float> network(MustBuild(config));
  for (const ParameterView& view : network.parameters()) {
    if (view.name.find("shared_gate") != std::string::npos) gates.push_back(view.name);
  }
  EXPECT_EQ(gates, std::vector<std::string>{"level0/shared_gate/w"});
}

TEST(Ple, GateBiasIsAnOption) {
  Config config = SmallConfig("ple", TaskNames(2));
  const auto count = [&] { return ReferenceNetwork<float>(MustBuild(config)).parameters().size(); };
  const size_t without = count();
  config.mutable_model()->set_gate_bias(true);
  EXPECT_EQ(count(), without + 2 * 2 + 1);
}

// ---------------------------------------------------------------------------------- refusals

struct Refusal {
  std::string name;
  std::string model;
  int tasks;
  void (*change)(Config* config);
  std::string message;
};

class Refused : public testing::TestWithParam<Refusal> {};

TEST_P(Refused, NamesWhatIsWrong) {
  Config config = SmallConfig(GetParam().model, TaskNames(GetParam().tasks));
  GetParam().change(&config);
  const auto graph = BuildModel(config, 11);
  ASSERT_FALSE(graph.ok());
  EXPECT_EQ(graph.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(graph.status().message()), HasSubstr(GetParam().message));
}

INSTANTIATE_TEST_SUITE_P(
    Cases, Refused,
    testing::Values(
        Refusal{"UnknownModel", "mmoa", 2, [](Config*) {}, "mmoe"},
        Refusal{"NoTask", "mmoe", 0, [](Config*) {}, "no task"},
        Refusal{"SameTaskTwice", "mmoe", 2,
                [](Config* c) { c->mutable_dataset()->mutable_task(1)->set_name("task0"); },
                "task0"},
        Refusal{"NamelessTask", "mmoe", 2,
                [](Config* c) { c->mutable_dataset()->mutable_task(1)->clear_name(); }, "name"},
        Refusal{"EmptyTower", "mmoe", 2, [](Config* c) { c->mutable_model()->clear_tower(); },
                "tower"},
        Refusal{"EmptyBottom", "shared_bottom", 2,
                [](Config* c) { c->mutable_model()->clear_bottom(); }, "bottom"},
        Refusal{"EmptyExpert", "ple", 2, [](Config* c) { c->mutable_model()->clear_expert(); },
                "expert"},
        Refusal{"ZeroWidth", "mmoe", 2, [](Config* c) { c->mutable_model()->add_tower(0); },
                "tower: 0"},
        Refusal{"HugeWidth", "mmoe", 2,
                [](Config* c) { c->mutable_model()->add_expert(2000000000); }, "expert"},
        Refusal{"NoExperts", "mmoe", 2, [](Config* c) { c->mutable_model()->set_experts(0); },
                "experts is 0"},
        Refusal{"NoLevels", "ple", 2, [](Config* c) { c->mutable_model()->clear_level(); },
                "levels"},
        Refusal{"TwoLevelsOfCgc", "cgc", 2, [](Config* c) { c->mutable_model()->add_level(); },
                "exactly one level"},
        Refusal{"LevelWithoutExperts", "cgc", 2,
                [](Config* c) {
                  c->mutable_model()->mutable_level(0)->set_task_experts(0);
                  c->mutable_model()->mutable_level(0)->set_shared_experts(0);
                },
                "task_experts + shared_experts"},
        Refusal{"NegativeExperts", "ple", 2,
                [](Config* c) { c->mutable_model()->mutable_level(1)->set_task_experts(-1); },
                "level 1 task_experts is -1"},
        Refusal{"UnknownParameter", "ple", 2,
                [](Config* c) { c->mutable_model()->add_parameter()->set_name("temperature"); },
                "temperature"},
        Refusal{"UnknownFunnelTask", "esmm", 2,
                [](Config* c) { c->mutable_dataset()->add_funnel("task7"); }, "task7"},
        Refusal{"EsmmThreeTasks", "esmm", 3, [](Config*) {}, "two tasks"},
        Refusal{"EsmmTaskOutsideFunnel", "esmm", 3,
                [](Config* c) {
                  c->mutable_dataset()->add_funnel("task0");
                  c->mutable_dataset()->add_funnel("task1");
                },
                "task2"},
        Refusal{"EsmmSameTaskTwice", "esmm", 2,
                [](Config* c) {
                  c->mutable_dataset()->add_funnel("task0");
                  c->mutable_dataset()->add_funnel("task0");
                },
                "two tasks"},
        Refusal{"EsmmMse", "esmm", 2,
                [](Config* c) { c->mutable_dataset()->mutable_task(1)->set_loss(TaskConfig::MSE); },
                "BCE"}),
    [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace pagoda
