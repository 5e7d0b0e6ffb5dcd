// The oracle of parity tests: a trainer in double, made of the plain forms only.
//
// It shares with the product what is compared (the models, the graph's meaning by
// ReferenceNetwork<double>, the rules' double forms, who updates what by ResolveMethod, weightings)
// and nothing of how it is computed: no threads, tiles, tables or wire. Rows lie in a std::map.
// parity.py and its siblings run it beside PyTorch and compare every tensor and row.
//
// All files are safetensors. L = ids an example over all features (sum of --list_lengths), N dense
// columns, T tasks.
//   --init     dense parameters by name, F64; "row_ids" U64 [n], "rows" F64 [n, D]
//   --batches  "ids" U64 [S, B, L]; "dense" F64 [S, B, N]; "labels", "weights" F64 [S, T, B]
//   --output   as --init after S steps, and "losses" F64 [S, T]; with train.weighting, also
//              "coefficients" F64 [S, T]: what each task's gradient was multiplied by
// Of embedding sets besides the ordinary one, "rows/SET" F64 [n, dim] stands beside "rows".
// A feature's ids are pooled by their sum. An id belongs to one feature. With train.weighting there
// is one backward pass a task, and their gradients, whole, are combined by its weights; with
// method: ALTERNATING one a task too, at the same weights, and each goes to its task's optimizers.
//
// With --lanes and --shards it sums as the product does, in double: every lane runs its rows by
// itself, the lanes' gradients are added along the product's tree, and the tasks' inner products
// are those of the dense gradients plus each shard's of its own partitions' rows.
#include <fnmatch.h>
#include <gflags/gflags.h>
#include <glog/logging.h>

#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>
#include <numeric>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/config.h"
#include "common/errors.h"
#include "common/hash.h"
#include "common/io/file.h"
#include "common/optim/rule.h"
#include "tests/interop/parity_parts.h"
#include "worker/data/dataset.h"
#include "worker/graph/program.h"
#include "worker/graph/reach.h"
#include "worker/models/model.h"
#include "worker/train/job.h"
#include "worker/train/method.h"
#include "worker/train/weighting/weighting.h"

DEFINE_string(
    config, "",
    "Protobuf text of a Config: model, data set, optimizers \"sparse\" and \"dense\", method");
DEFINE_string(init, "", "initial values");
DEFINE_string(batches, "", "data");
DEFINE_string(output, "", "where the final values go");
DEFINE_string(list_lengths, "", "ids an example of each embedding feature, such as 1,1,3");
DEFINE_int32(lanes, 1, "pieces that a batch is cut into");
DEFINE_int32(shards, 1, "parts that rows' inner products are formed in");

namespace pagoda {
namespace {

class Trainer {
 public:
  Trainer(const Config& config, const DataSchema& data, const TrainingMethod& method, Graph graph,
          std::vector<int> list_lengths, int dense_columns,
          const std::map<std::string, Tensor>& init)
      : tasks_(config.dataset().task().begin(), config.dataset().task().end()),
        heads_(FindLossHeads(config, graph)),
        reach_(graph),
        network_(std::move(graph), PassesOf(config, method)),
        weighting_(WeightingOf(config, method)),
        group_(config.train().weighting().group()),
        momentum_(config.model().batch_norm().momentum()),
        list_lengths_(std::move(list_lengths)),
        dense_columns_(dense_columns),
        input_width_(data.input.width),
        first_dense_(data.input.dense.empty() ? 0 : data.input.dense[0].input_offset) {
    for (const StepOptimizer& one : method.optimizers) {
      optimizers_.emplace_back(one, network_.parameters());
    }
    parameters_.resize(network_.parameter_count());
    for (const ParameterView& view : network_.parameters()) {
      CHECK(init.count(view.name)) << "--init has no " << view.name;
      const Doubles values = Elements<double>(init.at(view.name), "F64");
      CHECK_EQ(static_cast<int64_t>(values.size()), int64_t{view.rows} * view.columns) << view.name;
      std::copy(values.begin(), values.end(), parameters_.begin() + view.offset);
    }
    MakeRows(data, init);
  }

