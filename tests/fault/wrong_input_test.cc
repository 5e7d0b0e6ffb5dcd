// What people get wrong, as a table: each case ends within 5 s, with one clear line and the
// documented exit code.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <map>
#include <ostream>
#include <sstream>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "tests/support/process.h"
#include "tests/support/run.h"
#include "tests/support/temporary_directory.h"

namespace pagoda::test {
namespace {

constexpr double kLimitSeconds = 5;

// 64 rows; user and item ids, a price, two labels.
std::string GoodRows() {
  std::string rows;
  for (int i = 0; i < 64; ++i) {
    rows += "u" + std::to_string(i % 7) + "," + std::to_string(i % 11) + "," + std::to_string(i) +
            ".5," + std::to_string(i % 2) + "," + std::to_string(i % 3 == 0) + "\n";
  }
  return rows;
}

std::string DatasetText() {
  return R"(dataset {
  name: "shop"
  column: ["user", "item", "price", "click", "buy"]
  source { path: "rows.csv" split: TRAIN }
  source { path: "rows.csv" split: VALID }
  source { path: "rows.csv" split: TEST }
  feature { name: "user" }
  feature { name: "item" }
  feature { name: "price" kind: DENSE transform: Z_SCORE }
  task { name: "click" label: "click" }
  task { name: "buy" label: "buy" }
})";
}

std::string Replace(std::string text, const std::string& from, const std::string& to) {
  const size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return at == std::string::npos ? text : text.replace(at, from.size(), to);
}

struct Case {
  std::string name;
  int exit_code;
  std::vector<std::string> says;   // Every one of these is in the output.
  std::vector<std::string> flags;  // After the defaults; DIR stands for the case's folder.
  std::string program = "worker";
  // Default: DatasetText() and GoodRows().
  std::map<std::string, std::string> files = {};
  Arguments launcher = {};
};

void PrintTo(const Case& wrong, std::ostream* out) { *out << wrong.name; }

