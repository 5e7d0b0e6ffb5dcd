#include "worker/train/run_directory.h"

#include <cerrno>
#include <cinttypes>
#include <cstdio>
#include <random>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"
#include "common/errors.h"

namespace pagoda {
namespace {

// REQUIRES: there is no `to`.
absl::Status Rename(const std::string& from, const std::string& to) {
  if (std::rename(from.c_str(), to.c_str()) != 0) return ErrnoError(errno, "rename", from);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<RunDirectory>> RunDirectory::Open(const std::string& path,
                                                                 const std::string& holder,
                                                                 int64_t lock_timeout_ms) {
  RETURN_IF_ERROR(WithContext(MakeDirectories(path), "--run_dir"));
  auto lock = FileLock::Acquire(JoinPath(path, "lock"), holder, lock_timeout_ms);
  if (!lock.ok()) return WithContext(lock.status(), absl::StrCat("run directory ", path));
  std::unique_ptr<RunDirectory> run(new RunDirectory(path, *std::move(lock)));
  for (const std::string& folder : {run->checkpoints(), run->data(), JoinPath(path, "log")}) {
    RETURN_IF_ERROR(MakeDirectories(folder));
  }
  ASSIGN_OR_RETURN(const auto names, ListDirectory(run->checkpoints()));
  for (const std::string& name : names) {
    if (absl::EndsWith(name, ".tmp")) {
      RETURN_IF_ERROR(RemoveTree(JoinPath(run->checkpoints(), name)));
    }
  }
  RETURN_IF_ERROR(run->LoadJob());
  return run;
}

absl::Status RunDirectory::LoadJob() {
  const std::string file = JoinPath(path_, "job");
  if (!FileExists(file)) {
    std::random_device device;
    job_id_ = static_cast<uint64_t>(device()) << 32 | device();
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(const std::string text, ReadFile(file));
  if (std::sscanf(text.c_str(), "%" SCNx64 " %" SCNu64, &job_id_, &run_epoch_) != 2) {
    return DataError(absl::StrCat(file,
                                  ": not a job's number and its run epoch; restore it, or "
                                  "choose another --run_dir"));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> RunDirectory::SetEarlierRunAside() {
  ASSIGN_OR_RETURN(const auto names, ListDirectory(checkpoints()));
  const bool has_checkpoints = !names.empty(), has_metrics = FileExists(metrics());
  if (!has_checkpoints && !has_metrics) return std::string();
  std::string to_checkpoints, to_metrics;
  for (int number = 1; to_metrics.empty() || FileExists(to_checkpoints) || FileExists(to_metrics);
       ++number) {
    const std::string suffix = number == 1 ? ".previous" : absl::StrCat(".previous.", number);
    to_checkpoints = absl::StrCat(checkpoints(), suffix);
    to_metrics = JoinPath(path_, absl::StrCat("metrics", suffix, ".jsonl"));
  }
  if (has_metrics) RETURN_IF_ERROR(Rename(metrics(), to_metrics));
  if (!has_checkpoints) {
    return absl::StrCat("an earlier run, without a checkpoint, was set aside: ", to_metrics);
  }
  RETURN_IF_ERROR(Rename(checkpoints(), to_checkpoints));
  RETURN_IF_ERROR(MakeDirectories(checkpoints()));
  std::string note = absl::StrCat("an earlier run was set aside: ", to_checkpoints);
  if (has_metrics) absl::StrAppend(&note, ", ", to_metrics);
  return absl::StrCat(note, "; to go on with it instead, move it back to ", checkpoints(),
                      has_metrics ? absl::StrCat(" and ", metrics()) : "", ", then --resume");
}

absl::Status RunDirectory::MarkFresh() {
  ASSIGN_OR_RETURN(const auto names, ListDirectory(checkpoints()));
  if (names.empty() && !FileExists(metrics())) return absl::OkStatus();
  return WriteFileAtomically(fresh(),
                             "a start without --resume is to replace the run that is here\n");
}

absl::Status RunDirectory::UnmarkFresh() {
  if (!IsMarkedFresh()) return absl::OkStatus();
  RETURN_IF_ERROR(RemoveTree(fresh()));
  return SyncFile(path_);
}

absl::StatusOr<uint64_t> RunDirectory::NextEpoch() {
  const uint64_t next = run_epoch_ + 1;
  RETURN_IF_ERROR(
      WriteFileAtomically(JoinPath(path_, "job"), absl::StrFormat("%016x %d\n", job_id_, next)));
  run_epoch_ = next;
  return next;
}

absl::Status RunDirectory::RemoveOldStores(uint64_t epoch) const {
  if (!FileExists(store())) return absl::OkStatus();
  ASSIGN_OR_RETURN(const auto names, ListDirectory(store()));
  for (const std::string& name : names) {
    uint64_t number = 0;
    absl::string_view digits = name;
    if (digits.substr(0, 6) != "epoch-") continue;
    digits.remove_prefix(6);
    if (absl::SimpleAtoi(digits, &number) && number < epoch) {
      RETURN_IF_ERROR(RemoveTree(JoinPath(store(), name)));
    }
  }
  return absl::OkStatus();
}

}  // namespace pagoda
