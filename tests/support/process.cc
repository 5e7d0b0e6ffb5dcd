#include "tests/support/process.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>
#include <thread>

#include "glog/logging.h"

namespace pagoda::test {
namespace {

double NowSeconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

void Nap() { std::this_thread::sleep_for(std::chrono::milliseconds(10)); }

// The second field behind the name, which may itself have blanks and brackets: "7 (a b) S 1 ...";
// -1: it is gone.
pid_t ParentOf(const std::filesystem::path& proc) {
  std::ifstream file(proc / "stat");
  std::string text;
  std::getline(file, text);
  std::istringstream rest(text.substr(std::min(text.size(), text.rfind(')') + 1)));
  char state = 0;
  pid_t parent = -1;
  rest >> state >> parent;
  return rest ? parent : -1;
}

// `root` and all who descend from it.
std::vector<pid_t> TreeOf(pid_t root) {
  std::multimap<pid_t, pid_t> children;
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    const pid_t pid = atoi(entry.path().filename().c_str());
    if (pid > 0) children.emplace(ParentOf(entry.path()), pid);
  }
  std::vector<pid_t> tree = {root};
  for (size_t i = 0; i < tree.size(); ++i) {
    const auto [begin, end] = children.equal_range(tree[i]);
    for (auto child = begin; child != end; ++child) tree.push_back(child->second);
  }
  return tree;
}

}  // namespace

Process::Process(const std::vector<std::string>& argv) : started_(NowSeconds()) {
  std::string pattern = (std::filesystem::temp_directory_path() / "pagoda-output-XXXXXX").string();
  const int output = mkstemp(pattern.data());
  PCHECK(output >= 0) << pattern;
  output_path_ = pattern;
  std::vector<char*> arguments;
  for (const std::string& argument : argv) arguments.push_back(const_cast<char*>(argument.c_str()));
  arguments.push_back(nullptr);
  pid_ = fork();
  PCHECK(pid_ >= 0);
  if (pid_ == 0) {
    setpgid(0, 0);
    dup2(open("/dev/null", O_RDONLY), 0);
    dup2(output, 1);
    dup2(output, 2);
    execvp(arguments[0], arguments.data());
    _exit(127);
  }
  setpgid(pid_, pid_);
  close(output);
}

Process::~Process() {
  if (!ended_) {
    KillTree();
    waitpid(pid_, nullptr, 0);
  }
  std::filesystem::remove(output_path_);
}

std::string Process::Output() const {
  std::ifstream in(output_path_);
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

bool Process::WaitFor(const std::string& text, double limit_seconds) {
  const double limit = NowSeconds() + limit_seconds;
  while (true) {
    const bool ended = Poll();
    if (Output().find(text) != std::string::npos) return true;
    if (ended || NowSeconds() > limit) return false;
    Nap();
  }
}

void Process::Signal(int signal_number) {
  if (!ended_) kill(pid_, signal_number);
}

void Process::KillTree() {
  if (ended_) return;
  const std::vector<pid_t> tree = TreeOf(pid_);
  kill(-pid_, SIGKILL);
  for (const pid_t pid : tree) kill(pid, SIGKILL);
}

bool Process::Poll() {
  if (ended_) return true;
  int status = 0;
  if (waitpid(pid_, &status, WNOHANG) != pid_) return false;
  ended_ = true;
  exit_code_ = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return true;
}

Finished Process::Wait(double limit_seconds) {
  const double limit = NowSeconds() + limit_seconds;
  while (!Poll() && NowSeconds() < limit) Nap();
  if (!ended_) {
    KillTree();
    waitpid(pid_, nullptr, 0);
    ended_ = true;
  }
  return {exit_code_, NowSeconds() - started_, Output()};
}

Finished RunProcess(const std::vector<std::string>& argv, double limit_seconds) {
  Process process(argv);
  return process.Wait(limit_seconds);
}

void WriteTestFile(const std::string& path, const std::string& contents) {
  std::filesystem::create_directories(std::filesystem::path(path).parent_path());
  std::ofstream out(path, std::ios::binary);
  out << contents;
  out.flush();
  PCHECK(out.good()) << path;
}

}  // namespace pagoda::test
