// Small configurations of every model, and twenty steps of training by hand.
#ifndef PAGODA_TESTS_WORKER_MODELS_SUPPORT_H_
#define PAGODA_TESTS_WORKER_MODELS_SUPPORT_H_

#include <gmock/gmock.h>
#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "tests/worker/graph/sample.h"
#include "worker/models/model.h"

namespace pagoda {

inline Config Parse(const std::string& text) {
  Config config;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &config)) << text;
  return config;
}

// Takes out what other models read and this one does not.
inline void ClearUnread(ModelConfig* model) {
  const auto own = Models().find(model->name());
  if (own == Models().end()) return;
  const std::vector<std::string>& read = own->second.fields;
  for (const auto& [name, info] : Models()) {
    for (const std::string& field : info.fields) {
      if (std::find(read.begin(), read.end(), field) != read.end()) continue;
      model->GetReflection()->ClearField(model, model->GetDescriptor()->FindFieldByName(field));
    }
  }
}

// A little of everything that the model reads.
inline Config SmallConfig(const std::string& model, const std::vector<std::string>& tasks) {
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
  if (model == "wide_deep") config.mutable_model()->mutable_wide();
  if (model == "dselect_k") config.mutable_model()->set_experts(4);
  for (const std::string& task : tasks) config.mutable_dataset()->add_task()->set_name(task);
  ClearUnread(config.mutable_model());
  return config;
}

inline Graph MustBuild(const Config& config, int input_width = 11) {
  auto graph = BuildModel(config, input_width);
  EXPECT_TRUE(graph.ok()) << graph.status();
  return *std::move(graph);
}

inline std::vector<std::string> TaskNames(int count) {
  std::vector<std::string> names;
  for (int k = 0; k < count; ++k) names.push_back("task" + std::to_string(k));
  return names;
}

// Click and conversion.
inline bool IsOfTwoTasks(const std::string& model) { return model == "esmm" || model == "escm2"; }

inline std::vector<std::string> ModelNames() {
  std::vector<std::string> names;
  for (const auto& [name, info] : Models()) names.push_back(name);
  return names;
}

using Renaming = std::vector<std::pair<std::string, std::string>>;

// The name after the first prefix that the renaming knows is replaced.
inline std::string Rename(const std::string& name, const Renaming& renaming) {
  for (const auto& [from, to] : renaming) {
    if (name.compare(0, from.size(), from) == 0) return to + name.substr(from.size());
  }
  return name;
}

struct History {
  std::map<std::string, std::vector<float>> predictions;  // [head], all steps in turn
  std::map<std::string, std::vector<double>> losses;      // [task], likewise
  std::vector<float> dx;                                  // likewise
  std::map<std::string, std::vector<float>> gradients;    // [parameter, renamed], likewise
};

// 300 rows: a full tile, and a short one.
inline constexpr int kIdentityRows = 300, kIdentitySteps = 20;

template <typename T>
void Append(const std::vector<T>& values, std::vector<T>* all) {
  all->insert(all->end(), values.begin(), values.end());
}

// Starting values are a common dictionary's, by renamed name.
inline History Train(const Graph& graph, const Renaming& renaming = {}) {
  const auto program = MustCompile(graph);
  const auto runner = program->NewRunner();
  const float rate = 0.05f * kIdentityRows;  // The sample's weights are about 1 / rows.
  std::vector<float> packed;
  for (const ParameterView& view : program->parameters()) {
    const std::string name = Rename(view.name, renaming);
    for (double v : Uniform(name, size_t(view.rows) * view.columns)) packed.push_back(0.5 * v);
  }
  std::vector<float> parameters = Spread(*program, packed), gradients(parameters.size());
  Sample sample = MakeSample(graph, kIdentityRows);
  std::vector<float> dx(sample.x.size());
  std::vector<double> losses(sample.labels.size());
  std::vector<std::vector<float>> predictions(graph.heads().size(),
                                              std::vector<float>(kIdentityRows));
  History history;
  for (int step = 0; step < kIdentitySteps; ++step) {
    RunArgs args = ArgsOf(sample, parameters.data());
    args.passes = {{.head_scales = {}, .gradients = gradients.data(), .dx = dx.data()}};
    args.losses = losses.data();
    for (auto& of_head : predictions) args.predictions.push_back(of_head.data());
    runner->Run(args);
    size_t loss = 0;
    for (size_t h = 0; h < predictions.size(); ++h) {
      const Graph::HeadSpec& head = graph.heads()[h];
      Append(predictions[h], &history.predictions[head.name]);
      if (head.has_loss) history.losses[head.name].push_back(losses[loss++]);
    }
    Append(dx, &history.dx);
    for (const ParameterView& view : program->parameters()) {
      std::vector<float>& of_name = history.gradients[Rename(view.name, renaming)];
      for (int r = 0; r < view.rows; ++r) {
        const auto row = gradients.begin() + view.offset + r * view.stride;
        of_name.insert(of_name.end(), row, row + view.columns);
      }
    }
    for (size_t i = 0; i < parameters.size(); ++i)
      parameters[i] -= rate / kIdentityRows * gradients[i];
    for (size_t i = 0; i < dx.size(); ++i) sample.x[i] -= rate * dx[i];
  }
  return history;
}

// The same bits. Parameters that only `actual` has are gates over one expert: gradients of zeros.
inline void ExpectSame(const History& actual, const History& expected) {
  EXPECT_EQ(actual.predictions, expected.predictions);
  EXPECT_EQ(actual.losses, expected.losses);
  EXPECT_TRUE(actual.dx == expected.dx);
  for (const auto& [name, gradient] : expected.gradients) {
    ASSERT_TRUE(actual.gradients.contains(name)) << name;
    EXPECT_TRUE(actual.gradients.at(name) == gradient) << name;
    EXPECT_NE(gradient, std::vector<float>(gradient.size())) << name << " learns nothing";
  }
  for (const auto& [name, gradient] : actual.gradients) {
    if (expected.gradients.contains(name)) continue;
    EXPECT_THAT(name, testing::HasSubstr("/gate/"));
    EXPECT_EQ(gradient, std::vector<float>(gradient.size())) << name;
  }
}

}  // namespace pagoda

#endif  // PAGODA_TESTS_WORKER_MODELS_SUPPORT_H_