std::vector<Case> Cases() {
  const std::string row = "u1,3,1.5,0,1\n";
  const auto with_rows = [](const std::string& rows) {
    return std::map<std::string, std::string>{{"rows.csv", rows}};
  };
  const auto with_dataset = [](const std::string& from, const std::string& to) {
    return std::map<std::string, std::string>{{"shop.textproto", Replace(DatasetText(), from, to)}};
  };
  const Arguments mpirun = Mpirun(2, {});
  return {
      // Flags.
      {"UnknownFlag", 2, {"modle", "--model"}, {"--modle=ple"}},
      {"FlagOfWrongType", 2, {"epochs", "ten"}, {"--epochs=ten"}},
      {"NegativeEpochs", 2, {"epochs", "-1"}, {"--epochs=-1"}},
      {"EmptyBatch", 2, {"batch_size", "0"}, {"--batch_size=0"}},
      {"UnknownMode", 2, {"mode", "trian", "train"}, {"--mode=trian"}},
      {"UnknownConsistency", 2, {"consistency", "asynch", "sync"}, {"--consistency=asynch"}},
      {"NegativeBudget", 2, {"memory_budget_mb"}, {"--memory_budget_mb=-5"}},
      {"LanesNotAPowerOfTwo", 2, {"--lanes=3", "1 workers"}, {"--lanes=3", "--batch_size=48"}},
      {"LanesNotInBatch", 2, {"lanes", "4", "1022"}, {"--lanes=4", "--batch_size=1022"}},
      {"WorkersNotInLanes",
       2,
       {"lanes", "3"},
       {"--lanes=3", "--batch_size=48"},
       "worker",
       {},
       mpirun},
      {"MissingCheckpoint",
       2,
       {"/nope/checkpoint"},
       {"--mode=evaluate", "--checkpoint=/nope/checkpoint"}},
      {"PserverShardOutOfRange", 2, {"shard", "5/2"}, {"--shard=5/2"}, "pserver"},
      {"PserverUnknownFlag", 2, {"lisen", "listen"}, {"--lisen=tcp://*:0"}, "pserver"},
      {"PsctlUnknownCommand", 2, {"digets", "digest"}, {"digets"}, "psctl"},
      // Names and fields.
      {"MisspeltModel", 2, {"pel", "ple"}, {"--model=pel"}},
      {"MisspeltDataset", 2, {"census_incom", "census_income"}, {"--dataset=census_incom"}},
      {"MissingDatasetFile", 2, {"/nope/shop.textproto"}, {"--dataset=/nope/shop.textproto"}},
      {"OverrideSyntax", 2, {"--override:1"}, {"--override=train { epochs: }"}},
      {"UnknownField", 2, {"epoch", "epochs"}, {"--override=train { epoch: 2 }"}},
      {"UnknownEnumValue", 2, {"EPOC", "--override:1"}, {"--override=train { shuffle: EPOC }"}},
      {"UnknownRule", 2, {"adm", "adam"}, {"--override=optimizer { name: 'dense' rule: 'adm' }"}},
      {"RuleParameterOutOfRange",
       2,
       {"beta1", "2"},
       {"--override=optimizer { name: 'dense' rule: 'adam' parameter { name: 'beta1' value: 2 } "
        "}"}},
      {"UnknownBestBy",
       2,
       {"best_by", "klick", "click"},
       {"--override=train { best_by: 'klick' }"}},
      {"UnknownColumn",
       2,
       {"usr", "user"},
       {},
       "worker",
       with_dataset("feature { name: \"user\" }", "feature { name: \"usr\" }")},
      {"BrokenPredicate",
       2,
       {"click", "="},
       {},
       "worker",
       with_dataset("label: \"click\"", "label: \"click = = 1\"")},
      {"EsmmNeedsTwoTasks",
       2,
       {"esmm", "two"},
       {"--model=esmm"},
       "worker",
       with_dataset("task { name: \"buy\" label: \"buy\" }", "")},
      // Data.
      {"MissingDataFile",
       2,
       {"rows.csv.gz"},
       {},
       "worker",
       with_dataset("path: \"rows.csv\" split: TRAIN", "path: \"rows.csv.gz\" split: TRAIN")},
      {"BrokenRow",
       65,
       {"rows.csv:2:", "4", "5"},
       {},
       "worker",
       with_rows(row + "u2,3,1.5,0\n" + row)},
      {"LabelOutsideItsDomain",
       65,
       {"rows.csv:2:", "click", "7"},
       {},
       "worker",
       with_rows(row + "u2,3,1.5,7,1\n" + row)},
      {"LabelWithoutPositives",
       65,
       {"click", "positive"},
       {},
       "worker",
       with_rows(row + row + row)},
      {"ConversionWithoutAClick",
       65,
       {"rows.csv:2:5", "buy is 1 but click is 0", "strict_funnel: false", "bad_rows: SKIP"},
       {"--model=esmm"},
       "worker",
       with_rows("u2,3,1.5,1,1\n" + row)},
      {"LabelWithoutAnyWeight",
       65,
       {"task click", "64 training rows", "none", "inside_weight", "sample_space"},
       {},
       "worker",
       with_dataset("label: \"click\"",
                    "label: \"click\" sample_space: \"price >= 0\" inside_weight: 0")},
      {"NegativeSampleWeight",
       65,
       {"rows.csv:1:3: price: `price - 2` is -1.5, which is a negative sample weight"},
       {},
       "worker",
       with_dataset("label: \"click\"", "label: \"click\" sample_weight: \"price - 2\"")},
      {"TextForANumber",
       65,
       {"rows.csv:3:", "price", "cheap"},
       {},
       "worker",
       with_rows(row + row + "u2,3,cheap,1,1\n")},
      {"OutsideTheVocabulary",
       65,
       {"rows.csv:", "item", "vocabulary"},
       {},
       "worker",
       with_dataset("feature { name: \"item\" }", "feature { name: \"item\" vocabulary: 5 }")},
      {"NulByte",
       65,
       {"rows.csv:2:"},
       {},
       "worker",
       with_rows(row + std::string("u2,\0,1.5,1,1\n", 13) + row)},
      {"NotACheckpoint",
       65,
       {"manifest"},
       {"--mode=evaluate", "--checkpoint=DIR"},
       "worker",
       {{"manifest.textproto", "format_version: 1\n"}}},
      // Files, ports, peers.
      {"RunDirectoryIsAFile", 74, {"rows.csv"}, {"--run_dir=DIR/rows.csv"}},
      {"DeadServer", 75, {"127.0.0.1:1"}, {"--servers=127.0.0.1:1"}},
      {"ServerNameDoesNotResolve",
       75,
       {"no-such-host.invalid"},
       {"--servers=no-such-host.invalid:7000"}},
  };
}

