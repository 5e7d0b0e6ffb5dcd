#!/usr/bin/env python3
"""SIGKILL to everything at random moments: runs that are killed and resumed end with the digest of one that was not.

  tests/fault/soak.py --bin=build/bin [--rounds=10] [--seed=N] [--form=NAME ...]

A round starts a job of one form (one process; ranks that host shards; servers as ranks; standing servers), kills a
victim chosen at random (one process of the job, mpirun, or all at once; of standing servers one, too, which is then
started again), waits until nothing of the job is left, and starts it again with --resume; a few times. Then the job
runs to its end. A round that fails leaves nothing running for the next one.

The moment is drawn as a place in the job, not as a time, so that a slow machine and a fast one are hit alike: soon
after the start (one life in four), or soon after a checkpoint that is still to come, the last one included. A job
that has come to its end before its kill was missed: that is printed and counted, and its round has one kill less. One
that ends by itself in any other way has failed.
An mpirun that is left alone is counted, too, and killed: OpenMPI 4.1.4's may hang in PMIx_server_finalize when a rank
was killed while it connected (launcher/supervise.sh ends such a one).
The seed is printed: the same one draws the same victims and places. The binaries are copied first, so that a build
meanwhile does not mix two versions.
"""
import argparse
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time

ORPHAN_SECONDS = 15  # design.md, section 8: nothing of a job is alive so long after its launcher.
RUN_SECONDS = 300
CHECKPOINT_STEPS = 7
STEPS = 282  # 3 epochs of 94 steps, as the reference run confirms.
# In the environment of all processes of a job, whatever their arguments, parents and process groups: pserver ranks
# have no --run_dir, and lose their parent with mpirun.
MARK = "PAGODA_SOAK_RUN"
DATASET = """dataset {
  name: "planted"
  format: "planted"
  planted { rows: 30000 id_columns: 4 ids: 3000 zipf: 1.05 dense_columns: 2 labels: 2 seed: 1 }
  source {}
  split { train: 8 valid: 1 test: 1 by: ROW_HASH }
  task { name: "click" label: "label_0" }
  task { name: "buy" label: "label_1" }
  feature { name: "id_0" } feature { name: "id_1" } feature { name: "id_2" } feature { name: "id_3" }
  feature { name: "dense_0" kind: DENSE } feature { name: "dense_1" kind: DENSE }
}
"""
CONFIGS = pathlib.Path(__file__).resolve().parents[2] / "configs"
MPIRUN = ["mpirun", "--allow-run-as-root", "--oversubscribe", "--bind-to", "none", "--mca", "mpi_yield_when_idle", "1"]


