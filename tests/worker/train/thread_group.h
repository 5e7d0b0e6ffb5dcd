// A group whose ranks are threads of this process.
//
// Each rank is **Confined to its thread**.
#ifndef PAGODA_TESTS_WORKER_TRAIN_THREAD_GROUP_H_
#define PAGODA_TESTS_WORKER_TRAIN_THREAD_GROUP_H_

#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/group/group.h"
#include "glog/logging.h"

namespace pagoda::testing {

class ThreadGroup : public Group {
 public:
  struct Post {
    absl::Mutex mu;
    std::map<std::tuple<int, int, int>, std::deque<std::string>> mail ABSL_GUARDED_BY(mu);
  };
  ThreadGroup(int rank, int size, std::shared_ptr<Post> post)
      : rank_(rank), size_(size), post_(std::move(post)) {}
  int rank() const override { return rank_; }
  int size() const override { return size_; }
  absl::Status Send(int to, int tag, absl::Span<const std::byte> bytes) override {
    absl::MutexLock lock(&post_->mu);
    post_->mail[{rank_, to, tag}].emplace_back(reinterpret_cast<const char*>(bytes.data()),
                                               bytes.size());
    return absl::OkStatus();
  }
  absl::Status Recv(int from, int tag, absl::Span<std::byte> bytes) override {
    absl::MutexLock lock(&post_->mu);
    auto& queue = post_->mail[{from, rank_, tag}];
    const auto has_mail = [&queue] { return !queue.empty(); };
    if (!post_->mu.AwaitWithTimeout(absl::Condition(&has_mail), absl::Seconds(20))) {
      return absl::DeadlineExceededError(absl::StrCat("rank ", from, " is silent"));
    }
    CHECK_EQ(queue.front().size(), bytes.size());
    if (!bytes.empty()) std::memcpy(bytes.data(), queue.front().data(), bytes.size());
    queue.pop_front();
    return absl::OkStatus();
  }
  absl::StatusOr<std::unique_ptr<Group>> Split(int) override {
    return absl::UnimplementedError("not needed here");
  }
  void Abort(int) override { LOG(FATAL) << "rank " << rank_ << " aborts"; }

 private:
  const int rank_, size_;
  const std::shared_ptr<Post> post_;
};

// body(group) at each of `size` ranks, all at once.
inline void RunGroup(int size, const std::function<void(Group& group)>& body) {
  auto post = std::make_shared<ThreadGroup::Post>();
  std::vector<std::thread> threads;
  for (int rank = 0; rank < size; ++rank) {
    threads.emplace_back([&, rank] {
      ThreadGroup group(rank, size, post);
      body(group);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace pagoda::testing

#endif  // PAGODA_TESTS_WORKER_TRAIN_THREAD_GROUP_H_
