#include "common/group/launch.h"

#include <map>
#include <string>

#include "gtest/gtest.h"

namespace pagoda {
namespace {

Launch Read(const std::map<std::string, std::string>& environment) {
  return ReadLaunch([&](const char* name) -> const char* {
    const auto found = environment.find(name);
    return found == environment.end() ? nullptr : found->second.c_str();
  });
}

TEST(Launch, WithoutALauncherThisIsTheOnlyWorker) {
  const Launch launch = Read({});
  EXPECT_FALSE(launch.by_mpi);
  EXPECT_TRUE(launch.is_first);
  EXPECT_EQ(launch.workers, 1);
}

TEST(Launch, EveryRankOfOneCommandIsAWorker) {
  const Launch launch = Read({{"OMPI_COMM_WORLD_SIZE", "8"},
                              {"OMPI_COMM_WORLD_RANK", "3"},
                              {"OMPI_COMM_WORLD_LOCAL_RANK", "0"},
                              {"OMPI_NUM_APP_CTX", "1"},
                              {"OMPI_APP_CTX_NUM_PROCS", "8"},
                              {"OMPI_MCA_orte_app_num", "0"}});
  EXPECT_TRUE(launch.by_mpirun);
  EXPECT_EQ(launch.rank, 3);
  EXPECT_FALSE(launch.is_first);
  EXPECT_TRUE(launch.is_first_on_host);
  EXPECT_EQ(launch.workers, 8);
}

TEST(Launch, TheSecondCommandHasAFirstRankOfItsOwn) {
  std::map<std::string, std::string> environment = {
      {"OMPI_COMM_WORLD_SIZE", "6"},       {"OMPI_COMM_WORLD_RANK", "2"},
      {"OMPI_COMM_WORLD_LOCAL_RANK", "2"}, {"OMPI_NUM_APP_CTX", "2"},
      {"OMPI_APP_CTX_NUM_PROCS", "2 4"},   {"OMPI_MCA_orte_app_num", "1"}};
  EXPECT_TRUE(Read(environment).is_first);
  EXPECT_FALSE(Read(environment).is_first_on_host);
  EXPECT_EQ(Read(environment).workers, 0) << "the other command may be servers or workers";
  environment["OMPI_COMM_WORLD_RANK"] = "3";
  EXPECT_FALSE(Read(environment).is_first);
}

TEST(Launch, SrunIsNotMpirun) {
  const Launch launch = Read({{"PMIX_RANK", "1"}, {"SLURM_LOCALID", "0"}});
  EXPECT_TRUE(launch.by_mpi);
  EXPECT_FALSE(launch.by_mpirun);
  EXPECT_EQ(launch.rank, 1);
  EXPECT_FALSE(launch.is_first);
  EXPECT_EQ(launch.workers, 0);
}

TEST(Launch, OneRankOfAHostSpeaksUnderAnyLauncher) {
  for (const char* rank : {"OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK"}) {
    SCOPED_TRACE(rank);
    std::map<std::string, std::string> environment = {{"PMI_SIZE", "4"}, {rank, "0"}};
    if (rank[0] == 'O') environment["OMPI_COMM_WORLD_SIZE"] = "4";
    EXPECT_TRUE(SpeaksBeforeGroup(Read(environment)));
    environment[rank] = "1";
    EXPECT_FALSE(SpeaksBeforeGroup(Read(environment)));
    environment["SLURM_LOCALID"] = "1";
    EXPECT_FALSE(SpeaksBeforeGroup(Read(environment)));
    environment["SLURM_LOCALID"] = "0";  // Of another host.
    EXPECT_TRUE(SpeaksBeforeGroup(Read(environment)));
  }
  EXPECT_TRUE(SpeaksBeforeGroup(Read({})));
}

TEST(Launch, NonsenseCountsAsNotSaid) {
  const Launch launch = Read({{"OMPI_COMM_WORLD_SIZE", "many"},
                              {"OMPI_COMM_WORLD_RANK", ""},
                              {"OMPI_NUM_APP_CTX", "1"},
                              {"OMPI_APP_CTX_NUM_PROCS", "x y"},
                              {"OMPI_MCA_orte_app_num", "99"}});
  EXPECT_TRUE(launch.is_first);
  EXPECT_EQ(launch.workers, 0);
}

}  // namespace
}  // namespace pagoda
