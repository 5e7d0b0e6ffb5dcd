// The worker: trains, evaluates and predicts. Composition root: flags and the launcher's
// environment are read here, and nowhere else; shards run here when no server was named, in the
// caller's thread (one process) or behind a socket (MPI).
#include <gflags/gflags.h>
#include <glog/logging.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <iostream>
#include <memory>
#include <new>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/clock.h"
#include "common/config.h"
#include "common/errors.h"
#include "common/flags.h"
#include "common/group/group.h"
#include "common/group/launch.h"
#include "common/io/file.h"
#include "common/net/endpoint.h"
#include "common/net/peers.h"
#include "common/net/transport.h"
#include "ps/carried_rows.h"
#include "ps/given_rows.h"
#include "ps/shard.h"
#include "ps/shard_host.h"
#include "worker/train/agreement.h"
#include "worker/train/evaluation.h"
#include "worker/train/job.h"
#include "worker/train/listing.h"
#include "worker/train/report.h"
#include "worker/train/signals.h"
#include "worker/train/trainer.h"

DEFINE_string(mode, "train", "train, evaluate, predict or fuse");
DEFINE_string(model, "ple", "a name in configs/models, or a path");
DEFINE_string(dataset, "census_income", "a name in configs/datasets, or a path");
DEFINE_string(override, "", "Protobuf text merged over the files, such as 'train { epochs: 2 }'");
DEFINE_string(config_root, "", "folder with models/ and datasets/ (default: beside the build)");
DEFINE_string(run_dir, "", "where the run writes (default: runs/MODEL-DATASET)");
DEFINE_string(checkpoint, "",
              "RUN_DIR/checkpoints/best or .../step-N, to evaluate, predict or resume");
DEFINE_bool(resume, false, "go on from the newest checkpoint that verifies");
DEFINE_string(init, "", "safetensors with dense parameters and rows to start from");
DEFINE_string(warm_start, "",
              "checkpoint to begin with: what it has of this job, by name; tasks may come and go");
DEFINE_uint64(seed, 1, "of initial values and the order of data (default: the configuration's)");
DEFINE_int32(lanes, 0, "logical workers; the bits depend on it (default: the number of workers)");
DEFINE_int32(batch_size, 0, "examples a step, of all workers (default: the configuration's)");
DEFINE_int32(epochs, 0, "passes over the training rows (default: the configuration's)");
DEFINE_int64(max_steps, 0, "stop after so many steps (default: no limit)");
DEFINE_int32(threads, 0, "compute threads (default: CPUs / workers on this host)");
DEFINE_string(servers, "", "host:port,host:port,...: standing pservers that hold the rows");
DEFINE_string(listen, "tcp://*:0", "where this rank's own shard listens, under MPI");
DEFINE_string(store_dir, "", "scratch of the live tier (default: RUN_DIR/store)");
DEFINE_double(memory_budget_mb, 0,
              "for rows in this process, the rest lives in RocksDB; 0: no limit");
DEFINE_string(consistency, "sync", "sync");
DEFINE_string(dense, "ALLREDUCE", "ALLREDUCE");
DEFINE_int64(log_every, 0, "steps between step lines in metrics.jsonl; 0: none");
DEFINE_bool(profile, false, "print where a step's time went");
DEFINE_bool(digest, false, "digest in the done line, even of more than 10M rows");
DEFINE_string(output, "", "of --mode=predict (default: standard output)");
DEFINE_bool(labels, false, "of --mode=predict: every task's label beside the predictions");
DEFINE_string(split, "test", "of --mode=predict: train, valid or test");
DEFINE_string(fuse, "", "of --mode=fuse: what each task is worth, such as income:1,marital:0.5");
DEFINE_string(fuse_metric, "auc", "of --mode=fuse: auc, gauc or ndcg@N");
DEFINE_bool(list, false, "list models, optimizers, losses, weightings and formats, and leave");

