// One rank of the jobs that mpi_group_test.cc starts under mpirun: mpi_ranks MODE [ARGUMENT].
// Exits 0 when all that it saw was right; else the failed check is on stderr.
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <iostream>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/group/group.h"
#include "common/random.h"
#include "glog/logging.h"

namespace pagoda {
namespace {

absl::Span<const std::byte> Bytes(const std::string& text) {
  return {reinterpret_cast<const std::byte*>(text.data()), text.size()};
}

// Values whose sum depends on the order of additions.
template <typename T>
std::vector<T> Leaf(int rank, size_t n) {
  std::vector<T> leaf(n);
  for (size_t i = 0; i < n; ++i) {
    const auto draw = Philox(rank, n, i);
    leaf[i] = std::ldexp(static_cast<T>(ToUnitFloat(draw[0])) - T{0.5}, draw[1] % 24);
  }
  return leaf;
}

// The plain oracle: recursive, one element at a time.
template <typename T>
bool TreeSum(const std::vector<std::vector<T>>& leaves, size_t begin, size_t width, size_t i,
             T* sum) {
  if (begin >= leaves.size()) return false;
  if (width == 1) {
    *sum = leaves[begin][i];
    return true;
  }
  T right = 0;
  CHECK(TreeSum(leaves, begin, width / 2, i, sum));
  if (TreeSum(leaves, begin + width / 2, width / 2, i, &right)) *sum += right;
  return true;
}

template <typename T>
void CheckAllReduce(Group& group, size_t n) {
  std::vector<std::vector<T>> leaves;
  for (int rank = 0; rank < group.size(); ++rank) leaves.push_back(Leaf<T>(rank, n));
  std::vector<T> x = leaves[group.rank()];
  CHECK_EQ(AllReduceTree(group, absl::MakeSpan(x)), absl::OkStatus());
  const size_t stride = n > 200'000 ? 997 : 1;  // The oracle is slow.
  for (size_t i = 0; i < n; i += stride) {
    T expected = 0;
    TreeSum(leaves, 0, size_t{1} << 10, i, &expected);
    CHECK(std::memcmp(&expected, &x[i], sizeof(T)) == 0)
        << group.size() << " ranks, n " << n << ", element " << i << ": " << x[i] << " not "
        << expected;
  }
}

// Both sides send before they receive; 4 MiB is past any eager limit.
void CheckCrossedSends(Group& group) {
  const int other = group.rank() ^ 1;
  if (other >= group.size()) return;
  for (size_t size : {size_t{0}, size_t{1}, size_t{4} << 20}) {
    const std::string sent(size, static_cast<char>('a' + group.rank()));
    std::string received(size, '?');
    for (int tag : {3, 7}) CHECK_EQ(group.Send(other, tag, Bytes(sent)), absl::OkStatus());
    for (int tag : {7, 3}) {
      auto bytes = absl::MakeSpan(reinterpret_cast<std::byte*>(received.data()), size);
      CHECK_EQ(group.Recv(other, tag, bytes), absl::OkStatus());
      CHECK(received == std::string(size, static_cast<char>('a' + other)));
    }
  }
}

void CheckTexts(Group& group) {
  const auto text = [](int rank) { return std::string(rank * 70'000, static_cast<char>(rank)); };
  const auto all = group.AllGather(text(group.rank()));
  CHECK_EQ(all.status(), absl::OkStatus());
  for (int root = 0; root < group.size(); ++root) {
    CHECK((*all)[root] == text(root));
    const auto gathered = group.Gather(root, text(group.rank()));
    CHECK_EQ(gathered.status(), absl::OkStatus());
    CHECK(*gathered == (root == group.rank() ? *all : std::vector<std::string>()));
    const auto one = group.Broadcast(root, text(group.rank()));
    CHECK_EQ(one.status(), absl::OkStatus());
    CHECK(*one == text(root));
  }
  CHECK_EQ(group.Barrier(), absl::OkStatus());
}

void CheckGroup(Group& group) {
  CheckTexts(group);
  CheckCrossedSends(group);
  for (size_t n : {0, 1, 2, 7, 1000, 1025, 5000, 100'003, 1'200'003}) {
    CheckAllReduce<float>(group, n);
    CheckAllReduce<double>(group, n);
  }
}

// Whether AllReduceTree works in memory: on one host it must, unless it was told not to.
void CheckSharesMemory(Group& group, bool expected) {
  const auto space = group.shared_space();
  CHECK_EQ(space.status(), absl::OkStatus());
  CHECK_EQ(*space != nullptr, expected) << "rank " << group.rank() << " of " << group.size();
}

int Collectives(Group& group, bool shares_memory) {
  CheckSharesMemory(group, shares_memory);
  CheckGroup(group);
  auto half = group.Split(group.rank() % 2);
  CHECK_EQ(half.status(), absl::OkStatus());
  CHECK_EQ((*half)->rank(), group.rank() / 2);
  CHECK_EQ((*half)->size(), (group.size() + 1 - group.rank() % 2) / 2);
  CheckSharesMemory(**half, shares_memory);
  CheckGroup(**half);
  // Tags of parent, child and grandchild must not meet: leave one message under way in each.
  auto quarter = (*half)->Split((*half)->rank() / 2);
  CHECK_EQ(quarter.status(), absl::OkStatus());
  for (Group* g : {&group, half->get(), quarter->get()}) {
    const std::string mine = absl::StrCat("size ", g->size());
    CHECK_EQ(g->Send((g->rank() + 1) % g->size(), 1, Bytes(mine)), absl::OkStatus());
  }
  for (Group* g : {quarter->get(), half->get(), &group}) {
    const std::string expected = absl::StrCat("size ", g->size());
    std::string received(expected.size(), '?');
    auto bytes = absl::MakeSpan(reinterpret_cast<std::byte*>(received.data()), received.size());
    CHECK_EQ(g->Recv((g->rank() + g->size() - 1) % g->size(), 1, bytes), absl::OkStatus());
    CHECK_EQ(received, expected);
  }
  CheckGroup(group);
  return 0;
}

// Where rank 0 may not make the memory, messages do its work.
int Unshared(Group& group) {
  const rlimit limit = {1 << 20, 1 << 20};  // Of a file: the memory is one, and larger.
  CHECK_EQ(setrlimit(RLIMIT_FSIZE, &limit), 0);
  signal(SIGXFSZ, SIG_IGN);
  CheckSharesMemory(group, false);
  CheckAllReduce<float>(group, 1000);
  CheckSharesMemory(group, false);
  return 0;
}

// Rank 1 stops for ever; all others must name it within the limit, and only it.
void StoppedPeer(Group& group) {
  CHECK_EQ(group.Barrier(), absl::OkStatus());
  if (group.rank() == 1) {
    std::thread([] {
      std::this_thread::sleep_for(std::chrono::seconds(3));
      std::_Exit(0);  // Not reached while stopped; the test's runner must not hang for ever.
    }).detach();
    raise(SIGSTOP);
  }
  std::vector<float> x(100'000, 1.0f);
  const auto start = std::chrono::steady_clock::now();
  const absl::Status status = AllReduceTree(group, absl::MakeSpan(x));
  const auto took = std::chrono::steady_clock::now() - start;
  CHECK(absl::IsDeadlineExceeded(status)) << status;
  CHECK(absl::StartsWith(status.message(), "rank 1 on ")) << status;
  CHECK(took < std::chrono::seconds(3)) << "too late";
  std::cout << "named: " << status.message() << std::endl;
  // Time for the others to say so too, then end the job with the stopped rank in it.
  std::this_thread::sleep_for(std::chrono::seconds(1));
  group.Abort(75);
}

void WrongSize(Group& group) {
  std::string text(group.rank() == 0 ? 10 : 20, 'x');
  const int other = group.rank() ^ 1;
  CHECK_EQ(group.Send(other, 1, Bytes(text)), absl::OkStatus());
  const absl::Status status =
      group.Recv(other, 1, absl::MakeSpan(reinterpret_cast<std::byte*>(text.data()), text.size()));
  CHECK(!status.ok());
  std::cout << "refused: " << status.message() << std::endl;
  std::this_thread::sleep_for(std::chrono::seconds(1));
  group.Abort(65);
}

// The sizes of two ranks' vectors differ: each must refuse.
void WrongSum(Group& group) {
  std::vector<float> x(group.rank() == 0 ? 2000 : 3000, 1.0f);
  const absl::Status status = AllReduceTree(group, absl::MakeSpan(x));
  CHECK(!status.ok());
  std::cout << "refused: " << status.message() << std::endl;
  std::this_thread::sleep_for(std::chrono::seconds(1));
  group.Abort(65);
}

// Median over rounds of `bytes` of floats, with `work_ms` of computing before each.
int Bench(Group& group, size_t bytes, int work_ms) {
  using Time = std::chrono::steady_clock;
  std::vector<float> x(bytes / sizeof(float), 1.0f);
  std::vector<double> ms;
  for (int round = 0; round < 60; ++round) {
    CHECK_EQ(group.Barrier(), absl::OkStatus());
    const auto start = Time::now();
    while (Time::now() - start < std::chrono::milliseconds(work_ms)) {
    }
    CHECK_EQ(AllReduceTree(group, absl::MakeSpan(x)), absl::OkStatus());
    ms.push_back(std::chrono::duration<double, std::milli>(Time::now() - start).count());
    std::fill(x.begin(), x.end(), 1.0f);
  }
  std::sort(ms.begin(), ms.end());
  if (group.rank() == 0) {
    std::cout << "ranks=" << group.size() << " bytes=" << bytes << " work_ms=" << work_ms
              << " median_ms=" << ms[ms.size() / 2] << std::endl;
  }
  return 0;
}

int Run(const std::string& mode, int argc, char** argv) {
  GroupOptions options;
  options.peer_timeout_ms = mode == "stopped" ? 1'500 : 30'000;
  options.share_memory = mode != "messages";
  auto group = OpenGroup(true, options);
  CHECK_EQ(group.status(), absl::OkStatus());
  if (mode == "collectives" || mode == "messages")
    return Collectives(**group, options.share_memory);
  if (mode == "unshared") return Unshared(**group);
  if (mode == "stopped") StoppedPeer(**group);
  if (mode == "wrong_size") WrongSize(**group);
  if (mode == "wrong_sum") WrongSum(**group);
  if (mode == "abort") {
    if ((*group)->rank() == 1) (*group)->Abort(74);
    (*group)->Barrier().IgnoreError();
    std::this_thread::sleep_for(std::chrono::seconds(30));
    return 0;
  }
  CHECK_EQ(mode, "bench");
  return Bench(**group, argc > 2 ? std::stoul(argv[2]) : 400'000,
               argc > 3 ? std::stoi(argv[3]) : 0);
}

}  // namespace
}  // namespace pagoda

int main(int argc, char** argv) {
  google::InitGoogleLogging(argv[0]);
  FLAGS_logtostderr = true;
  CHECK_GE(argc, 2) << "mpi_ranks MODE, one of Run; bench [BYTES [WORK_MS]]";
  return pagoda::Run(argv[1], argc, argv);
}
