#!/usr/bin/env python3
"""Holds the include arrows of the folder map, the fences round foreign libraries, and cheap style rules.

    arrows_test.py ROOT         checks the tree
    arrows_test.py --self-test  plants one violation of each kind in a copy of a good tree; every one must be found

Exit codes: 0 good, 1 violations (one line each: file:line: what, why).
"""
import pathlib
import re
import sys
import tempfile

# Who may include whom: a room (the longest prefix of a file's folder listed here) and the rooms its files may include.
# A room may always include itself. Read: "launcher, worker, ps -> common -> proto", and the chains inside them.
COMMON = ["common", "common/io", "common/optim", "common/checkpoint", "common/metrics", "common/net",
          "common/group", "proto"]
SMALL = ["common", "common/io", "proto"]
ARROWS = {
    "proto": [],
    "common": ["common/io", "proto"],
    "common/io": ["common", "proto"],
    "common/optim": SMALL,
    "common/metrics": SMALL,
    "common/checkpoint": SMALL,
    "common/group": SMALL,
    "common/net": SMALL + ["common/group"],  # Endpoints are exchanged over the group.
    # Calls go shard -> table -> store. The table declares what it wants of a store (RowStore), and the store implements
    # that: so this one include runs against the calls, and the table knows no RocksDB.
    "ps/table": COMMON,
    "ps/store": COMMON + ["ps/table"],
    "ps": COMMON + ["ps/table", "ps/store"],
    "worker/graph": COMMON,
    "worker/models": COMMON + ["worker/graph"],
    "worker/data": COMMON,
    "worker/export": COMMON + ["worker/graph", "worker/models", "worker/data"],
    "worker/train": COMMON + ["worker/graph", "worker/models", "worker/data"],
    "worker": COMMON + ["worker/graph", "worker/models", "worker/data", "worker/train", "worker/export"],
}
# A model sees no network, no data format, no optimizer: of common/ it may include only these.
MODEL_HEADERS = {"common/checks.h", "common/errors.h", "common/config.h", "common/optim/rule.h"}

# Foreign headers and the only room that may include them.
FENCES = [
    (r"mpi\.h$", "common/group"),
    (r"zmq(_addon)?\.hp?p?$", "common/net"),
    (r"rocksdb/", "ps/store"),
    (r"(dnnl|oneapi/dnnl|cblas|omp)", "worker/graph"),
    (r"onnx/", "worker/export"),
]
MAX_COLUMNS = 100
CODE = {".h", ".cc"}
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^">]+)[">]')


def room_of(path):
    """The room of a file's or an include's path: its longest listed prefix; None outside the map."""
    parts = pathlib.PurePosixPath(path).parts[:-1]
    for n in range(len(parts), 0, -1):
        if "/".join(parts[:n]) in ARROWS:
            return "/".join(parts[:n])
    return None


def is_main(path):
    return path.endswith("_main.cc")


def check_include(path, quote, target):
    """Returns why `path` may not include `target`, or None."""
    top = path.split("/")[0]
    if re.search(r"_main\.(cc|h)$", target):
        return "nothing includes a main"
    if top == "tests":
        return None  # Tests may look everywhere but into mains.
    room = room_of(path)
    for pattern, owner in FENCES:
        if re.match(pattern, target) and room != owner:
            return f"only {owner}/ includes it"
    if re.match(r"gflags/", target) and not is_main(path):
        return "gflags stands beside a main only"
    if quote == "<":
        return None
    target_room = room_of(target)
    if target_room is None:
        if target.split("/")[0] in ("tests", "launcher"):
            return "the product does not include tests or launchers"
        return None  # A library's header in quotes, such as absl's.
    if is_main(path) or target_room == room:
        return None  # Composition roots may include both sides.
    if target_room not in ARROWS[room]:
        allowed = ", ".join(ARROWS[room]) or "nothing"
        return f"no arrow {room} -> {target_room} (allowed: {allowed})"
    if room == "worker/models" and target_room.startswith("common") and target not in MODEL_HEADERS:
        return "a model sees no network, no data format, no optimizer"
    return None


def check_file(root, path):
    """Yields (line, why) for each violation in one source file; `path` is relative to root, with slashes."""
    text = (root / path).read_text(encoding="utf-8", errors="replace")
    lines = text.split("\n")
    if path.endswith(".h") and not lines[0].startswith("//"):
        yield 1, "a header opens with its contract, a comment"
    product = path.split("/")[0] in ("common", "ps", "worker")
    if product and room_of(path) is None:
        yield 1, "this folder is not in the folder map"
    for number, line in enumerate(lines, 1):
        if len(line) > MAX_COLUMNS and "http" not in line:
            yield number, f"{len(line)} columns; at most {MAX_COLUMNS}"
        if re.search(r"\b(TODO|FIXME|XXX)\b", line):
            yield number, "a left-over mark: do it, or file it"
        if product and not is_main(path) and re.search(r"\b(secure_)?getenv\s*\(", line):
            yield number, "the environment is read by mains only"
        found = INCLUDE.match(line)
        if found and (product or path.startswith("tests/")):
            why = check_include(path, found.group(1), found.group(2))
            if why:
                yield number, f"includes {found.group(2)}: {why}"


