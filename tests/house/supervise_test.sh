#!/usr/bin/env bash
# launcher/supervise.sh against commands that end in every way: what is started again, with what, and which exit code stays.
set -uo pipefail
root=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
supervise=("$root/launcher/supervise.sh" --backoff=0)
failures=0

# expect NAME WANTED GOT
expect() {
  if [[ $2 != "$3" ]]; then
    echo "FAILED $1: wanted '$2', got '$3'"
    failures=$((failures + 1))
  fi
}

# A fake program called worker: records its arguments, ends with the codes of the file `plan`, one a start.
cat >"$work/worker" <<'WORKER'
#!/usr/bin/env bash
here=$(dirname "$0")
echo "$*" >>"$here/starts"
trap 'echo USR1 >>"$here/signals"; exit 85' USR1
trap 'echo TERM >>"$here/signals"; exit 85' TERM
code=$(head -n 1 "$here/plan")
sed -i 1d "$here/plan"
case "$code" in
  kill) kill -KILL $$ ;;
  wait) echo up >>"$here/up"; for _ in $(seq 100); do sleep 0.1; done; exit 1 ;;
  *) exit "$code" ;;
esac
WORKER
chmod +x "$work/worker"

# run PLAN -- FLAGS...: code in $code, starts in $starts.
run() {
  local plan=$1
  shift
  rm -f "$work"/starts "$work"/signals "$work"/up
  printf '%s\n' "$plan" | tr ' ' '\n' >"$work/plan"
  "${supervise[@]}" "$@" 2>"$work/err"
  code=$?
  starts=$(paste -sd'|' "$work/starts" 2>/dev/null)
}

run "0" -- "$work/worker" --model=ple
expect "done: code" 0 "$code"
expect "done: one start" "--model=ple" "$starts"

for final in 1 2 65 70 71 74; do
  run "$final 0" -- "$work/worker"
  expect "final $final" "$final" "$code"
done

run "75 85 kill 0" -- env "$work/worker" --model=ple
expect "restarts: code" 0 "$code"
expect "restarts: flags" "--model=ple|--resume --model=ple|--resume --model=ple|--resume --model=ple" "$starts"

run "75 0" -- "$work/worker" --model=ple --resume
expect "--resume is given once" "--model=ple --resume|--model=ple --resume" "$starts"

run "75 75 75 75 0" --retries=2 -- "$work/worker"
expect "bounded: code" 75 "$code"
expect "bounded: starts" 3 "$(wc -l <"$work/starts")"

for signal in USR1 TERM; do
  rm -f "$work"/starts "$work"/signals "$work"/up
  printf 'wait\n0\n' >"$work/plan"
  "${supervise[@]}" -- "$work/worker" 2>/dev/null &
  pid=$!
  for _ in $(seq 100); do [[ -e $work/up ]] && break; sleep 0.05; done
  kill -s $signal $pid
  wait $pid
  expect "$signal: code kept" 85 $?
  expect "$signal: passed on" $signal "$(cat "$work/signals")"
  expect "$signal: not started again" 1 "$(wc -l <"$work/starts")"
done

# Killed outright: the command does not outlive its supervisor.
rm -f "$work"/starts "$work"/signals "$work"/up
printf 'wait\n' >"$work/plan"
"${supervise[@]}" -- "$work/worker" 2>/dev/null &
pid=$!
for _ in $(seq 100); do [[ -e $work/up ]] && break; sleep 0.05; done
kill -s KILL $pid
wait $pid 2>/dev/null
for _ in $(seq 100); do [[ -e $work/signals ]] && break; sleep 0.05; done
expect "supervisor killed: the command is told" TERM "$(cat "$work/signals" 2>/dev/null)"

# Two fakes called mpirun, side by side: one whose only process has died and was not waited for, which hangs, and one
# that never had any here, whose ranks are on other hosts.
mkdir "$work/hangs" "$work/remote"
cat >"$work/hangs/mpirun" <<'MPIRUN'
#!/usr/bin/env python3
import subprocess, sys, time
if "--resume" not in sys.argv:
    rank = subprocess.Popen(["true"])  # Nobody waits for it.
    time.sleep(100)
MPIRUN
printf '#!/bin/sh\nexec sleep 18\n' >"$work/remote/mpirun"
chmod +x "$work"/{hangs,remote}/mpirun
"${supervise[@]}" -- "$work/remote/mpirun" worker 2>"$work/remote/err" &
remote=$!
"${supervise[@]}" -- "$work/hangs/mpirun" worker 2>"$work/hangs/err"
expect "hung launcher: started again" 0 $?
expect "hung launcher: said" 1 "$(grep -c "does not end: killed" "$work/hangs/err")"
wait $remote
expect "ranks elsewhere: left alone" 0 $?
expect "ranks elsewhere: nothing said" "" "$(cat "$work/remote/err")"

run "0" --retries=x -- "$work/worker" || true
expect "bad flag" 2 "$code"
"${supervise[@]}" >/dev/null 2>&1
expect "no command" 2 $?

if ((failures)); then
  exit 1
fi
echo "supervise: all as it should be"
