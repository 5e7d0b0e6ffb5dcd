#include "common/group/single_process_group.h"

#include <cstdlib>
#include <deque>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/errors.h"
#include "glog/logging.h"

namespace pagoda {
namespace {

class SingleProcessGroup : public Group {
 public:
  int rank() const override { return 0; }
  int size() const override { return 1; }

  absl::Status Send(int to, int tag, absl::Span<const std::byte> bytes) override {
    CHECK_EQ(to, 0);
    queues_[tag].emplace_back(bytes.begin(), bytes.end());
    return absl::OkStatus();
  }

  absl::Status Recv(int from, int tag, absl::Span<std::byte> bytes) override {
    CHECK_EQ(from, 0);
    std::deque<std::vector<std::byte>>& queue = queues_[tag];
    if (queue.empty()) {
      return absl::DeadlineExceededError(
          absl::StrCat("rank 0 (this process) sent itself nothing with tag ", tag));
    }
    const std::vector<std::byte> message = std::move(queue.front());
    queue.pop_front();
    if (message.size() != bytes.size()) {
      return DataError(absl::StrCat("rank 0 sent ", message.size(), " bytes with tag ", tag,
                                    ", expected ", bytes.size()));
    }
    std::copy(message.begin(), message.end(), bytes.begin());
    return absl::OkStatus();
  }

  absl::StatusOr<std::unique_ptr<Group>> Split(int /*color*/) override {
    return MakeSingleProcessGroup();
  }

  [[noreturn]] void Abort(int exit_code) override { std::_Exit(exit_code); }

 private:
  std::map<int, std::deque<std::vector<std::byte>>> queues_;  // By tag.
};

}  // namespace

std::unique_ptr<Group> MakeSingleProcessGroup() { return std::make_unique<SingleProcessGroup>(); }

}  // namespace pagoda
