// What the parity reference is made of: rows, optimizers and their states, gradients of lanes and
// their sums; all in double, in plain containers.
//
// **Needs external lock** (values).
#ifndef PAGODA_TESTS_INTEROP_PARITY_PARTS_H_
#define PAGODA_TESTS_INTEROP_PARITY_PARTS_H_

#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "common/checkpoint/safetensors.h"
#include "common/optim/rule.h"
#include "glog/logging.h"
#include "worker/data/dataset.h"
#include "worker/graph/program.h"
#include "worker/train/method.h"
#include "worker/train/step_tree.h"
#include "worker/train/weighting/weighting.h"

namespace pagoda {

using Doubles = std::vector<double>;

template <typename T>
std::vector<T> Elements(const Tensor& tensor, const std::string& dtype) {
  CHECK_EQ(tensor.dtype, dtype) << tensor.name;
  const T* begin = reinterpret_cast<const T*>(tensor.bytes.data());
  return std::vector<T>(begin, begin + tensor.size());
}

inline Tensor F64(std::string name, std::vector<int64_t> shape, const Doubles& values) {
  return {
      std::move(name), "F64", std::move(shape),
      std::string(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(double))};
}

inline std::map<std::string, Tensor> ReadTensors(const std::string& path) {
  absl::StatusOr<SafetensorsFile> file = ReadSafetensors(path);
  CHECK(file.ok()) << file.status();
  std::map<std::string, Tensor> tensors;
  for (Tensor& tensor : file->tensors) tensors.emplace(tensor.name, std::move(tensor));
  return tensors;
}

// A rule with the number of steps that it took, and what it updates.
struct Optimizer {
  Optimizer(const StepOptimizer& of, const std::vector<ParameterView>& parameters)
      : pass(of.pass), tables(of.tables.begin(), of.tables.end()) {
    std::map<std::string, double> given;
    for (const Parameter& p : of.config.parameter()) given[p.name()] = p.value();
    auto made = MakeRule(of.config.rule(), given);
    CHECK(made.ok()) << made.status();
    rule = *std::move(made);
    step.learning_rate = of.config.learning_rate();
    for (const ParameterView& view : parameters) {
      if (std::count(of.parameters.begin(), of.parameters.end(), view.name) == 0) continue;
      views.push_back(view);
      states.push_back(NewState(int64_t{view.rows} * view.columns));
    }
  }

  Doubles NewState(int64_t n) const {
    Doubles state(rule->state_size(n));
    rule->InitState(state.data(), n);
    return state;
  }

  std::unique_ptr<Rule> rule;
  RuleStep step;
  int pass;
  std::set<int> tables;
  std::vector<ParameterView> views;
  std::vector<Doubles> states;  // [view]
};

struct Row {
  Doubles weights;                // [D]
  std::map<int, Doubles> states;  // By optimizer.
};

// An embedding set's rows, and where its features stand in the input.
struct RowSet {
  std::string tensor;  // "rows" or "rows/SET"
  int64_t dim;
  std::vector<EmbeddingFeature> features;
  std::map<uint64_t, Row> rows;
};

// Of one backward pass.
struct Gradients {
  Doubles dense;                                  // Packed as the parameters.
  std::vector<std::map<uint64_t, Doubles>> rows;  // [set * features + feature], by id.
};

// sum += more; an id that only one of the two has is taken as it is.
inline void AddTo(const Gradients& more, Gradients* sum) {
  for (size_t i = 0; i < more.dense.size(); ++i) sum->dense[i] += more.dense[i];
  for (size_t f = 0; f < more.rows.size(); ++f) {
    for (const auto& [id, row] : more.rows[f]) {
      const auto [at, is_new] = sum->rows[f].try_emplace(id, row);
      for (size_t d = 0; d < row.size() && !is_new; ++d) at->second[d] += row[d];
    }
  }
}

// What one lane computes.
struct LaneResult {
  Doubles losses;                 // [head with loss]
  Doubles statistics;             // Packed as the parameters; times the lane's rows.
  std::vector<Gradients> passes;  // [pass]
};

inline void AddTo(const LaneResult& more, LaneResult* sum) {
  for (size_t h = 0; h < more.losses.size(); ++h) sum->losses[h] += more.losses[h];
  for (size_t i = 0; i < more.statistics.size(); ++i) sum->statistics[i] += more.statistics[i];
  for (size_t p = 0; p < more.passes.size(); ++p) AddTo(more.passes[p], &sum->passes[p]);
}

inline LaneResult SumLanes(std::vector<LaneResult> lanes) {
  std::vector<LaneResult> slots(TreeOrder::kMaxDepth);
  const auto merge = [&slots](int k) { AddTo(slots[k + 1], &slots[k]); };
  TreeOrder tree;
  for (size_t lane = 0; lane < lanes.size(); ++lane) {
    slots[tree.Push(static_cast<uint32_t>(lane), merge)] = std::move(lanes[lane]);
  }
  tree.Finish(merge);
  return std::move(slots[0]);
}

// One a task where tasks are weighed; else the method's.
inline std::vector<PassSpec> PassesOf(const Config& config, const TrainingMethod& method) {
  std::vector<PassSpec> passes;
  if (!config.train().has_weighting()) {
    for (const StepPass& pass : method.passes) passes.push_back({.tasks = pass.tasks});
    return passes;
  }
  for (const TaskConfig& task : config.dataset().task()) passes.push_back({.tasks = {task.name()}});
  return passes;
}

// The weighting of the configuration; null: none.
inline std::unique_ptr<Weighting> WeightingOf(const Config& config, const TrainingMethod& method) {
  if (!config.train().has_weighting()) return nullptr;
  WeightingArgs args;
  for (const TaskConfig& task : config.dataset().task()) {
    args.tasks.push_back({task.name(), task.loss() == TaskConfig::MSE});
  }
  args.rule = std::move(Optimizer(method.optimizers.back(), {}).rule);  // The dense one.
  auto made = MakeWeighting(config.train().weighting(), args);
  CHECK(made.ok()) << made.status();
  return *std::move(made);
}

// Where a sequence has no value.
inline constexpr uint64_t kNoValue = ~uint64_t{0};

// A loss of the network.
struct LossHead {
  Graph::HeadSpec head;
  int task, given;  // Numbers in the configuration; -1: none.
};

// A step's examples: ids [B, L], dense [B, N], labels and weights [T, B].
struct StepData {
  int B;
  const uint64_t* ids;
  const double *dense, *labels, *weights;
};

}  // namespace pagoda

#endif  // PAGODA_TESTS_INTEROP_PARITY_PARTS_H_
