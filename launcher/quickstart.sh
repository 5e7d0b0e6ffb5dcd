#!/usr/bin/env bash
# From a fresh Debian 12 to a trained model: installs packages, builds worker, pserver and psctl, trains PLE on the bundled
# Census-Income data with two parameter servers and two workers under MPI, and dumps the best checkpoint's embeddings.
#
#   launcher/quickstart.sh [WORKER FLAGS]     such as --model=mmoe --seed=7
#
# Needs no network once the packages are there. About four minutes on two cores, nearly all of it compiling.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
run_dir=${PAGODA_RUN_DIR:-$root/runs/quickstart}

stage() {
  printf '\n== %s (%d s)\n' "$1" "$SECONDS"
}

stage "packages"
launcher/packages.sh build

stage "build"
# A tree that was configured before keeps its options; a new one leaves the tests and their libraries out.
if [[ ! -f build/CMakeCache.txt ]]; then
  cmake --preset release -DPAGODA_TESTS=OFF
fi
cmake --build build --target worker pserver psctl

stage "train PLE: 2 servers, 2 workers"
# shellcheck source=launcher/mpi.sh
. launcher/mpi.sh
rm -rf "$run_dir"
mpirun -n 2 build/bin/pserver : \
  -n 2 build/bin/worker --model=ple --dataset=census_income --run_dir="$run_dir" "$@"

stage "dump"
build/bin/psctl dump --checkpoint="$run_dir/checkpoints/best" --output="$run_dir/dump" --dense

stage "done"
# The last eval line is the best checkpoint's on the test half.
echo "AUC on the test half:"
grep '"event":"eval"' "$run_dir/metrics.jsonl" | tail -n 1 | grep -oE '"[^"]+":\{"auc":[0-9.]+' |
  sed -E 's/"([^"]+)":\{"auc":([0-9.]+)/\2 \1/' |
  while read -r auc task; do LC_ALL=C printf '  %.4f  %s\n' "$auc" "$task"; done
echo "Metrics: $run_dir/metrics.jsonl"
echo "Dump:    $run_dir/dump"