  // Returns the normalised losses [T].
  Doubles Step(const StepData& data) {
    LaneResult result = SumLanes(RunLanes(data));
    const Doubles losses = TaskLosses(result.losses);
    const RuleStep& clock = optimizers_.back().step;
    WeightingStep facts = {};
    facts.step = clock.step - 1;
    facts.learning_rate = clock.learning_rate;
    facts.losses = losses;
    const std::unique_ptr<bool[]> present(new bool[tasks_.size()]);
    std::fill_n(present.get(), tasks_.size(), true);
    facts.present = absl::MakeConstSpan(present.get(), tasks_.size());
    const Doubles gram = weighting_ == nullptr ? Doubles() : Gram(result.passes);
    facts.gram = gram;
    if (weighting_ != nullptr) result.passes = {Combined(facts, result.passes)};
    for (size_t o = 0; o < optimizers_.size(); ++o) {
      Apply(static_cast<int>(o), result.passes[optimizers_[o].pass]);
    }
    if (weighting_ != nullptr) {
      const Doubles after = TaskLosses(SumLanes(RunLanes(data)).losses);
      facts.losses_after = after;
      weighting_->Observe(facts);
    }
    MoveStatistics(data.B, result.statistics);
    for (Optimizer& optimizer : optimizers_) ++optimizer.step.step;
    return losses;
  }

  std::vector<Tensor> Tensors() const {
    std::vector<Tensor> tensors;
    for (const ParameterView& view : network_.parameters()) {
      const auto begin = parameters_.begin() + view.offset;
      tensors.push_back(F64(view.name, {view.rows, view.columns},
                            Doubles(begin, begin + int64_t{view.rows} * view.columns)));
    }
    std::vector<uint64_t> ids;
    for (const auto& [id, row] : sets_[0].rows) ids.push_back(id);
    const int64_t n = static_cast<int64_t>(ids.size());
    tensors.push_back(Tensor::U64("row_ids", {n}, ids.data()));
    for (const RowSet& set : sets_) {
      Doubles rows;
      for (const auto& [id, row] : set.rows) {
        rows.insert(rows.end(), row.weights.begin(), row.weights.end());
      }
      tensors.push_back(F64(set.tensor, {n, set.dim}, rows));
    }
    const int64_t tasks = static_cast<int64_t>(tasks_.size());
    const int64_t steps = static_cast<int64_t>(coefficients_.size()) / tasks;
    if (steps > 0) tensors.push_back(F64("coefficients", {steps, tasks}, coefficients_));
    return tensors;
  }

 private:
  void MakeRows(const DataSchema& data, const std::map<std::string, Tensor>& init) {
    const std::vector<uint64_t> ids = Elements<uint64_t>(init.at("row_ids"), "U64");
    for (const EmbeddingFeature& feature : data.input.embeddings) {
      const std::string tensor = feature.set.empty() ? "rows" : "rows/" + feature.set;
      if (sets_.empty() || sets_.back().tensor != tensor) {
        CHECK(init.count(tensor)) << "--init has no " << tensor;
        RowSet& set = sets_.emplace_back(RowSet{tensor, init.at(tensor).shape[1], {}, {}});
        const Doubles rows = Elements<double>(init.at(tensor), "F64");
        for (size_t i = 0; i < ids.size(); ++i) {
          const auto begin = rows.begin() + i * set.dim;
          set.rows[ids[i]].weights = Doubles(begin, begin + set.dim);
        }
      }
      sets_.back().features.push_back(feature);
    }
  }

  // Each lane's contiguous rows, weighed by the whole step's sums.
  std::vector<LaneResult> RunLanes(const StepData& data) const {
    std::vector<Doubles> weights;
    for (const LossHead& one : heads_) {
      weights.push_back(RowWeights(one, data.B, data.labels, data.weights));
    }
    const Doubles x = Gather(data.B, data.ids, data.dense);
    const int ids_a_row = std::accumulate(list_lengths_.begin(), list_lengths_.end(), 0);
    const int size = (data.B + FLAGS_lanes - 1) / FLAGS_lanes;
    std::vector<LaneResult> lanes;
    for (int begin = 0; begin < data.B; begin += size) {
      const int end = std::min(data.B, begin + size), rows = end - begin;
      std::vector<Doubles> labels, loss_weights;
      for (size_t h = 0; h < heads_.size(); ++h) {
        const double* const own = data.labels + heads_[h].task * data.B;
        labels.emplace_back(own + begin, own + end);
        loss_weights.emplace_back(weights[h].begin() + begin, weights[h].begin() + end);
      }
      const Doubles input(x.begin() + int64_t{begin} * input_width_,
                          x.begin() + int64_t{end} * input_width_);
      auto run = network_.Run(rows, input, parameters_, labels, loss_weights, {.training = true});
      LaneResult& lane = lanes.emplace_back();
      lane.statistics = std::move(run.statistics);
      for (double& value : lane.statistics) value *= rows;
      lane.losses = std::move(run.losses);
      for (auto& pass : run.passes) {
        Gradients& gradients = lane.passes.emplace_back();
        gradients.dense = std::move(pass.gradients);
        gradients.rows = RowGradients(rows, data.ids + int64_t{begin} * ids_a_row, pass.dx);
      }
    }
    return lanes;
  }

