#include "worker/train/method.h"

#include <fnmatch.h>

#include <algorithm>
#include <functional>
#include <map>
#include <set>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "common/config.h"
#include "common/errors.h"
#include "common/optim/rule.h"
#include "worker/data/vectors.h"
#include "worker/graph/reach.h"
#include "worker/models/model_input.h"

namespace pagoda {
namespace {

constexpr absl::string_view kRowsPrefix = "rows:";

// A glob over the names of dense parameters or, after "rows:", over those of tables. A wide part
// has nothing but rows: there "rows:" goes without saying.
class Pattern {
 public:
  explicit Pattern(const std::string& text) {
    absl::string_view glob = text;
    is_of_rows_ = absl::ConsumePrefix(&glob, kRowsPrefix);
    is_of_wide_ = absl::StartsWith(glob, kWidePrefix);
    glob_ = std::string(glob);
  }
  bool MatchesParameter(const std::string& name) const { return !is_of_rows_ && Matches(name); }
  bool MatchesTable(const std::string& name) const {
    return (is_of_rows_ || is_of_wide_) && Matches(name);
  }

 private:
  bool Matches(const std::string& name) const {
    return fnmatch(glob_.c_str(), name.c_str(), 0) == 0;
  }
  bool is_of_rows_;
  bool is_of_wide_;
  std::string glob_;
};

// What can be owned.
struct Owned {
  std::vector<std::string> parameters;  // In name order.
  std::vector<int> tables;
};

// Why `pattern` finds no table to own: the ones that it names are frozen. Else empty.
std::string FrozenHint(const Pattern& pattern, const Config& config, const DataSchema& data) {
  for (const int table : FrozenTables(config, data)) {
    const std::string& name = data.tables[table].name();
    if (!pattern.MatchesTable(name)) continue;
    return absl::StrCat("; ", kRowsPrefix, name, " is frozen (dataset.feature.frozen)");
  }
  return "";
}

// The optimizer called `name` with every parameter of its rule. REQUIRES: there is one.
absl::StatusOr<OptimizerConfig> ResolveOptimizer(const Config& config, const std::string& name) {
  const auto found = absl::c_find_if(
      config.optimizer(), [&](const OptimizerConfig& one) { return one.name() == name; });
  const OptimizerConfig& optimizer = *found;
  const auto rule = Rules().find(optimizer.rule());
  if (rule == Rules().end()) {
    std::vector<std::string> rules;
    for (const auto& [rule_name, info] : Rules()) rules.push_back(rule_name);
    return UsageError(absl::StrCat("optimizer \"", name, "\": no rule is called \"",
                                   optimizer.rule(), "\"", NearestHint(optimizer.rule(), rules)));
  }
  std::map<std::string, double> given;
  for (const Parameter& one : optimizer.parameter()) given[one.name()] = one.value();
  ASSIGN_OR_RETURN(const auto all, ResolveParameters(absl::StrCat("optimizer \"", name, "\""),
                                                     rule->second.parameters, given));
  OptimizerConfig resolved = optimizer;
  resolved.clear_parameter();
  for (const auto& [parameter, value] : all) {
    Parameter* one = resolved.add_parameter();
    one->set_name(parameter);
    one->set_value(value);
  }
  return resolved;
}

// Groups of one list, and which of them have found anything.
struct Groups {
  Groups(std::string of_field, const google::protobuf::RepeatedPtrField<GroupConfig>& of)
      : field(std::move(of_field)), groups(of), used(of.size(), false) {}

  std::string field;  // "train", "train.task[click]": in errors.
  const google::protobuf::RepeatedPtrField<GroupConfig>& groups;
  std::vector<bool> used;  // [groups]
};

// UsageError: a group that has found nothing.
absl::Status CheckUsed(const Groups& list, const Config& config, const DataSchema& data) {
  for (int i = 0; i < list.groups.size(); ++i) {
    if (list.used[i]) continue;
    const std::string& match = list.groups[i].match();
    return UsageError(absl::StrCat(list.field, ".group: match \"", match,
                                   "\" finds nothing that no group before it has; see the ",
                                   "parameters' names in worker/models/model.h, or rows:TABLE",
                                   FrozenHint(Pattern(match), config, data)));
  }
  return absl::OkStatus();
}

// The optimizers of one pass, found as they are first named.
class PassOptimizers {
 public:
  PassOptimizers(const Config& config, const DataSchema& data, int pass, std::string prefix)
      : config_(config), data_(data), pass_(pass), prefix_(std::move(prefix)) {}

