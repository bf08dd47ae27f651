"""The batch of examples/stories/batch over many small files, sixteen at a time, with the real filesystem server and a model of known latency.

    python3 tests/real/batch.py [--files N] [--kills N] [--seed N] [--keep]     # 1000 files and five kills without these
    ABIDE_BIN       the binary (default: target/release/abide, else target/debug/abide)

Run three times: a tenth of the files and all of them, left alone, for wall time against the ideal (each file is two calls of the model, sixteen
files at a time, and nothing else takes any time) and for memory; then killed with `kill -9` at moments that chance decides, and resumed. Judged:
every file's answer is there once and is right, nothing whose outcome was in the journal at a kill was sent again, and no more was sent again
than was under way at the kills. Times and memory are printed, not judged: the machine may be busy.
"""

import argparse
import json
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

from install import InstallError, install
from run import find_abide
from stories import Story

AT_ONCE = 16
LATENCY_S = 0.1
CALLS = 2  # of the model for one file
END_S = 600


def peak_kib(process):
    """The most memory that a living process has had, in KiB; 0 where nobody says it."""
    try:
        lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("VmHWM")), 0)


def follow(end, stage, most):
    """Waits for the end of the process, or for so many events; returns the peak of its memory."""
    peak, until = 0, time.monotonic() + END_S
    while end.process.poll() is None and time.monotonic() < until:
        peak = max(peak, peak_kib(end.process))
        if most is not None and stage.lines() >= most:
            break
        time.sleep(0.02)
    return peak


class Batch(Story):
    """A stage with so many files in it."""

    def __init__(self, folder, abide, installed, chance, files):
        super().__init__(folder, abide, installed, chance)
        self.roles.latency = LATENCY_S
        self.copy = self.end("batch")
        (self.copy.root / "notes").mkdir()
        self.names = [f"{n:04}.txt" for n in range(files)]
        for name in self.names:
            (self.copy.root / "notes" / name).write_text(f"This is {name}, one of many.\n")
        (self.copy.root / "names").write_text("".join(f"{name}\n" for name in self.names))

    def lines(self):
        """Roughly how much has happened: without reading ledgers of many megabytes again and again."""
        return sum(path.stat().st_size for path in self.ledgers.glob("*.jsonl"))

    def perform(self, kills, whole=0):
        """Runs it; returns the seconds it took and the most memory of its processes, in KiB. `whole`: what `lines` is at the end."""
        began, end = time.monotonic(), self.copy
        with open(end.root / "names", encoding="utf-8") as names:
            end.start("run", "batch", "-", "--id", "batch", "--trust", stdin=names)
        peak = 0
        for mark in sorted(self.chance.uniform(0.02, 0.95) for _ in range(kills)):
            peak = max(peak, follow(end, self, mark * whole))
            if end.process.poll() is not None:
                break
            end.kill()
            end.start("resume", "batch", "--trust")
        peak = max(peak, follow(end, self, None))
        return time.monotonic() - began, peak

    def problems(self):
        code, text, error = self.copy.ask("show", "batch", "--json")
        run = json.loads(text)["run"] if code == 0 else {"status": error}
        if run["status"] != "completed":
            return [f"the run is {run['status']}: {run.get('error')}"]
        wanted = [{"item": name, "answer": f"{name} says: This is {name}, one of many."} for name in self.names]
        found = [] if run["output"] == wanted else [f"it answers {json.dumps(run['output'])[:300]}"]
        total, again = self.repeated()
        once = total - again
        if once != len(self.names) * (CALLS + 1):
            found.append(f"{once} different calls for {len(self.names)} files")
        if again > self.kills * AT_ONCE:
            found.append(f"{again} calls were sent again after {self.kills} kills")
        return found + self.copy.problems()


def main():
    words = argparse.ArgumentParser(description="Many small files, sixteen at a time.")
    words.add_argument("--files", type=int, default=1000)
    words.add_argument("--kills", type=int, default=5)
    words.add_argument("--seed", type=int, default=random.randrange(1_000_000))
    words.add_argument("--keep", action="store_true")
    asked = words.parse_args()
    try:
        installed, binary = install(), find_abide()
    except InstallError as error:
        sys.exit(f"batch.py: {error}")
    folder, failed, whole = Path(tempfile.mkdtemp(prefix="abide-batch-")), [], 0
    ideal = -(-asked.files // AT_ONCE) * CALLS * LATENCY_S
    print(f"seed {asked.seed}; {asked.files} files, {AT_ONCE} at a time, ideal {ideal:.1f} s", flush=True)
    for title, files, kills in (("a tenth", asked.files // 10, 0), ("alone", asked.files, 0), ("killed", asked.files, asked.kills)):
        batch = Batch(folder / title.replace(" ", "-"), binary, installed, random.Random(asked.seed), files)
        with batch.roles:
            took, peak = batch.perform(kills, whole)
            problems = batch.problems()
        whole = batch.lines()
        least = -(-files // AT_ONCE) * CALLS * LATENCY_S
        print(f"{'FAIL' if problems else 'ok  '} {title:8} {files} files in {took:.1f} s, {took / least:.2f} of the ideal; at most {peak / 1024:.1f} MiB; "
              f"{batch.kills} kills, {batch.repeated()[1]} calls sent again", flush=True)
        for problem in problems[:10]:
            print(f"         {problem}", flush=True)
        failed += problems
    if asked.keep or failed:
        print(f"kept: {folder}")
    else:
        shutil.rmtree(folder)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
