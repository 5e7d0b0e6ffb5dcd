// The step's compute threads: items of work, claimed one by one, by a few threads and their caller.
//
// A step has a handful of phases of 0.1 to 100 ms each. Waiting threads poll and yield for a short
// while, then sleep: pure spinning collapses when cores are shared, pure sleeping costs 50 us a
// phase. Nobody waits for a thread that claimed nothing.
//
// **Confined to the thread that created it.**
#ifndef PAGODA_WORKER_TRAIN_STEP_THREADS_H_
#define PAGODA_WORKER_TRAIN_STEP_THREADS_H_

#include <atomic>
#include <cstdint>
#include <optional>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/function_ref.h"
#include "absl/synchronization/mutex.h"

namespace pagoda {

class ComputeThreads {
 public:
  // work(item, thread), thread in [0, size()); the caller is thread 0.
  using Work = absl::FunctionRef<void(int item, int thread)>;
  static constexpr int kMaxItems = (1 << 20) - 1;

  // `size` threads, the caller included.
  explicit ComputeThreads(int size);
  ~ComputeThreads();
  ComputeThreads(const ComputeThreads&) = delete;
  ComputeThreads& operator=(const ComputeThreads&) = delete;

  int size() const { return static_cast<int>(threads_.size()) + 1; }

  // Calls work for every item in [0, count), count <= kMaxItems; returns when all are done.
  void Run(int count, Work work) {
    Begin(count, work);
    Finish();
  }

  // The same in two calls: between them the caller does something else. `work` must live until
  // Finish returns; calls do not nest.
  void Begin(int count, Work work);
  void Finish();

 private:
  // generation 24 bits | item count 20 | next item 20: one word, so that a late thread cannot claim
  // an item of a generation whose work it does not know.
  static uint64_t Pack(uint64_t generation, uint64_t count, uint64_t next) {
    return generation << 40 | count << 20 | next;
  }
  static uint64_t GenerationOf(uint64_t claim) { return claim >> 40; }

  void Main(int thread);
  void WorkOn(uint64_t generation, int thread);
  void SleepUntilNew(uint64_t generation) ABSL_LOCKS_EXCLUDED(mu_);

  std::vector<std::thread> threads_;
  std::optional<Work> work_;  // Of this generation; read only between a claim and its `done_`.
  std::atomic<uint64_t> claim_{0};
  std::atomic<int> done_{0};  // Items of this generation.
  int count_ = 0;
  std::atomic<bool> stop_{false};
  std::atomic<int> sleepers_{0};
  absl::Mutex mu_;
  absl::CondVar wake_ ABSL_GUARDED_BY(mu_);
};

}  // namespace pagoda

#endif  // PAGODA_WORKER_TRAIN_STEP_THREADS_H_
