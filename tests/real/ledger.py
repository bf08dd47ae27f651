"""What the relays write down and the runner reads: one JSON line for each thing that happened to a call.

A relay is the proxy in front of the model or the tee in front of an MCP server. Every call goes through the same
stations, in this order:

    arrived     the relay has the whole request; abide has sent it, nobody has acted on it
    passed      it was handed to the real server, which from now on may act
    answered    the real server has answered; the relay has the answer, abide does not
    delivered   the answer was written to abide
    lost        instead: abide was gone when the answer was to be delivered

A gate, one line in a file, makes a relay stop a call at a station (`arrived`: the server never gets it; `answered`: abide
never gets the answer), so that a kill can be aimed at that very moment without a sleep. It never changes a message.
"""

import hashlib
import json
import os
import threading
import time
from pathlib import Path


class Ledger:
    """The log of one relay (`who`) in the folder of one run; numbers calls from 1, across restarts of the relay."""

    def __init__(self, folder, who):
        self.folder, self.who = Path(folder), who
        self.path = self.folder / f"{who}.jsonl"
        self.lock = threading.Lock()
        self.calls = count(read(folder, who), "arrived")

    def arrived(self, **facts):
        """Numbers a new call, notes it and returns its number."""
        with self.lock:
            self.calls += 1
            number = self.calls
        self.note("arrived", number, **facts)
        return number

    def note(self, event, call=None, **facts):
        """Appends one event. A single write to a file opened for appending: lines of two processes never mix."""
        line = {"event": event, "call": call, "time_ms": time.time_ns() // 1_000_000, "pid": os.getpid(), **facts}
        with open(self.path, "ab", buffering=0) as log:
            log.write(json.dumps(line).encode() + b"\n")

    def held(self, event, call):
        """Whether the gate says that this call shall go no further than this station."""
        return gate_path(self.folder).is_file() and gate_path(self.folder).read_text() == f"{self.who} {event} {call}\n"


def gate_path(folder):
    return Path(folder) / "gate"


def set_gate(folder, who, event, call):
    gate_path(folder).write_text(f"{who} {event} {call}\n")


def lift_gate(folder):
    gate_path(folder).unlink(missing_ok=True)


def read(folder, who):
    """All events of a relay so far, oldest first; none if it has not begun. A line still being written is left out."""
    path = Path(folder) / f"{who}.jsonl"
    if not path.is_file():
        return []
    text = path.read_text()
    return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]


def count(events, event):
    return sum(1 for one in events if one["event"] == event)


def fingerprint(value):
    """A short hash of a JSON value that does not depend on the order of keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]
