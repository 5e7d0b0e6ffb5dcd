#!/usr/bin/env python3
"""Dry runs of the cluster files: Slurm's and PBS's scripts with fake commands that record flags, paths and signals; Kubernetes'
YAML taken apart. Every flag they pass must be one that the programs' --help knows.

    clusters_test.py ROOT BIN_DIR

Exit codes: 0 good, 1 bad, 77 skipped (no programs built; never under CI=true).
"""
import os
import pathlib
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import time

import yaml

FAKE_MPIRUN = """#!/usr/bin/env bash
printf '%s\\n' "$@" >"$FAKE_DIR/mpirun"
env | grep ^OMPI_ >"$FAKE_DIR/environment"
trap 'echo USR1 >"$FAKE_DIR/signal"; exit 85' USR1
trap 'echo TERM >"$FAKE_DIR/signal"; exit 85' TERM
if [[ $FAKE_CODE == wait ]]; then
  echo up >"$FAKE_DIR/up"
  for _ in $(seq 200); do sleep 0.05; done
  exit 1
fi
exit "$FAKE_CODE"
"""
FAKE_REQUEUE = """#!/usr/bin/env bash
echo "${0##*/} $*" >"$FAKE_DIR/requeue"
"""

failures = []


def expect(what, wanted, got):
    if wanted != got:
        failures.append(f"{what}: wanted {wanted!r}, got {got!r}")


class DryRun:
    """One run of a submission script, in a folder of its own, with fakes first in PATH."""

    def __init__(self, root, script, environment, code, send=None):
        with tempfile.TemporaryDirectory() as folder:
            self.folder = pathlib.Path(folder)
            for name, text in [("mpirun", FAKE_MPIRUN), ("scontrol", FAKE_REQUEUE), ("qrerun", FAKE_REQUEUE)]:
                path = self.folder / "bin" / name
                path.parent.mkdir(exist_ok=True)
                path.write_text(text)
                path.chmod(0o755)
            (self.folder / "nodes").write_text("a\na\nb\nb\n")
            variables = {
                **os.environ, **environment,
                "PATH": f"{self.folder}/bin:{os.environ['PATH']}",
                "PAGODA": str(root), "FAKE_DIR": folder, "FAKE_CODE": str(code),
                "RUN_DIR": f"{folder}/run", "PBS_NODEFILE": f"{folder}/nodes", "PBS_O_WORKDIR": folder,
            }
            process = subprocess.Popen([root / script], env=variables, cwd=folder, stdout=subprocess.DEVNULL,
                                       stderr=subprocess.DEVNULL)
            if send is not None:
                deadline = time.monotonic() + 10
                while not (self.folder / "up").exists() and time.monotonic() < deadline:
                    time.sleep(0.02)
                process.send_signal(send)
            self.code = process.wait(timeout=30)
            self.mpirun = self.read("mpirun").splitlines()
            self.environment = self.read("environment")
            self.signal = self.read("signal").strip()
            self.requeue = self.read("requeue").strip()
            self.run_dir = f"{folder}/run"

    def read(self, name):
        path = self.folder / name
        return path.read_text() if path.exists() else ""


def flags_of(arguments):
    """{program: {flag: value}} of an mpirun command line."""
    found = {}
    program = None
    for argument in arguments:
        base = argument.rsplit("/", 1)[-1]
        if base in ("worker", "pserver"):
            program = base
            found.setdefault(program, {})
        elif argument == ":":
            program = None
        elif program and argument.startswith("--"):
            name, _, value = argument[2:].partition("=")
            found[program][name] = value
    return found


def check_batch(root, script, environment, requeue):
    """Returns the flags that the script passes."""
    done = DryRun(root, script, environment, 0)
    expect(f"{script}: code 0", 0, done.code)
    expect(f"{script}: a finished job stays out of the queue", "", done.requeue)
    flags = flags_of(done.mpirun)
    worker = flags.get("worker", {})
    expect(f"{script}: ranks", ["-n", "4"], done.mpirun[:2])
    expect(f"{script}: --resume", "", worker.get("resume"))
    expect(f"{script}: --run_dir", done.run_dir, worker.get("run_dir"))
    expect(f"{script}: lanes = ranks", "4", worker.get("lanes"))
    expect(f"{script}: threads", "8", worker.get("threads"))
    expect(f"{script}: program", str(root / "build/bin/worker"), next((a for a in done.mpirun if a.endswith("/worker")), ""))
    expect(f"{script}: time to checkpoint", True, "OMPI_MCA_odls_base_sigkill_timeout=2" in done.environment)

    for code in (75, 85, 137):
        run = DryRun(root, script, environment, code)
        expect(f"{script}: code {code} is kept", code, run.code)
        expect(f"{script}: code {code} goes back into the queue", requeue, run.requeue)
    for code in (2, 65, 70, 71, 74):
        run = DryRun(root, script, environment, code)
        expect(f"{script}: code {code} is kept", code, run.code)
        expect(f"{script}: code {code} is final", "", run.requeue)
    for name in ("USR1", "TERM"):
        run = DryRun(root, script, environment, "wait", send=getattr(signal, f"SIG{name}"))
        # mpirun turns a SIGTERM into exit code 1: it gets SIGUSR1 for both.
        expect(f"{script}: after {name}, mpirun gets", "USR1", run.signal)
        expect(f"{script}: after {name}", (85, requeue), (run.code, run.requeue))
    return flags


