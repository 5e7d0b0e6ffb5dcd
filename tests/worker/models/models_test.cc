// Every registered model, unasked: it builds for 1, 2, 3 and 7 tasks, its gradients agree with the
// oracle, and it learns. Then the identities that the papers state.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <map>
#include <sstream>

#include "tests/worker/models/support.h"
#include "worker/models/model.h"

namespace pagoda {
namespace {

using testing::HasSubstr;

class EveryModel : public testing::TestWithParam<std::string> {
 protected:
  static std::vector<int> TaskCounts() {
    return IsOfTwoTasks(GetParam()) ? std::vector<int>{2} : std::vector<int>{1, 2, 3, 7};
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
      if (head.has_loss && head.reported) heads.push_back(head.name);
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
    const int width = graph.width(graph.Input());  // Embedding sets make it wider.
    for (size_t k = 0; k < sample.labels.size(); ++k) {
      for (int r = 0; r < kRows; ++r) {
        // The second of a funnel happens only if the first does.
        const float* x = sample.x.data() + r * width;
        const bool first = x[0] + x[1] > 0, later = first && x[2 + k % tasks] > -0.3f;
        sample.labels[k][r] = k == 0 ? first : later;
        sample.weights[k][r] = 1.0f / kRows;
      }
    }
    std::vector<float> parameters(program->parameter_count());
    program->InitParameters(1, parameters.data());
    std::vector<float> gradients(parameters.size());
    std::vector<double> losses(sample.labels.size());
    double first_loss = 0, last_loss = 0;
    for (int step = 0; step < kSteps; ++step) {
      RunArgs args = ArgsOf(sample, parameters.data());
      args.passes = {{.head_scales = {}, .gradients = gradients.data()}};
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
  EXPECT_GE(config.optimizer_size(), 2);
  for (const std::string& task : TaskNames(2)) config.mutable_dataset()->add_task()->set_name(task);
  EXPECT_FALSE(MustBuild(config).heads().empty());
}

TEST_P(EveryModel, SaysWhatItIs) {
  const ModelInfo& info = Models().at(GetParam());
  EXPECT_FALSE(info.help.empty());
  EXPECT_FALSE(info.source.empty());
}

INSTANTIATE_TEST_SUITE_P(Models, EveryModel, testing::ValuesIn(ModelNames()),
                         [](const auto& info) { return info.param; });

// ---------------------------------------------------------------------------------- identities
//
// Two models that the papers call equal must have the same bits: predictions, losses and every
// gradient, the inputs' included, over 20 steps of plain SGD in which the inputs (embedding rows)
// learn, too.

TEST(Identity, MmoeWithOneExpertIsSharedBottom) {
  for (int tasks : {1, 3, 7}) {
    Config mmoe = SmallConfig("mmoe", TaskNames(tasks));
    Config bottom = SmallConfig("shared_bottom", TaskNames(tasks));
    mmoe.mutable_model()->set_experts(1);
    *mmoe.mutable_model()->mutable_expert() = bottom.model().bottom();
    ExpectSame(Train(MustBuild(mmoe), {{"experts/0/", "bottom/"}}), Train(MustBuild(bottom)));
  }
}

TEST(Identity, MoeWithOneTaskIsMmoe) {
  ExpectSame(Train(MustBuild(SmallConfig("moe", {"a"})), {{"gate/", "a/gate/"}}),
             Train(MustBuild(SmallConfig("mmoe", {"a"}))));
}

TEST(Identity, CgcIsPleWithOneLevel) {
  for (int tasks : {1, 3, 7}) {
    Config ple = SmallConfig("ple", TaskNames(tasks));
    ple.mutable_model()->mutable_level()->RemoveLast();
    ExpectSame(Train(MustBuild(ple)), Train(MustBuild(SmallConfig("cgc", TaskNames(tasks)))));
  }
}

// One level, `experts` own experts a task and no shared ones.
Config PleWithoutSharing(const std::vector<std::string>& tasks, int experts) {
  Config ple = SmallConfig("ple", tasks);
  ple.mutable_model()->mutable_level()->RemoveLast();
  ple.mutable_model()->mutable_level(0)->set_task_experts(experts);
  ple.mutable_model()->mutable_level(0)->set_shared_experts(0);
  return ple;
}

TEST(Identity, PleWithOneLevelAndOneOwnExpertIsSingle) {
  for (int tasks : {1, 3, 7}) {
    const Config single = SmallConfig("single", TaskNames(tasks));
    Config ple = PleWithoutSharing(TaskNames(tasks), 1);
    *ple.mutable_model()->mutable_expert() = single.model().bottom();
    Renaming renaming;
    for (const std::string& task : TaskNames(tasks)) {
      renaming.push_back({"level0/" + task + "/experts/0/", task + "/bottom/"});
    }
    ExpectSame(Train(MustBuild(ple), renaming), Train(MustBuild(single)));
  }
}

// With several own experts each task's network is a mixture of experts of its own. The inputs' dx
// is the sum of the networks': so each is trained beside the others on the same input.
TEST(Identity, PleWithOneLevelAndNoSharedExpertsIsANetworkATask) {
  for (int experts : {2, 3}) {
    const std::vector<std::string> tasks = TaskNames(3);
    const Config ple = PleWithoutSharing(tasks, experts);
    Graph networks(11);
    Renaming renaming;
    for (const std::string& task : tasks) {
      const auto& model = ple.model();
      const ExpertGroup own =
          networks.Experts(task + "/experts", networks.Input(), experts, model.expert(), RELU);
      const Value gate = networks.Softmax(
          networks.Dense(task + "/gate", networks.Input(), experts, IDENTITY, /*bias=*/false));
      const Value h =
          networks.Mlp(task + "/tower", networks.Mixture(gate, {own}), model.tower(), RELU);
      networks.Head(task, HeadKind::kProbability, networks.Dense(task + "/tower/out", h, 1));
      renaming.push_back({"level0/" + task + "/", task + "/"});
    }
    ExpectSame(Train(MustBuild(ple), renaming), Train(networks));
  }
}

// No task knows of the others: what it computes alone it computes among them. (Not over several
// steps: the inputs learn from all.)
TEST(Identity, PleWithoutSharingKeepsTasksApart) {
  const std::vector<std::string> tasks = TaskNames(3);
  const History together = Train(MustBuild(PleWithoutSharing(tasks, 2)));
  const auto first_step = [](const std::vector<float>& all) {
    return std::vector<float>(all.begin(), all.begin() + all.size() / kIdentitySteps);
  };
  for (const std::string& task : tasks) {
    const History alone = Train(MustBuild(PleWithoutSharing({task}, 2)));
    EXPECT_EQ(first_step(alone.predictions.at(task)), first_step(together.predictions.at(task)));
    for (const auto& [name, gradient] : alone.gradients) {
      EXPECT_EQ(first_step(gradient), first_step(together.gradients.at(name))) << name;
    }
  }
}

TEST(Identity, PermutingTasksPermutesOutputs) {
  for (const std::string& model : ModelNames()) {
    const std::vector<std::string> names = TaskNames(IsOfTwoTasks(model) ? 2 : 3);
    Config one = SmallConfig(model, names), other = one;
    auto* tasks = other.mutable_dataset()->mutable_task();
    std::rotate(tasks->pointer_begin(), tasks->pointer_begin() + 1, tasks->pointer_end());
    for (Config* config : {&one, &other}) {  // Some models' tasks have roles by the funnel.
      for (const std::string& task : names) config->mutable_dataset()->add_funnel(task);
    }
    const Graph one_graph = MustBuild(one), other_graph = MustBuild(other);
    EXPECT_EQ(one_graph.heads()[0].name, "task0") << model;
    EXPECT_EQ(other_graph.heads()[0].name, "task1") << model;
    SCOPED_TRACE(model);
    ExpectSame(Train(other_graph), Train(one_graph));
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
  const auto program = MustCompile(graph);
  constexpr size_t kRows = 97;
  const Outcome o = RunFast(*program, MakeSample(graph, kRows), StartingPoint(*program));
  for (size_t r = 0; r < kRows; ++r) {
    EXPECT_NEAR(o.predictions[r], o.predictions[kRows + r] * o.predictions[2 * kRows + r], 1e-6);
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
        Refusal{"EmptyTower", "mmoe", 2, [](Config* c) { c->mutable_model()->clear_tower(); },
                "tower"},
        Refusal{"EmptyBottom", "shared_bottom", 2,
                [](Config* c) { c->mutable_model()->clear_bottom(); }, "bottom"},
        Refusal{"EmptyExpert", "ple", 2, [](Config* c) { c->mutable_model()->clear_expert(); },
                "expert"},
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
        Refusal{"UnknownParameter", "ple", 2,
                [](Config* c) { c->mutable_model()->add_parameter()->set_name("temperature"); },
                "temperature"},
        Refusal{"ExpertsOfSharedBottom", "shared_bottom", 2,
                [](Config* c) { c->mutable_model()->add_expert(8); },
                "model.expert: is for model: "},
        Refusal{"BottomOfMmoe", "mmoe", 2, [](Config* c) { c->mutable_model()->add_bottom(8); },
                "not for mmoe; leave it out"},
        Refusal{"LevelOfMmoe", "mmoe", 2, [](Config* c) { c->mutable_model()->add_level(); },
                "model.level: is for model: cgc, ple and stem"},
        Refusal{"NumberOfExpertsOfPle", "ple", 2,
                [](Config* c) { c->mutable_model()->set_experts(4); },
                "model.experts: is for model: dselect_k, mmoe and moe"},
        Refusal{"GateBiasOfDselect", "dselect_k", 2,
                [](Config* c) { c->mutable_model()->set_gate_bias(true); },
                "model.gate_bias: is for model: cgc, mmoe, moe, ple and stem, not for dselect_k"},
        Refusal{"LayersOfFm", "mmoe", 2,
                [](Config* c) {
                  InteractionConfig* interaction = c->mutable_model()->mutable_interaction();
                  interaction->set_kind(InteractionConfig::FM);
                  interaction->set_layers(3);
                },
                "model.interaction.layers: is for kind: DCN_V2, not for FM"},
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