  // Running statistics of BatchNorms; sums over B rows.
  void MoveStatistics(int B, const Doubles& sums) {
    for (const ParameterView& view : network_.parameters()) {
      for (int i = 0; i < view.columns && view.is_statistic; ++i) {
        double& running = parameters_[view.offset + i];
        running += momentum_ * (sums[view.offset + i] / B - running);
      }
    }
  }

  // Optimizer o's rule along the gradients, on what it owns.
  void Apply(int o, const Gradients& gradients) {
    Optimizer& optimizer = optimizers_[o];
    for (size_t v = 0; v < optimizer.views.size(); ++v) {
      const ParameterView& view = optimizer.views[v];
      optimizer.rule->Apply(optimizer.step, parameters_.data() + view.offset,
                            optimizer.states[v].data(), gradients.dense.data() + view.offset,
                            int64_t{view.rows} * view.columns);
    }
    for (size_t f = 0; f < gradients.rows.size(); ++f) {
      RowSet& set = sets_[f / list_lengths_.size()];
      if (optimizer.tables.count(set.features[f % list_lengths_.size()].table) == 0) continue;
      for (const auto& [id, gradient] : gradients.rows[f]) {
        Row& row = set.rows.at(id);
        Doubles& state = row.states.try_emplace(o, optimizer.NewState(set.dim)).first->second;
        optimizer.rule->Apply(optimizer.step, row.weights.data(), state.data(), gradient.data(),
                              set.dim);
      }
    }
  }

  Doubles TaskLosses(const Doubles& of_heads) const {
    Doubles losses(tasks_.size());
    for (size_t h = 0; h < heads_.size(); ++h) {
      const auto& [head, task, given] = heads_[h];
      if (!head.reported) continue;
      losses[task] = of_heads[h] / (tasks_[task].weight() * head.weight);
    }
    return losses;
  }

  // Whether a parameter enters the tasks' inner products.
  bool IsMeasured(const std::string& name) const {
    if (weighting_->needs() == WeightingNeeds::kGroupGram) {
      return fnmatch(group_.c_str(), name.c_str(), 0) == 0;
    }
    return reach_.TasksOfParameter(name).size() > 1;
  }

  // [K, K]: inner products of the passes' gradients, those of rows shard by shard.
  Doubles Gram(const std::vector<Gradients>& passes) const {
    Doubles gram;
    for (const Gradients& a : passes) {
      for (const Gradients& b : passes) {
        double sum = 0;
        for (const ParameterView& view : network_.parameters()) {
          if (!IsMeasured(view.name)) continue;
          const auto begin = a.dense.begin() + view.offset;
          sum += std::inner_product(begin, begin + int64_t{view.rows} * view.columns,
                                    b.dense.begin() + view.offset, 0.0);
        }
        const bool has_rows = weighting_->needs() == WeightingNeeds::kSharedGram;
        for (int shard = 0; shard < FLAGS_shards && has_rows; ++shard) {
          sum += InnerProductOfRows(a, b, shard);
        }
        gram.push_back(sum);
      }
    }
    return gram;
  }

  double InnerProductOfRows(const Gradients& a, const Gradients& b, int shard) const {
    const int first = FirstPartition(shard, FLAGS_shards);
    const int end = FirstPartition(shard + 1, FLAGS_shards);
    double sum = 0;
    for (size_t f = 0; f < a.rows.size(); ++f) {
      for (const auto& [id, row] : a.rows[f]) {
        if (PartitionOf(id) < first || PartitionOf(id) >= end) continue;
        sum += std::inner_product(row.begin(), row.end(), b.rows[f].at(id).begin(), 0.0);
      }
    }
    return sum;
  }

