// Endpoints as people write them: "tcp://host:7000", "host:7000", "tcp://*:0", "ipc:///path".
//
// ZeroMQ resolves names late and says nothing when that fails, and takes over an ipc path that is
// in use; so names, addresses and paths are checked here, before it sees them. IPv4 only.
//
// Thread-safe (functions).
#ifndef PAGODA_COMMON_NET_ENDPOINT_H_
#define PAGODA_COMMON_NET_ENDPOINT_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace pagoda {

struct Endpoint {
  bool is_ipc = false;
  std::string path;  // ipc
  std::string host;  // tcp; "*" and "0.0.0.0" are wildcards.
  int port = 0;      // tcp; 0 when listening: any free one ("0" or "*").

  bool HasWildcardHost() const { return !is_ipc && (host == "*" || host == "0.0.0.0"); }
  std::string ToString() const;
};

// UsageError says what is wrong and what is right.
absl::StatusOr<Endpoint> ParseEndpoint(const std::string& text);

// The host's first IPv4 address; kUnavailable names a host that does not resolve.
absl::StatusOr<std::string> ResolveHost(const std::string& host);

// The host by which others may reach this machine: its name, or 127.0.0.1 when the name does not
// resolve to an address of this machine.
std::string AdvertisedHost();

// True when a live process listens on the ipc path.
bool IpcPathInUse(const std::string& path);

}  // namespace pagoda

#endif  // PAGODA_COMMON_NET_ENDPOINT_H_
