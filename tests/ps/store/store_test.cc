// The RocksDB tier and row files: what was put comes back, scratch stays scratch, damage is found.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include "common/hash.h"
#include "ps/store/rocksdb_store.h"
#include "ps/store/row_files.h"
#include "tests/support/temporary_directory.h"

namespace pagoda {
namespace {

constexpr size_t kRowBytes = 24;

std::vector<std::byte> RowOf(uint64_t id, uint8_t version) {
  std::vector<std::byte> row(kRowBytes, std::byte{version});
  std::memcpy(row.data(), &id, sizeof(id));
  return row;
}

std::vector<uint64_t> KeyOrder(std::vector<uint64_t> ids) {
  std::sort(ids.begin(), ids.end(), [](uint64_t a, uint64_t b) {
    return std::pair(PartitionOf(a), a) < std::pair(PartitionOf(b), b);
  });
  return ids;
}

std::vector<uint64_t> Count(uint64_t first, uint64_t n) {
  std::vector<uint64_t> ids;
  for (uint64_t i = 0; i < n; ++i) ids.push_back(first + i);
  return ids;
}

absl::Status Put(RocksdbStore& store, int table, const std::vector<uint64_t>& ids,
                 uint8_t version) {
  std::vector<std::vector<std::byte>> rows;
  std::vector<const std::byte*> pointers;
  for (const uint64_t id : ids) rows.push_back(RowOf(id, version));
  for (const auto& row : rows) pointers.push_back(row.data());
  return store.Put(table, ids, kRowBytes, pointers);
}

// The version of each id, -1 where there is none.
std::vector<int> Get(RocksdbStore& store, int table, std::vector<uint64_t> ids) {
  std::sort(ids.begin(), ids.end(), [](uint64_t a, uint64_t b) { return MixId(a) < MixId(b); });
  std::vector<std::byte> bytes(ids.size() * kRowBytes);
  std::vector<std::byte*> rows;
  for (size_t i = 0; i < ids.size(); ++i) rows.push_back(bytes.data() + i * kRowBytes);
  std::vector<bool> found;
  EXPECT_TRUE(store.Get(table, ids, kRowBytes, rows, &found).ok());
  std::vector<int> versions;
  for (size_t i = 0; i < ids.size(); ++i) {
    uint64_t id;
    std::memcpy(&id, rows[i], sizeof(id));
    if (found[i]) {
      EXPECT_EQ(id, ids[i]);
    }
    versions.push_back(found[i] ? static_cast<int>(rows[i][kRowBytes - 1]) : -1);
  }
  return versions;
}

TEST(RocksdbStoreTest, NothingIsThereBeforeTheFirstPut) {
  TemporaryDirectory folder;
  const std::string directory = folder.path() + "/shard-0";
  RocksdbStore store({directory, 1 << 20});
  EXPECT_EQ(Get(store, 0, {1, 2}), std::vector<int>({-1, -1}));
  EXPECT_EQ(Get(store, 0, {}), std::vector<int>());
  EXPECT_TRUE(store
                  .ForEach(0, 5, kRowBytes,
                           [](uint64_t, const std::byte*) {
                             ADD_FAILURE();
                             return absl::OkStatus();
                           })
                  .ok());
  EXPECT_FALSE(std::filesystem::exists(directory));
}

TEST(RocksdbStoreTest, NewestPutWinsWhateverItsSize) {
  TemporaryDirectory folder;
  RocksdbStore store({folder.path() + "/shard-0", 1 << 20});
  const std::vector<uint64_t> many = KeyOrder(Count(0, 10000)), few = KeyOrder(Count(0, 50));
  ASSERT_TRUE(Put(store, 3, many, 1).ok());  // An ingested file ...
  ASSERT_TRUE(Put(store, 3, few, 2).ok());   // ... a batch over it ...
  EXPECT_EQ(Get(store, 3, few), std::vector<int>(50, 2));
  ASSERT_TRUE(Put(store, 3, many, 3).ok());  // ... and a file over both.
  EXPECT_EQ(Get(store, 3, few), std::vector<int>(50, 3));
  EXPECT_EQ(Get(store, 4, few), std::vector<int>(50, -1)) << "another table";
  EXPECT_EQ(Get(store, 3, {10001}), std::vector<int>({-1}));
}

TEST(RocksdbStoreTest, ForEachVisitsOnePartitionInOrder) {
  TemporaryDirectory folder;
  RocksdbStore store({folder.path() + "/shard-0", 1 << 20});
  const std::vector<uint64_t> ids = KeyOrder(Count(0, 20000));
  ASSERT_TRUE(Put(store, 0, ids, 1).ok());
  ASSERT_TRUE(Put(store, 1, ids, 1).ok());
  for (const int partition : {0, 511, kPartitions - 1}) {
    std::vector<uint64_t> wanted, got;
    for (const uint64_t id : ids) {
      if (PartitionOf(id) == partition) wanted.push_back(id);
    }
    ASSERT_TRUE(store
                    .ForEach(0, partition, kRowBytes,
                             [&](uint64_t id, const std::byte*) {
                               got.push_back(id);
                               return absl::OkStatus();
                             })
                    .ok());
    EXPECT_EQ(got, wanted);
  }
}

TEST(RocksdbStoreTest, IsScratch) {
  TemporaryDirectory folder;
  const std::string directory = folder.path() + "/shard-0";
  {
    RocksdbStore store({directory, 1 << 20});
    ASSERT_TRUE(Put(store, 0, {7}, 1).ok());
    EXPECT_TRUE(std::filesystem::exists(directory));
  }
  EXPECT_FALSE(std::filesystem::exists(directory)) << "removed at the end";
  std::filesystem::create_directories(directory + "/db");  // What a killed process leaves.
  std::ofstream(directory + "/db/CURRENT") << "stale";
  RocksdbStore store({directory, 1 << 20});
  ASSERT_TRUE(Put(store, 0, {8}, 1).ok());
  EXPECT_EQ(Get(store, 0, {7}), std::vector<int>({-1}));
}

TEST(RocksdbStoreTest, AFolderThatCannotBeMadeIsNamed) {
  TemporaryDirectory folder;
  std::ofstream(folder.path() + "/file") << "x";
  RocksdbStore store({folder.path() + "/file/shard-0", 1 << 20});
  const absl::Status status = Put(store, 0, {1}, 1);
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_NE(status.message().find("/file"), absl::string_view::npos) << status;
}

TEST(RocksdbStoreTest, ARowOfAnotherSizeIsDamage) {
  TemporaryDirectory folder;
  RocksdbStore store({folder.path() + "/shard-0", 1 << 20});
  ASSERT_TRUE(Put(store, 0, {1}, 1).ok());
  std::vector<std::byte> row(32);
  std::byte* const rows[] = {row.data()};
  std::vector<bool> found;
  const uint64_t id = 1;
  EXPECT_EQ(store.Get(0, {&id, 1}, 32, rows, &found).code(), absl::StatusCode::kDataLoss);
}

RowFile WriteFile(const std::string& folder, const std::vector<uint64_t>& ids) {
  auto writer = RowFileWriter::Create(folder, "rows-00000.sst", 0, kPartitions);
  EXPECT_TRUE(writer.ok());
  for (const uint64_t id : ids) EXPECT_TRUE((*writer)->Add(0, id, RowOf(id, 9)).ok());
  auto file = (*writer)->Finish();
  EXPECT_TRUE(file.ok()) << file.status();
  return *file;
}

absl::StatusOr<uint64_t> CountRows(const std::string& folder, const RowFile& file, int first,
                                   int end) {
  uint64_t rows = 0;
  const absl::Status read =
      ReadRowFile(folder, file, first, end, [&](int table, uint64_t id, auto row) {
        EXPECT_EQ(table, 0);
        EXPECT_TRUE(std::equal(row.begin(), row.end(), RowOf(id, 9).begin()));
        ++rows;
        return absl::OkStatus();
      });
  if (!read.ok()) return read;
  return rows;
}

TEST(RowFilesTest, WhatIsWrittenIsRead) {
  TemporaryDirectory folder;
  const std::vector<uint64_t> ids = KeyOrder(Count(0, 5000));
  const RowFile file = WriteFile(folder.path(), ids);
  EXPECT_EQ(file.rows(), 5000u);
  EXPECT_EQ(file.bytes(), std::filesystem::file_size(folder.path() + "/rows-00000.sst"));
  EXPECT_EQ(*CountRows(folder.path(), file, 0, kPartitions), 5000u);
  const uint64_t upper =
      std::count_if(ids.begin(), ids.end(), [](uint64_t id) { return PartitionOf(id) >= 700; });
  EXPECT_EQ(*CountRows(folder.path(), file, 700, kPartitions), upper);
}

// Keys go by table first: a range of partitions is one stretch a table.
TEST(RowFilesTest, ARangeIsReadInEachTable) {
  TemporaryDirectory folder;
  const std::vector<uint64_t> ids = KeyOrder(Count(0, 3000));
  auto writer = RowFileWriter::Create(folder.path(), "rows-00000.sst", 0, kPartitions);
  ASSERT_TRUE(writer.ok());
  const std::vector<int> tables = {0, 3, 65535};
  for (const int table : tables) {
    for (const uint64_t id : ids) ASSERT_TRUE((*writer)->Add(table, id, RowOf(id, 9)).ok());
  }
  const auto file = (*writer)->Finish();
  ASSERT_TRUE(file.ok());
  for (const auto& [first, end] : std::vector<std::pair<int, int>>{
           {0, kPartitions}, {0, 1}, {300, 301}, {128, 700}, {1023, kPartitions}}) {
    std::vector<std::pair<int, uint64_t>> want, got;
    for (const int table : tables) {
      for (const uint64_t id : ids) {
        if (first <= PartitionOf(id) && PartitionOf(id) < end) want.emplace_back(table, id);
      }
    }
    const absl::Status read =
        ReadRowFile(folder.path(), *file, first, end, [&](int table, uint64_t id, auto) {
          got.emplace_back(table, id);
          return absl::OkStatus();
        });
    EXPECT_TRUE(read.ok()) << read;
    EXPECT_EQ(got, want) << first << " to " << end;
  }
}

TEST(RowFilesTest, InRoundsEveryRowComesOnceAndNoPartitionWaitsForAnother) {
  TemporaryDirectory folder;
  std::vector<uint64_t> ids = Count(0, 1'000'000);  // About 977 a partition: four rounds.
  std::erase_if(ids, [](uint64_t id) { return PartitionOf(id) < 5 || PartitionOf(id) > 7; });
  ids = KeyOrder(std::move(ids));
  auto writer = RowFileWriter::Create(folder.path(), "rows-00000.sst", 0, kPartitions);
  ASSERT_TRUE(writer.ok());
  for (const int table : {0, 65535}) {
    for (const uint64_t id : ids) ASSERT_TRUE((*writer)->Add(table, id, RowOf(id, 9)).ok());
  }
  const auto file = (*writer)->Finish();
  ASSERT_TRUE(file.ok());
  std::vector<std::pair<int, uint64_t>> got, want;
  const absl::Status read =
      ReadRowFileInRounds(folder.path(), *file, 5, 7, [&](int table, uint64_t id, auto row) {
        EXPECT_TRUE(std::equal(row.begin(), row.end(), RowOf(id, 9).begin()));
        got.emplace_back(table, id);
        return absl::OkStatus();
      });
  ASSERT_TRUE(read.ok()) << read;
  EXPECT_EQ(PartitionOf(got[0].second), 5);
  EXPECT_EQ(PartitionOf(got[400].second), 6) << "partition 6 begins before 5 has ended";
  for (const int table : {0, 65535}) {
    for (const uint64_t id : ids) {
      if (PartitionOf(id) < 7) want.emplace_back(table, id);
    }
  }
  std::sort(got.begin(), got.end());
  std::sort(want.begin(), want.end());
  EXPECT_EQ(got, want);
}

TEST(RowFilesTest, NoRowsNoFile) {
  TemporaryDirectory folder;
  const RowFile file = WriteFile(folder.path(), {});
  EXPECT_TRUE(file.name().empty());
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
  EXPECT_EQ(*CountRows(folder.path(), file, 0, kPartitions), 0u);
}

TEST(RowFilesTest, RowsOutsideTheFilesPartitionsAreDamage) {
  TemporaryDirectory folder;
  RowFile file = WriteFile(folder.path(), KeyOrder(Count(0, 1000)));
  file.set_end_partition(512);
  EXPECT_EQ(CountRows(folder.path(), file, 0, 512).status().code(), absl::StatusCode::kDataLoss);
}

TEST(RowFilesTest, RowsOutOfOrderAreRefused) {
  TemporaryDirectory folder;
  auto writer = RowFileWriter::Create(folder.path(), "rows-00000.sst", 0, kPartitions);
  ASSERT_TRUE(writer.ok());
  std::vector<uint64_t> ids = KeyOrder({1, 2});
  EXPECT_TRUE((*writer)->Add(0, ids[1], RowOf(ids[1], 9)).ok());
  EXPECT_FALSE((*writer)->Add(0, ids[0], RowOf(ids[0], 9)).ok());
}

TEST(RowFilesTest, AFlippedByteAnywhereIsFound) {
  TemporaryDirectory folder;
  const RowFile file = WriteFile(folder.path(), KeyOrder(Count(0, 8000)));
  const std::string path = folder.path() + "/rows-00000.sst";
  std::string good(file.bytes(), '\0');
  std::ifstream(path, std::ios::binary).read(good.data(), good.size());
  for (size_t at = 10; at < good.size(); at += good.size() / 23) {
    std::string bad = good;
    bad[at] ^= 0x40;
    std::ofstream(path, std::ios::binary) << bad;
    const auto rows = CountRows(folder.path(), file, 0, kPartitions);
    // A byte of the properties block may pass: VerifyFiles covers it with the file's checksum.
    if (rows.ok()) {
      EXPECT_GT(at, good.size() * 9 / 10) << at;
    }
  }
  std::ofstream(path, std::ios::binary) << good.substr(0, good.size() / 2);
  EXPECT_FALSE(CountRows(folder.path(), file, 0, kPartitions).ok());
  std::ofstream(path, std::ios::binary) << good;
  RowFile lying = file;
  lying.set_rows(file.rows() + 1);
  EXPECT_EQ(CountRows(folder.path(), lying, 0, kPartitions).status().code(),
            absl::StatusCode::kDataLoss);
}

}  // namespace
}  // namespace pagoda
