#include "ps/shard_host.h"

#include "common/clock.h"
#include "common/errors.h"
#include "glog/logging.h"

namespace pagoda {

ShardHost::~ShardHost() {
  if (server_ != nullptr) server_->Stop();
  if (thread_.joinable()) thread_.join();
}

absl::StatusOr<std::string> ShardHost::Bind(const std::string& listen) {
  ASSIGN_OR_RETURN(server_, BindZmqServer(listen, ""));
  return server_->endpoint();
}

void ShardHost::Serve() {
  MakeShard(server_->endpoint());
  thread_ = std::thread([this] {
    const absl::Status status = server_->Serve(*shard_);
    if (!status.ok()) LOG(ERROR) << "shard at " << server_->endpoint() << ": " << status;
  });
}

void ShardHost::StartInProcess() {
  MakeShard("in process");
  hub_ = std::make_unique<InProcessHub>(shard_.get());
}

void ShardHost::MakeShard(const std::string& endpoint) {
  options_.endpoint = endpoint;
  shard_ = std::make_unique<Shard>(options_, Clock::Steady());
}

}  // namespace pagoda
