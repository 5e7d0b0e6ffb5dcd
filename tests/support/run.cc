#include "tests/support/run.h"

#include <signal.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace pagoda::test {
namespace {

constexpr int kKilled = 128 + SIGKILL;

void Sleep(int ms) { std::this_thread::sleep_for(std::chrono::milliseconds(ms)); }

}  // namespace

std::string Binary(const std::string& name) { return std::string(PAGODA_BIN_DIR) + "/" + name; }

Arguments Joined(Arguments a, const Arguments& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

Arguments Mpirun(int first_count, const Arguments& first, int second_count,
                 const Arguments& second) {
  Arguments all = {"mpirun",
                   "--allow-run-as-root",
                   "--oversubscribe",
                   "--bind-to",
                   "none",
                   "--mca",
                   "odls_base_sigkill_timeout",
                   "2",
                   "-n",
                   std::to_string(first_count)};
  all = Joined(std::move(all), first);
  if (second_count == 0) return all;
  return Joined(Joined(std::move(all), {":", "-n", std::to_string(second_count)}), second);
}

std::string OutputOf(const Arguments& command, double limit_seconds) {
  const Finished done = RunProcess(command, limit_seconds);
  EXPECT_EQ(done.exit_code, 0) << absl::StrJoin(command, " ") << "\n" << done.output;
  return done.output;
}

std::string ReadText(const std::string& path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

std::string Field(const std::string& line, const std::string& name) {
  const std::string key = absl::StrCat("\"", name, "\":");
  size_t at = line.find(key);
  if (at == std::string::npos) return "";
  at += key.size();
  if (line[at] == '"') return line.substr(at + 1, line.find('"', at + 1) - at - 1);
  return line.substr(at, line.find_first_of(",}", at) - at);
}

std::string LastEvent(const std::string& run_dir, const std::string& event) {
  std::ifstream file(run_dir + "/metrics.jsonl");
  std::string line, last;
  while (std::getline(file, line)) {
    if (Field(line, "event") == event) last = line;
  }
  return last;
}

std::string DigestOf(const std::string& run_dir) {
  return Field(LastEvent(run_dir, "done"), "digest");
}

int64_t NewestCheckpoint(const std::string& run_dir) {
  int64_t newest = -1;
  std::error_code error;  // The folder may not be there yet, or change while it is read.
  for (const auto& entry : std::filesystem::directory_iterator(run_dir + "/checkpoints", error)) {
    const std::string name = entry.path().filename().string();
    absl::string_view number = name;
    int64_t step = 0;
    // What is not committed has another name: step-N.tmp.
    if (!absl::ConsumePrefix(&number, "step-") || !absl::SimpleAtoi(number, &step)) continue;
    if (std::filesystem::exists(entry.path() / "manifest.textproto", error)) {
      newest = std::max(newest, step);
    }
  }
  return newest;
}

void KillAfterCheckpoint(const Arguments& command, const std::string& run_dir, int delay_ms) {
  const int64_t before = NewestCheckpoint(run_dir);
  Process run(command);
  const auto limit = std::chrono::steady_clock::now() +
                     std::chrono::milliseconds(static_cast<int64_t>(1'000 * kRunLimitSeconds));
  while (NewestCheckpoint(run_dir) <= before && !run.HasEnded()) {
    ASSERT_LT(std::chrono::steady_clock::now(), limit) << "no checkpoint: " << run.Output();
    Sleep(1);
  }
  Sleep(delay_ms);
  run.KillTree();
  const Finished killed = run.Wait(kRunLimitSeconds);
  ASSERT_EQ(killed.exit_code, kKilled) << "it ended before the kill: " << killed.output;
  ASSERT_GT(NewestCheckpoint(run_dir), before) << killed.output;
}

void ResumeToEnd(const Arguments& command) {
  EXPECT_THAT(OutputOf(command), testing::HasSubstr("resumed from "));
}

StandingServers::StandingServers(int count, const std::string& stem, const Arguments& more) {
  for (int i = 0; i < count; ++i) {
    const std::string name = absl::StrCat(stem, i), port_file = name + ".port";
    servers_.push_back(
        std::make_unique<Process>(Joined({Binary("pserver"), "--listen=tcp://127.0.0.1:0",
                                          "--port_file=" + port_file, "--store_dir=" + name},
                                         more)));
    EXPECT_TRUE(servers_.back()->WaitFor("serving", 10)) << servers_.back()->Output();
    const std::string endpoint = ReadText(port_file);
    endpoints_.push_back(endpoint.substr(0, endpoint.find('\n')));
  }
}

std::string StandingServers::Flag() const { return "--servers=" + absl::StrJoin(endpoints_, ","); }

}  // namespace pagoda::test