  Gradients Combined(const WeightingStep& facts, const std::vector<Gradients>& passes) {
    Doubles c(passes.size());
    weighting_->Weights(facts, absl::MakeSpan(c));
    coefficients_.insert(coefficients_.end(), c.begin(), c.end());
    Gradients sum;
    for (size_t k = 0; k < passes.size(); ++k) {
      Gradients scaled = passes[k];
      for (const ParameterView& view : network_.parameters()) {
        const bool is_weighed = weighting_->weighs_losses() || IsMeasured(view.name);
        for (int64_t i = view.offset; i < view.offset + int64_t{view.rows} * view.columns; ++i) {
          scaled.dense[i] *= is_weighed ? c[k] : 1;
        }
      }
      for (auto& feature : scaled.rows) {
        for (auto& [id, row] : feature) {
          for (double& value : row) value *= c[k];
        }
      }
      if (k == 0) {
        sum = std::move(scaled);
      } else {
        AddTo(scaled, &sum);
      }
    }
    return sum;
  }

  // What each row weighs in the loss.
  Doubles RowWeights(const LossHead& one, int B, const double* labels,
                     const double* weights) const {
    if (one.head.rows == Graph::LossRows::kTask) {
      const TaskConfig& task = tasks_[one.task];
      Doubles w(weights + one.task * B, weights + (one.task + 1) * B);
      const double sum =
          task.normalize() == TaskConfig::BATCH ? B : std::accumulate(w.begin(), w.end(), 0.0);
      for (double& value : w) value *= one.head.weight * task.weight() / sum;
      return w;
    }
    Doubles w(B, one.head.weight / B);
    for (int b = 0; b < B && one.given >= 0; ++b) {
      // Outside a task's sample space there are no labels.
      const bool is_known = weights[one.given * B + b] != 0 && weights[one.task * B + b] != 0;
      if (!is_known || labels[one.given * B + b] == 0) w[b] = 0;
    }
    return w;
  }

  // Calls visit(example, feature, place, id) for each id of the batch.
  template <typename Visit>
  void ForEachId(int B, const uint64_t* ids, Visit visit) const {
    for (int b = 0; b < B; ++b) {
      for (size_t feature = 0; feature < list_lengths_.size(); ++feature) {
        for (int i = 0; i < list_lengths_[feature]; ++i, ++ids) {
          if (*ids != kNoValue) visit(b, feature, i, *ids);
        }
      }
    }
  }

  // Of a sequence, places stand side by side; of a list, they are added.
  static int64_t ColumnOf(const EmbeddingFeature& feature, int place) {
    return feature.input_offset + (feature.length > 0 ? place * feature.dim : 0);
  }

  // x [B, input width].
  Doubles Gather(int B, const uint64_t* ids, const double* dense) const {
    const int width = input_width_;
    Doubles x(int64_t{B} * width);
    for (const RowSet& set : sets_) {
      ForEachId(B, ids, [&](int b, size_t feature, int place, uint64_t id) {
        const Doubles& row = set.rows.at(id).weights;
        const EmbeddingFeature& of = set.features[feature];
        double* const to = x.data() + int64_t{b} * width + ColumnOf(of, place);
        for (int64_t d = 0; d < set.dim; ++d) to[d] += row[d];
        if (of.length > 0) x[int64_t{b} * width + of.mask_offset + place] = 1;
      });
    }
    for (int b = 0; b < B; ++b) {
      for (int n = 0; n < dense_columns_; ++n) {
        x[int64_t{b} * width + first_dense_ + n] = dense[b * dense_columns_ + n];
      }
    }
    return x;
  }

  // [set * features + feature], by id: duplicate ids of a batch are summed.
  std::vector<std::map<uint64_t, Doubles>> RowGradients(int B, const uint64_t* ids,
                                                        const Doubles& dx) const {
    const size_t features = list_lengths_.size();
    std::vector<std::map<uint64_t, Doubles>> gradients(sets_.size() * features);
    for (size_t s = 0; s < sets_.size(); ++s) {
      const RowSet& set = sets_[s];
      ForEachId(B, ids, [&](int b, size_t feature, int place, uint64_t id) {
        auto& of_feature = gradients[s * features + feature];
        Doubles& sum = of_feature.try_emplace(id, Doubles(set.dim)).first->second;
        const double* const from =
            dx.data() + int64_t{b} * input_width_ + ColumnOf(set.features[feature], place);
        for (int64_t d = 0; d < set.dim; ++d) sum[d] += from[d];
      });
    }
    return gradients;
  }

