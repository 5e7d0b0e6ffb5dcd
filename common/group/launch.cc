#include "common/group/launch.h"

#include <signal.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#include <cstdio>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/clock.h"
#include "common/errors.h"

namespace pagoda {
namespace {

using Variable = absl::FunctionRef<const char*(const char* name)>;

// The number in the first of these variables that has one, or `otherwise`.
int NumberOf(Variable variable, const std::vector<const char*>& names, int otherwise) {
  for (const char* name : names) {
    const char* text = variable(name);
    int number = 0;
    if (text != nullptr && absl::SimpleAtoi(text, &number)) return number;
  }
  return otherwise;
}

// Ranks are dealt to the commands of one mpirun in turn: OMPI_APP_CTX_NUM_PROCS has "2 6", and
// command 1 then begins at rank 2. (OMPI_FIRST_RANKS is "0 0" in OpenMPI 4.1.4.)
int FirstRankOfCommand(Variable variable) {
  const char* counts = variable("OMPI_APP_CTX_NUM_PROCS");
  const size_t command = NumberOf(variable, {"OMPI_MCA_orte_app_num"}, 0);
  if (counts == nullptr) return 0;
  int first = 0;
  const std::vector<std::string> texts = absl::StrSplit(counts, ' ');
  for (size_t i = 0; i < command && i < texts.size(); ++i) {
    int count = 0;
    if (absl::SimpleAtoi(texts[i], &count)) first += count;
  }
  return first;
}

// After a fork of a process with threads: system calls only.
void Nap(int ms) {
  const timespec time = {ms / 1000, ms % 1000 * 1'000'000};
  nanosleep(&time, nullptr);
}

}  // namespace

Launch ReadLaunch(Variable variable) {
  Launch launch;
  launch.by_mpirun = variable("OMPI_COMM_WORLD_SIZE") != nullptr;
  launch.by_mpi =
      launch.by_mpirun || variable("PMIX_RANK") != nullptr || variable("PMI_SIZE") != nullptr;
  if (!launch.by_mpi) return launch;
  launch.rank = NumberOf(variable, {"OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK"}, 0);
  launch.is_first = launch.rank == FirstRankOfCommand(variable);
  launch.is_first_on_host =
      NumberOf(variable, {"OMPI_COMM_WORLD_LOCAL_RANK", "SLURM_LOCALID"}, launch.rank) == 0;
  // Other commands of the same mpirun may be workers or servers.
  const bool one_command = NumberOf(variable, {"OMPI_NUM_APP_CTX"}, 0) == 1;
  launch.workers = one_command ? NumberOf(variable, {"OMPI_COMM_WORLD_SIZE"}, 0) : 0;
  return launch;
}

bool SpeaksBeforeGroup(const Launch& launch) { return launch.is_first || launch.is_first_on_host; }

int LeaveBeforeGroup(const Launch& launch, absl::string_view program, const absl::Status& status) {
  constexpr int kOthersLeaveMs = 300, kFirstLeavesMs = 2'000;
  if (!SpeaksBeforeGroup(launch)) return 0;
  if (!launch.is_first) Clock::Steady()->SleepMs(kFirstLeavesMs);
  std::fputs(absl::StrCat(program, ": ", status.message(), "\n").c_str(), stderr);
  if (launch.by_mpi) Clock::Steady()->SleepMs(kOthersLeaveMs);
  if (launch.by_mpirun) HurryLauncher(/*after_ms=*/50);
  return static_cast<int>(ExitCodeOf(status));
}

void HurryLauncher(int after_ms) {
  constexpr int kEveryMs = 100, kTimes = 100;  // 10 s: the launcher may be slow to notice.
  const pid_t launcher = getppid();
  if (fork() != 0) return;
  setsid();                // The launcher ends this rank's process group.
  close_range(0, ~0u, 0);  // It waits for the end of the rank's output, and of its socket.
  Nap(after_ms);
  for (int i = 0; i < kTimes && kill(launcher, SIGCHLD) == 0; ++i) Nap(kEveryMs);
  _exit(0);
}

}  // namespace pagoda
