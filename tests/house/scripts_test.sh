#!/usr/bin/env bash
# Every script parses and passes shellcheck; packages.sh tells what it would do without doing it.
set -uo pipefail
cd "$1" || exit 1
failures=0
fail() {
  echo "FAILED $*"
  failures=$((failures + 1))
}

mapfile -t scripts < <(find launcher .ci tests -path '*/build*' -prune -o -type f \( -name '*.sh' -o -name '*.sbatch' -o -name '*.pbs' -o -path '.ci/run' \) -print | sort)
((${#scripts[@]} >= 8)) || fail "only ${#scripts[@]} scripts found"
for script in "${scripts[@]}"; do
  bash -n "$script" || fail "$script does not parse"
  # Sourced files say so with a shellcheck line; all others run by themselves and stop at errors.
  if head -n 1 "$script" | grep -q '^#!'; then
    [[ -x $script ]] || fail "$script is not executable"
    grep -q '^set -[eu]*uo pipefail' "$script" || fail "$script goes on after errors"
  fi
done
if command -v shellcheck >/dev/null; then
  shellcheck -x "${scripts[@]}" || fail "shellcheck"
else
  echo "shellcheck is not installed: scripts were only parsed"
fi

launcher/packages.sh list build | grep -qx librocksdb-dev || fail "packages.sh list build"
launcher/packages.sh nonsense 2>/dev/null
[[ $? == 2 ]] || fail "an unknown group must end with exit code 2"

# An ordinary user without sudo, on a machine without the packages: the one line to run, exit code 2, nothing installed.
fake=$(mktemp -d)
trap 'rm -rf "$fake"' EXIT
printf '#!/bin/sh\nexit 1\n' >"$fake/dpkg-query"
printf '#!/bin/sh\nexit 1\n' >"$fake/sudo"
printf '#!/bin/sh\necho called >>%s/apt\nexit 100\n' "$fake" >"$fake/apt-get"
chmod +x "$fake"/*
if ((EUID == 0)); then
  chmod 755 "$fake"
  copy=$fake/packages.sh
  install -m 755 launcher/packages.sh "$copy"
  as_user=(setpriv --reuid=65534 --regid=65534 --clear-groups)
  message=$(cd / && PATH=$fake:$PATH "${as_user[@]}" "$copy" build 2>&1)
  code=$?
  # As root with a mirror out of reach: 75 and what to do.
  PATH=$fake:$PATH launcher/packages.sh build >/dev/null 2>&1
  [[ $? == 75 ]] || fail "a mirror out of reach must end with exit code 75"
  [[ $(wc -l <"$fake/apt") == 1 ]] || fail "an ordinary user's run called apt-get"
else
  message=$(PATH=$fake:$PATH launcher/packages.sh build 2>&1)
  code=$?
  [[ ! -e $fake/apt ]] || fail "an ordinary user's run called apt-get"
fi
[[ $code == 2 && $message == *"sudo sh -c 'apt-get update && apt-get install"* ]] ||
  fail "no line to run for an ordinary user: code $code, $message"

if ((failures)); then
  exit 1
fi
echo "${#scripts[@]} scripts, all good"
