// pserver and psctl as real processes over tcp: jobs come and go, a checkpoint is written,
// verified, dumped, looked up.
#include <gtest/gtest.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <memory>
#include <sstream>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/checkpoint/digest.h"
#include "common/checkpoint/manifest.h"
#include "common/checkpoint/safetensors.h"
#include "common/hash.h"
#include "common/io/file.h"
#include "common/net/client.h"
#include "tests/ps/shard_harness.h"

extern char** environ;

namespace pagoda {
namespace {

struct Ran {
  int exit_code;
  std::string output;
};

Ran Psctl(const std::vector<std::string>& arguments) {
  const std::string command =
      absl::StrCat(PAGODA_BIN_DIR "/psctl ", absl::StrJoin(arguments, " "), " 2>&1");
  FILE* pipe = popen(command.c_str(), "r");
  std::string output;
  char buffer[4096];
  for (size_t n; (n = fread(buffer, 1, sizeof(buffer), pipe)) > 0;) output.append(buffer, n);
  return {WEXITSTATUS(pclose(pipe)), output};
}

class Pserver {
 public:
  Pserver(const std::string& folder, std::vector<std::string> arguments) {
    const std::string port_file = folder + "/endpoint";
    arguments.insert(arguments.begin(), PAGODA_BIN_DIR "/pserver");
    for (const char* more : {"--listen=tcp://127.0.0.1:0", "--advertise_host=127.0.0.1"}) {
      arguments.push_back(more);
    }
    arguments.push_back("--port_file=" + port_file);
    std::vector<char*> argv;
    for (std::string& argument : arguments) argv.push_back(argument.data());
    argv.push_back(nullptr);
    EXPECT_EQ(posix_spawn(&pid_, argv[0], nullptr, nullptr, argv.data(), environ), 0);
    for (int i = 0; i < 500 && endpoint_.empty(); ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
      std::ifstream(port_file) >> endpoint_;
    }
    EXPECT_FALSE(endpoint_.empty());
  }
  ~Pserver() {
    if (pid_ > 0) End(SIGKILL);
  }
  int End(int signal) {
    kill(pid_, signal);
    int status = 0;
    waitpid(pid_, &status, 0);
    pid_ = -1;
    return status;
  }
  const std::string& endpoint() const { return endpoint_; }

