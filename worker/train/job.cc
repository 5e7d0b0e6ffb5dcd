#include "worker/train/job.h"

#include <algorithm>
#include <bit>
#include <filesystem>
#include <map>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/checkpoint/manifest.h"
#include "common/config.h"
#include "common/errors.h"
#include "common/io/file.h"
#include "common/io/pipe.h"
#include "common/optim/rule.h"
#include "glog/logging.h"
#include "worker/data/columns.h"
#include "worker/data/vectors.h"
#include "worker/graph/gates.h"
#include "worker/graph/reach.h"
#include "worker/models/model.h"
#include "worker/train/fuse.h"
#include "worker/train/step_weighting.h"
#include "worker/train/task_rules.h"

namespace pagoda {
namespace {

std::string AbsolutePath(const std::string& path) {
  return std::filesystem::absolute(path).lexically_normal().string();
}

// Adam with its defaults under the two names that `train` uses unless told otherwise.
Config BuiltInLayer() {
  Config layer;
  for (const char* name : {"sparse", "dense"}) {
    OptimizerConfig* optimizer = layer.add_optimizer();
    optimizer->set_name(name);
    optimizer->set_rule("adam");
  }
  return layer;
}

// Reads the file of --model= or --dataset= and lays it over *config.
absl::Status MergeFile(const JobOptions& options, const std::string& kind, const std::string& name,
                       Config* config) {
  auto path = FindConfigFile(options.config_root, kind, name);
  if (!path.ok()) return path.status();
  ASSIGN_OR_RETURN(const std::string text, ReadFile(*path));
  ASSIGN_OR_RETURN(Config layer, ParseConfig(text, *path));
  // Relative paths of a file mean its own folder, whatever is merged over it later.
  const std::string folder = AbsolutePath(DirectoryOf(*path));
  for (SourceConfig& source : *layer.mutable_dataset()->mutable_source()) {
    for (std::string& one : *source.mutable_path()) {
      if (!IsPipe(one)) one = AbsolutePath(JoinPath(folder, one));
    }
  }
  for (FeatureConfig& feature : *layer.mutable_dataset()->mutable_feature()) {
    if (feature.import().path().empty()) continue;
    std::string* const path = feature.mutable_import()->mutable_path();
    *path = AbsolutePath(JoinPath(folder, *path));
  }
  MergeConfig(layer, config);
  return absl::OkStatus();
}

void MergeFlags(const JobOptions& options, Config* config) {
  TrainConfig* train = config->mutable_train();
  if (options.seed) train->set_seed(*options.seed);
  if (options.lanes) train->set_lanes(*options.lanes);
  if (options.batch_size) train->set_batch_size(*options.batch_size);
  if (options.epochs) train->set_epochs(*options.epochs);
  if (options.max_steps) train->set_max_steps(*options.max_steps);
}

absl::StatusOr<Config> MergeLayers(const JobOptions& options, const Manifest* manifest) {
  Config config = BuiltInLayer();
  if (manifest != nullptr) {
    config = manifest->config();
    if (!options.dataset.empty()) config.clear_dataset();
    if (!options.model.empty()) config.clear_model();
  }
  if (manifest == nullptr || !options.model.empty()) {
    RETURN_IF_ERROR(MergeFile(options, "models", options.model, &config));
  }
  if (manifest == nullptr || !options.dataset.empty()) {
    RETURN_IF_ERROR(MergeFile(options, "datasets", options.dataset, &config));
  }
  if (!options.override_text.empty()) {
    ASSIGN_OR_RETURN(Config layer, ParseConfig(options.override_text, "--override"));
    MergeConfig(layer, &config);
  }
  MergeFlags(options, &config);
  // What --override named is relative to where the command was typed.
  for (SourceConfig& source : *config.mutable_dataset()->mutable_source()) {
    for (std::string& one : *source.mutable_path()) {
      if (!IsPipe(one)) one = AbsolutePath(one);
    }
  }
  for (FeatureConfig& feature : *config.mutable_dataset()->mutable_feature()) {
    if (feature.import().path().empty()) continue;
    std::string* const path = feature.mutable_import()->mutable_path();
    *path = AbsolutePath(*path);
  }
  return config;
}

std::string TextOfSets(const ModelConfig& model) {
  ModelConfig only;
  *only.mutable_embedding_set() = model.embedding_set();
  return only.SerializeAsString();
}

// What a checkpoint's configuration has was derived for the `wide` and the model of its run.
absl::Status DeriveEmbeddingSets(Job* job) {
  ModelConfig* model = job->config.mutable_model();
  ASSIGN_OR_RETURN(const std::vector<EmbeddingSet> sets, EmbeddingSetsOf(job->config));
  ModelConfig derived;
  for (const EmbeddingSet& set : sets) *derived.add_embedding_set() = set;
  const std::string given = TextOfSets(*model);
  const bool is_stored =
      job->manifest.has_value() && given == TextOfSets(job->manifest->config().model());
  if (!given.empty() && !is_stored && given != TextOfSets(derived)) {
    return UsageError("model.embedding_set: it is derived from the model and `wide`; leave it out");
  }
  model->mutable_embedding_set()->Swap(derived.mutable_embedding_set());
  return absl::OkStatus();
}

// The features none of whose columns any head is computed from: embedded ones, then dense ones.
std::vector<std::string> FindUnread(const InputLayout& input, const Graph& graph) {
  const std::vector<bool> read = ColumnsRead(graph);
  const auto is_read = [&](int first, int count) {
    return std::find(read.begin() + first, read.begin() + first + count, true) !=
           read.begin() + first + count;
  };
  std::vector<std::string> unread;
  for (const EmbeddingFeature& feature : input.embeddings) {
    if (!feature.set.empty() || is_read(feature.input_offset, feature.width()) ||
        is_read(feature.mask_offset, feature.length)) {
      continue;
    }
    unread.push_back(feature.name);
  }
  for (const DenseFeature& feature : input.dense) {
    if (!is_read(feature.input_offset, 1)) unread.push_back(feature.name);
  }
  return unread;
}

// Whether the checkpoint's run gave the feature rows or columns, read or not: that of an older
// version did.
bool HadColumns(const Manifest& manifest, const std::string& feature) {
  const auto& features = manifest.config().dataset().feature();
  const auto& unread = manifest.config().model().unread_feature();
  return std::any_of(features.begin(), features.end(),
                     [&](const FeatureConfig& one) { return one.name() == feature; }) &&
         std::find(unread.begin(), unread.end(), feature) == unread.end();
}

// job->data, without the rows and columns that no task reads (of a checkpoint: and that its run did
// without), and the graph that reads the others.
absl::StatusOr<Graph> ResolveInput(Job* job) {
  ModelConfig* model = job->config.mutable_model();
  if (!job->manifest.has_value() && model->unread_feature_size() > 0) {
    return UsageError("model.unread_feature: it is derived from the model; leave it out");
  }
  model->clear_unread_feature();
  ASSIGN_OR_RETURN(job->data, MakeDataSchema(job->config));
  ASSIGN_OR_RETURN(Graph graph, BuildGraph(*job));
  std::vector<std::string> unread = FindUnread(job->data.input, graph);
  if (job->manifest.has_value()) {
    const auto had_columns = [&](const std::string& name) {
      return HadColumns(*job->manifest, name);
    };
    unread.erase(std::remove_if(unread.begin(), unread.end(), had_columns), unread.end());
  }
  if (unread.empty()) return graph;
  model->mutable_unread_feature()->Assign(unread.begin(), unread.end());
  ASSIGN_OR_RETURN(job->data, MakeDataSchema(job->config));
  return BuildGraph(*job);
}

// "1, 2 or 4": the numbers of workers among whom `lanes` lanes can be dealt out.
std::string WorkersThatFit(int lanes) {
  std::vector<int> fit;
  for (int workers = std::max(lanes, 1);; workers /= 2) {
    fit.insert(fit.begin(), workers);
    if (workers % 2 != 0) break;
  }
  const int last = fit.back();
  fit.pop_back();
  return absl::StrCat(absl::StrJoin(fit, ", "), fit.empty() ? "" : " or ", last);
}

// "ple" for "ple" and "my/ple.textproto".
std::string Stem(const std::string& name_or_path) {
  return std::filesystem::path(name_or_path).stem().string();
}

// The folder of a run that a checkpoint lies in: RUN_DIR/checkpoints/step-N.
std::string RunDirOf(const std::string& checkpoint) { return DirectoryOf(DirectoryOf(checkpoint)); }

absl::Status OpenManifest(Job* job) {
  const JobOptions& options = job->options;
  if (options.checkpoint.empty()) {
    return UsageError(
        "--mode=evaluate, predict and fuse need --checkpoint=DIR, such as "
        "RUN_DIR/checkpoints/best");
  }
  RETURN_IF_ERROR(WithContext(CheckIsCheckpoint(options.checkpoint), "--checkpoint"));
  job->checkpoint = std::filesystem::canonical(options.checkpoint).string();
  ASSIGN_OR_RETURN(job->manifest, ReadManifest(job->checkpoint));
  return WithContext(VerifyFiles(job->checkpoint, *job->manifest), "--checkpoint");
}

// UsageError: other tasks than the checkpoint's network has outputs for.
absl::Status CheckSameTasks(const Config& trained, const Config& config) {
  const auto name = [](std::string* out, const TaskConfig& task) { out->append(task.name()); };
  const std::string had = absl::StrJoin(TasksByName(trained), ", ", name);
  const std::string has = absl::StrJoin(TasksByName(config), ", ", name);
  if (had == has) return absl::OkStatus();
  return UsageError(absl::StrCat(
      "--checkpoint: its network has the tasks ", had, ", the configuration (dataset.task, ",
      "train.tasks) has ", has, ". All are computed together: leave train.tasks out, and take of ",
      "the results those that you want. A network of other tasks is trained, with --warm_start"));
}

absl::Status CheckPaths(const JobOptions& options) {
  if (!options.init.empty() && !FileExists(options.init)) {
    return UsageError(absl::StrCat("--init=", options.init, ": no such file"));
  }
  if (!options.warm_start.empty() && !options.init.empty()) {
    return UsageError("--warm_start and --init: one of the two gives the initial values");
  }
  // A resumed run does not read it once there is a checkpoint.
  if (!options.warm_start.empty() && !options.resume) {
    RETURN_IF_ERROR(WithContext(CheckIsCheckpoint(options.warm_start), "--warm_start"));
  }
  if (options.mode == JobOptions::Mode::kTrain && !options.checkpoint.empty()) {
    RETURN_IF_ERROR(WithContext(CheckIsCheckpoint(options.checkpoint), "--checkpoint"));
  }
  return absl::OkStatus();
}

}  // namespace

ModelInput ModelInputOf(const InputLayout& layout) {
  ModelInput input{.width = layout.width, .features = {}};
  for (const EmbeddingFeature& feature : layout.embeddings) {
    if (feature.table < 0) continue;
    if (feature.adds) {
      const auto first = std::find_if(
          input.features.begin(), input.features.end(), [&](const FeatureColumns& one) {
            return one.set == feature.set && one.columns.begin == feature.input_offset;
          });
      CHECK(first != input.features.end()) << feature.name << ": its field comes after it";
      first->added.push_back(feature.name);
      continue;
    }
    input.features.push_back({.set = feature.set,
                              .feature = feature.name,
                              .columns = {feature.input_offset, feature.width()},
                              .mask = {feature.mask_offset, feature.length}});
  }
  for (const DenseFeature& feature : layout.dense) {
    input.features.push_back({.set = "",
                              .feature = feature.name,
                              .columns = {feature.input_offset, 1},
                              .mask = {},
                              .is_dense = true});
  }
  std::sort(input.features.begin(), input.features.end(),
            [](const FeatureColumns& a, const FeatureColumns& b) {
              return a.columns.begin < b.columns.begin;
            });
  return input;
}

absl::StatusOr<Job> ResolveJob(const JobOptions& options) {
  Job job;
  job.options = options;
  RETURN_IF_ERROR(CheckPaths(options));
  if (options.mode != JobOptions::Mode::kTrain) RETURN_IF_ERROR(OpenManifest(&job));
  ASSIGN_OR_RETURN(job.config,
                   MergeLayers(options, job.manifest.has_value() ? &*job.manifest : nullptr));
  RETURN_IF_ERROR(SelectTasks(&job.config));
  RETURN_IF_ERROR(ValidateConfig(job.config));
  if (options.mode == JobOptions::Mode::kFuse) {
    RETURN_IF_ERROR(ParseFuse(options.fuse, options.fuse_metric, job.config).status());
  }
  if (job.manifest.has_value()) {
    RETURN_IF_ERROR(TakePositiveWeights(job.manifest->config(), &job.config));
    RETURN_IF_ERROR(CheckSameTasks(job.manifest->config(), job.config));
  }
  if (options.mode == JobOptions::Mode::kPredict && !options.labels) {
    LeaveLabelsOut(job.config.mutable_dataset());
  }
  RETURN_IF_ERROR(DeriveEmbeddingSets(&job));
  ASSIGN_OR_RETURN(const Graph graph, ResolveInput(&job));
  RETURN_IF_ERROR(CheckImports(job.config, job.data));
  ASSIGN_OR_RETURN(job.method, ResolveMethod(job.config, job.data, graph));
  RETURN_IF_ERROR(ArrangeWeighting(job.config, graph, &job.method));
  job.schema = MakeSchema(job.config, job.data, job.method);
  std::string run_dir = options.run_dir;
  if (run_dir.empty()) {
    run_dir = job.manifest.has_value()
                  ? RunDirOf(job.checkpoint)
                  : absl::StrCat("runs/", Stem(options.model), "-", Stem(options.dataset));
  }
  job.run_dir = AbsolutePath(run_dir);
  return job;
}

absl::Status ResolveLanes(int workers, const TrainState* from, Job* job,
                          std::vector<std::string>* notes) {
  const JobOptions& options = job->options;
  TrainConfig* train = job->config.mutable_train();
  if (!train->has_lanes()) train->set_lanes(workers);
  if (from != nullptr) {
    const int lanes = static_cast<int>(from->lanes());
    if (options.lanes && *options.lanes != lanes) {
      return UsageError(absl::StrCat("--lanes=", *options.lanes, ": the checkpoint has ", lanes,
                                     " lanes, which --resume keeps; leave --lanes out"));
    }
    const int batch_size = static_cast<int>(from->batch_size());
    if (options.batch_size && *options.batch_size != batch_size) {
      return UsageError(absl::StrCat("--batch_size=", *options.batch_size, ": the checkpoint has ",
                                     batch_size, ", which --resume keeps; leave --batch_size out"));
    }
    train->set_lanes(lanes);
    train->set_batch_size(batch_size);
  }
  const int lanes = train->lanes();
  if (lanes < 1 || lanes % workers != 0 || !std::has_single_bit(unsigned(lanes / workers))) {
    const std::string rule = absl::StrCat("lanes / workers must be a power of two, so the ",
                                          "number of workers may be ", WorkersThatFit(lanes));
    if (from == nullptr) {
      return UsageError(
          absl::StrCat("--lanes=", lanes, " does not fit ", workers, " workers: ", rule));
    }
    return UsageError(
        absl::StrCat("--resume with ", workers, " workers: the checkpoint's run has ", lanes,
                     lanes == 1 ? " lane" : " lanes", ", which it keeps; ", rule,
                     ". A run that begins with --lanes=8 can go on with 1, 2, 4 or 8"));
  }
  if (train->batch_size() % lanes != 0) {
    if (options.batch_size) {
      return UsageError(absl::StrCat("--batch_size=", train->batch_size(),
                                     " is not a multiple of --lanes=", lanes));
    }
    const int rounded = (train->batch_size() + lanes - 1) / lanes * lanes;
    notes->push_back(absl::StrCat("batch size ", train->batch_size(), " rounded up to ", rounded,
                                  ", a multiple of ", lanes, " lanes"));
    train->set_batch_size(rounded);
  }
  return absl::OkStatus();
}

absl::StatusOr<Graph> BuildGraph(const Job& job) {
  ASSIGN_OR_RETURN(Graph graph, BuildModel(job.config, ModelInputOf(job.data.input)));
  if (job.config.train().gates()) AddGateElements(&graph);
  return graph;
}

}  // namespace pagoda
