#!/usr/bin/env bash
# Debian packages: the one list, and their installation.
#
#   launcher/packages.sh build            installs what building and training need
#   launcher/packages.sh build test       ... and what the tests need besides
#   launcher/packages.sh list build test  prints the names
#
# Missing packages are installed with apt-get, as root or through `sudo -n`. Where neither may, the one line that an
# administrator has to run is printed and the exit code is 2; 75 when apt-get failed (a mirror out of reach).
# Nothing is done, and no network touched, when all are there.
set -euo pipefail

# Compilers and build tools, then the libraries of design "Dependencies"; supervise.sh asks procps' ps.
build_packages=(
  g++ cmake ninja-build pkg-config protobuf-compiler
  libprotobuf-dev libabsl-dev libgoogle-glog-dev libgflags-dev
  libopenmpi-dev openmpi-bin libzmq3-dev cppzmq-dev librocksdb-dev
  libdnnl-dev libhwy-dev libxxhash-dev libzstd-dev zlib1g-dev libbz2-dev
  procps
)
# GoogleTest and Google Benchmark; clang for -Wthread-safety; scripts and YAML files are checked with the rest.
test_packages=(libgtest-dev libgmock-dev libbenchmark-dev clang shellcheck python3 python3-yaml)
# The other side of tests/interop: large (about 300 MB), and only wanted there.
parity_packages=(python3-torch python3-numpy)

names=()
list_only=false
for group in "$@"; do
  case "$group" in
    list) list_only=true ;;
    build) names+=("${build_packages[@]}") ;;
    test) names+=("${test_packages[@]}") ;;
    parity) names+=("${parity_packages[@]}") ;;
    *) echo "packages.sh: unknown group '$group'; known: build, test, parity, list" >&2; exit 2 ;;
  esac
done
if $list_only; then
  printf '%s\n' "${names[@]}"
  exit 0
fi

missing=()
for name in "${names[@]}"; do
  status=$(dpkg-query -W -f '${db:Status-Status}' "$name" 2>/dev/null || true)
  [[ $status == installed ]] || missing+=("$name")
done
if ((${#missing[@]} == 0)); then
  exit 0
fi

install="apt-get install -y --no-install-recommends ${missing[*]}"
as_root=()
if ((EUID != 0)); then
  if ! command -v sudo >/dev/null || ! sudo -n true 2>/dev/null; then
    {
      echo "packages.sh: ${#missing[@]} Debian packages are missing, and only root may install them. Run this line, then try again:"
      echo "  sudo sh -c 'apt-get update && $install'"
    } >&2
    exit 2
  fi
  as_root=(sudo -n)
fi
echo "packages: installing ${missing[*]}"
apt() {
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -o Acquire::Retries=3 -o Dpkg::Use-Pty=0 "$@" </dev/null
}
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# The index of a fresh image is empty, that of an old one names files that are gone: always ask anew.
if ! { apt update && apt install -y --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
  tail -n 20 "$log" >&2
  echo "packages.sh: apt-get failed (above); is a Debian 12 mirror in reach? By hand: apt-get update && $install" >&2
  exit 75
fi
