#include "worker/models/sequences.h"

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/checks.h"
#include "common/config.h"
#include "common/errors.h"

namespace pagoda {
namespace {

constexpr int kHiddenWidth = 36;  // Of the authors' program.

std::string Where(const SequenceConfig& sequence) {
  return absl::StrCat("model.sequence[", sequence.feature(), "]");
}

absl::Status Refuse(const SequenceConfig& sequence, absl::string_view what) {
  return UsageError(absl::StrCat(Where(sequence), ": ", what));
}

// A feature of one set, as columns of the network's input.
class Sequence {
 public:
  Sequence(const SequenceConfig& config, Activation activation, const FeatureColumns& feature,
           Graph* graph)
      : config_(config),
        activation_(activation),
        graph_(*graph),
        name_(absl::StrCat(feature.set, feature.set.empty() ? "" : "/", "sequence/",
                           feature.feature)),
        places_(feature.mask.count),
        dim_(feature.columns.count / feature.mask.count),
        e_(graph->Columns(graph->Input(), {feature.columns})),
        mask_(graph->Columns(graph->Input(), {feature.mask})) {}

  int dim() const { return dim_; }

  Value SelfAttention() {
    const auto project = [this](const char* what) {
      return graph_.TiedDense(absl::StrCat(name_, "/", what), e_, places_, dim_, IDENTITY,
                              /*bias=*/false);
    };
    const Value q = project("q"), k = project("k"), v = project("v");
    const Value heads = graph_.Attention(q, k, v, mask_, config_.heads());
    return graph_.Dense(name_ + "/out", heads, dim_, IDENTITY, /*bias=*/false);
  }

  // v_A [B, d]: these columns of the network's input.
  Value AttendTo(ColumnRange target) {
    const Value v = graph_.Columns(graph_.Input(), std::vector<ColumnRange>(places_, target));
    Value a = Interleave({e_, v, graph_.Add({e_, v}, {1, -1}), graph_.Multiply(e_, v)});
    for (int layer = 0; layer < std::max(1, config_.hidden_size()); ++layer) {
      const int width = config_.hidden_size() > 0 ? config_.hidden(layer) : kHiddenWidth;
      a = graph_.TiedDense(absl::StrCat(name_, "/layer", layer), a, places_, width, activation_);
    }
    a = graph_.TiedDense(name_ + "/out", a, places_, 1);
    return graph_.WeightedSum(graph_.Multiply(a, graph_.StopGradient(mask_)), e_);
  }

 private:
  // Place by place: of each value, its part of the place.
  Value Interleave(const std::vector<Value>& values) {
    std::vector<ColumnRange> ranges;
    for (int place = 0; place < places_; ++place) {
      for (int i = 0; i < static_cast<int>(values.size()); ++i) {
        ranges.push_back({(i * places_ + place) * dim_, dim_});
      }
    }
    return graph_.Columns(graph_.Concat(values), std::move(ranges));
  }

  const SequenceConfig& config_;
  const Activation activation_;
  Graph& graph_;
  const std::string name_;
  const int places_, dim_;
  const Value e_, mask_;  // [B, P d], [B, P]
};

absl::Status CheckFields(const SequenceConfig& sequence) {
  RETURN_IF_ERROR(CheckFieldUse(
      sequence, Where(sequence), "pooling", SequenceConfig::Pooling_Name(sequence.pooling()),
      {{"heads", {"SELF_ATTENTION"}}, {"target", {"TARGET"}}, {"hidden", {"TARGET"}}}));
  if (sequence.pooling() == SequenceConfig::TARGET && sequence.target().empty()) {
    return Refuse(sequence, "TARGET wants a target, a feature's name");
  }
  for (const int width : sequence.hidden()) {
    RETURN_IF_ERROR(InRange(Where(sequence) + ".hidden", width, 1, kMaxWidth));
  }
  return absl::OkStatus();
}

class Pooling {
 public:
  Pooling(const ModelConfig& config, const ModelInput& input, Graph* graph)
      : config_(config), input_(input), graph_(*graph) {}

