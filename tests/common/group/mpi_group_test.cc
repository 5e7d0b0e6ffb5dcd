// Real jobs: mpi_ranks.cc under mpirun.
#include <sys/wait.h>

#include <array>
#include <chrono>
#include <cstdio>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace pagoda {
namespace {

struct Finished {
  int exit_code = -1;
  std::string output;
  double seconds = 0;
};

// No `timeout` of its own prints or kills: each mode ends by itself; 60 s is for a hang.
Finished RunRanks(int ranks, const std::string& mode) {
  const auto start = std::chrono::steady_clock::now();
  const std::string command =
      absl::StrCat("timeout -k 5 60 mpirun --oversubscribe --allow-run-as-root -n ", ranks, " ",
                   PAGODA_BIN_DIR, "/mpi_ranks ", mode, " 2>&1");
  FILE* pipe = popen(command.c_str(), "r");
  Finished finished;
  std::array<char, 4096> block;
  while (size_t n = fread(block.data(), 1, block.size(), pipe)) {
    finished.output.append(block.data(), n);
  }
  const int status = pclose(pipe);
  if (WIFEXITED(status)) finished.exit_code = WEXITSTATUS(status);
  finished.seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return finished;
}

class MpiGroupTest : public testing::TestWithParam<int> {};

TEST_P(MpiGroupTest, CollectivesSplitsAndTreeBits) {
  const Finished job = RunRanks(GetParam(), "collectives");
  EXPECT_EQ(job.exit_code, 0) << job.output;
}

TEST_P(MpiGroupTest, TheSameByMessagesAlone) {
  const Finished job = RunRanks(GetParam(), "messages");
  EXPECT_EQ(job.exit_code, 0) << job.output;
}

INSTANTIATE_TEST_SUITE_P(Ranks, MpiGroupTest, testing::Values(1, 2, 3, 5, 8));

TEST(MpiGroupFaultTest, MemoryThatCannotBeSharedIsSaidOnce) {
  const Finished job = RunRanks(3, "unshared");
  EXPECT_EQ(job.exit_code, 0) << job.output;
  const std::vector<std::string> parts =
      absl::StrSplit(job.output, "3 ranks add by messages, not in memory: rank 0: ");
  EXPECT_EQ(parts.size(), 1 + 1u) << job.output;
}

TEST(MpiGroupFaultTest, AStoppedPeerIsNamedByAllOthersWithinTheLimit) {
  const Finished job = RunRanks(4, "stopped");
  EXPECT_EQ(job.exit_code, 75) << job.output;
  const std::vector<std::string> parts = absl::StrSplit(job.output, "named: rank 1 on ");
  EXPECT_EQ(parts.size(), 1 + 3u) << job.output;
}

TEST(MpiGroupFaultTest, AMessageOfAnotherSizeIsAnErrorOnBothSides) {
  const Finished job = RunRanks(2, "wrong_size");
  EXPECT_EQ(job.exit_code, 65) << job.output;
  const std::vector<std::string> parts = absl::StrSplit(job.output, "refused: ");
  EXPECT_EQ(parts.size(), 1 + 2u) << job.output;
}

TEST(MpiGroupFaultTest, VectorsOfDifferentSizesAreAnErrorOnBothSides) {
  const Finished job = RunRanks(2, "wrong_sum");
  EXPECT_EQ(job.exit_code, 65) << job.output;
  const std::vector<std::string> parts = absl::StrSplit(job.output, "refused: rank ");
  EXPECT_EQ(parts.size(), 1 + 2u) << job.output;
}

TEST(MpiGroupFaultTest, AbortEndsAllRanksWithItsCode) {
  const Finished job = RunRanks(3, "abort");
  EXPECT_EQ(job.exit_code, 74) << job.output;
  EXPECT_LT(job.seconds, 15);
}

}  // namespace
}  // namespace pagoda