// Lines that begin with `prefix`; mpirun adds a notice of its own.
int CountLines(const std::string& text, const std::string& prefix) {
  std::istringstream lines(text);
  int count = 0;
  for (std::string line; std::getline(lines, line);) count += line.starts_with(prefix);
  return count;
}

class WrongInputTest : public testing::TestWithParam<Case> {};

TEST_P(WrongInputTest, EndsWithOneClearError) {
  const Case& wrong = GetParam();
  TemporaryDirectory dir;
  WriteTestFile(dir.File("shop.textproto"), DatasetText());
  WriteTestFile(dir.File("rows.csv"), GoodRows());
  for (const auto& [name, contents] : wrong.files) WriteTestFile(dir.File(name), contents);

  std::vector<std::string> argv = wrong.launcher;
  argv.push_back(Binary(wrong.program));
  if (wrong.program == "worker") {
    for (const char* flag : {"--model=shared_bottom", "--epochs=1"}) argv.push_back(flag);
    argv.push_back("--dataset=" + dir.path() + "/shop.textproto");
    argv.push_back("--run_dir=" + dir.path() + "/run");
  }
  for (const std::string& flag : wrong.flags) {
    const size_t at = flag.find("DIR");
    argv.push_back(at == std::string::npos ? flag : Replace(flag, "DIR", dir.path()));
  }
  const Finished finished = RunProcess(argv, 2 * kLimitSeconds);

  EXPECT_EQ(finished.exit_code, wrong.exit_code) << finished.output;
  EXPECT_LT(finished.seconds, kLimitSeconds) << finished.output;
  for (const std::string& text : wrong.says) {
    EXPECT_NE(finished.output.find(text), std::string::npos) << text << " in: " << finished.output;
  }
  EXPECT_EQ(CountLines(finished.output, wrong.program + ": "), 1) << finished.output;
}

INSTANTIATE_TEST_SUITE_P(Table, WrongInputTest, testing::ValuesIn(Cases()),
                         [](const auto& info) { return info.param.name; });

// A socket that listens on a free port of this machine until destruction.
class TakenPort {
 public:
  TakenPort() : fd_(socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(bind(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    EXPECT_EQ(listen(fd_, 1), 0);
    socklen_t length = sizeof address;
    getsockname(fd_, reinterpret_cast<sockaddr*>(&address), &length);
    port_ = ntohs(address.sin_port);
  }
  ~TakenPort() { close(fd_); }
  int port() const { return port_; }

 private:
  int fd_;
  int port_ = 0;
};

// As srun starts them: no rank's parent is mpirun.
TEST(WrongInputTest, OneRankSpeaksUnderSrun) {
  for (const std::string rank : {"0", "1", "7"}) {
    SCOPED_TRACE(rank);
    const Finished finished = RunProcess(
        {"env", "PMIX_RANK=" + rank, "SLURM_LOCALID=" + rank, Binary("worker"), "--modle=ple"},
        2 * kLimitSeconds);
    EXPECT_EQ(finished.exit_code, rank == "0" ? 2 : 0) << finished.output;
    EXPECT_EQ(CountLines(finished.output, "worker: "), rank == "0" ? 1 : 0) << finished.output;
  }
}

TEST(WrongInputTest, PortTakenIsNamed) {
  TakenPort taken;
  const std::string endpoint = "tcp://127.0.0.1:" + std::to_string(taken.port());
  const Finished finished =
      RunProcess({Binary("pserver"), "--listen=" + endpoint}, 2 * kLimitSeconds);
  EXPECT_EQ(finished.exit_code, 74) << finished.output;
  EXPECT_LT(finished.seconds, kLimitSeconds);
  EXPECT_NE(finished.output.find(endpoint), std::string::npos) << finished.output;
}

}  // namespace
}  // namespace pagoda::test
