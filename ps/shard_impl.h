// The state of a shard; included by ps/shard*.cc only.
//
// shard.cc: who may ask (job, epoch, sequence), hello, routing. shard_sync.cc: announce, push,
// pull, apply, waiting. shard_gram.cc: steps whose tasks' gradients come apart. shard_rows.cc:
// loading and writing checkpoints, digest, counters.
//
// **Confined to the thread that serves the shard.**
#ifndef PAGODA_PS_SHARD_IMPL_H_
#define PAGODA_PS_SHARD_IMPL_H_

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/checkpoint/digest.h"
#include "common/checkpoint/manifest.h"
#include "common/sparse_sum.h"
#include "ps/shard.h"
#include "ps/store/rocksdb_store.h"
#include "ps/table/table.h"

namespace pagoda {

class Shard::Impl {
 public:
  Impl(const ShardOptions& options, Clock* clock) : options_(options), clock_(clock) {}

  void Handle(const PeerId& from, Message request, Outbox& outbox);
  void Tick(int64_t now_ms, Outbox& outbox);
  void Idle(Outbox& outbox);
  void CountRefused() { ++refused_requests_; }
  bool Done() const { return done_; }

 private:
  // How many steps ahead of the next one to be pushed a worker may announce: what a client has in
  // flight.
  static constexpr int64_t kMaxStepsAhead = 8;
  static constexpr int64_t kWaitingEveryMs = 1000;

  // The ids of one table in a message, and the place of the first in its list of all ids.
  struct IdList {
    uint32_t table;
    absl::Span<const uint64_t> ids;
    size_t first;
  };
  // ids of one step of one client.
  struct Announced {
    Buffer ids;  // What the lists view.
    std::vector<IdList> lists;
    bool is_pinned = false;
  };
  // Gradients of one (table, optimizer, task) of one push: views of what was announced and of its
  // values.
  struct Gradient {
    uint32_t table;
    uint32_t optimizer;  // In the table's list.
    uint32_t task;       // 0 where tasks are not apart.
    SparseView view;
  };
  // Of one (table, optimizer), summed over workers: each task's by itself.
  struct TaskSums {
    uint32_t table;
    uint32_t optimizer;
    absl::Span<const uint64_t> ids;
    std::vector<const float*> values;   // [K]: [ids, dim], in `owned` or a push.
    std::vector<SparseGradient> owned;  // [K]
  };
  struct Push {
    Buffer values;
    std::vector<Gradient> gradients;
  };
  // A STEP or COMBINE that cannot be answered before other workers sent theirs.
  struct Pending {
    PeerId from;
    uint64_t sequence;
    WireHeader header;  // Without body, segments and clocks; for the reply.
    int64_t since_ms;
    int64_t told_ms;  // Last `waiting`.
  };
  struct Client {
    uint64_t last_sequence = 0;
    std::deque<Message> replies;  // The last ones, by sequence; at most ShardClient::kMaxInFlight.
    std::map<int64_t, Announced> announced;  // By step.
    std::map<int64_t, Push> pushes;          // By step; of the next step to be applied only.
    bool has_combined = false;               // The next step's tasks.
    std::deque<Pending> pending;
  };
  // All that a hello brought; a new hello replaces it whole.
  struct Job {
    ~Job();
    uint64_t id = 0, run_epoch = 0;
    Hello hello;
    int first_partition = 0, end_partition = 0;
    MemoryBudget budget;
    std::unique_ptr<RocksdbStore> store;  // Null without a budget.
    std::vector<std::unique_ptr<Table>> tables;
    std::map<uint32_t, Client> clients;
    int64_t next_step = 0;              // The one whose pushes are gathered.
    std::vector<OptimizerClock> clock;  // Of the pushes of next_step; empty before the first.
    int64_t last_request_ms = 0;
    int unpinned = 0;     // Announcements that are not pinned yet.
    absl::Status failed;  // What an apply ended with; nothing after it is trusted.
    // Scratch of ApplyTable.
    std::vector<SparseGradient> sums;  // [optimizer of the table]
    std::vector<RowUpdate> updates;
    std::vector<SparseView> leaves;
    // Of next_step, when its tasks are apart.
    uint32_t task_count = 0;           // K; 0: they are not.
    bool is_gathered = false;          // All pushes came: the sums are made.
    std::vector<TaskSums> task_sums;   // By (table, optimizer).
    Buffer gram;                       // f64 [partitions, GramSize(K)]
    std::vector<double> coefficients;  // Of the COMBINEs; empty before the first.
  };

