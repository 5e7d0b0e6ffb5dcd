#include "worker/models/model_input.h"

#include <fnmatch.h>

#include <algorithm>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/config.h"
#include "common/errors.h"
#include "worker/graph/losses.h"
#include "worker/models/model.h"

namespace pagoda {
namespace {

std::string WideSet(const std::string& task) { return kWidePrefix + task; }

bool IsOneOf(const std::set<std::string>& names, const FeatureColumns& feature) {
  return std::any_of(names.begin(), names.end(),
                     [&](const std::string& name) { return feature.IsCalled(name); });
}

}  // namespace

bool FeatureColumns::IsCalled(const std::string& name) const {
  return name == feature || std::find(added.begin(), added.end(), name) != added.end();
}

std::vector<TaskConfig> TasksByName(const Config& config) {
  std::vector<TaskConfig> tasks(config.dataset().task().begin(), config.dataset().task().end());
  std::sort(tasks.begin(), tasks.end(),
            [](const TaskConfig& a, const TaskConfig& b) { return a.name() < b.name(); });
  return tasks;
}

absl::StatusOr<std::vector<EmbeddingSet>> EmbeddingSetsOf(const Config& config) {
  std::vector<EmbeddingSet> sets;
  const ModelConfig& model = config.model();
  if (model.has_wide()) {
    for (const TaskConfig& task : TasksByName(config)) {
      EmbeddingSet& set = sets.emplace_back();
      set.set_name(WideSet(task.name()));
      set.set_dim(LogitCount(task));
      *set.mutable_feature() = model.wide().feature();
    }
  }
  ASSIGN_OR_RETURN(const ModelInfo* info, FindModel(model.name()));
  if (info->sets == nullptr) return sets;
  for (EmbeddingSet& set : info->sets(config)) sets.push_back(std::move(set));
  return sets;
}

absl::StatusOr<ModelInput> NamelessInput(const Config& config, int width) {
  ASSIGN_OR_RETURN(const std::vector<EmbeddingSet> sets, EmbeddingSetsOf(config));
  ModelInput input{.width = width, .features = {{"", "", {0, width}}}};
  for (const EmbeddingSet& set : sets) {
    const int count = set.has_dim() ? set.dim() : width;
    input.features.push_back({set.name(), "", {input.width, count}});
    input.width += count;
  }
  return input;
}

BlockInputs::BlockInputs(const ModelConfig& config, const ModelInput& input, Value value,
                         Graph* graph)
    : config_(config),
      input_(input),
      value_(value),
      graph_(*graph),
      reads_used_(config.reads_size(), false) {}

// Dense features last, so that the columns of all sets mean the same.
std::vector<ColumnRange> BlockInputs::RangesOf(const std::string& set,
                                               const std::set<std::string>* only) const {
  std::vector<ColumnRange> ranges, dense;
  for (const FeatureColumns& feature : input_.features) {
    if (feature.set != set && !feature.is_dense) continue;
    if (only != nullptr && !IsOneOf(*only, feature)) continue;
    (feature.is_dense ? dense : ranges).push_back(feature.columns);
    if (feature.mask.count > 0) ranges.push_back(feature.mask);
  }
  ranges.insert(ranges.end(), dense.begin(), dense.end());
  return ranges;
}

Value BlockInputs::Input(const std::string& set) {
  const auto [it, is_new] = inputs_.emplace(set, Value{});
  if (!is_new) return it->second;
  it->second = Interact(set, graph_.Columns(value_, RangesOf(set)));
  set_of_input_.emplace(it->second.node, set);
  return it->second;
}

std::vector<ColumnRange> BlockInputs::FindReads(const std::string& name, const std::string& set) {
  for (int i = 0; i < config_.reads_size(); ++i) {
    const ReadsConfig& reads = config_.reads(i);
    if (fnmatch(reads.match().c_str(), name.c_str(), 0) != 0) continue;
    reads_used_[i] = true;
    const std::set<std::string> wanted(reads.feature().begin(), reads.feature().end());
    return RangesOf(set, &wanted);
  }
  return {};
}

Value BlockInputs::Read(const std::string& name, Value x) {
  const auto set = set_of_input_.find(x.node);
  const std::vector<ColumnRange> ranges =
      FindReads(name, set == set_of_input_.end() ? "" : set->second);
  if (ranges.empty()) return x;
  if (set == set_of_input_.end()) {
    Refuse(absl::StrCat("reads: ", name, " reads what a level below it gives, not the input"));
    return x;
  }
  return graph_.CopyColumns(value_, ranges);
}

Value BlockInputs::ReadBeside(const std::string& name, Value x) {
  const std::vector<ColumnRange> ranges = FindReads(name, "");
  if (ranges.empty()) return x;
  return graph_.Concat({x, graph_.CopyColumns(value_, ranges)});
}

// A sequence's empty places weigh nothing: they are zeros, and have no part in any sum of several
// logits, whose weights of one place stand side by side.
Value BlockInputs::Wide(const std::string& task, int logits) {
  if (!config_.has_wide()) return {};
  std::vector<ColumnRange> ranges;
  std::vector<Value> weights;  // [B, logits] each.
  for (const FeatureColumns& feature : input_.features) {
    if (feature.set != WideSet(task)) continue;
    ranges.push_back(feature.columns);
    if (logits == 1) continue;
    const Value own = graph_.Columns(value_, {feature.columns});
    if (feature.mask.count == 0) {
      weights.push_back(own);
      continue;
    }
    const Value mask = graph_.StopGradient(graph_.Columns(value_, {feature.mask}));
    weights.push_back(graph_.WeightedSum(mask, own));
  }
  if (ranges.empty()) {
    Refuse("wide: no feature is embedded");
    return {};
  }
  if (logits == 1) return graph_.SumColumns(graph_.Columns(value_, ranges));
  return graph_.Add(weights);
}

Value BlockInputs::Interact(const std::string& set, Value x) {
  if (!config_.has_interaction()) return x;
  switch (config_.interaction().kind()) {
    case InteractionConfig::DCN_V2:
      return Cross(set.empty() ? "interaction" : set + "/interaction", x);
    case InteractionConfig::FM:
      return AppendPairs(set, x);
  }
  return x;
}

// Wang et al., "DCN V2: Improved Deep & Cross Network and Practical Lessons for Web-scale Learning
// to Rank Systems", WWW 2021, eq. (1): x_{l+1} = x_0 * (W_l x_l + b_l) + x_l.
Value BlockInputs::Cross(const std::string& prefix, Value x) {
  const Value x_0 = x;
  for (int l = 0; l < config_.interaction().layers(); ++l) {
    const Value wx = graph_.Dense(absl::StrCat(prefix, "/layer", l), x, graph_.width(x_0));
    x = graph_.Add({graph_.Multiply(x_0, wx), x});
  }
  return x;
}

// Rendle, "Factorization Machines", ICDM 2010, lemma 3.1, factor by factor: with v_i a feature's
// embedding (its value is 1), sum over i < j of v_i v_j = 1/2 ((sum v_i)^2 - sum v_i^2). The
// factors are not added up: they are dim columns behind x, for each dim that several features have.
Value BlockInputs::AppendPairs(const std::string& set, Value x) {
  std::map<int, std::vector<Value>> by_dim;
  for (const FeatureColumns& feature : input_.features) {
    if (feature.set != set || feature.is_dense || feature.mask.count > 0) continue;
    by_dim[feature.columns.count].push_back(graph_.Columns(value_, {feature.columns}));
  }
  std::vector<Value> parts = {x};
  for (const auto& [dim, v] : by_dim) {
    if (v.size() < 2) continue;
    const Value sum = graph_.Add(v);
    std::vector<Value> terms = {graph_.Multiply(sum, sum)};
    for (const Value& v_i : v) terms.push_back(graph_.Multiply(v_i, v_i));
    std::vector<double> scales(terms.size(), -0.5);
    scales[0] = 0.5;
    parts.push_back(graph_.Add(terms, scales));
  }
  if (parts.size() == 1) Refuse("interaction FM: no two embedding features have the same dim");
  return graph_.Concat(parts);
}

void BlockInputs::Refuse(const std::string& what) {
  if (status_.ok()) status_ = UsageError(absl::StrCat("model ", config_.name(), ": ", what));
}

absl::Status BlockInputs::CheckFeatures(
    const google::protobuf::RepeatedPtrField<std::string>& wanted, const char* field) const {
  std::vector<std::string> known(config_.unread_feature().begin(), config_.unread_feature().end());
  for (const FeatureColumns& feature : input_.features) {
    if (!feature.set.empty()) continue;
    known.push_back(feature.feature);
    known.insert(known.end(), feature.added.begin(), feature.added.end());
  }
  for (const std::string& name : wanted) {
    if (std::find(known.begin(), known.end(), name) != known.end()) continue;
    return UsageError(absl::StrCat("model ", config_.name(), ": ", field,
                                   ": no feature is called \"", name, "\"",
                                   NearestHint(name, known)));
  }
  return absl::OkStatus();
}

absl::Status BlockInputs::Finish() const {
  RETURN_IF_ERROR(CheckFeatures(config_.wide().feature(), "wide"));
  if (!status_.ok()) return status_;
  for (int i = 0; i < config_.reads_size(); ++i) {
    RETURN_IF_ERROR(CheckFeatures(config_.reads(i).feature(), "reads"));
    if (reads_used_[i]) continue;
    return UsageError(absl::StrCat("model ", config_.name(),
                                   ": reads: no block of this model that ",
                                   "may name its features is called ", config_.reads(i).match()));
  }
  return absl::OkStatus();
}

}  // namespace pagoda