def check_tree(root):
    problems = []
    files = 0
    for top in ("common", "ps", "worker", "proto", "tests"):
        for file in sorted((root / top).rglob("*")):
            path = file.relative_to(root).as_posix()
            if file.suffix in CODE:
                files += 1
                problems += [f"{path}:{line}: {why}" for line, why in check_file(root, path)]
    return files, problems


# What a good tree looks like, and edits that each break one rule: (file, its text, words of the expected message).
GOOD_TREE = {
    "common/clock.h": "// Clock.\n",
    "common/net/client.h": '// Client.\n#include <zmq.h>\n#include "common/clock.h"\n',
    "common/group/mpi_group.cc": "#include <mpi.h>\n",
    "ps/table/table.h": '// Table.\n#include "common/clock.h"\n',
    "ps/store/store.h": '// Store.\n#include <rocksdb/db.h>\n#include "ps/table/table.h"\n',
    "worker/graph/graph.h": "// Graph.\n",
    "worker/graph/kernels.cc": "#include <dnnl.hpp>\n",
    "worker/models/ple.cc": '#include "worker/graph/graph.h"\n#include "common/errors.h"\n',
    "worker/train/loop.cc": '#include "worker/data/batch.h"\n#include "worker/models/model.h"\n',
    "worker/worker_main.cc": '#include "ps/shard.h"\n#include <gflags/gflags.h>\nauto x = getenv("A");\n',
    "tests/ps/a_test.cc": '#include "worker/train/step.h"\n#include "ps/shard.h"\n',
}
VIOLATIONS = [
    ("ps/a.cc", '#include "worker/data/batch.h"\n', "no arrow ps -> worker/data"),
    ("worker/train/a.cc", '#include "ps/shard.h"\n', "no arrow worker/train -> ps"),
    ("common/a.cc", '#include "ps/shard.h"\n', "no arrow common -> ps"),
    ("common/a.cc", '#include "common/net/client.h"\n', "no arrow common -> common/net"),
    ("common/io/a.cc", '#include "common/net/client.h"\n', "no arrow common/io -> common/net"),
    ("ps/table/a.cc", '#include "ps/store/store.h"\n', "no arrow ps/table -> ps/store"),
    ("ps/table/a.cc", '#include "ps/shard.h"\n', "no arrow ps/table -> ps "),
    ("worker/models/a.cc", '#include "worker/data/batch.h"\n', "no arrow worker/models -> worker/data"),
    ("worker/models/a.cc", '#include "common/net/client.h"\n', "a model sees no network"),
    ("worker/graph/a.cc", '#include "worker/models/model.h"\n', "no arrow worker/graph -> worker/models"),
    ("worker/data/a.cc", '#include "worker/train/step.h"\n', "no arrow worker/data -> worker/train"),
    ("worker/train/a.cc", "#include <mpi.h>\n", "only common/group/"),
    ("ps/a.cc", "#include <zmq.hpp>\n", "only common/net/"),
    ("ps/table/a.cc", "#  include <rocksdb/db.h>\n", "only ps/store/"),
    ("worker/train/a.cc", "#include <oneapi/dnnl/dnnl.hpp>\n", "only worker/graph/"),
    ("worker/models/a.cc", "#include <cblas.h>\n", "only worker/graph/"),
    ("worker/worker_main.cc", "#include <mpi.h>\n", "only common/group/"),
    ("worker/train/a.cc", "#include <gflags/gflags.h>\n", "gflags stands beside a main"),
    ("worker/data/a.cc", 'auto* home = std::getenv("HOME");\n', "read by mains only"),
    ("tests/a_test.cc", '#include "worker/worker_main.cc"\n', "nothing includes a main"),
    ("worker/train/a.cc", '#include "tests/support/fake.h"\n', "does not include tests"),
    ("worker/misc2.h", "#pragma once\n", "opens with its contract"),
    ("ps/a.cc", "// " + "x" * 100 + "\n", "103 columns"),
    ("ps/a.cc", "// TO" + "DO: later\n", "left-over"),
]


def self_test():
    def found_in(extra):
        with tempfile.TemporaryDirectory() as folder:
            root = pathlib.Path(folder)
            for path, text in {**GOOD_TREE, **extra}.items():
                (root / path).parent.mkdir(parents=True, exist_ok=True)
                (root / path).write_text(text)
            return check_tree(root)[1]

    failures = [f"good tree: {p}" for p in found_in({})]
    for path, text, words in VIOLATIONS:
        problems = found_in({path: text})
        if len(problems) != 1 or words not in problems[0]:
            failures.append(f"planted {text.strip()!r} in {path}: wanted '{words}', got {problems}")
    print("\n".join(failures) or f"{len(VIOLATIONS)} planted violations, all found")
    return 1 if failures else 0


def main():
    if sys.argv[1:] == ["--self-test"]:
        return self_test()
    files, problems = check_tree(pathlib.Path(sys.argv[1]))
    print("\n".join(problems))
    print(f"{files} files, {len(problems)} violations")
    return 1 if problems or files == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