  // --- shard.cc
  absl::Status CheckSender(const WireHeader& header) const;
  void HandleInOrder(const PeerId& from, const Message& request, Outbox& outbox);
  absl::StatusOr<Message> Answer(const Message& request);
  absl::StatusOr<Message> HandleHello(const WireHeader& header);
  absl::Status CheckHello(const Hello& hello) const;
  absl::Status StartJob(const WireHeader& header);
  absl::Status RemoveOldStores(const std::string& store_dir, const Hello& hello) const;
  Message HandleShutdown();
  void Reply(const PeerId& to, const WireHeader& request, absl::StatusOr<Message> reply,
             bool remember, Outbox& outbox);
  std::string Holder() const;

  // --- shard_sync.cc
  using Segments = google::protobuf::RepeatedPtrField<Segment>;
  // Tables, sizes, order and partitions of a message's ids.
  absl::StatusOr<std::vector<IdList>> CheckIds(const Segments& segments,
                                               absl::Span<const uint64_t> ids) const;
  absl::Status CheckWorker(const WireHeader& header) const;
  absl::StatusOr<Message> HandleAnnounce(const Message& request);
  absl::Status TakeAnnounce(Client& client, int64_t step, const Segments& segments,
                            const Buffer& ids);
  // Fetches and pins what was announced; without anything to do when that was done before.
  absl::Status Pin(Announced& announced);
  absl::Status HandleStep(const PeerId& from, const Message& request, Outbox& outbox);
  absl::Status TakeAnnounceAndPull(Client& client, const Message& request);
  // Lets the request wait for its answer.
  void Wait(const PeerId& from, const WireHeader& header, Client* client);
  absl::Status TakePush(Client& client, const Message& request);
  absl::StatusOr<std::vector<Gradient>> MatchGradients(const Announced& announced,
                                                       const Message& push) const;
  absl::Status CheckClock(const WireHeader& header) const;
  absl::Status ApplyStep();
  absl::Status ApplyTable(uint32_t table);
  // All workers' gradients: a view of the only push that has any, or of *scratch; empty: none has.
  absl::StatusOr<SparseView> SumWorkers(uint32_t table, uint32_t optimizer, uint32_t task,
                                        SparseGradient* scratch);
  // The move of one optimizer of a table along gradients.
  RowUpdate UpdateOf(uint32_t table, uint32_t optimizer, const float* gradients) const;
  void ReleaseStep();
  bool Ready(const WireHeader& step) const;
  void AnswerReady(Outbox& outbox);
  absl::StatusOr<Message> StepReply(Client& client, const WireHeader& step);
  absl::StatusOr<Message> Rows(const std::vector<IdList>& lists, bool tells_absent = false);
  std::vector<uint32_t> MissingClients() const;
  void FailPending(const absl::Status& status, Outbox& outbox);

  // --- shard_gram.cc
  // The request is a push whose tasks are apart.
  static bool PushesTasks(const WireHeader& header);
  absl::Status CheckTasks(const WireHeader& header) const;
  absl::Status GatherTasks();
  void AddGram(const TaskSums& sums, double* gram) const;
  Message GramReply() const;
  absl::Status HandleCombine(const PeerId& from, const Message& request, Outbox& outbox);
  absl::Status CheckCoefficients(const WireHeader& header) const;
  absl::Status ApplyTasks();

  // --- shard_rows.cc
  bool FitsBudget(const Manifest& manifest) const;
  absl::Status LoadCheckpoint();
  absl::StatusOr<Message> HandleCheckpoint(const CheckpointRequest& request);
  absl::StatusOr<Message> HandleDigest();
  Message HandleStatus() const;
  using VisitRow = std::function<absl::Status(int table, uint64_t id, absl::Span<const std::byte>)>;
  absl::Status ForEachRow(const VisitRow& visit);
  uint64_t RowCount() const;

  const ShardOptions options_;
  Clock* const clock_;
  std::unique_ptr<Job> job_;
  uint64_t duplicate_requests_ = 0, refused_requests_ = 0;
  bool done_ = false;
};

}  // namespace pagoda

#endif  // PAGODA_PS_SHARD_IMPL_H_