  // Deals `owned` out: to the first group that matches, of the first list that has one, else to the
  // default of its kind.
  void Deal(const Owned& owned, const std::string& sparse, const std::string& dense,
            absl::Span<Groups* const> lists) {
    Named(sparse);
    Named(dense);
    // The optimizer of the first group for which `matches`, else `otherwise`.
    const auto optimizer_for = [&](const std::function<bool(const Pattern&)>& matches,
                                   const std::string& otherwise) -> const std::string& {
      for (Groups* const list : lists) {
        for (int i = 0; i < list->groups.size(); ++i) {
          if (!matches(Pattern(list->groups[i].match()))) continue;
          list->used[i] = true;
          return list->groups[i].optimizer();
        }
      }
      return otherwise;
    };
    for (const std::string& name : owned.parameters) {
      const auto matches = [&](const Pattern& p) { return p.MatchesParameter(name); };
      Named(optimizer_for(matches, dense)).parameters.push_back(name);
    }
    for (const int table : owned.tables) {
      const std::string& name = data_.tables[table].name();
      const auto matches = [&](const Pattern& p) { return p.MatchesTable(name); };
      Named(optimizer_for(matches, sparse)).tables.push_back(table);
    }
  }

  // Appends those that own something.
  absl::Status AppendTo(std::vector<StepOptimizer>* out) {
    for (StepOptimizer& optimizer : optimizers_) {
      if (optimizer.parameters.empty() && optimizer.tables.empty()) continue;
      ASSIGN_OR_RETURN(optimizer.config, ResolveOptimizer(config_, optimizer.config.name()));
      out->push_back(std::move(optimizer));
    }
    return absl::OkStatus();
  }

 private:
  StepOptimizer& Named(const std::string& name) {
    for (StepOptimizer& one : optimizers_) {
      if (one.config.name() == name) return one;
    }
    StepOptimizer& added = optimizers_.emplace_back();
    added.name = prefix_ + name;
    added.config.set_name(name);
    added.pass = pass_;
    return added;
  }