namespace pagoda {
namespace {

constexpr char kUsage[] =
    "worker --model=NAME [--dataset=NAME] [flags]\n"
    "  worker --model=ple                                  one process\n"
    "  mpirun -n 8 worker --model=ple                      every rank hosts a shard\n"
    "  mpirun -n 2 pserver : -n 6 worker --model=ple       servers as ranks of their own\n"
    "  mpirun -n 6 worker --servers=h1:7000,h2:7000        standing servers\n"
    "  worker --mode=evaluate|predict --checkpoint=RUN_DIR/checkpoints/best\n"
    "  worker --mode=fuse --checkpoint=RUN_DIR/checkpoints/best --fuse=income:1,marital:0.5\n"
    "  worker --list                                       models, optimizers, losses, ...";

// How long any one wait for another rank may last: a checkpoint, or the first reading of the data,
// happens meanwhile.
constexpr int kPeerTimeoutMs = 600'000;

std::vector<FlagSpec> KnownFlags(bool ours_only) {
  std::vector<google::CommandLineFlagInfo> all;
  google::GetAllFlags(&all);
  std::vector<FlagSpec> known;
  for (const auto& flag : all) {
    if (ours_only && !absl::EndsWith(flag.filename, "worker_main.cc")) continue;
    known.push_back({flag.name, flag.type, flag.default_value, flag.description});
  }
  return known;
}

bool IsGiven(const char* flag) { return !google::GetCommandLineFlagInfoOrDie(flag).is_default; }

// FLAG's value when it is one of `known`.
absl::Status CheckOneOf(const char* flag, const std::string& value,
                        const std::vector<std::string>& known) {
  if (std::find(known.begin(), known.end(), value) != known.end()) return absl::OkStatus();
  return UsageError(absl::StrCat("--", flag, "=", value, ": this version does not know it",
                                 NearestHint(value, known)));
}

absl::Status CheckFlagValues() {
  RETURN_IF_ERROR(CheckOneOf("mode", FLAGS_mode, {"train", "evaluate", "predict", "fuse"}));
  RETURN_IF_ERROR(CheckOneOf("consistency", FLAGS_consistency, {"sync"}));
  RETURN_IF_ERROR(CheckOneOf("dense", FLAGS_dense, {"ALLREDUCE"}));
  RETURN_IF_ERROR(SplitByName(FLAGS_split).status());
  for (const auto& [flag, value] :
       std::vector<std::pair<const char*, int64_t>>{{"lanes", FLAGS_lanes},
                                                    {"batch_size", FLAGS_batch_size},
                                                    {"epochs", FLAGS_epochs},
                                                    {"threads", FLAGS_threads}}) {
    if (IsGiven(flag) && value < 1) {
      return UsageError(absl::StrCat("--", flag, "=", value, ": must be at least 1"));
    }
  }
  for (const auto& [flag, value] :
       std::vector<std::pair<const char*, double>>{{"max_steps", FLAGS_max_steps},
                                                   {"log_every", FLAGS_log_every},
                                                   {"memory_budget_mb", FLAGS_memory_budget_mb}}) {
    if (value < 0)
      return UsageError(absl::StrCat("--", flag, "=", value, ": must not be negative"));
  }
  return absl::OkStatus();
}

// A flag that the mode would ignore says that something else is meant. Not so --resume, which a
// supervisor adds to whatever it starts again, and what is a field of the configuration too.
absl::Status CheckFlagsOfMode() {
  static constexpr struct {
    const char* flag;
    const char* mode;
  } kFlags[] = {{"init", "train"},      {"warm_start", "train"}, {"log_every", "train"},
                {"profile", "train"},   {"digest", "train"},     {"output", "predict"},
                {"labels", "predict"},  {"split", "predict"},    {"fuse", "fuse"},
                {"fuse_metric", "fuse"}};
  for (const auto& [flag, mode] : kFlags) {
    if (!IsGiven(flag) || FLAGS_mode == mode) continue;
    return UsageError(absl::StrCat("--", flag, ": --mode=", FLAGS_mode,
                                   " does not read it, --mode=", mode, " does"));
  }
  if (FLAGS_mode == "train" && !FLAGS_checkpoint.empty() && !FLAGS_resume) {
    return UsageError(absl::StrCat(
        "--checkpoint=", FLAGS_checkpoint, ": a run that begins does not read it; to go on with ",
        "the checkpoint's run add --resume, to begin another one with its values use --warm_start=",
        FLAGS_checkpoint));
  }
  return absl::OkStatus();
}

// build/bin/worker -> configs beside build/.
std::string DefaultConfigRoot() {
  std::error_code error;
  const auto binary = std::filesystem::read_symlink("/proc/self/exe", error);
  const auto beside = binary.parent_path() / "../../configs";
  return std::filesystem::exists(beside, error) ? beside.lexically_normal().string() : "configs";
}

JobOptions ReadJobOptions() {
  JobOptions options;
  options.mode = FLAGS_mode == "train"      ? JobOptions::Mode::kTrain
                 : FLAGS_mode == "evaluate" ? JobOptions::Mode::kEvaluate
                 : FLAGS_mode == "fuse"     ? JobOptions::Mode::kFuse
                                            : JobOptions::Mode::kPredict;
  // A checkpoint brings its own model and data set, unless others are named.
  const bool train = options.mode == JobOptions::Mode::kTrain;
  if (train || IsGiven("model")) options.model = FLAGS_model;
  if (train || IsGiven("dataset")) options.dataset = FLAGS_dataset;
  options.config_root = FLAGS_config_root.empty() ? DefaultConfigRoot() : FLAGS_config_root;
  options.override_text = FLAGS_override;
  options.run_dir = FLAGS_run_dir;
  options.checkpoint = FLAGS_checkpoint;
  options.resume = FLAGS_resume;
  if (IsGiven("seed")) options.seed = FLAGS_seed;
  if (IsGiven("lanes")) options.lanes = FLAGS_lanes;
  if (IsGiven("batch_size")) options.batch_size = FLAGS_batch_size;
  if (IsGiven("epochs")) options.epochs = FLAGS_epochs;
  if (IsGiven("max_steps")) options.max_steps = FLAGS_max_steps;
  options.threads = FLAGS_threads;
  options.store_dir = FLAGS_store_dir;
  options.init = FLAGS_init;
  options.warm_start = FLAGS_warm_start;
  options.output = FLAGS_output;
  options.labels = FLAGS_labels;
  options.split = FLAGS_split;
  options.fuse = FLAGS_fuse;
  options.fuse_metric = FLAGS_fuse_metric;
  options.log_every = FLAGS_log_every;
  options.profile = FLAGS_profile;
  options.digest = FLAGS_digest;
  return options;
}

std::vector<std::string> ServerEndpoints() {
  return absl::StrSplit(FLAGS_servers, ',', absl::SkipEmpty());
}

absl::StatusOr<Job> ReadJob(int argc, char** argv) {
  RETURN_IF_ERROR(CheckCommandLine(KnownFlags(/*ours_only=*/false), {argv + 1, argv + argc}));
  google::ParseCommandLineFlags(&argc, &argv, /*remove_flags=*/true);
  if (argc > 1) return UsageError(absl::StrCat("\"", argv[1], "\": not a flag; see --help"));
  RETURN_IF_ERROR(CheckFlagValues());
  RETURN_IF_ERROR(CheckFlagsOfMode());
  for (const std::string& endpoint : ServerEndpoints()) {
    RETURN_IF_ERROR(WithContext(ParseEndpoint(endpoint).status(), "--servers"));
  }
  return ResolveJob(ReadJobOptions());
}

absl::StatusOr<std::vector<RowFile>> WriteInitRows(const std::string& directory,
                                                   const Schema& schema,
                                                   const std::vector<InitRows>& tables) {
  std::vector<GivenRows> given;
  for (const InitRows& table : tables) given.push_back({table.table, table.ids, table.rows});
  return WriteGivenRows(directory, schema, given);
}

ShardOptions OwnShardOptions() {
  ShardOptions options;
  options.store_dir = FLAGS_store_dir;
  options.memory_budget_mb = FLAGS_memory_budget_mb;
  return options;
}

// Where the shards are: named by --servers, else ranks of the pserver role, else every worker's
// own.
std::vector<std::string> ShardEndpoints(const PeerInfo& mine, const std::vector<PeerInfo>& peers) {
  if (!FLAGS_servers.empty()) return ServerEndpoints();
  std::vector<std::string> servers, workers;
  for (const PeerInfo& peer : peers) {
    const bool is_server = peer.role() == PeerInfo::SERVER;
    (is_server ? servers : workers).push_back(EndpointFor(mine, peer));
  }
  return servers.empty() ? workers : servers;
}

absl::Status RunMode(Job job, const Cluster& cluster) {
  // A run takes its directory first, so that its next start knows of this one.
  if (job.options.mode != JobOptions::Mode::kTrain) RETURN_IF_ERROR(ReachServers(cluster));
  switch (job.options.mode) {
    case JobOptions::Mode::kEvaluate:
      return RunEvaluate(std::move(job), cluster);
    case JobOptions::Mode::kFuse:
      return RunFuse(std::move(job), cluster);
    case JobOptions::Mode::kPredict:
      return RunPredict(std::move(job), cluster);
    case JobOptions::Mode::kTrain:
      break;
  }
  return Trainer(std::move(job), cluster, {WriteInitRows, CarryRows}).Run();
}

// What this process knows of the job once every rank has said who it is.
struct World {
  std::unique_ptr<Group> all;      // Every rank, servers' too.
  std::unique_ptr<Group> workers;  // Null until the peers are known.
  std::vector<PeerInfo> peers;     // By rank in `all`.
};

PeerInfo DescribeSelf() {
  char host_name[256] = "";
  gethostname(host_name, sizeof(host_name) - 1);
  PeerInfo mine;
  mine.set_role(PeerInfo::WORKER);
  mine.set_host(host_name);
  mine.set_pid(getpid());
  return mine;
}

absl::Status RunRank(Job job, World* world) {
  ShardHost host(OwnShardOptions());
  PeerInfo mine = DescribeSelf();
  const bool in_process = world->all->size() == 1 && FLAGS_servers.empty();
  const std::shared_ptr<ZmqContext> context = MakeZmqContext();
  if (!in_process && FLAGS_servers.empty()) {
    SetError(host.Bind(FLAGS_listen, context, &mine), &mine);
  }
  ASSIGN_OR_RETURN(world->peers, ExchangePeers(*world->all, mine));
  ASSIGN_OR_RETURN(world->workers, world->all->Split(PeerInfo::WORKER));
  const std::vector<std::string> endpoints = ShardEndpoints(mine, world->peers);

  Cluster cluster;
  cluster.workers = world->workers.get();
  cluster.shard_count = static_cast<int>(endpoints.size());
  cluster.standing_servers = !FLAGS_servers.empty();
  cluster.workers_on_host = static_cast<int>(
      std::count_if(world->peers.begin(), world->peers.end(),
                    [&](const PeerInfo& peer) { return peer.host() == mine.host(); }));
  cluster.holder = absl::StrCat(mine.host(), ":", mine.pid());
  cluster.clock = Clock::Steady();
  if (in_process) {
    host.StartInProcess();
    cluster.open_channel = [&host](int) { return host.OpenInProcess(); };
  } else {
    const size_t own =
        std::find(endpoints.begin(), endpoints.end(), EndpointFor(mine, mine)) - endpoints.begin();
    if (own < endpoints.size()) {
      host.Serve();
    } else {
      host.Unbind();
    }
    cluster.open_channel = [endpoints, own, context, &host](size_t shard) {
      return shard == own ? host.Connect() : OpenZmqChannel(endpoints[shard], context);
    };
  }
  return RunMode(std::move(job), cluster);
}

void PrintError(const absl::Status& status) {
  std::cerr << "worker: " << status.message() << std::endl;
}

// Waits until the other ranks on this host have ended.
void AwaitOthers(const std::vector<PeerInfo>& peers) {
  const Deadline deadline = Deadline::After(*Clock::Steady(), 2'000);
  const PeerInfo mine = DescribeSelf();
  for (const PeerInfo& peer : peers) {
    if (peer.host() != mine.host() || peer.pid() == mine.pid()) continue;
    while (kill(peer.pid(), 0) == 0 && !deadline.Passed(*Clock::Steady())) {
      Clock::Steady()->SleepMs(2);
    }
  }
}

// Of a failure in the group. One that all workers have agreed on ends the job in order, worker 0
// last and with the exit code (common/group/launch.h). Of any other, who has it prints it and
// ends the job, for the others may wait for this rank; so it is, too, where servers are ranks that
// nobody has told to leave.
int LeaveGroup(const absl::Status& status, bool by_mpirun, World world) {
  const int code = static_cast<int>(ExitCodeOf(status));
  if (status.ok()) return code;
  ReleaseLeaveSignals();
  const bool is_preempted = ExitCodeOf(status) == ExitCode::kPreempted;
  const bool is_agreed = world.workers != nullptr && (is_preempted || IsAgreed(status));
  const bool is_first = is_agreed ? world.workers->rank() == 0 : true;
  if (is_first) {
    const std::string rank = absl::StrCat("rank ", world.all->rank());
    PrintError(is_agreed || world.all->size() == 1 ? status : WithContext(status, rank));
  }
  const bool servers_wait =
      !is_preempted && world.workers != nullptr && world.workers->size() < world.all->size();
  if (world.all->size() > 1 && (!is_agreed || servers_wait)) {
    if (!is_first) Clock::Steady()->SleepMs(1'000);  // Worker 0 ends this rank, too.
    if (by_mpirun) HurryLauncher(/*after_ms=*/500);  // Others may be about to say what they know.
    world.all->Abort(code);
  }
  world.workers.reset();
  world.all.reset();
  if (!by_mpirun) return code;
  if (!is_first) return 0;
  AwaitOthers(world.peers);
  HurryLauncher(/*after_ms=*/50);
  return code;
}

void StartLogging(const char* program, const Job& job) {
  const std::string folder = JoinPath(job.run_dir, "log");
  FLAGS_stderrthreshold = google::GLOG_WARNING;
  if (job.options.mode == JobOptions::Mode::kTrain && MakeDirectories(folder).ok()) {
    FLAGS_log_dir = folder;
  } else {
    FLAGS_logtostderr = true;
    FLAGS_minloglevel = google::GLOG_WARNING;
  }
  google::InitGoogleLogging(program);
}

// What can be known of --lanes before the group is: with it, a wrong number of workers is found
// before MPI is initialised.
absl::Status CheckLanes(const Launch& launch, Job job) {
  const bool from_checkpoint = job.options.resume || !job.options.checkpoint.empty();
  if (launch.workers == 0 || from_checkpoint) return absl::OkStatus();
  std::vector<std::string> notes;
  return ResolveLanes(launch.workers, /*from=*/nullptr, &job, &notes);
}

int Main(int argc, char** argv) {
  const Launch launch = ReadLaunch([](const char* name) { return std::getenv(name); });
  if (launch.by_mpi) prctl(PR_SET_PDEATHSIG, SIGKILL);
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--help") == 0 || std::strcmp(argv[i], "-h") == 0) {
      if (launch.is_first) std::cout << HelpText(kUsage, KnownFlags(/*ours_only=*/true));
      return 0;
    }
    if (std::strcmp(argv[i], "--list") == 0) {
      if (launch.is_first) std::cout << ListRegistries();
      return 0;
    }
  }
  absl::StatusOr<Job> job = ReadJob(argc, argv);
  absl::Status status = job.status();
  if (status.ok()) status = CheckLanes(launch, *job);
  if (!status.ok()) return LeaveBeforeGroup(launch, "worker", status);
  StartLogging(argv[0], *job);
  if (job->options.mode == JobOptions::Mode::kTrain) CatchLeaveSignals(launch.by_mpirun);
  GroupOptions options;
  options.peer_timeout_ms = kPeerTimeoutMs;
  auto all = OpenGroup(launch.by_mpi, options);
  if (!all.ok()) {
    // Each rank may have a failure of its own, or be alone with it.
    const std::string rank = absl::StrCat("rank ", launch.rank);
    PrintError(launch.by_mpi ? WithContext(all.status(), rank) : all.status());
    if (launch.by_mpirun) HurryLauncher(/*after_ms=*/500);  // Others may be about to say theirs.
    return static_cast<int>(ExitCodeOf(all.status()));
  }
  World world;
  world.all = *std::move(all);
  status = RunRank(*std::move(job), &world);
  return LeaveGroup(status, launch.by_mpirun, std::move(world));
}

}  // namespace
}  // namespace pagoda

int main(int argc, char** argv) {
  try {
    return pagoda::Main(argc, argv);
  } catch (const std::bad_alloc&) {
    std::cerr << "worker: out of memory" << std::endl;
    return static_cast<int>(pagoda::ExitCode::kMemory);
  }
}
