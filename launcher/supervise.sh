#!/usr/bin/env bash
# Keeps a job alive on machines without a queueing system: runs a command, and runs it again with --resume when it ends
# in a way that another start may cure.
#
#   launcher/supervise.sh [--retries=N] [--backoff=SECONDS] -- mpirun -n 8 build/bin/worker --model=ple
#
# Started again: exit code 75 (a peer that does not answer), 85 (preempted, checkpoint written) and death by a signal,
# at most N times in a row (default 10), after a pause that doubles from SECONDS (default 2) up to a minute. A start that
# lasted ten minutes or more counts as progress: the count and the pause begin anew. Any other exit code is final.
# --resume is put behind every `worker` of the command line that has none, also inside `mpirun ... : ...`.
#
# SIGTERM, SIGINT and SIGUSR1 ("checkpoint and leave") are passed on; after one of them the command's exit code is
# kept and nothing is started again. mpirun gets SIGUSR1 for SIGTERM: of a SIGTERM it makes exit code 1 and a short time.
# Exit code: the command's; 128 + signal when one killed it.
set -uo pipefail

retries=10
backoff=2
while (($#)); do
  case "$1" in
    --retries=*) retries=${1#*=} ;;
    --backoff=*) backoff=${1#*=} ;;
    --) shift; break ;;
    *) echo "supervise.sh: unknown flag '$1'; known: --retries=N --backoff=SECONDS -- COMMAND" >&2; exit 2 ;;
  esac
  shift
done
if (($# == 0)) || ! [[ $retries =~ ^[0-9]+$ && $backoff =~ ^[0-9]+$ ]]; then
  echo "usage: launcher/supervise.sh [--retries=N] [--backoff=SECONDS] -- COMMAND..." >&2
  exit 2
fi

# The same command with --resume behind each worker.
resumed=()
for argument in "$@"; do
  resumed+=("$argument")
  if [[ ${argument##*/} == worker && " $* " != *" --resume "* ]]; then
    resumed+=(--resume)
  fi
done

child=
asked_to_leave=false
pass_on() {
  asked_to_leave=true
  [[ -z $child ]] || kill -s "$1" "$child" 2>/dev/null
}
terminate=TERM
[[ ${1##*/} != mpirun ]] || terminate=USR1
trap 'pass_on "$terminate"' TERM
trap 'pass_on INT' INT
trap 'pass_on USR1' USR1

# When this script is killed outright, the command gets a SIGTERM (util-linux's setpriv; Debian always has it).
die_with_parent=()
if command -v setpriv >/dev/null; then
  die_with_parent=(setpriv --pdeathsig TERM --)
fi

# A command's background child ignores SIGINT; `set -m` gives it a process group of its own and its signals back.
set -m

# mpirun of OpenMPI 4.1.4 may never end when a rank was killed while it connected: it waits for a lock in
# PMIx_server_finalize. What tells it from one whose ranks are all on other hosts: it has children, and for 15 s all of
# them are dead and not waited for.
end_if_left_alone() {
  local launcher=$1 alone=0
  while kill -0 "$launcher" 2>/dev/null; do
    if ps -o stat= --ppid "$launcher" 2>/dev/null | awk '/^[^Z]/ { lives = 1 } END { exit lives || NR == 0 }'; then
      alone=$((alone + 1))
    else
      alone=0
    fi
    if ((alone > 15)); then
      echo "supervise: mpirun's processes are dead for 15 s and it does not end: killed" >&2
      kill -s KILL "$launcher" 2>/dev/null
      return
    fi
    sleep 1
  done
}

command=("$@")
pause=$backoff
attempt=0
while true; do
  started=$SECONDS
  "${die_with_parent[@]}" "${command[@]}" </dev/null &
  child=$!
  watch=
  if [[ ${command[0]##*/} == mpirun ]]; then
    end_if_left_alone "$child" &
    watch=$!
  fi
  code=0
  wait "$child" || code=$?
  # A trapped signal ends `wait` early: go on until the child itself has gone.
  while kill -0 "$child" 2>/dev/null; do
    code=0
    wait "$child" || code=$?
  done
  child=
  [[ -z $watch ]] || kill -s KILL -- "-$watch" 2>/dev/null

  if $asked_to_leave || ! ((code == 75 || code == 85 || code > 128)); then
    exit "$code"
  fi
  if ((SECONDS - started >= 600)); then
    attempt=0
    pause=$backoff
  fi
  if ((attempt >= retries)); then
    echo "supervise: exit code $code; gave up after $retries restarts" >&2
    exit "$code"
  fi
  attempt=$((attempt + 1))
  echo "supervise: exit code $code; restart $attempt of $retries in $pause s, with --resume" >&2
  # In the background, so that a signal is acted upon at once.
  sleep "$pause" &
  wait $! || true
  if $asked_to_leave; then
    exit "$code"
  fi
  pause=$((pause * 2 > 60 ? 60 : pause * 2))
  command=("${resumed[@]}")
done
