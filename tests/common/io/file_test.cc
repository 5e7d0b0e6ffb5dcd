#include "common/io/file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "common/errors.h"
#include "common/hash.h"
#include "tests/support/temporary_directory.h"

namespace pagoda {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(File, WritesAndReads) {
  TemporaryDirectory folder;
  const std::string path = folder.File("x");
  EXPECT_FALSE(FileExists(path));
  for (const std::string& contents :
       {std::string(), std::string("a\0b", 3), std::string(1 << 20, 'z')}) {
    ASSERT_TRUE(WriteFileAtomically(path, contents).ok());
    EXPECT_EQ(*ReadFile(path), contents);
    EXPECT_EQ(*FileSize(path), contents.size());
    EXPECT_EQ(*ChecksumFile(path), HashBytes(contents));
    EXPECT_EQ((*MappedFile::Open(path))->bytes().size(), contents.size());
  }
  EXPECT_THAT(*ListDirectory(folder.path()), ElementsAre("x"));  // No temporary file is left.
}

TEST(File, ErrorsNameThePath) {
  TemporaryDirectory folder;
  const std::string missing = folder.File("none/x");
  for (const absl::Status& status :
       {ReadFile(missing).status(), FileSize(missing).status(), ChecksumFile(missing).status(),
        MappedFile::Open(missing).status(), WriteFileAtomically(missing, ""),
        ListDirectory(missing).status(), SyncFile(missing)}) {
    EXPECT_EQ(ExitCodeOf(status), ExitCode::kIo);
    EXPECT_THAT(status.message(), HasSubstr(missing));
    EXPECT_THAT(status.message(), HasSubstr("No such file"));
  }
  EXPECT_FALSE(FileSize(folder.path()).ok());
}

TEST(File, AnAbandonedAtomicFileLeavesTheOldOne) {
  TemporaryDirectory folder;
  ASSERT_TRUE(WriteFileAtomically(folder.File("x"), "old").ok());
  {
    const auto file = AtomicFile::Create(folder.File("x"));
    ASSERT_TRUE(file.ok() && (*file)->Append("new").ok());
  }
  EXPECT_EQ(*ReadFile(folder.File("x")), "old");
  EXPECT_THAT(*ListDirectory(folder.path()), ElementsAre("x"));
}

TEST(File, AFullDiskIsAnError) {
  if (!FileExists("/dev/full")) GTEST_SKIP();
  TemporaryDirectory folder;
  std::filesystem::create_symlink("/dev/full", folder.File("x.tmp"));
  EXPECT_THAT(WriteFileAtomically(folder.File("x"), "bytes").message(), HasSubstr("No space left"));
  EXPECT_FALSE(FileExists(folder.File("x")));
}

TEST(File, Folders) {
  TemporaryDirectory folder;
  ASSERT_TRUE(MakeDirectories(folder.File("a/b/c")).ok());
  ASSERT_TRUE(MakeDirectories(folder.File("a/b/c")).ok());
  ASSERT_TRUE(WriteFileAtomically(folder.File("a/file"), "").ok());
  EXPECT_FALSE(MakeDirectories(folder.File("a/file")).ok());
  EXPECT_THAT(*ListDirectory(folder.File("a")), ElementsAre("b", "file"));
  ASSERT_TRUE(RemoveTree(folder.File("a")).ok());
  ASSERT_TRUE(RemoveTree(folder.File("a")).ok());
  EXPECT_FALSE(FileExists(folder.File("a")));
}

TEST(File, Paths) {
  EXPECT_EQ(JoinPath("a", "b"), "a/b");
  EXPECT_EQ(JoinPath("a/", "b"), "a/b");
  EXPECT_EQ(JoinPath("", "b"), "b");
  EXPECT_EQ(JoinPath("a", "/b"), "/b");
  EXPECT_EQ(DirectoryOf("a/b/c.txt"), "a/b");
  EXPECT_EQ(DirectoryOf("c.txt"), ".");
  EXPECT_EQ(DirectoryOf("/c.txt"), "/");
}

TEST(File, Globs) {
  TemporaryDirectory folder;
  for (const char* name : {"b.csv", "a.csv", "c.txt", "[x].csv"}) {
    ASSERT_TRUE(WriteFileAtomically(folder.File(name), "").ok());
  }
  EXPECT_THAT(*Glob(folder.File("?.csv")), ElementsAre(folder.File("a.csv"), folder.File("b.csv")));
  EXPECT_THAT(*Glob(folder.File("[x].csv")), ElementsAre(folder.File("[x].csv")));
  EXPECT_THAT(*Glob(folder.File("c.txt")), ElementsAre(folder.File("c.txt")));
  const auto none = Glob(folder.File("*.gz"));
  EXPECT_EQ(none.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(none.status().message(), HasSubstr("*.gz"));
}

TEST(FileLock, TheSecondNamesTheFirst) {
  TemporaryDirectory folder;
  auto first = FileLock::Acquire(folder.File("lock"), "host:12", 0);
  ASSERT_TRUE(first.ok()) << first.status();
  const auto second = FileLock::Acquire(folder.File("lock"), "host:34", 60);
  EXPECT_EQ(ExitCodeOf(second.status()), ExitCode::kTemporary);
  EXPECT_THAT(second.status().message(), HasSubstr("held by host:12, still after 60 ms"));
  first->reset();
  EXPECT_TRUE(FileLock::Acquire(folder.File("lock"), "host:34", 0).ok());
}

}  // namespace
}  // namespace pagoda
