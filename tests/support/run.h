// Whole runs of the real programs: their command lines, what they wrote, servers beside them, and a
// kill that is sure to hit a run in the middle.
//
// **Needs external lock.**
#ifndef PAGODA_TESTS_SUPPORT_RUN_H_
#define PAGODA_TESTS_SUPPORT_RUN_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "tests/support/process.h"

namespace pagoda::test {

using Arguments = std::vector<std::string>;

inline constexpr double kRunLimitSeconds = 60;

// The path of a program of this build.
std::string Binary(const std::string& name);

Arguments Joined(Arguments a, const Arguments& b);

// mpirun -n FIRST_COUNT FIRST... [: -n SECOND_COUNT SECOND...]; no binding to cores, and 2 s
// between the signals that end ranks, as launcher/mpi.sh has it.
Arguments Mpirun(int first_count, const Arguments& first, int second_count = 0,
                 const Arguments& second = {});

// What it printed; its exit code must be 0.
std::string OutputOf(const Arguments& command, double limit_seconds = kRunLimitSeconds);

// A file's bytes; empty when it is not there.
std::string ReadText(const std::string& path);

// The value of "name":... in a JSON line; empty when it is not there. Strings lose their quotes.
std::string Field(const std::string& line, const std::string& name);

// The last line of the run's metrics.jsonl with this event; empty: none.
std::string LastEvent(const std::string& run_dir, const std::string& event);

// Of a run that ended; empty: it has not.
std::string DigestOf(const std::string& run_dir);

// The step of the newest committed checkpoint of a run; -1: none.
int64_t NewestCheckpoint(const std::string& run_dir);

// Starts the run, waits until it has committed a checkpoint that was not there before, sleeps for
// delay_ms and kills all of its processes. The calling test fails when the run ends by itself.
void KillAfterCheckpoint(const Arguments& command, const std::string& run_dir, int delay_ms = 0);

// Runs a command that has --resume to its end; it must say that it resumed from a checkpoint.
void ResumeToEnd(const Arguments& command);

// pservers of their own, for the life of this object.
class StandingServers {
 public:
  // `stem`: of the paths of their files; more: flags.
  StandingServers(int count, const std::string& stem, const Arguments& more = {});
  const std::vector<std::string>& endpoints() const { return endpoints_; }  // "tcp://host:port"
  std::string Flag() const;                                                 // --servers=...

 private:
  std::vector<std::unique_ptr<Process>> servers_;
  std::vector<std::string> endpoints_;
};

}  // namespace pagoda::test

#endif  // PAGODA_TESTS_SUPPORT_RUN_H_
