// One run epoch's standing with the shards: hello to all of them, then the requests of the
// coordinator (worker 0).
//
// A shard discards what it holds and loads exactly what hello names. So loading another checkpoint
// (the best one, for the test evaluation) is a new session with a higher run epoch.
//
// **Confined to the step thread.**
#ifndef PAGODA_WORKER_TRAIN_SESSION_H_
#define PAGODA_WORKER_TRAIN_SESSION_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/checkpoint/digest.h"
#include "common/clock.h"
#include "common/group/group.h"
#include "common/net/client.h"
#include "common/net/transport.h"
#include "proto/wire.pb.h"

namespace pagoda {

// Who takes part in the job, as the composition root found it.
struct Cluster {
  Group* workers = nullptr;
  int shard_count = 1;
  // A new connection to a shard.
  std::function<absl::StatusOr<std::unique_ptr<Channel>>(int shard)> open_channel;
  bool standing_servers = false;  // The shards outlive the job and keep to their own --store_dir.
  int workers_on_host = 1;
  std::string holder;  // host:pid of this process.
  Clock* clock = nullptr;
};

struct SessionOptions {
  uint64_t job_id = 0;
  uint64_t run_epoch = 0;
  const Schema* schema = nullptr;
  int lane_count = 1;
  int64_t next_step = 0;
  std::string checkpoint;  // Empty: no rows.
  std::string store_dir;   // Empty: the server's own.
};

// Looks whether standing servers are there, with a deadline that hello, which may load for minutes,
// cannot have: who types a wrong address is told within 5 s. TemporaryError names the server. All
// workers call it, before anything that takes time.
absl::Status ReachServers(const Cluster& cluster);

class Session {
 public:
  // All workers call it. Worker 0 says hello to every shard; the others wait for it.
  static absl::StatusOr<std::unique_ptr<Session>> Open(const Cluster& cluster,
                                                       const SessionOptions& options);

  // This worker's connections for the step, one a shard; may be taken once.
  absl::StatusOr<std::vector<std::unique_ptr<ShardClient>>> OpenWorkerClients();

  // The rest: worker 0 only, and between steps.
  struct Rows {
    std::vector<RowFile> files;
    RowDigest digest;
    uint64_t count = 0;
  };
  absl::StatusOr<Rows> Checkpoint(const std::string& directory, int64_t step);
  absl::StatusOr<Rows> Digest();
  // Counters summed over the shards.
  absl::StatusOr<StatusReply> Status();
  absl::Status Shutdown();

  uint64_t run_epoch() const { return options_.run_epoch; }

 private:
  Session(const Cluster& cluster, const SessionOptions& options)
      : cluster_(cluster), options_(options) {}
  ClientOptions MakeClientOptions(uint32_t client_id) const;
  absl::Status SayHello();
  // The same request to all shards at once; the replies in shard order.
  absl::StatusOr<std::vector<Message>> CallAll(const std::function<Message(int shard)>& request);

  const Cluster& cluster_;
  const SessionOptions options_;
  std::vector<std::unique_ptr<ShardClient>> coordinator_;  // One a shard; empty but at worker 0.
};

}  // namespace pagoda

#endif  // PAGODA_WORKER_TRAIN_SESSION_H_
