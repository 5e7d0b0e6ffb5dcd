// A network that misbehaves by plan: a ZeroMQ proxy between clients and one server that delays,
// drops, repeats, swaps and damages messages.
//
// What becomes of a message is a function of (seed, connection, direction, its number there), so a
// seed brings the same faults to the same messages wherever clients connect in the same order.
//
// **Confined to the thread that created it**; but counts() and Mend() may be called from any. The
// messages pass in a thread of its own.
#ifndef PAGODA_TESTS_SUPPORT_FRAME_PROXY_H_
#define PAGODA_TESTS_SUPPORT_FRAME_PROXY_H_

#include <cstdint>
#include <memory>
#include <string>

namespace pagoda::test {

// Shares of all messages, requests and replies alike; their sum is at most 1.
struct FaultPlan {
  uint64_t seed = 1;
  double delay = 0;      // By up to max_delay_ms, and those behind it with it.
  double duplicate = 0;  // The second up to max_delay_ms behind the first.
  double reorder = 0;    // Sent behind the next one, or after max_delay_ms when there is none.
  double drop = 0;
  double corrupt = 0;  // One bit of one frame is another.
  int max_delay_ms = 20;
  // At most so many messages are dropped, damaged or swapped: one that is missing when it is
  // wanted costs the run the 2 s after which a client sends again.
  int max_costly = 1'000'000;
  // After so many messages the line is cut: what comes is lost, and connections stay up, so that
  // nobody is told. -1: never.
  int64_t cut_after = -1;
};

// Messages of both directions.
struct FaultCounts {
  int64_t passed = 0;  // Came out at the other side.
  int64_t delayed = 0;
  int64_t duplicated = 0;
  int64_t reordered = 0;
  int64_t dropped = 0;
  int64_t corrupted_requests = 0;
  int64_t corrupted_replies = 0;
};

class FrameProxy {
 public:
  // server: "tcp://host:port".
  FrameProxy(const std::string& server, const FaultPlan& plan);
  ~FrameProxy();
  FrameProxy(const FrameProxy&) = delete;
  FrameProxy& operator=(const FrameProxy&) = delete;

  const std::string& endpoint() const;  // For clients, "tcp://127.0.0.1:port".
  FaultCounts counts() const;
  // Ends the cut.
  void Mend();

 private:
  class Impl;
  const std::unique_ptr<Impl> impl_;
};

}  // namespace pagoda::test

#endif  // PAGODA_TESTS_SUPPORT_FRAME_PROXY_H_
