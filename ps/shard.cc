#include "ps/shard.h"

#include <algorithm>
#include <set>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/errors.h"
#include "common/hash.h"
#include "common/io/file.h"
#include "common/net/client.h"
#include "glog/logging.h"
#include "google/protobuf/util/message_differencer.h"
#include "ps/flush_denormals.h"
#include "ps/shard_impl.h"

namespace pagoda {
namespace {

constexpr uint32_t kMaxWorkers =
    4096;  // Pins of a row are counted in 16 bits: kMaxWorkers * kMaxInFlight fit.
constexpr int kMaxTables = 65536;  // 2 bytes of a row's key.

// Requests that change nothing are answered afresh when they come again.
bool IsReadOnly(WireHeader::Kind kind) {
  return kind == WireHeader::PULL || kind == WireHeader::DIGEST || kind == WireHeader::STATUS;
}

}  // namespace

Shard::Impl::Job::~Job() = default;

void Shard::Impl::Handle(const PeerId& from, Message request, Outbox& outbox) {
  const ScopedFlushDenormals flush;
  const WireHeader& header = request.header;
  if (header.kind() == WireHeader::HELLO) {
    Reply(from, header, HandleHello(header), /*remember=*/false, outbox);
    return;
  }
  if (absl::Status allowed = CheckSender(header); !allowed.ok()) {
    // Who asks for the counters need not belong to the job; a shutdown that was done is done.
    const bool was_shut_down = job_ == nullptr && header.kind() == WireHeader::SHUTDOWN;
    if (header.kind() == WireHeader::STATUS || was_shut_down) {
      Reply(from, header, HandleStatus(), /*remember=*/false, outbox);
      return;
    }
    ++refused_requests_;
    Reply(from, header, allowed, /*remember=*/false, outbox);
    return;
  }
  job_->last_request_ms = clock_->NowMs();
  HandleInOrder(from, request, outbox);
}

// A sequence is handled once and in order: what was handled is answered from memory, what comes too
// early is dropped, and its sender sends it again after the one before it.
void Shard::Impl::HandleInOrder(const PeerId& from, const Message& request, Outbox& outbox) {
  const WireHeader& header = request.header;
  Client& client = job_->clients[header.client_id()];
  const uint64_t sequence = header.sequence();
  if (sequence <= client.last_sequence) {
    ++duplicate_requests_;
    for (Pending& pending : client.pending) {
      if (pending.sequence == sequence) {
        pending.from = from;
        return;
      }
    }
    for (const Message& reply : client.replies) {
      if (reply.header.sequence() == sequence) {
        outbox.push_back({from, reply});
        return;
      }
    }
    if (!IsReadOnly(header.kind())) {
      Reply(
          from, header,
          TemporaryError(absl::StrCat("request ", sequence, " was answered long ago; the last is ",
                                      client.last_sequence)),
          /*remember=*/false, outbox);
      return;
    }
  } else if (sequence > client.last_sequence + 1 + ShardClient::kMaxInFlight) {
    Reply(from, header,
          TemporaryError(absl::StrCat("request ", sequence, " follows ", client.last_sequence,
                                      ": those between are missing")),
          /*remember=*/false, outbox);
    return;
  } else if (sequence > client.last_sequence + 1) {
    return;
  } else {
    client.last_sequence = sequence;
  }

  const bool remember = !IsReadOnly(header.kind());
  if (!job_->failed.ok()) {
    Reply(from, header, job_->failed, remember, outbox);
  } else if (header.kind() == WireHeader::STEP) {
    if (absl::Status status = HandleStep(from, request, outbox); !status.ok()) {
      Reply(from, header, status, remember, outbox);
    }
  } else if (header.kind() == WireHeader::COMBINE) {
    if (absl::Status status = HandleCombine(from, request, outbox); !status.ok()) {
      Reply(from, header, status, remember, outbox);
    }
  } else if (header.kind() == WireHeader::SHUTDOWN) {
    Reply(from, header, HandleShutdown(), /*remember=*/false, outbox);
  } else {
    Reply(from, header, Answer(request), remember, outbox);
  }
}

absl::StatusOr<Message> Shard::Impl::Answer(const Message& request) {
  switch (request.header.kind()) {
    case WireHeader::ANNOUNCE:
      return HandleAnnounce(request);
    case WireHeader::PULL: {
      ASSIGN_OR_RETURN(const std::vector<IdList> lists,
                       CheckIds(request.header.segment(), Ids(request)));
      return Rows(lists, /*tells_absent=*/true);
    }
    case WireHeader::CHECKPOINT:
      return HandleCheckpoint(request.header.checkpoint());
    case WireHeader::DIGEST:
      return HandleDigest();
    case WireHeader::STATUS:
      return HandleStatus();
    default:
      return UsageError(absl::StrCat("request kind ", request.header.kind(), " is not known"));
  }
}

std::string Shard::Impl::Holder() const {
  return job_ == nullptr ? "nobody"
                         : absl::StrCat(job_->hello.holder(), " (job ", absl::Hex(job_->id),
                                        ", run epoch ", job_->run_epoch, ")");
}

absl::Status Shard::Impl::CheckSender(const WireHeader& header) const {
  if (header.protocol_version() != kProtocolVersion) {
    return UsageError(absl::StrCat("protocol version ", header.protocol_version(), "; this shard, ",
                                   "held by ", Holder(), ", speaks ", kProtocolVersion));
  }
  if (job_ == nullptr) {
    return TemporaryError(
        "this shard has no job: it started, or was shut down, after the job said "
        "hello; restart the job");
  }
  if (header.job_id() != job_->id || header.run_epoch() != job_->run_epoch) {
    return TemporaryError(absl::StrCat("refused job ", absl::Hex(header.job_id()), ", run epoch ",
                                       header.run_epoch(), ": this shard is held by ", Holder()));
  }
  return absl::OkStatus();
}

void Shard::Impl::Reply(const PeerId& to, const WireHeader& request, absl::StatusOr<Message> reply,
                        bool remember, Outbox& outbox) {
  Message message;
  if (reply.ok()) {
    message = *std::move(reply);
    message.header.set_kind(WireHeader::OK);
  } else {
    message.header.set_kind(WireHeader::ERROR);
    message.header.mutable_error()->set_code(static_cast<int>(reply.status().code()));
    message.header.mutable_error()->set_message(std::string(reply.status().message()));
  }
  message.header.set_protocol_version(kProtocolVersion);
  message.header.set_job_id(request.job_id());
  message.header.set_run_epoch(request.run_epoch());
  message.header.set_client_id(request.client_id());
  message.header.set_sequence(request.sequence());
  message.header.set_step(request.step());
  if (remember && job_ != nullptr) {
    Client& client = job_->clients[request.client_id()];
    client.replies.push_back(message);
    if (client.replies.size() > ShardClient::kMaxInFlight) client.replies.pop_front();
  }
  outbox.push_back({to, std::move(message)});
}

absl::Status Shard::Impl::CheckHello(const Hello& hello) const {
  if (hello.shard_count() < 1 || hello.shard_count() > kPartitions ||
      hello.shard() >= hello.shard_count()) {
    return UsageError(absl::StrCat("hello: shard ", hello.shard(), " of ", hello.shard_count(),
                                   "; there may be 1 to ", kPartitions));
  }
  if (options_.shard >= 0 && (hello.shard() != static_cast<uint32_t>(options_.shard) ||
                              hello.shard_count() != static_cast<uint32_t>(options_.shard_count))) {
    return UsageError(absl::StrCat(
        "hello: addressed shard ", hello.shard(), "/", hello.shard_count(),
        ", this server was started as --shard=", options_.shard, "/", options_.shard_count,
        "; give --servers in the order of their shards, all of them"));
  }
  if (hello.worker_count() < 1 || hello.worker_count() > kMaxWorkers) {
    return UsageError(
        absl::StrCat("hello: ", hello.worker_count(), " workers, allowed are 1 to ", kMaxWorkers));
  }
  if (hello.next_step() < 0) {
    return UsageError(absl::StrCat("hello: next step is ", hello.next_step()));
  }
  if (hello.schema().table_size() > kMaxTables) {
    return UsageError(
        absl::StrCat("hello: ", hello.schema().table_size(), " tables, at most ", kMaxTables));
  }
  std::set<std::string> names;
  for (const TableSchema& table : hello.schema().table()) {
    if (table.name().empty() || !names.insert(table.name()).second) {
      return UsageError(
          absl::StrCat("hello: table name \"", table.name(), "\" is empty or twice there"));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<Message> Shard::Impl::HandleHello(const WireHeader& header) {
  const Hello& hello = header.hello();
  absl::Status allowed = CheckHello(hello);
  bool same = false;
  if (allowed.ok() && job_ != nullptr) {
    const bool alive = clock_->NowMs() - job_->last_request_ms <= job_->hello.peer_timeout_ms();
    if (header.job_id() != job_->id) {
      if (alive) {
        allowed = TemporaryError(absl::StrCat("refused job ", absl::Hex(header.job_id()), " of ",
                                              hello.holder(), ": this shard is held by ", Holder(),
                                              ", which is alive"));
      }
    } else if (header.run_epoch() < job_->run_epoch) {
      allowed = TemporaryError(absl::StrCat("refused run epoch ", header.run_epoch(), " of ",
                                            hello.holder(), ": this shard is held by ", Holder()));
    } else if (header.run_epoch() == job_->run_epoch) {
      same = true;
      // Not their bytes: those of a map come in any order.
      if (!google::protobuf::util::MessageDifferencer::Equals(hello, job_->hello)) {
        allowed =
            UsageError(absl::StrCat("refused a second hello of run epoch ", header.run_epoch(),
                                    " that says something else than that of ", Holder()));
      }
    }
  }
  if (!allowed.ok()) {
    ++refused_requests_;
    return allowed;
  }
  if (!same) {
    if (absl::Status started = StartJob(header); !started.ok()) {
      job_.reset();
      return WithContext(started, absl::StrCat("shard ", hello.shard(), "/", hello.shard_count()));
    }
  }
  job_->last_request_ms = clock_->NowMs();
  Client& client = job_->clients[header.client_id()];
  client.last_sequence = std::max(client.last_sequence, header.sequence());
  Message reply;
  reply.header.mutable_hello_reply()->set_rows(RowCount());
  reply.header.mutable_hello_reply()->set_endpoint(options_.endpoint);
  reply.header.mutable_hello_reply()->set_version(absl::StrCat("protocol ", kProtocolVersion));
  return reply;
}

absl::Status Shard::Impl::StartJob(const WireHeader& header) {
  job_.reset();  // Its store's directory goes with it.
  job_ = std::make_unique<Job>();
  job_->id = header.job_id();
  job_->run_epoch = header.run_epoch();
  job_->hello = header.hello();
  const Hello& hello = job_->hello;
  job_->first_partition = FirstPartition(hello.shard(), hello.shard_count());
  job_->end_partition = FirstPartition(hello.shard() + 1, hello.shard_count());
  job_->next_step = hello.next_step();

  if (options_.memory_budget_mb > 0) {
    const std::string store_dir =
        hello.store_dir().empty() ? options_.store_dir : hello.store_dir();
    if (store_dir.empty()) {
      return UsageError("a memory budget needs a folder for the rows that do not fit: --store_dir");
    }
    RETURN_IF_ERROR(RemoveOldStores(store_dir, hello));
    const auto budget_bytes = static_cast<uint64_t>(options_.memory_budget_mb * (1 << 20));
    // A quarter is RocksDB's: filters, indexes and memtables.
    RocksdbStoreOptions store;
    store.directory =
        JoinPath(store_dir, absl::StrCat("epoch-", header.run_epoch(), "/shard-", hello.shard()));
    store.memory_bytes = budget_bytes / 4;
    job_->store = std::make_unique<RocksdbStore>(store);
    job_->budget.limit_bytes = std::max<uint64_t>(1, budget_bytes - store.memory_bytes);
  }
  for (int table = 0; table < hello.schema().table_size(); ++table) {
    ASSIGN_OR_RETURN(RowLayout layout, RowLayout::Make(hello.schema(), table));
    job_->tables.push_back(std::make_unique<Table>(
        table, std::move(layout), PartitionRange{job_->first_partition, job_->end_partition},
        &job_->budget, job_->store.get()));
  }
  return hello.checkpoint().empty() ? absl::OkStatus() : LoadCheckpoint();
}

// Stores of other epochs are scratch that a killed process left. Each shard clears those whose
// number is its own modulo the number of shards, so that every one is cleared by one shard whatever
// their number was.
absl::Status Shard::Impl::RemoveOldStores(const std::string& store_dir, const Hello& hello) const {
  if (!FileExists(store_dir)) return absl::OkStatus();
  ASSIGN_OR_RETURN(const std::vector<std::string> epochs, ListDirectory(store_dir));
  for (const std::string& epoch : epochs) {
    if (!absl::StartsWith(epoch, "epoch-")) continue;
    const std::string folder = JoinPath(store_dir, epoch);
    const absl::StatusOr<std::vector<std::string>> shards = ListDirectory(folder);
    if (!shards.ok()) continue;  // Another shard removed it meanwhile.
    size_t left = shards->size();
    for (const std::string& shard : *shards) {
      uint32_t number;
      if (!absl::StartsWith(shard, "shard-") ||
          !absl::SimpleAtoi(absl::string_view(shard).substr(6), &number) ||
          number % hello.shard_count() != hello.shard()) {
        continue;
      }
      RETURN_IF_ERROR(RemoveTree(JoinPath(folder, shard)));
      --left;
    }
    const bool is_mine = epoch == absl::StrCat("epoch-", job_->run_epoch);
    if (left == 0 && !is_mine) RETURN_IF_ERROR(RemoveTree(folder));
  }
  return absl::OkStatus();
}

Message Shard::Impl::HandleShutdown() {
  job_.reset();
  done_ = !options_.standing;
  return Message();
}

Shard::Shard(const ShardOptions& options, Clock* clock)
    : impl_(std::make_unique<Impl>(options, clock)) {}
Shard::~Shard() = default;
void Shard::Handle(const PeerId& from, Message request, Outbox& outbox) {
  impl_->Handle(from, std::move(request), outbox);
}
void Shard::Tick(int64_t now_ms, Outbox& outbox) { impl_->Tick(now_ms, outbox); }
void Shard::Idle(Outbox& outbox) { impl_->Idle(outbox); }
void Shard::CountRefused() { impl_->CountRefused(); }
bool Shard::Done() const { return impl_->Done(); }

}  // namespace pagoda
