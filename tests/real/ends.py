"""Processes of abide that are killed and go on, and what the ledgers of the other side say of that.

An `End` is a project with its database and the process that works in it; a `Stage` is what all ends of one test share: ledgers, chance,
environment. What is judged comes from the ledgers (see ledger.py); `abide show` only tells what abide held to be done at a kill.
"""

import json
import os
import signal
import subprocess
import time
from collections import Counter

import ledger

END_S = 240
RELAYS = ("model", "filesystem", "memory", "time", "git")


class End:
    """A project, with its database, and the process that works in it."""

    def __init__(self, stage, root):
        self.stage, self.root, self.process = stage, root, None
        self.known = []  # (what was done, how much of each ledger was written by then), one for each kill

    def start(self, *words, stdin=None):
        with open(self.root / "printed.log", "a", encoding="utf-8") as log:
            log.write(f"$ abide {' '.join(words)}\n")
            log.flush()
            self.process = subprocess.Popen([str(self.stage.abide), *words], cwd=self.root, env=self.stage.env, stdout=log, stderr=log,
                                            stdin=stdin or subprocess.DEVNULL)

    def ask(self, *words):
        done = subprocess.run([str(self.stage.abide), *words], cwd=self.root, env=self.stage.env, text=True, timeout=END_S,
                              stdin=subprocess.DEVNULL, capture_output=True, check=False)
        return done.returncode, done.stdout, done.stderr

    def steps(self):
        """All steps of all runs here."""
        if not (self.root / ".abide" / "runs.db").exists():
            return []
        runs = json.loads(self.ask("ls", "--json")[1] or '{"runs": []}')["runs"]
        shown = [self.ask("show", run["id"], "--json") for run in runs]
        return [step for code, text, _ in shown if code == 0 for step in json.loads(text)["steps"]]

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.stage.kills += 1
        done = Counter(identity(step) for step in self.calls() if step["status"] == "completed")
        self.known.append((done, {who: len(ledger.read(self.stage.ledgers, who)) for who in RELAYS}))

    def calls(self):
        """The steps that are sent to somebody."""
        return [step for step in self.steps() if step["kind"] in ("llm", "tool")]

    def unseen(self, steps):
        """Calls of servers that no tee stands before."""
        return {identity(step) for step in steps if step["kind"] == "tool" and step["input"]["server"] not in RELAYS}

    def problems(self):
        """What the journal and the ledgers do not agree on. A process may send each call as often as it is a step that was not done when
        the process began."""
        steps = self.calls()
        found = [f"{step['id']} is {step['status']}" for step in steps if step["status"] != "completed"]
        planned = Counter(identity(step) for step in steps)
        everything = {sent(who, one) for who in RELAYS for one in ledger.read(self.stage.ledgers, who) if one["event"] == "arrived"}
        found += [f"nobody was sent the step {call}: the ledgers are of no use" for call in planned if call not in everything | self.unseen(steps)]
        begun = [(Counter(), dict.fromkeys(RELAYS, 0)), *self.known]
        for n, (done, start) in enumerate(begun):
            for who in RELAYS:
                until = begun[n + 1][1][who] if n + 1 < len(begun) else None
                events = ledger.read(self.stage.ledgers, who)[start[who] : until]
                sent_now = Counter(sent(who, one) for one in events if one["event"] == "arrived")
                found += [f"sent {times} times by process {n + 1}, when {done[call]} of {planned[call]} were done: {call}"
                          for call, times in sent_now.items() if call in planned and times > planned[call] - done[call]]
        for words in (("replay", "--all"), ("verify",)):
            code, _, error = self.ask(*words)
            found += [f"`abide {words[0]}` exits {code}: {error[-400:]}"] if code else []
        return found


class Stage:
    """Ledgers, chance, and the environment of every process. `pause` is the longest moment from an event to a kill, in seconds."""

    def __init__(self, folder, abide, chance, pause):
        self.folder, self.abide, self.chance, self.pause, self.kills = folder, abide, chance, pause, 0
        self.ledgers = folder / "ledgers"
        self.ledgers.mkdir(parents=True)
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("ABIDE_", "ANTHROPIC_"))}
        self.env = kept | {"ABIDE_CONFIG_DIR": str(folder / "config"), "NO_COLOR": "1"}

    def events(self):
        """What has happened to calls so far; that servers were started is not counted."""
        return sum(one["call"] is not None for who in RELAYS for one in ledger.read(self.ledgers, who))

    def wait(self, end, more):
        """Until so many more events are in the ledgers; false if the process ends before."""
        wanted, until = self.events() + more, time.monotonic() + END_S
        while end.process.poll() is None and time.monotonic() < until:
            if self.events() >= wanted:
                # The moment between two events is chance's, too.
                time.sleep(self.chance.uniform(0, self.pause))
                return end.process.poll() is None
            time.sleep(0.002)
        return False

    def side_by_side(self, who):
        """The most calls of one agent's model that were open at the same time."""
        open_, most = set(), 0
        for one in ledger.read(self.ledgers, "model"):
            if one["event"] == "arrived" and one["who"] == who:
                open_.add(one["call"])
            elif one["event"] in ("answered", "lost"):
                open_.discard(one["call"])
            most = max(most, len(open_))
        return most

    def repeated(self):
        """Calls that were sent more than once: those under way at a kill."""
        sent_ = [sent(who, one) for who in RELAYS for one in ledger.read(self.ledgers, who) if one["event"] == "arrived"]
        return len(sent_), len(sent_) - len(set(sent_))


def identity(step):
    if step["kind"] == "llm":
        return ("model", ledger.fingerprint(step["input"]))
    return step["input"]["server"], step["input"]["tool"], ledger.fingerprint(step["input"]["arguments"])


def sent(who, one):
    return ("model", one["hash"]) if who == "model" else (who, one["tool"], ledger.fingerprint(one["arguments"]))


def until_done(stage, end, run, kills, *words):
    """Starts, kills so many times, and resumes until the run ends; returns what it answered, and how often it was killed."""
    end.start("run", *words, "--id", run, "--trust")
    for _ in range(kills):
        if not stage.wait(end, stage.chance.randint(1, 12)):
            break
        end.kill()
        end.start("resume", run, "--trust")
    end.process.wait(END_S)
    code, text, error = end.ask("show", run, "--json")
    shown = json.loads(text)["run"] if code == 0 else {"status": error, "output": None}
    return shown, [] if shown["status"] == "completed" else [f"the run is {shown['status']}: {shown.get('error')}"]
