#include "common/net/endpoint.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cstring>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/errors.h"

namespace pagoda {
namespace {

constexpr char kForms[] = "; write tcp://HOST:PORT, HOST:PORT or ipc:///PATH";

absl::StatusOr<in_addr> LookUp(const std::string& host) {
  addrinfo hints{};
  hints.ai_family = AF_INET;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const int error = getaddrinfo(host.c_str(), nullptr, &hints, &found);
  if (error != 0) {
    return TemporaryError(absl::StrCat("host name \"", host, "\" does not resolve: ",
                                       gai_strerror(error), "; check its spelling and the DNS"));
  }
  const in_addr address = reinterpret_cast<const sockaddr_in*>(found->ai_addr)->sin_addr;
  freeaddrinfo(found);
  return address;
}

// Only an address of this machine can be bound to.
bool IsLocal(in_addr address) {
  const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return false;
  sockaddr_in name{};
  name.sin_family = AF_INET;
  name.sin_addr = address;
  const bool bound = bind(fd, reinterpret_cast<const sockaddr*>(&name), sizeof(name)) == 0;
  close(fd);
  return bound;
}

absl::StatusOr<Endpoint> ParseIpc(absl::string_view path, const std::string& text) {
  constexpr size_t kMaxPath = sizeof(sockaddr_un::sun_path) - 1;
  if (path.empty() || path.size() > kMaxPath) {
    return UsageError(
        absl::StrCat("endpoint \"", text, "\": the path must have 1 to ", kMaxPath, " bytes"));
  }
  if (path == "*") {
    return UsageError(absl::StrCat("endpoint \"", text, "\": clients could not find it", kForms));
  }
  Endpoint endpoint;
  endpoint.is_ipc = true;
  endpoint.path = std::string(path);
  return endpoint;
}

}  // namespace

std::string Endpoint::ToString() const {
  return is_ipc ? absl::StrCat("ipc://", path) : absl::StrCat("tcp://", host, ":", port);
}

absl::StatusOr<Endpoint> ParseEndpoint(const std::string& text) {
  absl::string_view rest = text;
  if (absl::ConsumePrefix(&rest, "ipc://")) return ParseIpc(rest, text);
  absl::ConsumePrefix(&rest, "tcp://");
  const size_t colon = rest.rfind(':');
  if (colon == absl::string_view::npos || absl::StrContains(rest, "/")) {
    return UsageError(absl::StrCat("endpoint \"", text, "\"", kForms));
  }
  Endpoint endpoint;
  endpoint.host = std::string(rest.substr(0, colon));
  const absl::string_view port = rest.substr(colon + 1);
  if (endpoint.host.empty() || absl::StrContains(endpoint.host, ":")) {
    return UsageError(
        absl::StrCat("endpoint \"", text, "\": no host name or IPv4 address", kForms));
  }
  if (port == "*") return endpoint;
  if (!absl::SimpleAtoi(port, &endpoint.port) || endpoint.port < 0 || endpoint.port > 65535) {
    return UsageError(absl::StrCat("endpoint \"", text, "\": port \"", port,
                                   "\" is not a number from 0 to 65535"));
  }
  return endpoint;
}

absl::StatusOr<std::string> ResolveHost(const std::string& host) {
  ASSIGN_OR_RETURN(const in_addr address, LookUp(host));
  std::array<char, INET_ADDRSTRLEN> text{};
  inet_ntop(AF_INET, &address, text.data(), text.size());
  return std::string(text.data());
}

std::string AdvertisedHost() {
  constexpr char kLoopback[] = "127.0.0.1";
  std::array<char, 256> name{};  // HOST_NAME_MAX is 64; POSIX allows 255.
  if (gethostname(name.data(), name.size() - 1) != 0) return kLoopback;
  const absl::StatusOr<in_addr> address = LookUp(name.data());
  return address.ok() && IsLocal(*address) ? std::string(name.data()) : kLoopback;
}

bool IpcPathInUse(const std::string& path) {
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  if (path.size() >= sizeof(name.sun_path)) return false;
  std::memcpy(name.sun_path, path.data(), path.size());
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return false;
  const bool connected = connect(fd, reinterpret_cast<const sockaddr*>(&name), sizeof(name)) == 0;
  close(fd);
  return connected;
}

}  // namespace pagoda
