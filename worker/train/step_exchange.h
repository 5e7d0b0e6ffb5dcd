// A step's messages with the shards: one a shard, carrying all tables.
//
// **Confined to the step thread.**
#ifndef PAGODA_WORKER_TRAIN_STEP_EXCHANGE_H_
#define PAGODA_WORKER_TRAIN_STEP_EXCHANGE_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "common/net/client.h"
#include "worker/train/step_array.h"
#include "worker/train/step_ids.h"

namespace pagoda {

// The rows of a plan's ids as the shards sent them; read where they were received.
struct PulledRows {
  std::vector<Message> replies;
  std::vector<const float*>
      values;  // [S]: shard s's segments, in the plan's layout; empty: none pulled.
};

// by_feature [F] += occurrences, in the plan's one range, of ids for which a shard had no row.
void CountAbsent(const IdPlan& plan, const PulledRows& rows, absl::Span<int64_t> by_feature);

// Gradients of a plan's ids on their way out: one buffer for all shards, shared with the messages.
class PushBuffers {
 public:
  // A buffer that no message holds any more.
  std::shared_ptr<Array<float>> Take(size_t size);

 private:
  std::vector<std::shared_ptr<Array<float>>> buffers_;
};

class ShardExchange {
 public:
  explicit ShardExchange(std::vector<std::unique_ptr<ShardClient>> clients)
      : clients_(std::move(clients)), requests_(clients_.size()) {}

  int shard_count() const { return static_cast<int>(clients_.size()); }
  ShardClient& client(int shard) { return *clients_[shard]; }

  // Tells the ids of `step` to the shards: with the next StartStep, which saves a message each, or,
  // when another announcement waits for it already, that one at once. Answers are awaited with the
  // next rows.
  absl::Status Announce(int64_t step, const IdPlan& plan);

  // Gradients of one table's ids for one optimizer.
  struct PushSegment {
    int table;
    int optimizer;  // In the table's list.
    uint32_t count;
    int task = 0;  // Where they are apart.
  };
  struct Push {
    int task_count = 0;                 // 0: tasks are not apart.
    std::vector<PushSegment> segments;  // By shard: [segment_begin[s], segment_begin[s + 1])
    std::vector<size_t> segment_begin;  // [S + 1]
    std::vector<size_t> value_begin;    // [S + 1]: where a shard's values stand.
    std::shared_ptr<const Array<float>> values;  // Segment after segment, [count, dim] each.
    std::vector<OptimizerClock> clocks;          // Of the optimizers that move.
  };
  // One STEP a shard: pushes `push` of `step` unless it is null, asks for rows of pull_step unless
  // < 0, and carries the announcement that waits.
  absl::Status StartStep(int64_t step, const Push* push, int64_t pull_step);
  // After a push of tasks apart: gram [GramSize(tasks)] += the tasks' inner products over all rows,
  // partition by partition.
  absl::Status FinishTasks(int tasks, absl::Span<double> gram);
  // Then, with what was made of them: as StartStep after a push.
  absl::Status StartCombine(int64_t step, absl::Span<const double> coefficients, int64_t pull_step);
  // The replies; the rows, in the layout of `plan`, unless it is null.
  absl::Status FinishStep(const IdPlan* plan, PulledRows* rows);

  // PULL: rows of any ids, absent ones zeros; nothing pinned, nothing changed.
  absl::Status Pull(const IdPlan& plan, PulledRows* rows);

  // Of rows' gradients, by this worker.
  uint64_t bytes_pushed() const { return bytes_pushed_; }

 private:
  // Sends what waits as messages of their own.
  absl::Status FlushAnnouncement();
  absl::Status FinishAnnouncements();
  absl::Status AwaitRows(const IdPlan* plan, PulledRows* rows);

  struct Announced {
    int shard;
    uint64_t sequence;
  };
  struct Announcement {
    google::protobuf::RepeatedPtrField<Segment> segments;
    Buffer ids;
  };
  std::vector<std::unique_ptr<ShardClient>> clients_;  // [S]
  std::vector<uint64_t> requests_;                     // [S]: sequences of the exchange under way.
  std::vector<Announcement> announcement_;             // [S]: waits; empty: none does.
  int64_t announcement_step_ = 0;                      // Its step.
  uint64_t bytes_pushed_ = 0;
  std::vector<Announced> announced_;  // Sent by themselves, not yet acknowledged.
};

}  // namespace pagoda

#endif  // PAGODA_WORKER_TRAIN_STEP_EXCHANGE_H_