class Soak:
    def __init__(self, bin_dir, work, seed):
        self.bin, self.work, self.random = work / "bin", work, random.Random(seed)
        self.bin.mkdir()
        for name in ("worker", "pserver"):
            shutil.copy2(bin_dir / name, self.bin / name)
        self.servers = {}  # Port -> process.
        self.hung_launchers = 0
        (work / "data.textproto").write_text(DATASET)

    def worker(self, run, *more):
        return [str(self.bin / "worker"), f"--config_root={CONFIGS}", "--model=mmoe",
                f"--dataset={self.work}/data.textproto",
                f"--run_dir={self.work / run}", "--lanes=8", "--batch_size=256", "--epochs=3", "--resume",
                "--override=train { checkpoint_every_steps: %d patience: 0 } "
                "model { embedding_dim: 4 experts: 2 expert: [16] tower: [8] }" % CHECKPOINT_STEPS, *more]

    def command(self, form, run):
        if form == "process":
            return self.worker(run)
        if form == "ranks":
            return MPIRUN + ["-n", "2"] + self.worker(run)
        if form == "pservers":
            return MPIRUN + ["-n", "2", str(self.bin / "pserver"), ":", "-n", "2"] + self.worker(run)
        return MPIRUN + ["-n", "2"] + self.worker(run, "--servers=" + ",".join(f"127.0.0.1:{p}" for p in self.servers))

    def start_server(self, port):
        self.servers[port] = subprocess.Popen(
            [self.bin / "pserver", f"--listen=tcp://127.0.0.1:{port}", f"--store_dir={self.work}/server{port}"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def environment(self, run):
        return {**os.environ, MARK: str(self.work / run)}

    def alive(self, run):
        """Process ids of the job -> their command lines, found by the mark in their environment."""
        mark = f"{MARK}={self.work / run}".encode()
        found = {}
        for entry in pathlib.Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                state = (entry / "stat").read_text().rsplit(")", 1)[1].split()[0]
                if state != "Z" and mark in (entry / "environ").read_bytes().split(b"\0"):
                    found[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except (FileNotFoundError, ProcessLookupError, PermissionError):
                continue
        return found

    def newest_checkpoint(self, run):
        """Its step; 0 when there is none."""
        folders = self.work.glob(f"{run}/checkpoints/step-*")
        return max((int(step) for _, _, step in (f.name.partition("-") for f in folders) if step.isdigit()), default=0)

    def await_moment(self, run, job):
        """Sleeps until the place in the job where it is to be hit; False: it came to its end before."""
        done = self.newest_checkpoint(run)
        early, fraction, late = self.random.random() < 0.25, self.random.random(), self.random.random()
        if not early:
            target = done + 1 + int(fraction * (STEPS - done))
            begin = time.monotonic()
            while job.poll() is None and self.newest_checkpoint(run) < min(target, STEPS):
                if time.monotonic() - begin > RUN_SECONDS:
                    raise AssertionError(f"{run}: no step {target} in {RUN_SECONDS} s")
                time.sleep(0.01)
        time.sleep(late * (1.5 if early else 0.2))
        if job.poll():
            raise AssertionError(f"{run}: ended by itself with exit code {job.returncode}, see {self.work}/{run}.log")
        return job.returncode is None

    def kill_something(self, form, run, job):
        """Returns the victim; "missed" when the job had come to its end."""
        victim = self.random.choice(["launcher", "one", "all"] + (["server"] if form == "standing" else []))
        pick = self.random.random()
        is_running = self.await_moment(run, job)
        pids = sorted(self.alive(run))
        if not is_running or not pids:
            return "missed"
        if victim == "server":
            port = sorted(self.servers)[int(pick * len(self.servers))]
            self.servers[port].kill()
            self.servers[port].wait()
            self.start_server(port)
            # Workers find another server's life behind the address; the launcher's user ends the job.
            time.sleep(pick)
        targets = {"launcher": [job.pid], "server": [job.pid], "all": pids}.get(victim)
        for pid in targets or [pids[int(pick * len(pids))]]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        return victim

    def await_end(self, job, run):
        begin = time.monotonic()
        while alive := self.alive(run):
            if time.monotonic() - begin > ORPHAN_SECONDS:
                if list(alive) != [job.pid] or not alive[job.pid].startswith("mpirun"):
                    raise AssertionError(f"alive {ORPHAN_SECONDS} s after: {alive}")
                self.hung_launchers += 1
                job.kill()
            time.sleep(0.05)
        job.wait()

    def clear(self, run):
        """Ends what a failed round has left, and waits until it is gone."""
        begin = time.monotonic()
        while alive := self.alive(run):
            if time.monotonic() - begin > ORPHAN_SECONDS:
                raise RuntimeError(f"alive {ORPHAN_SECONDS} s after SIGKILL: {alive}")
            for pid in alive:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            time.sleep(0.05)

    def digest(self, run):
        lines = [json.loads(line) for line in (self.work / run / "metrics.jsonl").read_text().splitlines()]
        done = [line for line in lines if line["event"] == "done"][-1]
        if done["steps"] != STEPS:
            raise AssertionError(f"{run}: {done['steps']} steps, expected {STEPS}")
        return done["digest"]

    def run_to_end(self, form, run):
        log = (self.work / f"{run}.log").open("ab")
        done = subprocess.run(self.command(form, run), env=self.environment(run), stdin=subprocess.DEVNULL, stdout=log,
                              stderr=log, timeout=RUN_SECONDS)
        if done.returncode != 0:
            raise AssertionError(f"{run}: exit code {done.returncode}, see {log.name}")
        return self.digest(run)

    def round(self, form, run, reference):
        victims = []
        for _ in range(self.random.randint(1, 4)):
            log = (self.work / f"{run}.log").open("ab")
            job = subprocess.Popen(self.command(form, run), env=self.environment(run), stdin=subprocess.DEVNULL,
                                   stdout=log, stderr=log)
            victims.append(self.kill_something(form, run, job))
            self.await_end(job, run)
            if victims[-1] == "missed":
                break
        got = self.run_to_end(form, run)
        if got != reference:
            raise AssertionError(f"{run}: digest {got}, undisturbed {reference}; killed: {victims}")
        return victims


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", type=pathlib.Path, required=True)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--form", action="append", choices=["process", "ranks", "pservers", "standing"])
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}", flush=True)
    work = pathlib.Path(tempfile.mkdtemp(prefix="pagoda-soak-"))
    soak = Soak(arguments.bin.resolve(), work, arguments.seed)
    failures = 0
    victims = []
    try:
        reference = soak.run_to_end("process", "reference")
        for form in arguments.form or ["process", "ranks", "pservers", "standing"]:
            if form == "standing":
                for port in (7411, 7412):
                    soak.start_server(port)
            for number in range(arguments.rounds):
                run = f"{form}-{number}"
                begin = time.monotonic()
                try:
                    killed = soak.round(form, run, reference)
                    victims += killed
                    print(f"{run}: ok, {time.monotonic() - begin:.0f} s, killed {' '.join(killed)}", flush=True)
                except (AssertionError, subprocess.TimeoutExpired) as error:
                    failures += 1
                    print(f"{run}: FAILED: {error}", flush=True)
                    soak.clear(run)
    finally:
        for server in soak.servers.values():
            server.kill()
    kills = {victim: victims.count(victim) for victim in sorted(set(victims))}
    print(f"{failures} failures; victims of the rounds that passed: {kills}; {soak.hung_launchers} hung launchers; "
          f"logs in {work}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
