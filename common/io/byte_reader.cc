// Plain files and pipes, and the loop that drives a decompressor (common/io/decoder.h).
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/errors.h"
#include "common/io/decoder.h"
#include "common/io/file.h"
#include "common/io/pipe.h"
#include "common/io/unique_fd.h"

namespace pagoda {
namespace {

constexpr size_t kInputBytes = 256 * 1024;

absl::StatusOr<size_t> ReadFd(int fd, const std::string& name, char* out, size_t capacity) {
  for (;;) {
    const ssize_t count = read(fd, out, capacity);
    if (count >= 0) return static_cast<size_t>(count);
    if (errno != EINTR) return ErrnoError(errno, "read", name);
  }
}

class PlainReader : public ByteReader {
 public:
  PlainReader(std::string path, int fd) : path_(std::move(path)), fd_(fd) {}
  absl::StatusOr<size_t> Read(char* out, size_t capacity) override {
    return ReadFd(fd_.get(), path_, out, capacity);
  }

 private:
  const std::string path_;
  UniqueFd fd_;
};

// A shell with the command, whose standard output goes to `out`. Not popen, whose command would
// inherit the signals that this process blocks (a worker those that a thread of its own waits for)
// and then could not be ended by them. *child <- the shell; an errno, or 0.
int SpawnShell(const std::string& command, int out, pid_t* child) {
  sigset_t none;
  sigemptyset(&none);
  posix_spawnattr_t attributes;
  posix_spawn_file_actions_t actions;
  posix_spawnattr_init(&attributes);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
  std::string shell = "sh", option = "-c", text = command;
  char* const arguments[] = {shell.data(), option.data(), text.data(), nullptr};
  const int error = posix_spawn(child, "/bin/sh", &actions, &attributes, arguments, environ);
  posix_spawn_file_actions_destroy(&actions);
  posix_spawnattr_destroy(&attributes);
  return error;
}

class PipeReader : public ByteReader {
 public:
  // Of a shell that SpawnShell started and the end of its output.
  PipeReader(std::string command, pid_t child, int fd)
      : command_(std::move(command)), child_(child), fd_(fd) {}
  // A command that is not read to its end gets SIGPIPE; that is no error.
  ~PipeReader() override {
    if (has_ended_) return;
    int status;
    End(&status);
  }
  absl::StatusOr<size_t> Read(char* out, size_t capacity) override {
    if (has_ended_) return size_t{0};
    ASSIGN_OR_RETURN(const size_t count, ReadFd(fd_, command_, out, capacity));
    if (count > 0) return count;
    RETURN_IF_ERROR(Close());
    return size_t{0};
  }

 private:
  // False, with errno: nobody knows how it ended.
  bool End(int* status) {
    has_ended_ = true;
    close(fd_);
    pid_t ended;
    do {
      ended = waitpid(child_, status, 0);
    } while (ended < 0 && errno == EINTR);
    return ended == child_;
  }
  absl::Status Close() {
    int status;
    if (!End(&status)) return ErrnoError(errno, "wait for command", command_);
    if (WIFSIGNALED(status)) {
      return IoError(
          absl::StrCat("command \"", command_, "\" was ended by signal ", WTERMSIG(status)));
    }
    if (WEXITSTATUS(status) != 0) {
      return IoError(absl::StrCat("command \"", command_, "\" failed with exit status ",
                                  WEXITSTATUS(status), "; its output is not used"));
    }
    return absl::OkStatus();
  }

  const std::string command_;
  const pid_t child_;
  const int fd_;
  bool has_ended_ = false;
};

class DecodingReader : public ByteReader {
 public:
  DecodingReader(std::string path, std::unique_ptr<ByteReader> source,
                 std::unique_ptr<Decoder> decoder)
      : path_(std::move(path)), source_(std::move(source)), decoder_(std::move(decoder)) {}

  absl::StatusOr<size_t> Read(char* out, size_t capacity) override {
    for (;;) {
      if (begin_ == end_ && !source_ended_) RETURN_IF_ERROR(Fill());
      const bool starved = begin_ == end_;
      if (starved && between_members_ && any_member_) return size_t{0};
      if (starved && between_members_)
        return DataError(absl::StrCat(path_, ": empty file, not ", decoder_->format()));
      absl::StatusOr<DecodeStep> step =
          decoder_->Decode(absl::string_view(input_.data() + begin_, end_ - begin_), out, capacity);
      if (!step.ok()) return WithContext(step.status(), path_);
      begin_ += step->consumed;
      between_members_ = step->member_ended;
      any_member_ |= step->member_ended;
      if (step->produced > 0) return step->produced;
      if (starved && !step->member_ended) {
        return DataError(
            absl::StrCat(path_, ": truncated: the ", decoder_->format(), " stream has no end"));
      }
    }
  }

 private:
  absl::Status Fill() {
    ASSIGN_OR_RETURN(end_, source_->Read(input_.data(), input_.size()));
    begin_ = 0;
    source_ended_ = end_ == 0;
    return absl::OkStatus();
  }

  const std::string path_;
  const std::unique_ptr<ByteReader> source_;
  const std::unique_ptr<Decoder> decoder_;
  std::string input_ = std::string(kInputBytes, '\0');  // [begin_, end_) is not decoded yet.
  size_t begin_ = 0, end_ = 0;
  bool source_ended_ = false;
  bool between_members_ = true;  // At the start, and after each member's end.
  bool any_member_ = false;
};

// REQUIRES: IsPipe(path).
absl::StatusOr<std::unique_ptr<ByteReader>> OpenPipe(absl::string_view path) {
  const std::string text(absl::StripAsciiWhitespace(path.substr(0, path.rfind('|'))));
  if (text.empty()) return UsageError("a pipe needs a command before its \"|\"");
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return ErrnoError(errno, "start command", text);
  UniqueFd in(ends[0]), out(ends[1]);
  pid_t child;
  const int error = SpawnShell(text, out.get(), &child);
  if (error != 0) return ErrnoError(error, "start command", text);
  return std::make_unique<PipeReader>(text, child, in.release());
}

}  // namespace

bool IsPipe(absl::string_view path) {
  return absl::EndsWith(absl::StripTrailingAsciiWhitespace(path), "|");
}

absl::StatusOr<std::unique_ptr<ByteReader>> ByteReader::Open(const std::string& path) {
  if (IsPipe(path)) return OpenPipe(path);
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return ErrnoError(errno, "open", path);
  auto plain = std::make_unique<PlainReader>(path, fd);
  std::unique_ptr<Decoder> decoder = MakeDecoder(path);
  if (decoder == nullptr) return plain;
  return std::make_unique<DecodingReader>(path, std::move(plain), std::move(decoder));
}

}  // namespace pagoda
