"""The real end-to-end proof: an agent over real MCP servers and a real model survives kill -9 at ten different moments.

One run is left alone, as the yardstick. Ten more are killed with SIGKILL, each at another moment that the ledgers of the
model's proxy and of the servers' tees name (never at a time), then resumed until they end. Judged is what those ledgers,
the memory server's own file and the model server's own log say, against `abide show` and `abide verify`. It never
looks into abide's database, and takes nothing that abide says about repeated calls on trust.

    python3 tests/real/run.py [--keep] [MOMENT ...]     # moments by number; default: all ten
    ABIDE_BIN       the binary (default: target/release/abide, else target/debug/abide)
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import judge
import ledger
import project
from install import REPO, InstallError, install
from model import ModelServer

MOMENT_S = 180  # a moment that has not come by then never will
COMMAND_S = 300
PARKED = 3


@dataclass(frozen=True)
class Moment:
    """When to kill: as soon as this event of this call is in the ledger. `held`: the call is stopped there by a gate."""

    title: str
    who: str
    event: str
    call: int | None = None
    held: bool = False

    def has_come(self, folder):
        return any((one["event"], one["call"]) == (self.event, self.call) for one in ledger.read(folder, self.who))


MOMENTS = [
    Moment("before the first model call, as a server lists its tools", "filesystem", "tools/list"),
    Moment("while the model thinks about its first answer", "model", "passed", 1),
    Moment("the first answer is there, and lost on its way back", "model", "answered", 1, held=True),
    Moment("as the first answer is delivered", "model", "delivered", 1),
    Moment("a read was sent, its server has not got it", "filesystem", "arrived", 1, held=True),
    Moment("as the result of a read is delivered", "filesystem", "delivered", 2),
    Moment("a write was sent, its server has not got it", "memory", "arrived", 1, held=True),
    Moment("a write was done, its result lost on its way back", "memory", "answered", 1, held=True),
    Moment("as the result of a write is delivered", "memory", "delivered", 2),
    Moment("while the model thinks about its last answer", "model", "passed", 6),
]


@dataclass
class Run:
    """One run of the agent in a folder of its own, with whatever was noticed on the way."""

    id: str
    folder: Path
    abide: Path
    root: Path
    problems: list = field(default_factory=list)
    at_kill: judge.Seen | None = None
    decided: list = field(default_factory=list)  # what the person decided about calls in doubt: retry or result

    def command(self, verb, *words):
        return [str(self.abide), verb, *words, "--json", "--db", str(self.folder / "runs.db")]

    def call(self, verb, *words):
        """Runs a verb to its end; returns its exit code and its stdout. Kept beside the ledgers for whoever looks."""
        done = subprocess.run(self.command(verb, *words), cwd=self.root, env=self.environment(), timeout=COMMAND_S,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
        with open(self.folder / "commands.log", "a", encoding="utf-8") as log:
            log.write(f"$ abide {verb} {' '.join(words)}\n{done.stdout}{done.stderr}-> {done.returncode}\n")
        return done.returncode, done.stdout

    def environment(self):
        kept = {key: value for key, value in os.environ.items() if not key.startswith("ABIDE_")}
        return kept | {"ABIDE_CONFIG_DIR": str(self.folder / "config"), "NO_COLOR": "1"}

    def start_words(self):
        return ["keeper.md", project.PROMPT, "--id", self.id, "--yes", "--trust"]

    def show(self):
        code, text = self.call("show", self.id)
        if code not in (0, PARKED):
            self.problems.append(f"`abide show` exits {code}")
            return {"run": {}, "steps": []}
        return json.loads(text)

    def seen(self):
        return judge.seen(self.folder, self.show())


def killed(run, moment):
    """Starts the run and kills it at the moment. Notes a problem if the moment never comes."""
    if moment.held:
        ledger.set_gate(run.folder, moment.who, moment.event, moment.call)
    with open(run.folder / "killed.log", "wb") as log:
        process = subprocess.Popen(run.command("run", *run.start_words()), cwd=run.root, env=run.environment(),
                                   stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        deadline = time.monotonic() + MOMENT_S
        while not moment.has_come(run.folder) and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        code = process.wait()
    ledger.lift_gate(run.folder)
    if not moment.has_come(run.folder):
        run.problems.append(f"its moment never came: `abide run` ended with {code}")
    elif code != -signal.SIGKILL:
        run.problems.append(f"it was over before it could be killed (exit {code})")
    wait_for_servers(run)
    run.at_kill = run.seen()
    if run.at_kill.status not in ("interrupted", "completed"):
        run.problems.append(f"after the kill `abide show` says it is {run.at_kill.status}")


def wait_for_servers(run):
    """The servers of a killed abide must leave by themselves: nobody is there to end them."""
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline:
        events = [ledger.read(run.folder, who) for who in judge.SERVERS]
        if all(ledger.count(one, "started") == ledger.count(one, "ended") for one in events):
            return
        time.sleep(0.01)
    run.problems.append("an MCP server still runs 15 s after abide was killed")


def resumed(run):
    """Resumes until the run has ended; what is in doubt is decided by what the tee saw, as a person would."""
    for _ in range(4):
        code, _ = run.call("resume", run.id, "--yes", "--trust")
        if code == 0:
            return
        if code != PARKED or not decide(run):
            run.problems.append(f"`abide resume` exits {code} (see {run.folder / 'commands.log'})")
            return
    run.problems.append("still not at its end after four times `abide resume`")


def decide(run):
    document = run.show()
    if document["run"].get("waiting_for") != "in_doubt":
        return False
    verdict, result = judge.what_became_of_it(run.folder)
    words = ["--retry"] if verdict == "retry" else ["--result", json.dumps(result)]
    code, _ = run.call("resolve", run.id, *words)
    run.decided.append(verdict)
    return code == 0


def perform(number, moment, folder, tools, model, yardstick):
    """One line of the report. Returns the run's Seen (for the yardstick) and whether all was well."""
    began, base = time.monotonic(), model.requests_served()
    folder.mkdir()
    root = project.make(folder, tools.installed, model.open(folder, project.POLICY))
    run = Run(f"real-{number}", folder, tools.abide, root)
    if moment is None:
        code, _ = run.call("run", *run.start_words())
        if code != 0:
            run.problems.append(f"`abide run` exits {code} (see {folder / 'commands.log'})")
    else:
        killed(run, moment)
        resumed(run)
    end = run.seen()
    run.problems += judge.run_is_whole(folder, end, model.requests_served() - base)
    run.problems += judge.nothing_repeated(run.at_kill, end, run.decided)
    if yardstick is not None:
        run.problems += judge.as_if_never_killed(yardstick, end)
    code, _ = run.call("verify")
    if code != 0:
        run.problems.append(f"`abide verify` exits {code}")
    title = "left alone" if moment is None else moment.title
    notes = f", in doubt: {', '.join(run.decided)}" if run.decided else ""
    if yardstick is not None and judge.went_its_own_way(yardstick, end):
        notes += ", went its own way once told of the restart"
    print(f"{'FAIL' if run.problems else 'ok  '} {number:2}  {title:58} {time.monotonic() - began:5.1f} s  "
          f"{judge.summary(run.at_kill, end)}{notes}", flush=True)
    for problem in run.problems:
        print(f"         {problem}", flush=True)
    return end, not run.problems