 private:
  pid_t pid_ = -1;
  std::string endpoint_;
};

std::unique_ptr<ShardClient> Connect(const std::string& endpoint, uint32_t client_id,
                                     uint64_t run_epoch) {
  ClientOptions options;
  options.job_id = 11;
  options.run_epoch = run_epoch;
  options.client_id = client_id;
  options.peer_timeout_ms = 10'000;
  auto channel = OpenZmqChannel(endpoint);
  EXPECT_TRUE(channel.ok());
  return std::make_unique<ShardClient>(*std::move(channel), options, Clock::Steady());
}

// "user" alone, and "item" shared by the features shop (slot 1) and brand (slot 2).
Schema SharedSchema() {
  Schema schema = TwoTables("sgd");
  const std::pair<const char*, uint32_t> features[] = {{"shop", 1}, {"brand", 2}};
  for (const auto& [name, slot] : features) {
    FeatureSchema& feature = *schema.mutable_table(1)->add_feature();
    feature.set_name(name);
    feature.set_slot(slot);
  }
  return schema;
}

// Hello, one step over both tables, a committed checkpoint whose path is returned.
std::string TrainOneStep(const std::string& endpoint, const std::string& folder) {
  auto coordinator = Connect(endpoint, kCoordinatorClient, 1);
  auto worker = Connect(endpoint, 0, 1);
  Message hello = ShardHarness::Kind(WireHeader::HELLO);
  *hello.header.mutable_hello() = HelloFor(SharedSchema());
  EXPECT_TRUE(coordinator->Call(hello).ok());
  const std::vector<uint64_t> users = Sorted({1, 2, ~uint64_t{0}});
  const std::vector<uint64_t> items = Sorted({SaltId(1, 5), SaltId(2, 5), SaltId(2, 4)});
  EXPECT_TRUE(
      worker->Call(ShardHarness::IdsMessage(WireHeader::ANNOUNCE, 0, {{0, users}, {1, items}}))
          .ok());
  const auto pushed = worker->Call(ShardHarness::StepMessage(
      0, -1, {{0, {3, std::vector<float>(12, 1)}}, {1, {3, std::vector<float>(9, 1)}}}));
  EXPECT_TRUE(pushed.ok()) << pushed.status();

  const std::string writing = *BeginCheckpoint(folder, 1);
  Message request = ShardHarness::Kind(WireHeader::CHECKPOINT);
  request.header.mutable_checkpoint()->set_directory(writing);
  request.header.mutable_checkpoint()->set_step(1);
  const auto wrote = coordinator->Call(request);
  EXPECT_TRUE(wrote.ok()) << wrote.status();
  const CheckpointReply& reply = wrote->header.checkpoint_reply();
  EXPECT_EQ(reply.rows(), 6u);
  Manifest manifest;
  manifest.set_format_version(kCheckpointVersion);
  *manifest.mutable_schema() = SharedSchema();
  *manifest.mutable_rows() = reply.file();
  manifest.set_row_count(reply.rows());
  manifest.mutable_state()->set_step(1);
  const float weights[] = {1, 2, 3, 4};
  const std::vector<Tensor> dense = {Tensor::F32("w", {2, 2}, weights),
                                     Tensor::F32("w.state0", {2, 2}, weights)};
  EXPECT_TRUE(WriteSafetensors(writing + "/dense.safetensors", dense, {}).ok());
  manifest.mutable_dense()->set_name("dense.safetensors");
  manifest.mutable_dense()->set_bytes(*FileSize(writing + "/dense.safetensors"));
  manifest.mutable_dense()->set_checksum(*ChecksumFile(writing + "/dense.safetensors"));
  manifest.set_digest(
      JobDigest(RowDigest(reply.digest_high(), reply.digest_low()), dense, manifest.state()));
  EXPECT_TRUE(coordinator->Call(ShardHarness::Kind(WireHeader::SHUTDOWN)).ok());
  return *CommitCheckpoint(writing, manifest);
}

TEST(ProgramTest, AJobAndItsCheckpoint) {
  TemporaryDirectory folder;
  Pserver server(folder.path(), {"--shard=0/1"});
  const std::string checkpoint = TrainOneStep(server.endpoint(), folder.path());
  const std::string from = "--checkpoint=" + checkpoint;

  const Ran verified = Psctl({"verify", from});
  EXPECT_EQ(verified.exit_code, 0) << verified.output;
  EXPECT_NE(verified.output.find("6 rows"), std::string::npos) << verified.output;
  const Ran digest = Psctl({"digest", from});
  EXPECT_EQ(digest.output, ReadManifest(checkpoint)->digest() + "\n");
  EXPECT_NE(Psctl({"digest", from, "--match=user"}).output, digest.output);
  const Ran of_nothing = Psctl({"digest", from, "--match=usr"});
  EXPECT_EQ(of_nothing.exit_code, 2) << of_nothing.output;
  EXPECT_NE(of_nothing.output.find("--match=usr: no table"), std::string::npos)
      << of_nothing.output;

  const Ran of_nobody = Psctl({"digest", from, "--optimizers=sprse*,dens"});
  EXPECT_EQ(of_nobody.exit_code, 2) << of_nobody.output;
  EXPECT_NE(of_nobody.output.find("--optimizers=sprse*,dens: no optimizer"), std::string::npos)
      << of_nobody.output;
  EXPECT_EQ(Psctl({"digest", from, "--optimizers=*"}).exit_code, 0);

  const std::string dump = folder.path() + "/dump";
  for (int again = 0; again < 2; ++again) {
    const Ran dumped = Psctl({"dump", from, "--output=" + dump, "--dense"});
    ASSERT_EQ(dumped.exit_code, 0) << dumped.output;
  }
  EXPECT_FALSE(std::filesystem::exists(dump + ".tmp"));
  const auto brand = ReadSafetensors(dump + "/tables/brand/part-00000.safetensors");
  ASSERT_TRUE(brand.ok()) << brand.status();
  ASSERT_EQ(brand->tensors[0].shape, std::vector<int64_t>({2}));
  EXPECT_EQ(brand->tensors[0].u64()[0], 4u);
  EXPECT_EQ(brand->tensors[0].u64()[1], 5u);
  EXPECT_EQ(brand->tensors[1].shape, std::vector<int64_t>({2, 3}));
  EXPECT_TRUE(ReadSafetensors(dump + "/tables/shop/part-00000.safetensors").ok());
  const auto user = ReadSafetensors(dump + "/tables/user/part-00000.safetensors");
  ASSERT_TRUE(user.ok()) << user.status();
  EXPECT_EQ(user->tensors[0].u64()[2], ~uint64_t{0});
  const auto dense = ReadSafetensors(dump + "/dense.safetensors");
  ASSERT_TRUE(dense.ok());
  ASSERT_EQ(dense->tensors.size(), 1u) << "serving has no use for optimizer states";
  EXPECT_EQ(dense->tensors[0].name, "w");

  const Ran row = Psctl({"lookup", from, "--table=brand", "--id=4"});
  EXPECT_EQ(row.exit_code, 0);
  EXPECT_NE(row.output.find("updates 1"), std::string::npos) << row.output;
  EXPECT_EQ(Psctl({"lookup", from, "--table=brand", "--id=77"}).exit_code, 2);
  EXPECT_EQ(Psctl({"lookup", from, "--table=brnd", "--id=4"}).exit_code, 2);
  EXPECT_EQ(Psctl({"dump", from, "--output=" + folder.path()}).exit_code, 2) << "no dump";

  // One flipped byte in the rows.
  const std::string rows = checkpoint + "/rows-00000.sst";
  std::fstream file(rows, std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(40);
  file.put('\x7f');
  file.close();
  const Ran damaged = Psctl({"verify", from});
  EXPECT_EQ(damaged.exit_code, 65) << damaged.output;
  EXPECT_NE(damaged.output.find("rows-00000.sst"), std::string::npos) << damaged.output;
}

TEST(ProgramTest, JobsComeAndGoAndSigtermEndsItCleanly) {
  TemporaryDirectory folder;
  Pserver server(folder.path(), {});
  const std::string status = "--servers=" + server.endpoint().substr(6);
  EXPECT_NE(Psctl({"status", status}).output.find("held by nobody"), std::string::npos);
  for (const uint64_t run_epoch : {3, 4}) {
    auto coordinator = Connect(server.endpoint(), kCoordinatorClient, run_epoch);
    Message hello = ShardHarness::Kind(WireHeader::HELLO);
    *hello.header.mutable_hello() = HelloFor(SharedSchema());
    ASSERT_TRUE(coordinator->Call(hello).ok());
    const Ran held = Psctl({"status", status});
    EXPECT_EQ(held.exit_code, 0);
    EXPECT_NE(held.output.find(absl::StrCat("run epoch ", run_epoch)), std::string::npos)
        << held.output;
    // The first job leaves without a word, the second says goodbye.
    if (run_epoch == 4) {
      EXPECT_TRUE(coordinator->Call(ShardHarness::Kind(WireHeader::SHUTDOWN)).ok());
    }
  }
  const Ran free = Psctl({"status", status});
  EXPECT_NE(free.output.find("held by nobody"), std::string::npos) << free.output;
  const int ended = server.End(SIGTERM);
  EXPECT_TRUE(WIFEXITED(ended));
  EXPECT_EQ(WEXITSTATUS(ended), 0);
}

TEST(ProgramTest, WrongUseIsExitTwo) {
  for (const std::vector<std::string>& wrong : std::vector<std::vector<std::string>>{
           {}, {"digets"}, {"digest"}, {"digest", "verify"}, {"digest", "--chekpoint=x"}}) {
    const Ran ran = Psctl(wrong);
    EXPECT_EQ(ran.exit_code, 2) << absl::StrJoin(wrong, " ") << ran.output;
  }
  EXPECT_NE(Psctl({"digets"}).output.find("digest"), std::string::npos);
  EXPECT_EQ(Psctl({"--help"}).exit_code, 0);
  EXPECT_EQ(Psctl({"verify", "--checkpoint=/nowhere"}).output.find("/nowhere") == std::string::npos,
            false);
}

}  // namespace
}  // namespace pagoda
