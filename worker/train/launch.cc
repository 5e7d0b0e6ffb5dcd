#include "worker/train/launch.h"

#include <cstdlib>
#include <numeric>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"

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

}  // namespace pagoda
