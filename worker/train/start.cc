#include "worker/train/start.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <memory>
#include <set>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "common/checkpoint/manifest.h"
#include "common/config.h"
#include "common/errors.h"
#include "common/io/file.h"
#include "common/io/pipe.h"
#include "common/labels.h"
#include "common/optim/rule.h"
#include "glog/logging.h"
#include "worker/models/model_input.h"
#include "worker/train/agreement.h"

namespace pagoda {
namespace {

// The checkpoint to go on from, into *start; none there is a fresh start, said so.
absl::Status FindCheckpoint(const Job& job, Start* start) {
  const JobOptions& options = job.options;
  if (!options.checkpoint.empty()) {
    start->checkpoint = std::filesystem::canonical(options.checkpoint).string();
    ASSIGN_OR_RETURN(start->manifest, ReadManifest(start->checkpoint));
    return VerifyFiles(start->checkpoint, *start->manifest);
  }
  auto found = FindNewest(start->run->checkpoints());
  if (absl::IsNotFound(found.status())) {
    start->notes.push_back(
        absl::StrCat("--resume: no checkpoint in ", start->run->checkpoints(), ", starting fresh"));
    return absl::OkStatus();
  }
  RETURN_IF_ERROR(found.status());
  for (const std::string& skipped : found->skipped) {
    start->notes.push_back(absl::StrCat("warning: checkpoint passed over: ", skipped));
  }
  start->checkpoint = std::filesystem::absolute(found->path).string();
  start->manifest = std::move(found->manifest);
  start->notes.push_back(
      absl::StrCat("resumed from ", start->checkpoint, ", step ", start->manifest->state().step()));
  return absl::OkStatus();
}

absl::Status StartFirst(const Job& job, const Cluster& cluster, Start* start) {
  ASSIGN_OR_RETURN(start->run, RunDirectory::Open(job.run_dir, cluster.holder));
  const JobOptions& options = job.options;
  const bool repeats_fresh =
      options.resume && options.checkpoint.empty() && start->run->IsMarkedFresh();
  start->replaces_run = !options.resume || repeats_fresh;
  if (repeats_fresh) {
    start->notes.push_back(
        "--resume: the last start was to begin anew and did not get to it: starting fresh");
  }
  if (start->replaces_run) {
    RETURN_IF_ERROR(start->run->MarkFresh());
  } else {
    RETURN_IF_ERROR(FindCheckpoint(job, start));
  }
  start->job_id = start->run->job_id();
  ASSIGN_OR_RETURN(start->run_epoch, start->run->NextEpoch());
  return absl::OkStatus();
}

// Worker 0 has just written RUN_DIR/job: whoever cannot read it does not see the checkpoints
// either.
absl::Status ProbeRunDirectory(const Job& job, const Cluster& cluster) {
  const std::string probe = JoinPath(job.run_dir, "job");
  // Attributes of a network file system are cached for seconds (NFS: acdirmin is 30 s, new names
  // show sooner).
  const Deadline deadline = Deadline::After(*cluster.clock, 5'000);
  while (!FileExists(probe)) {
    if (deadline.Passed(*cluster.clock)) {
      return IoError(absl::StrCat("run directory ", job.run_dir, ": not visible to ",
                                  cluster.holder,
                                  "; --run_dir must be on storage that all "
                                  "processes share"));
    }
    cluster.clock->SleepMs(50);
  }
  return absl::OkStatus();
}

// REQUIRES: the rule is valid.
bool StartsAtZero(const OptimizerConfig& config) {
  std::map<std::string, double> parameters;
  for (const Parameter& one : config.parameter()) parameters[one.name()] = one.value();
  const absl::StatusOr<std::unique_ptr<Rule>> rule = MakeRule(config.rule(), parameters);
  CHECK(rule.ok()) << rule.status();
  return (*rule)->StartsAtZero();
}

// A sentence has room for some of the names.
std::string FirstOf(absl::Span<const std::string> names) {
  constexpr size_t kMost = 3;
  const std::string first = absl::StrJoin(names.subspan(0, kMost), ", ");
  return names.size() <= kMost ? first
                               : absl::StrCat(first, " and ", names.size() - kMost, " more");
}

}  // namespace

absl::Status StartRun(const Job& job, const Cluster& cluster, Start* start) {
  Group& workers = *cluster.workers;
  absl::Status status;
  if (workers.rank() == 0) status = StartFirst(job, cluster, start);
  RETURN_IF_ERROR(ShareStatus(workers, 0, status));
  RETURN_IF_ERROR(AgreeStatus(workers, ProbeRunDirectory(job, cluster)));
  // Hello's fields name what is shared: the checkpoint and the epoch.
  WireHeader shared;
  shared.set_job_id(start->job_id);
  shared.set_run_epoch(start->run_epoch);
  shared.mutable_hello()->set_checkpoint(start->checkpoint);
  ASSIGN_OR_RETURN(const std::string header, workers.Broadcast(0, shared.SerializeAsString()));
  ASSIGN_OR_RETURN(
      const std::string manifest,
      workers.Broadcast(
          0, start->manifest.has_value() ? start->manifest->SerializeAsString() : std::string()));
  if (!shared.ParseFromString(header)) return absl::InternalError("a start that does not parse");
  start->job_id = shared.job_id();
  start->run_epoch = shared.run_epoch();
  start->checkpoint = shared.hello().checkpoint();
  if (!start->checkpoint.empty() && !start->manifest.has_value()) {
    start->manifest.emplace();
    if (!start->manifest->ParseFromString(manifest)) {
      return absl::InternalError("a manifest that does not parse");
    }
  }
  return absl::OkStatus();
}

absl::Status CheckSources(const Manifest& manifest, const Dataset& dataset) {
  const auto& now = dataset.sources();
  if (manifest.source_size() != static_cast<int>(now.size())) {
    return DataError(absl::StrCat("the checkpoint's run read ", manifest.source_size(),
                                  " source files, this configuration names ", now.size()));
  }
  // In order, not by path: a tree that was moved is the same data.
  for (int i = 0; i < manifest.source_size(); ++i) {
    const SourceStamp& then = manifest.source(i);
    if (then.bytes() == now[i].bytes() && then.checksum() == now[i].checksum()) continue;
    // Older checkpoints say nothing of what a command gave.
    if (IsPipe(then.path()) && then.bytes() == 0 && then.checksum() == 0) continue;
    return DataError(absl::StrFormat(
        "%s: changed since the checkpoint (%d bytes, checksum %016x; then %d bytes, %016x): a "
        "resumed run would not be the run that was begun; restore it or start without --resume",
        now[i].path(), now[i].bytes(), now[i].checksum(), then.bytes(), then.checksum()));
  }
  return absl::OkStatus();
}

absl::Status CheckSameUnread(const Manifest& manifest, const Config& config) {
  const auto& features = manifest.config().dataset().feature();
  const auto& then = manifest.config().model().unread_feature();
  for (const std::string& name : config.model().unread_feature()) {
    const bool was_there =
        std::any_of(features.begin(), features.end(),
                    [&](const FeatureConfig& one) { return one.name() == name; });
    if (!was_there || std::find(then.begin(), then.end(), name) != then.end()) continue;
    return UsageError(absl::StrCat(
        "feature \"", name, "\": no task reads it, but the checkpoint's run gave it rows or ",
        "columns, as earlier versions did; --resume cannot go on with those. Evaluate or dump the ",
        "checkpoint as it is, or begin a run with --warm_start"));
  }
  return absl::OkStatus();
}

absl::Status CheckLabels(const Config& config, const Dataset& dataset) {
  if (dataset.rows(TRAIN) == 0) {
    return DataError(absl::StrCat("data set ", config.dataset().name(), ": no training rows"));
  }
  for (int t = 0; t < config.dataset().task_size(); ++t) {
    const TaskConfig& task = config.dataset().task(t);
    if (!IsBinary(task.loss()) || dataset.positives()[t] > 0) continue;
    if (dataset.negatives()[t] == 0) {
      return DataError(absl::StrCat("task ", task.name(), ": of ", dataset.rows(TRAIN),
                                    " training rows none lies in its sample space and weighs "
                                    "anything in its loss; check source.task, sample_space, "
                                    "sample_weight and inside_weight"));
    }
    return DataError(absl::StrCat("task ", task.name(), ": its label `", task.label(),
                                  "` has no positives in ", dataset.rows(TRAIN),
                                  " training rows; check the predicate against the column"));
  }
  return absl::OkStatus();
}

std::vector<std::string> UnusedOptimizers(const Config& config, const TrainingMethod& method) {
  std::set<std::string> used;
  for (const StepOptimizer& one : method.optimizers) used.insert(one.config.name());
  std::vector<std::string> notes;
  for (const OptimizerConfig& one : config.optimizer()) {
    if (used.count(one.name()) > 0 || one.name() == "sparse" || one.name() == "dense") continue;
    notes.push_back(absl::StrCat("optimizer \"", one.name(), "\": nothing uses it",
                                 NearestHint(one.name(), {used.begin(), used.end()})));
  }
  return notes;
}

std::vector<std::string> ZeroedRows(const Schema& schema, const TrainingMethod& method) {
  std::vector<std::string> warnings;
  for (const StepOptimizer& one : method.optimizers) {
    if (!StartsAtZero(one.config)) continue;
    std::vector<std::string> deep, shared;
    for (const int table : one.tables) {
      const std::string& name = schema.table(table).name();
      if (!absl::StartsWith(name, kWidePrefix)) deep.push_back(name);
      if (schema.table(table).optimizer_size() > 1) shared.push_back(name);
    }
    const std::string who = absl::StrCat("optimizer \"", one.name, "\" (", one.config.rule(), ") ");
    if (!deep.empty()) {
      warnings.push_back(absl::StrCat(
          who, "starts the rows of ", FirstOf(deep),
          " at 0, and the network reads them: layers of ",
          "ReLU whose inputs are all 0 learn nothing. Give these rows another rule, such as adam; ",
          "a wide part may keep this one: group { match: \"wide/*\" optimizer: \"",
          one.config.name(), "\" }"));
    }
    if (!shared.empty()) {
      warnings.push_back(absl::StrCat(
          who, "makes the rows of ", FirstOf(shared), " anew from its own state each time, which ",
          "undoes what the other optimizers that own them did; let one alone have them, by ",
          "train.task.owns, or take another rule, such as adam"));
    }
  }
  return warnings;
}

}  // namespace pagoda
