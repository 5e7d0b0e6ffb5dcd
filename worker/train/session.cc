#include "worker/train/session.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/errors.h"
#include "common/net/frames.h"
#include "worker/train/agreement.h"

namespace pagoda {
namespace {

// A peer that does not answer at all within this time is not there: the user waits for the message
// (exit 75 within 5 s).
constexpr int64_t kReachTimeoutMs = 4'000;
// Hello loads a checkpoint and CHECKPOINT writes one: 10 minutes are 60 GB at 100 MB/s.
constexpr int64_t kCoordinatorTimeoutMs = 600'000;
// How long a shard lets one worker keep the others waiting before it names it.
constexpr uint32_t kPeerTimeoutMs = 60'000;

Message Request(WireHeader::Kind kind) {
  Message message;
  message.header.set_kind(kind);
  return message;
}

// Asks every shard for its counters, which a shard answers whoever asks.
absl::Status ReachShards(const Cluster& cluster) {
  ClientOptions options;
  options.client_id = kControlClient;
  options.peer_timeout_ms = kReachTimeoutMs;
  options.resend_after_ms = kReachTimeoutMs / 4;
  std::vector<std::unique_ptr<ShardClient>> clients;
  std::vector<uint64_t> sequences;
  for (int shard = 0; shard < cluster.shard_count; ++shard) {
    ASSIGN_OR_RETURN(auto channel, cluster.open_channel(shard));
    clients.push_back(std::make_unique<ShardClient>(std::move(channel), options, cluster.clock));
    ASSIGN_OR_RETURN(const uint64_t sequence, clients.back()->Start(Request(WireHeader::STATUS)));
    sequences.push_back(sequence);
  }
  for (int shard = 0; shard < cluster.shard_count; ++shard) {
    const absl::Status status = clients[shard]->Await(sequences[shard]).status();
    // Any other error is an answer; hello will tell what is wrong.
    if (ExitCodeOf(status) == ExitCode::kTemporary) {
      return WithContext(status, absl::StrCat("cannot reach the server of shard ", shard));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status ReachServers(const Cluster& cluster) {
  if (!cluster.standing_servers) return absl::OkStatus();
  return ShareStatus(*cluster.workers, 0,
                     cluster.workers->rank() == 0 ? ReachShards(cluster) : absl::OkStatus());
}

absl::StatusOr<std::unique_ptr<Session>> Session::Open(const Cluster& cluster,
                                                       const SessionOptions& options) {
  std::unique_ptr<Session> session(new Session(cluster, options));
  absl::Status status;
  if (cluster.workers->rank() == 0) {
    status = session->SayHello();
  }
  RETURN_IF_ERROR(ShareStatus(*cluster.workers, 0, status));
  return session;
}

ClientOptions Session::MakeClientOptions(uint32_t client_id) const {
  ClientOptions options;
  options.job_id = options_.job_id;
  options.run_epoch = options_.run_epoch;
  options.client_id = client_id;
  return options;
}

absl::Status Session::SayHello() {
  ClientOptions options = MakeClientOptions(kCoordinatorClient);
  options.peer_timeout_ms = kCoordinatorTimeoutMs;
  for (int shard = 0; shard < cluster_.shard_count; ++shard) {
    ASSIGN_OR_RETURN(auto channel, cluster_.open_channel(shard));
    coordinator_.push_back(
        std::make_unique<ShardClient>(std::move(channel), options, cluster_.clock));
  }
  const auto request = [this](int shard) {
    Message message = Request(WireHeader::HELLO);
    Hello* hello = message.header.mutable_hello();
    *hello->mutable_schema() = *options_.schema;
    hello->set_shard(shard);
    hello->set_shard_count(cluster_.shard_count);
    hello->set_worker_count(cluster_.workers->size());
    hello->set_lane_count(options_.lane_count);
    hello->set_next_step(options_.next_step);
    hello->set_checkpoint(options_.checkpoint);
    hello->set_store_dir(options_.store_dir);
    hello->set_holder(cluster_.holder);
    hello->set_peer_timeout_ms(kPeerTimeoutMs);
    return message;
  };
  return CallAll(request).status();  // The client's errors name the request.
}

absl::StatusOr<std::vector<Message>> Session::CallAll(
    const std::function<Message(int shard)>& request) {
  std::vector<uint64_t> sequences;
  for (int shard = 0; shard < cluster_.shard_count; ++shard) {
    ASSIGN_OR_RETURN(const uint64_t sequence, coordinator_[shard]->Start(request(shard)));
    sequences.push_back(sequence);
  }
  std::vector<Message> replies;
  absl::Status first_error;
  for (int shard = 0; shard < cluster_.shard_count; ++shard) {
    auto reply = coordinator_[shard]->Await(sequences[shard]);
    if (!reply.ok()) {
      first_error.Update(WithContext(reply.status(), absl::StrCat("shard ", shard)));
    } else {
      replies.push_back(*std::move(reply));
    }
  }
  if (!first_error.ok()) return first_error;
  return replies;
}

absl::StatusOr<std::vector<std::unique_ptr<ShardClient>>> Session::OpenWorkerClients() {
  const ClientOptions options = MakeClientOptions(cluster_.workers->rank());
  std::vector<std::unique_ptr<ShardClient>> clients;
  for (int shard = 0; shard < cluster_.shard_count; ++shard) {
    ASSIGN_OR_RETURN(auto channel, cluster_.open_channel(shard));
    clients.push_back(std::make_unique<ShardClient>(std::move(channel), options, cluster_.clock));
  }
  return clients;
}

absl::StatusOr<Session::Rows> Session::Checkpoint(const std::string& directory, int64_t step) {
  const auto request = [&](int) {
    Message message = Request(WireHeader::CHECKPOINT);
    message.header.mutable_checkpoint()->set_directory(directory);
    message.header.mutable_checkpoint()->set_step(step);
    return message;
  };
  ASSIGN_OR_RETURN(const auto replies, CallAll(request));
  Rows rows;
  for (const Message& reply : replies) {
    const CheckpointReply& body = reply.header.checkpoint_reply();
    rows.files.insert(rows.files.end(), body.file().begin(), body.file().end());
    rows.digest.Merge(RowDigest(body.digest_high(), body.digest_low()));
    rows.count += body.rows();
  }
  return rows;
}

absl::StatusOr<Session::Rows> Session::Digest() {
  ASSIGN_OR_RETURN(const auto replies, CallAll([](int) { return Request(WireHeader::DIGEST); }));
  Rows rows;
  for (const Message& reply : replies) {
    const DigestReply& body = reply.header.digest_reply();
    rows.digest.Merge(RowDigest(body.digest_high(), body.digest_low()));
    rows.count += body.rows();
  }
  return rows;
}

absl::StatusOr<StatusReply> Session::Status() {
  ASSIGN_OR_RETURN(const auto replies, CallAll([](int) { return Request(WireHeader::STATUS); }));
  StatusReply sum;
  for (const Message& reply : replies) {
    const StatusReply& one = reply.header.status_reply();
    sum.set_rows(sum.rows() + one.rows());
    sum.set_resident_rows(sum.resident_rows() + one.resident_rows());
    sum.set_resident_bytes(sum.resident_bytes() + one.resident_bytes());
    sum.set_spills(sum.spills() + one.spills());
    sum.set_reloads(sum.reloads() + one.reloads());
    sum.set_duplicate_requests(sum.duplicate_requests() + one.duplicate_requests());
    sum.set_refused_requests(sum.refused_requests() + one.refused_requests());
    // Every shard lists all tables, in the schema's order.
    for (int t = 0; t < one.table_size(); ++t) {
      if (t == sum.table_size()) {
        *sum.add_table() = one.table(t);
      } else {
        sum.mutable_table(t)->set_rows(sum.table(t).rows() + one.table(t).rows());
      }
    }
  }
  return sum;
}

absl::Status Session::Shutdown() {
  return CallAll([](int) { return Request(WireHeader::SHUTDOWN); }).status();
}

}  // namespace pagoda