  absl::StatusOr<PooledInput> Run() {
    RETURN_IF_ERROR(CheckNames());
    for (const FeatureColumns& feature : input_.features) {
      const SequenceConfig* const sequence = Find(feature);
      FeatureColumns placed = feature;
      if (sequence == nullptr) {
        placed.columns = Keep(feature.columns);
        if (feature.mask.count > 0) placed.mask = Keep(feature.mask);
      } else {
        ASSIGN_OR_RETURN(const Value value, Pool(*sequence, feature));
        FlushKept();
        placed.columns = {pooled_.columns.width, graph_.width(value)};
        placed.mask = {};
        Append(value);
      }
      pooled_.columns.features.push_back(std::move(placed));
    }
    FlushKept();
    pooled_.value = graph_.Concat(parts_);
    return std::move(pooled_);
  }

 private:
  absl::Status CheckNames() const {
    // A sequence that no task reads has no columns, and is not pooled.
    std::vector<std::string> known(config_.unread_feature().begin(),
                                   config_.unread_feature().end());
    for (const FeatureColumns& feature : input_.features) {
      if (feature.mask.count > 0 && feature.set.empty()) known.push_back(feature.feature);
    }
    std::set<std::string> seen;
    for (const SequenceConfig& sequence : config_.sequence()) {
      RETURN_IF_ERROR(CheckFields(sequence));
      const std::string& name = sequence.feature();
      if (!seen.insert(name).second) return Refuse(sequence, "is there twice");
      if (std::find(known.begin(), known.end(), name) != known.end()) continue;
      return Refuse(sequence, absl::StrCat("no feature of kind SEQUENCE is called so",
                                           NearestHint(name, known)));
    }
    return absl::OkStatus();
  }

  // Null: the feature stays as it is.
  const SequenceConfig* Find(const FeatureColumns& feature) const {
    if (feature.mask.count == 0 || absl::StartsWith(feature.set, kWidePrefix)) return nullptr;
    for (const SequenceConfig& sequence : config_.sequence()) {
      if (sequence.feature() == feature.feature) return &sequence;
    }
    return nullptr;
  }

  absl::StatusOr<Value> Pool(const SequenceConfig& config, const FeatureColumns& feature) {
    Sequence sequence(config, config_.activation(), feature, &graph_);
    if (config.pooling() == SequenceConfig::SELF_ATTENTION) {
      if (config.heads() > 0 && sequence.dim() % config.heads() == 0) {
        return sequence.SelfAttention();
      }
      return Refuse(config,
                    absl::StrCat(config.heads(), " heads do not divide its dim, ", sequence.dim()));
    }
    for (const FeatureColumns& target : input_.features) {
      if (target.set != feature.set || !target.IsCalled(config.target())) continue;
      if (!target.is_dense && target.mask.count == 0 && target.columns.count == sequence.dim()) {
        return sequence.AttendTo(target.columns);
      }
      return Refuse(config, absl::StrCat("its target \"", config.target(), "\" must be a feature ",
                                         "with embeddings of dim ", sequence.dim()));
    }
    return Refuse(config, absl::StrCat("no feature is called \"", config.target(), "\""));
  }

  // Where columns of the network's input that stay will stand. Features of one field share theirs.
  ColumnRange Keep(ColumnRange columns) {
    const auto [at, is_new] = kept_at_.emplace(columns.begin, pooled_.columns.width);
    if (is_new) {
      pooled_.columns.width += columns.count;
      kept_.push_back(columns);
    }
    return {at->second, columns.count};
  }

  void FlushKept() {
    if (!kept_.empty()) parts_.push_back(graph_.Columns(graph_.Input(), std::move(kept_)));
    kept_.clear();
  }

  void Append(Value value) {
    parts_.push_back(value);
    pooled_.columns.width += graph_.width(value);
  }

  const ModelConfig& config_;
  const ModelInput& input_;
  Graph& graph_;
  PooledInput pooled_;
  std::vector<Value> parts_;
  std::vector<ColumnRange> kept_;  // Of the part under way.
  std::map<int, int> kept_at_;     // By where columns begin in the network's input.
};

}  // namespace

absl::StatusOr<PooledInput> PoolSequences(const ModelConfig& config, const ModelInput& input,
                                          Graph* graph) {
  if (config.sequence().empty()) return PooledInput{graph->Input(), input};
  return Pooling(config, input, graph).Run();
}

}  // namespace pagoda