  // The network's labels and losses are in order of its heads, not of the configuration.
  static std::vector<LossHead> FindLossHeads(const Config& config, const Graph& graph) {
    const auto index_of = [&](const std::string& name) {
      for (int t = 0; t < config.dataset().task_size(); ++t) {
        if (config.dataset().task(t).name() == name) return t;
      }
      return -1;
    };
    std::vector<LossHead> heads;
    for (const Graph::HeadSpec& head : graph.heads()) {
      if (!head.has_loss) continue;
      heads.push_back({head, index_of(head.task), index_of(head.given)});
      CHECK_GE(heads.back().task, 0) << head.name;
    }
    return heads;
  }

  const std::vector<TaskConfig> tasks_;  // In the configuration's order.
  const std::vector<LossHead> heads_;
  const Reach reach_;
  const ReferenceNetwork<double> network_;
  const std::unique_ptr<Weighting> weighting_;  // Null: none.
  const std::string group_;
  const double momentum_;  // Of BatchNorms' running statistics.
  const std::vector<int> list_lengths_;
  const int dense_columns_, input_width_, first_dense_;
  std::vector<Optimizer> optimizers_;  // Those of rows alone before those of dense parameters.
  Doubles parameters_, coefficients_;
  std::vector<RowSet> sets_;  // The ordinary one first.
};

// With the embedding sets that its model wants.
Config ReadConfig() {
  absl::StatusOr<std::string> text = ReadFile(FLAGS_config);
  CHECK(text.ok()) << text.status();
  absl::StatusOr<Config> config = ParseConfig(*text, FLAGS_config);
  CHECK(config.ok()) << config.status();
  const auto sets = EmbeddingSetsOf(*config);
  CHECK(sets.ok()) << sets.status();
  for (const EmbeddingSet& set : *sets) *config->mutable_model()->add_embedding_set() = set;
  return *std::move(config);
}

int Main() {
  const Config config = ReadConfig();
  std::vector<int> list_lengths;
  for (const auto part : absl::StrSplit(FLAGS_list_lengths, ',')) {
    int length = 0;
    CHECK(absl::SimpleAtoi(part, &length)) << FLAGS_list_lengths;
    list_lengths.push_back(length);
  }

  const auto init = ReadTensors(FLAGS_init);
  const auto batches = ReadTensors(FLAGS_batches);
  const std::vector<int64_t> shape = batches.at("ids").shape;  // [S, B, L]
  const int S = static_cast<int>(shape[0]), B = static_cast<int>(shape[1]);
  const int64_t L = shape[2], N = batches.at("dense").shape[2], T = batches.at("labels").shape[1];
  const auto ids = Elements<uint64_t>(batches.at("ids"), "U64");
  const auto dense = Elements<double>(batches.at("dense"), "F64");
  const auto labels = Elements<double>(batches.at("labels"), "F64");
  const auto weights = Elements<double>(batches.at("weights"), "F64");

  const absl::StatusOr<DataSchema> data = MakeDataSchema(config);
  CHECK(data.ok()) << data.status();
  absl::StatusOr<Graph> graph = BuildModel(config, ModelInputOf(data->input));
  CHECK(graph.ok()) << graph.status();
  const absl::StatusOr<TrainingMethod> method = ResolveMethod(config, *data, *graph);
  CHECK(method.ok()) << method.status();
  Trainer trainer(config, *data, *method, *std::move(graph), list_lengths, static_cast<int>(N),
                  init);
  Doubles losses;
  for (int s = 0; s < S; ++s) {
    const Doubles step = trainer.Step({.B = B,
                                       .ids = &ids[s * B * L],
                                       .dense = dense.data() + s * B * N,
                                       .labels = &labels[s * T * B],
                                       .weights = &weights[s * T * B]});
    losses.insert(losses.end(), step.begin(), step.end());
  }
  std::vector<Tensor> tensors = trainer.Tensors();
  tensors.push_back(F64("losses", {S, T}, losses));
  const absl::Status written = WriteSafetensors(FLAGS_output, tensors, {});
  CHECK(written.ok()) << written;
  return 0;
}

}  // namespace
}  // namespace pagoda

int main(int argc, char** argv) {
  google::InitGoogleLogging(argv[0]);
  gflags::ParseCommandLineFlags(&argc, &argv, true);
  return pagoda::Main();
}