@dataclass(frozen=True)
class Tools:
    installed: object
    abide: Path


def find_abide():
    named = os.environ.get("ABIDE_BIN")
    target = Path(os.environ.get("CARGO_TARGET_DIR", REPO / "target"))
    places = [Path(named).absolute()] if named else [target / kind / "abide" for kind in ("release", "debug")]
    for place in places:
        if place.is_file():
            return place
    sys.exit(f"run.py: no abide at {' or '.join(map(str, places))}: build it (cargo build --release) or set ABIDE_BIN")


def main():
    keep = "--keep" in sys.argv
    chosen = {int(word) for word in sys.argv[1:] if word.isdigit()} or set(range(1, len(MOMENTS) + 1))
    try:
        tools = Tools(install(), find_abide())
    except InstallError as error:
        sys.exit(f"run.py: {error}")
    folder = Path(tempfile.mkdtemp(prefix="abide-real-"))
    results = []
    with ModelServer(tools.installed, folder / "llama.log") as model:
        yardstick, well = perform(0, None, folder / "run-00", tools, model, None)
        results.append(well)
        for number, moment in enumerate(MOMENTS, 1):
            if number in chosen:
                results.append(perform(number, moment, folder / f"run-{number:02}", tools, model, yardstick)[1])
    failed = results.count(False)
    if keep or failed:
        print(f"kept: {folder}")
    else:
        shutil.rmtree(folder)
    print(f"{len(results) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