  const Config& config_;
  const DataSchema& data_;
  const int pass_;
  const std::string prefix_;
  std::vector<StepOptimizer> optimizers_;
};

// The part of `reached` that `owns` names. UsageError: a glob without a match.
absl::StatusOr<Owned> Narrow(const Config& config, const TaskTrainConfig& task,
                             const DataSchema& data, const Owned& reached) {
  std::set<std::string> parameters;
  std::set<int> tables;
  for (const std::string& text : task.owns()) {
    const Pattern pattern(text);
    bool found = false;
    for (const std::string& name : reached.parameters) {
      if (!pattern.MatchesParameter(name)) continue;
      parameters.insert(name);
      found = true;
    }
    for (const int table : reached.tables) {
      if (!pattern.MatchesTable(data.tables[table].name())) continue;
      tables.insert(table);
      found = true;
    }
    if (found) continue;
    return UsageError(absl::StrCat(
        "train.task[", task.name(), "].owns: \"", text, "\" finds nothing that the loss of ",
        task.name(), " reaches, which is ", absl::StrJoin(reached.parameters, ", "),
        absl::StrJoin(reached.tables, "",
                      [&](std::string* out, int table) {
                        absl::StrAppend(out, ", ", kRowsPrefix, data.tables[table].name());
                      }),
        FrozenHint(pattern, config, data)));
  }
  return Owned{{parameters.begin(), parameters.end()}, {tables.begin(), tables.end()}};
}

// An optimizer that owns all of the flat array would own running statistics, too.
bool HasStatistics(const Graph& graph) {
  return absl::c_any_of(graph.nodes(),
                        [](const Graph::Node& node) { return node.kind == NodeKind::kBatchNorm; });
}

// The part of `all` that the task's loss reaches.
Owned ReachedBy(const std::string& task, const Reach& reach, const Owned& all,
                const DataSchema& data) {
  Owned owned;
  for (const std::string& name : all.parameters) {
    if (absl::c_linear_search(reach.TasksOfParameter(name), task)) owned.parameters.push_back(name);
  }
  std::set<int> tables;
  for (const EmbeddingFeature& feature : data.input.embeddings) {
    if (feature.table < 0) continue;
    const int columns = feature.dim * std::max(1, feature.length);
    for (int i = 0; i < columns; ++i) {
      const auto& tasks = reach.TasksOfInputColumn(feature.input_offset + i);
      if (absl::c_linear_search(tasks, task)) tables.insert(feature.table);
    }
  }
  for (const int table : all.tables) {  // Without the frozen ones.
    if (tables.count(table) > 0) owned.tables.push_back(table);
  }
  return owned;
}

bool OwnsSomeOf(const StepOptimizer& optimizer, const Owned& owned) {
  const auto is_owned_parameter = [&](const std::string& name) {
    return absl::c_binary_search(optimizer.parameters, name);
  };
  const auto is_owned_table = [&](int table) {
    return absl::c_binary_search(optimizer.tables, table);
  };
  return absl::c_any_of(owned.parameters, is_owned_parameter) ||
         absl::c_any_of(owned.tables, is_owned_table);
}

absl::Status ResolveJoint(const Config& config, const DataSchema& data, const Graph& graph,
                          const Owned& all, TrainingMethod* method) {
  const TrainConfig& train = config.train();
  method->passes.resize(1);
  for (const TaskConfig& task : config.dataset().task()) {
    method->passes[0].tasks.push_back(task.name());
    // Then the other tasks train as they would without it, to the bit.
    method->isolates_tasks |= task.weight() == 0;
  }
  PassOptimizers optimizers(config, data, 0, "");
  Groups groups("train", train.group());
  optimizers.Deal(all, train.sparse_optimizer(), train.dense_optimizer(), {&groups});
  RETURN_IF_ERROR(CheckUsed(groups, config, data));
  RETURN_IF_ERROR(optimizers.AppendTo(&method->optimizers));
  const Reach reach(graph);
  for (const std::string& task : method->passes[0].tasks) {
    const Owned reached = ReachedBy(task, reach, all, data);
    for (StepOptimizer& optimizer : method->optimizers) {
      if (OwnsSomeOf(optimizer, reached)) optimizer.tasks.push_back(task);
    }
  }
  const bool has_statistics = HasStatistics(graph);
  int owners = 0;
  for (StepOptimizer& optimizer : method->optimizers) {
    optimizer.owns_all_parameters = !has_statistics && optimizer.parameters == all.parameters;
    owners += !optimizer.parameters.empty();
  }
  method->has_one_dense_optimizer = owners <= 1;
  return absl::OkStatus();
}

absl::Status ResolveAlternating(const Config& config, const DataSchema& data, const Graph& graph,
                                const Owned& all, TrainingMethod* method) {
  const Reach reach(graph);
  const TrainConfig& train = config.train();
  method->isolates_tasks = true;
  method->has_one_dense_optimizer = false;
  Groups of_all("train", train.group());
  for (const TaskConfig& task : config.dataset().task()) {
    const auto found = absl::c_find_if(
        train.task(), [&](const TaskTrainConfig& one) { return one.name() == task.name(); });
    const TaskTrainConfig own = found == train.task().end() ? TaskTrainConfig() : *found;
    Owned owned = ReachedBy(task.name(), reach, all, data);
    if (!own.owns().empty()) {
      ASSIGN_OR_RETURN(owned, Narrow(config, own, data, owned));
    }
    const int pass = static_cast<int>(method->passes.size());
    method->passes.push_back({{task.name()}});
    PassOptimizers optimizers(config, data, pass, absl::StrCat(task.name(), "/"));
    const bool has_sparse = !own.sparse_optimizer().empty(), has_dense = !own.optimizer().empty();
    Groups groups(absl::StrCat("train.task[", task.name(), "]"), own.group());
    optimizers.Deal(owned, has_sparse ? own.sparse_optimizer() : train.sparse_optimizer(),
                    has_dense ? own.optimizer() : train.dense_optimizer(), {&groups, &of_all});
    RETURN_IF_ERROR(CheckUsed(groups, config, data));
    RETURN_IF_ERROR(optimizers.AppendTo(&method->optimizers));
    for (StepOptimizer& optimizer : method->optimizers) {
      if (optimizer.pass == pass) optimizer.tasks = {task.name()};
    }
  }
  return CheckUsed(of_all, config, data);
}

// What is left after all optimizers have taken theirs.
std::vector<std::string> FindFrozen(const DataSchema& data, const Owned& all,
                                    const TrainingMethod& method) {
  std::set<std::string> left(all.parameters.begin(), all.parameters.end());
  for (const int table : all.tables) {
    left.insert(absl::StrCat(kRowsPrefix, data.tables[table].name()));
  }
  for (const StepOptimizer& optimizer : method.optimizers) {
    for (const std::string& name : optimizer.parameters) left.erase(name);
    for (const int table : optimizer.tables) {
      left.erase(absl::StrCat(kRowsPrefix, data.tables[table].name()));
    }
  }
  return {left.begin(), left.end()};
}

template <typename Elements>
void KeepNamed(const std::set<std::string>& names, Elements* elements) {
  const auto gone = [&](const auto& one) { return names.count(one.name()) == 0; };
  elements->erase(std::remove_if(elements->begin(), elements->end(), gone), elements->end());
}

void KeepNames(const std::set<std::string>& names,
               google::protobuf::RepeatedPtrField<std::string>* kept) {
  const auto gone = [&](const std::string& name) { return names.count(name) == 0; };
  kept->erase(std::remove_if(kept->begin(), kept->end(), gone), kept->end());
}

// A schedule's points of other tasks go with them.
void KeepPoints(const std::set<std::string>& names,
                google::protobuf::RepeatedPtrField<WeightingPoint>* points) {
  const auto gone = [&](const WeightingPoint& one) { return names.count(one.task()) == 0; };
  points->erase(std::remove_if(points->begin(), points->end(), gone), points->end());
}

// Sources that only tasks outside `names` read go with them. When tasks alternate, their rows stay,
// of no task: rows' numbers, which decide splits and negative sampling, and statistics remain what
// they are in a run of all tasks.
void KeepSources(const std::set<std::string>& names, bool alternates,
                 google::protobuf::RepeatedPtrField<SourceConfig>* sources) {
  const auto is_unread = [&](SourceConfig& source) {
    const bool is_of_some = source.task_size() > 0;
    KeepNames(names, source.mutable_task());
    const bool is_of_gone = is_of_some && source.task().empty();
    if (is_of_gone && alternates) source.set_of_no_task(true);
    return is_of_gone && !alternates;
  };
  sources->erase(std::remove_if(sources->begin(), sources->end(), is_unread), sources->end());
}

// Leaves out the elements that match only what tasks that go would have had: "TASK/gate",
// "level0/TASK/*", "rows:wide/TASK/*"; not "rows:TASK", a table that is called like the task.
template <typename Elements>
void DropMatchesOfOthers(const std::vector<std::string>& known, const std::set<std::string>& kept,
                         Elements* elements) {
  const auto is_of_gone = [&](const auto& one) {
    const absl::string_view glob = absl::StripPrefix(one.match(), kRowsPrefix);
    const std::vector<std::string> parts = absl::StrSplit(glob, '/');
    const bool is_table = parts.size() == 1 && glob.size() != one.match().size();
    return !is_table && absl::c_any_of(parts, [&](const std::string& part) {
      return kept.count(part) == 0 && absl::c_linear_search(known, part);
    });
  };
  elements->erase(std::remove_if(elements->begin(), elements->end(), is_of_gone), elements->end());
}

}  // namespace

std::vector<std::string> MovedParameters(const Graph& graph) {
  const ReferenceNetwork<float> network(graph);
  std::vector<std::string> names;
  for (const ParameterView& view : network.parameters()) {
    if (!view.is_statistic) names.push_back(view.name);
  }
  return names;
}

absl::Status SelectTasks(Config* config) {
  DatasetConfig& dataset = *config->mutable_dataset();
  TrainConfig& train = *config->mutable_train();
  std::vector<std::string> known;
  for (const TaskConfig& task : dataset.task()) known.push_back(task.name());
  const auto check = [&](absl::string_view field, const std::string& name) {
    if (absl::c_linear_search(known, name)) return absl::OkStatus();
    return UsageError(
        absl::StrCat(field, ": the data set has no task \"", name, "\"", NearestHint(name, known)));
  };
  // Before any task goes: what names one that goes is right, what names none is a slip.
  for (const std::string& name : config->model().stop_shared_gate()) {
    RETURN_IF_ERROR(check("model.stop_shared_gate", name));
  }
  for (const TaskTrainConfig& task : train.task()) {
    RETURN_IF_ERROR(check("train.task", task.name()));
  }
  for (const SourceConfig& source : dataset.source()) {
    for (const std::string& name : source.task()) {
      RETURN_IF_ERROR(check("dataset.source.task", name));
    }
  }
  for (const WeightingPoint& point : train.weighting().point()) {
    RETURN_IF_ERROR(check("train.weighting.point.task", point.task()));
  }
  std::set<std::string> names;
  for (const std::string& name : train.tasks()) {
    RETURN_IF_ERROR(check("train.tasks", name));
    if (!names.insert(name).second) {
      return UsageError(absl::StrCat("train.tasks: \"", name, "\" is there twice"));
    }
  }
  if (names.empty()) return absl::OkStatus();
  KeepNamed(names, dataset.mutable_task());
  KeepNamed(names, train.mutable_task());
  KeepPoints(names, train.mutable_weighting()->mutable_point());
  KeepNames(names, dataset.mutable_funnel());
  KeepSources(names, train.method() == TrainConfig::ALTERNATING, dataset.mutable_source());
  KeepNames(names, config->mutable_model()->mutable_stop_shared_gate());
  DropMatchesOfOthers(known, names, config->mutable_model()->mutable_reads());
  DropMatchesOfOthers(known, names, train.mutable_group());
  return absl::OkStatus();
}

absl::StatusOr<TrainingMethod> ResolveMethod(const Config& config, const DataSchema& data,
                                             const Graph& graph) {
  TrainingMethod method;
  Owned all = {MovedParameters(graph), {}};
  const std::vector<int> frozen = FrozenTables(config, data);
  for (int table = 0; table < static_cast<int>(data.tables.size()); ++table) {
    if (!absl::c_binary_search(frozen, table)) all.tables.push_back(table);
  }
  RETURN_IF_ERROR(config.train().method() == TrainConfig::JOINT
                      ? ResolveJoint(config, data, graph, all, &method)
                      : ResolveAlternating(config, data, graph, all, &method));
  method.frozen = FindFrozen(data, all, method);
  for (const int table : frozen) {
    method.frozen.push_back(absl::StrCat(kRowsPrefix, data.tables[table].name()));
  }
  return method;
}

Schema MakeSchema(const Config& config, const DataSchema& data, const TrainingMethod& method) {
  Schema schema;
  schema.set_seed(config.train().seed());
  for (const TableSchema& table : data.tables) {
    TableSchema* added = schema.add_table();
    *added = table;
    added->set_init_range(config.train().embedding_init());
  }
  for (const StepOptimizer& optimizer : method.optimizers) {
    for (const int table : optimizer.tables) {
      schema.mutable_table(table)->add_optimizer(schema.optimizer_size());
    }
    OptimizerSchema* added = schema.add_optimizer();
    added->set_name(optimizer.name);
    added->set_rule(optimizer.config.rule());
    added->set_clip_norm(optimizer.config.clip_norm());
    added->set_clip_value(optimizer.config.clip_value());
    for (const Parameter& one : optimizer.config.parameter()) {
      (*added->mutable_parameter())[one.name()] = one.value();
    }
  }
  return schema;
}

Program::Options ProgramOptions(const TrainingMethod& method) {
  Program::Options options;
  options.isolate_tasks = method.isolates_tasks;
  for (size_t p = 0; p < method.passes.size(); ++p) {
    PassSpec pass;
    pass.tasks = method.passes[p].tasks;
    std::set<std::string> owned(method.passes[p].measured.begin(), method.passes[p].measured.end());
    bool owns_all = false, owns_rows = false;
    for (const StepOptimizer& optimizer : method.optimizers) {
      if (optimizer.pass != static_cast<int>(p) && optimizer.pass != kEveryPass) continue;
      owns_all |= optimizer.owns_all_parameters;
      owns_rows |= !optimizer.tables.empty();
      owned.insert(optimizer.parameters.begin(), optimizer.parameters.end());
    }
    if (!owns_all) {
      pass.owns = [owned](const std::string& name) { return owned.count(name) > 0; };
    }
    pass.input_gradient = owns_rows;
    options.passes.push_back(std::move(pass));
  }
  return options;
}

}  // namespace pagoda
