#!/usr/bin/env bash
# From a fresh Debian 12 to a tested tree: installs packages, builds, and runs every test in one ctest run, the sanitizer
# builds included (tests house.asan, house.tsan, house.thread-safety). .ci/run calls this. Under 45 minutes on two cores.
#
#   launcher/test.sh [CTEST FLAGS]     such as -R '^Shard' or -LE slow
#
# Parity with PyTorch needs Debian's python3-torch: where it cannot be had that test is reported as skipped, and as
# failed when CI=true.
set -euo pipefail
cd "$(dirname "$0")/.."

stage() {
  printf '\n== %s (%d s)\n' "$1" "$SECONDS"
}

stage "packages"
launcher/packages.sh build test
launcher/packages.sh parity || echo "packages: no PyTorch: its parity is not tested"

stage "build"
cmake --preset release -DPAGODA_TESTS=ON -DPAGODA_SANITIZER_TESTS=ON
cmake --build --preset release

stage "test"
# shellcheck source=launcher/mpi.sh
. launcher/mpi.sh
status=0
ctest --test-dir build -j2 --output-on-failure --no-tests=error "$@" || status=$?
exit "$status"
