#include "worker/train/engine.h"

#include <sched.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/checkpoint/safetensors.h"
#include "common/errors.h"
#include "common/io/file.h"
#include "common/optim/same_state.h"
#include "worker/models/model.h"
#include "worker/train/agreement.h"
#include "worker/train/checkpointer.h"

namespace pagoda {
namespace {

StepOptions MakeStepOptions(const Job& job, const Cluster& cluster, const EngineOptions& engine) {
  const TrainConfig& train = job.config.train();
  StepOptions options;
  options.threads =
      job.options.threads > 0 ? job.options.threads : DefaultThreads(cluster.workers_on_host);
  options.lane_count = std::max(1, train.lanes() / cluster.workers->size());
  options.tasks.assign(job.config.dataset().task().begin(), job.config.dataset().task().end());
  options.method = job.method;
  options.steps_taken = engine.steps_taken;
  options.weighting = {train.weighting(), engine.steps_per_epoch, engine.weighting_state};
  options.ema_decay = train.ema_decay();
  options.seed = train.seed();
  return options;
}

absl::Status LoadDense(const std::string& checkpoint, Stepper& stepper) {
  ASSIGN_OR_RETURN(const std::vector<Tensor> dense, ReadDense(checkpoint));
  return WithContext(stepper.LoadDense(dense, /*require_states=*/true), checkpoint);
}

// Names, rules and whose rows each updates.
std::string OptimizersOf(const Schema& schema) {
  std::string out;
  for (int o = 0; o < schema.optimizer_size(); ++o) {
    absl::StrAppend(&out, schema.optimizer(o).name(), " (", schema.optimizer(o).rule(), "):");
    for (const TableSchema& table : schema.table()) {
      const auto& own = table.optimizer();
      const bool updates = std::find(own.begin(), own.end(), static_cast<uint32_t>(o)) != own.end();
      if (updates) absl::StrAppend(&out, " ", table.name());
    }
    absl::StrAppend(&out, "; ");
  }
  return out;
}

absl::Status CheckSameOptimizers(const Schema& stored, const Schema& configured) {
  const std::string then = OptimizersOf(stored), now = OptimizersOf(configured);
  if (then != now) {
    return UsageError(absl::StrCat("the checkpoint's optimizers are not those of the ",
                                   "configuration (--warm_start takes what fits); checkpoint: ",
                                   then, "configuration: ", now));
  }
  for (int o = 0; o < stored.optimizer_size(); ++o) {
    if (HaveSameState(stored.optimizer(o), configured.optimizer(o))) continue;
    return UsageError(absl::StrCat("optimizer \"", stored.optimizer(o).name(), "\": its state in ",
                                   "the checkpoint has another size: a parameter of rule ",
                                   stored.optimizer(o).rule(), " that sizes it was changed ",
                                   "(--warm_start takes what fits)"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Engine> OpenEngine(const Job& job, const Cluster& cluster, const Program* program,
                                  const EngineOptions& options) {
  SessionOptions session_options;
  session_options.job_id = options.job_id;
  session_options.run_epoch = options.run_epoch;
  session_options.schema = &job.schema;
  session_options.lane_count = std::max(job.config.train().lanes(), cluster.workers->size());
  session_options.next_step = options.steps_done;
  session_options.checkpoint = options.checkpoint;
  session_options.store_dir = options.store_dir;
  Engine engine;
  ASSIGN_OR_RETURN(engine.session, Session::Open(cluster, session_options));
  ASSIGN_OR_RETURN(auto clients, engine.session->OpenWorkerClients());
  engine.stepper =
      std::make_unique<Stepper>(MakeStepOptions(job, cluster, options), program, &job.schema,
                                job.data.input, cluster.workers, std::move(clients));
  if (!options.checkpoint.empty() && options.load_dense) {
    RETURN_IF_ERROR(AgreeStatus(*cluster.workers, LoadDense(options.checkpoint, *engine.stepper)));
  }
  return engine;
}

std::string DataFolder(const Job& job) { return JoinPath(job.run_dir, "data"); }

absl::StatusOr<std::unique_ptr<Dataset>> OpenDataset(const Job& job, Group& workers,
                                                     const Statistics* statistics,
                                                     const std::string& cache_dir) {
  DatasetOptions options;
  options.config_dir = ".";  // Paths are absolute by now.
  options.cache_dir = cache_dir;
  options.quarantine_path = JoinPath(job.run_dir, "quarantine.txt");
  ASSIGN_OR_RETURN(options.strict_funnel, StrictFunnel(job.config));
  absl::StatusOr<std::unique_ptr<Dataset>> dataset;
  absl::Status status;
  if (workers.rank() == 0) {
    status = MakeDirectories(options.cache_dir);
    if (status.ok()) {
      DatasetOptions first = options;
      first.reads_pipes_again = statistics == nullptr;  // A run that starts fresh.
      dataset = Dataset::Open(job.config, first, statistics);
      status = dataset.status();
    }
  }
  RETURN_IF_ERROR(ShareStatus(workers, 0, status));
  if (workers.rank() != 0) dataset = Dataset::Open(job.config, options, statistics);
  RETURN_IF_ERROR(AgreeStatus(workers, dataset.status()));
  return dataset;
}

int DefaultThreads(int workers_on_host) {
  cpu_set_t cpus;
  CPU_ZERO(&cpus);
  const int available = sched_getaffinity(0, sizeof(cpus), &cpus) == 0 ? CPU_COUNT(&cpus) : 1;
  return std::max(1, available / std::max(1, workers_on_host));
}

absl::Status CheckSameTables(const Schema& stored, const Schema& configured) {
  const auto names = [](const Schema& schema) {
    std::string out;
    for (const TableSchema& table : schema.table()) {
      absl::StrAppend(&out, table.name(), "[", table.dim(), "]:");
      for (const FeatureSchema& feature : table.feature()) {
        absl::StrAppend(&out, " ", feature.name(), "/", feature.slot());
      }
      absl::StrAppend(&out, "; ");
    }
    return out;
  };
  if (names(stored) != names(configured)) {
    return UsageError(
        absl::StrCat("the checkpoint's tables are not those of the configuration; "
                     "checkpoint: ",
                     names(stored), "configuration: ", names(configured)));
  }
  return CheckSameOptimizers(stored, configured);
}

}  // namespace pagoda
