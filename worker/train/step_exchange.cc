#include "worker/train/step_exchange.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/errors.h"
#include "common/hash.h"
#include "glog/logging.h"

namespace pagoda {
namespace {

using Segments = google::protobuf::RepeatedPtrField<Segment>;

void AddSegments(const IdPlan& plan, int shard, Segments* segments) {
  for (int i = plan.segment_begin[shard]; i < plan.segment_begin[shard + 1]; ++i) {
    Segment* segment = segments->Add();
    segment->set_table(static_cast<uint32_t>(plan.segments[i].table));
    segment->set_count(plan.segments[i].count);
  }
}

void AddPush(const ShardExchange::Push& push, int shard, Message* message) {
  for (size_t i = push.segment_begin[shard]; i < push.segment_begin[shard + 1]; ++i) {
    Segment* segment = message->header.add_segment();
    segment->set_table(static_cast<uint32_t>(push.segments[i].table));
    segment->set_optimizer(static_cast<uint32_t>(push.segments[i].optimizer));
    segment->set_count(push.segments[i].count);
    segment->set_task(static_cast<uint32_t>(push.segments[i].task));
  }
  message->header.set_task_count(static_cast<uint32_t>(push.task_count));
  for (const OptimizerClock& clock : push.clocks) *message->header.add_clock() = clock;
  const size_t begin = push.value_begin[shard], end = push.value_begin[shard + 1];
  if (begin == end) return;
  message->values = Buffer(push.values->data() + begin, (end - begin) * sizeof(float), push.values);
}

Buffer IdsOf(const IdPlan& plan, int shard) {
  const size_t begin = plan.id_begin[shard], end = plan.id_begin[shard + 1];
  if (begin == end) return Buffer();
  return Buffer(plan.ids->data() + begin, (end - begin) * sizeof(uint64_t), plan.ids);
}

// A reply must answer exactly what was asked: a row too few would shift all that follow.
absl::Status CheckRows(const IdPlan& plan, int shard, const Message& reply) {
  const int begin = plan.segment_begin[shard], end = plan.segment_begin[shard + 1];
  bool fits = reply.header.segment_size() == end - begin &&
              reply.values.size() == plan.value_count[shard] * sizeof(float);
  for (int i = begin; fits && i < end; ++i) {
    const Segment& got = reply.header.segment(i - begin);
    fits = got.table() == static_cast<uint32_t>(plan.segments[i].table) &&
           got.count() == plan.segments[i].count;
  }
  const size_t ids = plan.id_begin[shard + 1] - plan.id_begin[shard];
  const size_t absent_bytes = reply.header.absent().size();
  fits &= absent_bytes == 0 || absent_bytes == (ids + 7) / 8;
  if (fits) return absl::OkStatus();
  return DataError(absl::StrCat("its reply has ", reply.header.segment_size(), " segments and ",
                                reply.values.size(), " bytes of rows, asked for were ", end - begin,
                                " and ", plan.value_count[shard] * sizeof(float)));
}

}  // namespace

void CountAbsent(const IdPlan& plan, const PulledRows& rows, absl::Span<int64_t> by_feature) {
  CHECK_EQ(plan.column.size(), by_feature.size());
  const auto count = [&](uint32_t unique) {
    for (uint32_t j = plan.run[unique]; j < plan.run[unique + 1]; ++j) {
      const auto next = std::upper_bound(plan.column.begin(), plan.column.end(), plan.order[j]);
      ++by_feature[next - plan.column.begin() - 1];
    }
  };
  for (const IdPlan::Segment& segment : plan.segments) {
    const std::string& absent = rows.replies[segment.shard].header.absent();
    if (absent.empty()) continue;
    const size_t begin = segment.id_offset - plan.id_begin[segment.shard];
    for (uint32_t k = 0; k < segment.count; ++k) {
      if (absent[(begin + k) / 8] >> (begin + k) % 8 & 1) count(segment.first + k);
    }
  }
}

std::shared_ptr<Array<float>> PushBuffers::Take(size_t size) {
  // A shard in this process may hold one until the last worker has pushed; hence more than one.
  for (std::shared_ptr<Array<float>>& buffer : buffers_) {
    if (buffer.use_count() > 1) continue;
    buffer->Resize(size);
    return buffer;
  }
  buffers_.push_back(std::make_shared<Array<float>>(size));
  return buffers_.back();
}

absl::Status ShardExchange::Announce(int64_t step, const IdPlan& plan) {
  RETURN_IF_ERROR(FlushAnnouncement());
  announcement_step_ = step;
  announcement_.resize(shard_count());
  for (int shard = 0; shard < shard_count(); ++shard) {
    AddSegments(plan, shard, &announcement_[shard].segments);
    announcement_[shard].ids = IdsOf(plan, shard);
  }
  return absl::OkStatus();
}

absl::Status ShardExchange::FlushAnnouncement() {
  for (size_t shard = 0; shard < announcement_.size(); ++shard) {
    Message message;
    message.header.set_kind(WireHeader::ANNOUNCE);
    message.header.set_step(announcement_step_);
    message.header.mutable_segment()->Swap(&announcement_[shard].segments);
    message.ids = std::move(announcement_[shard].ids);
    ASSIGN_OR_RETURN(const uint64_t sequence, clients_[shard]->Start(std::move(message)));
    announced_.push_back({static_cast<int>(shard), sequence});
  }
  announcement_.clear();
  return absl::OkStatus();
}

absl::Status ShardExchange::StartStep(int64_t step, const Push* push, int64_t pull_step) {
  for (int shard = 0; shard < shard_count(); ++shard) {
    Message message;
    message.header.set_kind(WireHeader::STEP);
    message.header.set_step(step);
    message.header.set_has_push(push != nullptr);
    message.header.set_has_pull(pull_step >= 0);
    if (pull_step >= 0) message.header.set_pull_step(pull_step);
    if (!announcement_.empty()) {
      message.header.set_has_announce(true);
      message.header.set_announce_step(announcement_step_);
      message.header.mutable_announced()->Swap(&announcement_[shard].segments);
      message.ids = std::move(announcement_[shard].ids);
    }
    if (push != nullptr) AddPush(*push, shard, &message);
    bytes_pushed_ += message.values.size();
    ASSIGN_OR_RETURN(requests_[shard], clients_[shard]->Start(std::move(message)));
  }
  announcement_.clear();
  return absl::OkStatus();
}

absl::Status ShardExchange::FinishTasks(int tasks, absl::Span<double> gram) {
  const int shards = shard_count();
  for (int shard = 0; shard < shards; ++shard) {
    absl::StatusOr<Message> reply = clients_[shard]->Await(requests_[shard]);
    absl::Status status = reply.status();
    const size_t partitions = FirstPartition(shard + 1, shards) - FirstPartition(shard, shards);
    if (status.ok() && (reply->header.encoding() != WireHeader::F64 ||
                        reply->values.size() != partitions * gram.size() * sizeof(double))) {
      status = DataError(absl::StrCat("its reply has ", reply->values.size(),
                                      " bytes, not the inner products of ", tasks, " tasks in ",
                                      partitions, " partitions"));
    }
    if (!status.ok()) {
      return WithContext(status, absl::StrCat("shard ", shard, " at ", clients_[shard]->peer()));
    }
    const absl::Span<const double> parts = Doubles(*reply);
    for (size_t i = 0; i < parts.size(); ++i) gram[i % gram.size()] += parts[i];
  }
  return absl::OkStatus();
}

absl::Status ShardExchange::StartCombine(int64_t step, absl::Span<const double> coefficients,
                                         int64_t pull_step) {
  for (int shard = 0; shard < shard_count(); ++shard) {
    Message message;
    message.header.set_kind(WireHeader::COMBINE);
    message.header.set_step(step);
    message.header.set_has_pull(pull_step >= 0);
    if (pull_step >= 0) message.header.set_pull_step(pull_step);
    for (const double c : coefficients) message.header.add_coefficient(c);
    ASSIGN_OR_RETURN(requests_[shard], clients_[shard]->Start(std::move(message)));
  }
  return absl::OkStatus();
}

absl::Status ShardExchange::FinishStep(const IdPlan* plan, PulledRows* rows) {
  RETURN_IF_ERROR(FinishAnnouncements());
  return AwaitRows(plan, rows);
}

absl::Status ShardExchange::Pull(const IdPlan& plan, PulledRows* rows) {
  for (int shard = 0; shard < shard_count(); ++shard) {
    Message message;
    message.header.set_kind(WireHeader::PULL);
    AddSegments(plan, shard, message.header.mutable_segment());
    message.ids = IdsOf(plan, shard);
    ASSIGN_OR_RETURN(requests_[shard], clients_[shard]->Start(std::move(message)));
  }
  return AwaitRows(&plan, rows);
}

absl::Status ShardExchange::FinishAnnouncements() {
  for (const Announced& announced : announced_) {
    absl::StatusOr<Message> reply = clients_[announced.shard]->Await(announced.sequence);
    if (!reply.ok()) {
      return WithContext(reply.status(), absl::StrCat("announce to shard ", announced.shard));
    }
  }
  announced_.clear();
  return absl::OkStatus();
}

absl::Status ShardExchange::AwaitRows(const IdPlan* plan, PulledRows* rows) {
  if (plan != nullptr) {
    rows->replies.clear();
    rows->values.clear();
  }
  for (int shard = 0; shard < shard_count(); ++shard) {
    absl::StatusOr<Message> reply = clients_[shard]->Await(requests_[shard]);
    const absl::Status status = !reply.ok()       ? reply.status()
                                : plan == nullptr ? absl::OkStatus()
                                                  : CheckRows(*plan, shard, *reply);
    if (!status.ok()) {
      return WithContext(status, absl::StrCat("shard ", shard, " at ", clients_[shard]->peer()));
    }
    if (plan == nullptr) continue;
    rows->values.push_back(Values(*reply).data());
    rows->replies.push_back(*std::move(reply));
  }
  return absl::OkStatus();
}

}  // namespace pagoda