def check_slurm(root):
    script = "launcher/slurm/train.sbatch"
    text = (root / script).read_text()
    for line in ("#SBATCH --requeue", "#SBATCH --signal=B:USR1@120", "#SBATCH --open-mode=append"):
        expect(f"{script}: {line}", True, line in text)
    environment = {"SLURM_JOB_ID": "17", "SLURM_NTASKS": "4", "SLURM_CPUS_PER_TASK": "8"}
    flags = check_batch(root, script, environment, "scontrol requeue 17")
    often = DryRun(root, script, {**environment, "SLURM_RESTART_COUNT": "21"}, 85)
    expect(f"{script}: restarts are bounded", (75, "", []), (often.code, often.requeue, often.mpirun))
    return [flags]


def check_pbs(root):
    script = "launcher/pbs/train.pbs"
    expect(f"{script}: rerunnable", True, "#PBS -r y" in (root / script).read_text())
    environment = {"PBS_JOBID": "17.head", "NCPUS": "16"}
    return [check_batch(root, script, environment, "qrerun 17.head")]


def check_kubernetes(root):
    name = "launcher/kubernetes/mpijob.yaml"
    documents = {d["kind"]: d for d in yaml.safe_load_all((root / name).read_text())}
    expect(f"{name}: kinds", {"PersistentVolumeClaim", "Service", "StatefulSet", "MPIJob"}, set(documents))

    job, servers, service = documents["MPIJob"], documents["StatefulSet"], documents["Service"]
    expect(f"{name}: API", "kubeflow.org/v2beta1", job["apiVersion"])
    expect(f"{name}: headless", "None", service["spec"]["clusterIP"])
    expect(f"{name}: servers' labels", service["spec"]["selector"], servers["spec"]["template"]["metadata"]["labels"])
    count = servers["spec"]["replicas"]
    server_pod = servers["spec"]["template"]["spec"]
    server = server_pod["containers"][0]
    pserver = flags_of(shlex.split(server["args"][0]))["pserver"]
    expect(f"{name}: a pod is a shard", f"${{POD_NAME##*-}}/{count}", pserver["shard"])
    port = service["spec"]["ports"][0]["port"]
    expect(f"{name}: port", f"tcp://0.0.0.0:{port}", pserver["listen"])

    replicas = job["spec"]["mpiReplicaSpecs"]
    launcher_pod = replicas["Launcher"]["template"]["spec"]
    words = shlex.split(launcher_pod["containers"][0]["args"][0].replace(";", " "))
    worker = flags_of(words)["worker"]
    addresses = ",".join(f"pagoda-server-{i}.{service['metadata']['name']}:{port}" for i in range(count))
    expect(f"{name}: --servers", addresses, worker["servers"])
    ranks = int(words[words.index("-n") + 1])
    expect(f"{name}: ranks", replicas["Worker"]["replicas"] * job["spec"]["slotsPerWorker"], ranks)
    expect(f"{name}: lanes divide", 0, int(worker["lanes"]) % ranks)
    expect(f"{name}: --resume", "", worker.get("resume"))

    for what, pod in [("server", server_pod), ("launcher", launcher_pod), ("worker", replicas["Worker"]["template"]["spec"])]:
        expect(f"{name}: {what} has time to checkpoint", True, pod["terminationGracePeriodSeconds"] >= 60)
        mounts = {m["name"]: m["mountPath"] for m in pod["containers"][0]["volumeMounts"]}
        expect(f"{name}: {what} sees the runs", "/runs", mounts.get("runs"))
        expect(f"{name}: {what} states what it needs", {"limits", "requests"}, set(pod["containers"][0]["resources"]))
    return [{"pserver": pserver}, {"worker": worker}]


def check_flags(bin_dir, used):
    """Every flag that a file passes is in its program's --help."""
    for program in ("worker", "pserver"):
        run = subprocess.run([bin_dir / program, "--help"], capture_output=True, text=True, timeout=20,
                             stdin=subprocess.DEVNULL)
        known = set(re.findall(r"--(?:\[no\])?([a-z][a-z0-9_]*)", run.stdout + run.stderr))
        for flags in used:
            for flag in flags.get(program, {}):
                expect(f"{program} --help knows --{flag}", True, flag in known)


def main():
    root, bin_dir = pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2])
    used = check_slurm(root) + check_pbs(root) + check_kubernetes(root)
    expect("flags were found", True, all(any(flags.values()) for flags in used))
    skipped = not (bin_dir / "worker").exists() or not (bin_dir / "pserver").exists()
    if not skipped:
        check_flags(bin_dir, used)
    elif os.environ.get("CI") == "true":
        failures.append(f"no worker and pserver in {bin_dir}: flags were not checked")
    print("\n".join(failures) or "cluster files: all as it should be")
    if failures:
        return 1
    if skipped:
        print(f"SKIPPED: no worker and pserver in {bin_dir}: flags were not checked against --help")
        return 77
    return 0


if __name__ == "__main__":
    sys.exit(main())
