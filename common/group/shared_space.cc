#include "common/group/shared_space.h"

#include <sched.h>

#include <chrono>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/errors.h"
#include "common/group/group.h"
#include "glog/logging.h"

namespace pagoda {
namespace {

// Sleeping and being woken costs some 50 us: who has a core of his own polls that long first.
constexpr auto kPollTime = std::chrono::microseconds(100);

}  // namespace

absl::StatusOr<std::unique_ptr<SharedSpace>> SharedSpace::Open(Group& group) {
  const int ranks = group.size();
  const auto by_messages = [&](absl::string_view why) {
    LOG_IF(INFO, group.rank() == 0) << ranks << " ranks add by messages, not in memory: " << why;
    return nullptr;
  };
  if (ranks > kMaxRanks) return by_messages(absl::StrCat("more than ", kMaxRanks, " ranks"));
  absl::StatusOr<std::unique_ptr<SharedMemory>> memory = IoError("rank 0 made none");
  if (group.rank() == 0) memory = SharedMemory::Create(Bytes(ranks));
  ASSIGN_OR_RETURN(const std::string name,
                   group.Broadcast(0, memory.ok() ? (*memory)->name() : ""));
  if (group.rank() != 0 && !name.empty()) memory = SharedMemory::Open(name, Bytes(ranks));
  ASSIGN_OR_RETURN(const std::vector<std::string> errors,
                   group.AllGather(memory.ok() ? "" : memory.status().message()));
  for (int rank = 0; rank < ranks; ++rank) {
    if (!errors[rank].empty()) return by_messages(absl::StrCat("rank ", rank, ": ", errors[rank]));
  }
  (*memory)->Hide();
  return std::unique_ptr<SharedSpace>(new SharedSpace(*std::move(memory), group.rank(), ranks));
}

SharedSpace::SharedSpace(std::unique_ptr<SharedMemory> memory, int rank, int ranks)
    : memory_(std::move(memory)),
      shared_(reinterpret_cast<Shared*>(memory_->data())),
      notes_(memory_->data() + kHeadBytes),
      parts_(notes_ + 2 * ranks * kNoteBytes),
      rank_(rank),
      ranks_(ranks),
      polls_(static_cast<unsigned>(ranks) <= std::thread::hardware_concurrency()) {}

bool SharedSpace::AllArrived() const {
  for (int rank = 0; rank < ranks_; ++rank) {
    if (!HasArrived(rank)) return false;
  }
  return true;
}

std::set<int> SharedSpace::Missing() const {
  std::set<int> missing;
  for (int rank = 0; rank < ranks_; ++rank) {
    if (!HasArrived(rank)) missing.insert(rank);
  }
  return missing;
}

// All accesses in one total order: the last to arrive sees that it is, and either it sees that
// someone sleeps, or who is about to sees that all have arrived.
absl::Status SharedSpace::Barrier(Look look) {
  ++barriers_;
  shared_->arrived[rank_].value.store(barriers_);
  if (AllArrived()) {
    shared_->bell.value.fetch_add(1);
    if (shared_->sleepers.value.load() > 0) FutexWakeAll(shared_->bell.value);
    return absl::OkStatus();
  }
  if (polls_) {
    const auto end = std::chrono::steady_clock::now() + kPollTime;
    do {
      sched_yield();
      if (AllArrived()) return absl::OkStatus();
    } while (std::chrono::steady_clock::now() < end);
  }
  using Time = std::chrono::steady_clock;
  auto next_look = Time::now() + std::chrono::milliseconds(kLookEveryMs);
  while (true) {
    shared_->sleepers.value.fetch_add(1);
    const uint32_t bell = shared_->bell.value.load();
    const bool all = AllArrived();
    if (!all) FutexWait(shared_->bell.value, bell, kLookEveryMs * 1'000);
    shared_->sleepers.value.fetch_sub(1);
    if (all || AllArrived()) return absl::OkStatus();
    if (Time::now() < next_look) continue;
    next_look = Time::now() + std::chrono::milliseconds(kLookEveryMs);
    RETURN_IF_ERROR(look([this] { return Missing(); }));
  }
}

}  // namespace pagoda
