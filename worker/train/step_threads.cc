#include "worker/train/step_threads.h"

#include <chrono>

#include "glog/logging.h"
#include "worker/graph/kernels.h"

namespace pagoda {
namespace {

// Phases of one step follow each other within this time; a longer pause is a wait for others.
constexpr auto kPollTime = std::chrono::microseconds(200);

// Polls `done`, yielding the core, for kPollTime. True when it came true.
template <typename Done>
bool Poll(Done&& done) {
  const auto end = std::chrono::steady_clock::now() + kPollTime;
  do {
    for (int i = 0; i < 8; ++i) {
      if (done()) return true;
      std::this_thread::yield();
    }
  } while (std::chrono::steady_clock::now() < end);
  return false;
}

}  // namespace

ComputeThreads::ComputeThreads(int size) {
  CHECK_GE(size, 1);
  for (int thread = 1; thread < size; ++thread) {
    threads_.emplace_back([this, thread] { Main(thread); });
  }
}

ComputeThreads::~ComputeThreads() {
  stop_ = true;
  Begin(0, [](int, int) {});
  Finish();
  for (std::thread& thread : threads_) thread.join();
}

void ComputeThreads::Begin(int count, Work work) {
  CHECK_LE(count, kMaxItems);
  work_.emplace(work);
  count_ = count;
  done_.store(0, std::memory_order_relaxed);
  const uint64_t generation = (GenerationOf(claim_.load()) + 1) & 0xFFFFFF;
  claim_.store(Pack(generation, static_cast<uint64_t>(count), 0));
  if (sleepers_.load() > 0) {
    absl::MutexLock lock(&mu_);
    wake_.SignalAll();
  }
}

void ComputeThreads::Finish() {
  WorkOn(GenerationOf(claim_.load()), 0);
  const auto all_done = [this] { return done_.load(std::memory_order_acquire) == count_; };
  // The last items run on other threads now: they end within one item's time.
  while (!Poll(all_done)) std::this_thread::sleep_for(std::chrono::microseconds(50));
}

void ComputeThreads::WorkOn(uint64_t generation, int thread) {
  uint64_t claim = claim_.load();
  for (;;) {
    const uint64_t next = claim & 0xFFFFF, count = claim >> 20 & 0xFFFFF;
    if (GenerationOf(claim) != generation || next >= count) return;
    if (!claim_.compare_exchange_weak(claim, claim + 1)) continue;
    (*work_)(static_cast<int>(next), thread);
    done_.fetch_add(1, std::memory_order_release);
    claim = claim_.load();
  }
}

void ComputeThreads::Main(int thread) {
  const FlushDenormals flush;
  uint64_t seen = 0;
  const auto is_new = [&] { return GenerationOf(claim_.load()) != seen; };
  for (;;) {
    if (!Poll(is_new)) SleepUntilNew(seen);
    if (stop_) return;
    seen = GenerationOf(claim_.load());
    WorkOn(seen, thread);
  }
}

void ComputeThreads::SleepUntilNew(uint64_t generation) {
  absl::MutexLock lock(&mu_);
  // Begin stores the claim before it reads sleepers_: one of the two sees the other.
  ++sleepers_;
  while (GenerationOf(claim_.load()) == generation) wake_.Wait(&mu_);
  --sleepers_;
}

}  // namespace pagoda
