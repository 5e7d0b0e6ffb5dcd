// Real processes for tests: run a command, keep what it printed, and never wait for ever.
//
// **Needs external lock.**
#ifndef PAGODA_TESTS_SUPPORT_PROCESS_H_
#define PAGODA_TESTS_SUPPORT_PROCESS_H_

#include <sys/types.h>

#include <string>
#include <vector>

namespace pagoda::test {

struct Finished {
  // 128 + signal when a signal ended it; -1 when it was still running at the limit.
  int exit_code = -1;
  double seconds = 0;
  std::string output;  // Standard output and standard error, interleaved.
};

// A running command in a process group of its own; the destructor kills it with all that it
// started.
class Process {
 public:
  // argv[0] is looked up in PATH. Standard output and error go to one file, standard input is
  // empty.
  explicit Process(const std::vector<std::string>& argv);
  ~Process();
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  pid_t pid() const { return pid_; }
  // What it has printed so far.
  std::string Output() const;
  // True once `text` was printed; false at the limit or when the process ended without it.
  bool WaitFor(const std::string& text, double limit_seconds);
  bool HasEnded() { return Poll(); }
  void Signal(int signal_number);
  // SIGKILL to it and to all that it started, however they are grouped (mpirun's ranks are in
  // groups of their own).
  void KillTree();
  // Waits for its end; past the limit all is killed and exit_code is -1.
  Finished Wait(double limit_seconds);

 private:
  bool Poll();  // True once it has ended.

  pid_t pid_ = -1;
  std::string output_path_;
  double started_ = 0;
  bool ended_ = false;
  int exit_code_ = -1;
};

Finished RunProcess(const std::vector<std::string>& argv, double limit_seconds);

// Puts a file there, with its folders.
void WriteTestFile(const std::string& path, const std::string& contents);

}  // namespace pagoda::test

#endif  // PAGODA_TESTS_SUPPORT_PROCESS_H_
