"""Model endpoints that nobody at abide wrote, and that break on purpose: abide against llmock, on each wire that it serves.

Agents from files, talking or calling a tool, streamed and whole, meet 429 with Retry-After, 529, 503, streams that are
disconnected, truncated, malformed or stalled, and quotas of requests and of tokens a minute, which must be learnt. Every run must end with exactly
the answer that was scripted, after as many requests as the faults ask for; llmock's own verdict on the client must be clean,
without a warning. It never looks into abide's database.

    python3 tests/real/endpoints.py [--keep]     # about two minutes
    ABIDE_BIN       the binary (default: target/release/abide, else target/debug/abide)
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from install import InstallError, install_llmock
from run import find_abide

COMMAND_S = 120
AT_ONCE = 6
TEXT = "Die Datei sagt: Grüße aus Győr, 你好 und 👋 an alle, die noch ein paar Wörter mehr hören wollen."
FILE = "grüße.txt"
# Enough turns to spend a quota; each is a request.
TURNS = 16
# The most refusals by a quota that a run may need to learn it.
REFUSALS = 2

WIRES = {
    "openai": "/v1",
    "openai-responses": "/v1",
    "anthropic": "/anthropic",
    "gemini": "/gemini",
}
MODEL = """
[models.{name}]
provider = "{wire}"
base_url = "{base_url}"
model = "{name}"
api_key = "${{LLMOCK_KEY}}-{name}"
stream = {stream}
timeout_s = {timeout_s}
idle_timeout_s = 1
max_tokens = 100
"""
SETTINGS = """
[limits]
identical_calls = 100

[tools."demo_*"]
policy = "allow"
effect = "idempotent"
"""
AGENT = """\
---
name: {name}
model: {name}
mcpServers: [{servers}]
maxTurns: 30
---
You answer.
"""


@dataclass(frozen=True)
class Case:
    """One run: what goes wrong, and how often the model is asked in all."""

    wire: str
    title: str
    faults: tuple = ()
    calls: int = 0  # of the tool, before the answer
    stream: bool = True
    timeout_s: int = 60
    requests: int | None = None  # None: as many as a quota makes of it

    @property
    def name(self):
        return f"{self.wire}-{self.title}".replace(" ", "-").replace(",", "")

    def behaviors(self):
        """What llmock does with the requests for this case's model, in order."""
        # A fault in a stream takes up the reply that it spoils.
        spoiled = sum(fault["type"] == "stream_fault" for fault in self.faults)
        call = {"name": "demo_read_file", "arguments": {"path": FILE}}
        replies = [{"type": "reply", "tool_calls": [call], "times": self.calls}] if self.calls else []
        # So does a refusal for a quota, and nobody knows how many there will be.
        replies.append({"type": "reply", "text": TEXT, "times": None if self.requests is None else 1})
        if spoiled:
            replies[0]["times"] += spoiled
        return [{**one, "match": {"model": self.name}} for one in (*self.faults, *replies)]


def fail(status, times=1, **more):
    return {"type": "fail", "status": status, "times": times, **more}


def broken(kind, after, **more):
    return {"type": "stream_fault", "kind": kind, "after_chunks": after, **more}


def plain_cases(wire):
    return [Case(wire, f"{what}, {how}", calls=calls, stream=how == "streamed", requests=calls + 1)
            for what, calls in (("text", 0), ("call", 1)) for how in ("streamed", "whole")]


def fault_cases(wire, chunks):
    """Faults on a wire whose stream of the scripted text has so many chunks."""
    half, late = chunks // 2, chunks - 1
    # llmock can only tell that a client has stopped reading if there is more to send.
    refusals = [("429", (fail(429, 2, retry_after=2),)), ("529", (fail(529),)), ("503", (fail(503, retry_after=1.5),))]
    streams = [
        ("disconnect", (broken("disconnect", half),)),
        ("disconnect at once", (broken("disconnect", 0),)),
        ("truncate", (broken("truncate", half),)),
        ("truncate late", (broken("truncate", late),)),
        ("truncate at once", (broken("truncate", 0),)),
        ("malformed", (broken("malformed", half),)),
        ("malformed late", (broken("malformed", late - 1),)),
        ("stall", (broken("stall", half, stall_seconds=20),)),
    ]
    count = lambda faults: 1 + sum(fault.get("times", 1) for fault in faults)
    cases = [Case(wire, title, faults, requests=count(faults)) for title, faults in (*refusals, *streams)]
    cases += [Case(wire, f"{title} whole", faults, stream=False, requests=count(faults)) for title, faults in refusals]
    cases += [Case(wire, f"{kind} in a call", (broken(kind, 3),), calls=1, requests=3) for kind in ("disconnect", "truncate")]
    # Before its first word a model may be silent for as long as a call may take in all.
    cases.append(Case(wire, "stall before a word", (broken("stall", 1, stall_seconds=20),), timeout_s=3, requests=2))
    return cases


def quota_cases(kind):
    return [Case(wire, f"quota of {kind}", calls=TURNS - 1) for wire in WIRES]


@dataclass
class Server:
    """One llmock, on a port of its own."""

    program: Path
    folder: Path
    options: tuple = ()
    process: subprocess.Popen | None = field(default=None, init=False)
    port: int = field(default=0, init=False)

    def __enter__(self):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        log = open(self.folder / f"llmock-{self.port}.log", "wb")
        command = [str(self.program), "serve", "--host", "127.0.0.1", "--port", str(self.port), "--log-level", "warning"]
        env = {key: value for key, value in os.environ.items() if not key.startswith("LLMOCK_")}
        self.process = subprocess.Popen([*command, *self.options], env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        log.close()
        deadline = time.monotonic() + 60
        while True:
            try:
                self.ask("GET", "/health")
                return self
            except OSError as error:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    self.__exit__()
                    sys.exit(f"endpoints.py: llmock does not serve ({error}); see {log.name}")
                time.sleep(0.05)

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def ask(self, method, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data, method=method)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=30) as answer:
            return answer.read().decode()

    def requests(self, case):
        """What was asked of a case's model."""
        all_of_them = json.loads(self.ask("GET", "/_llmock/requests"))["requests"]
        return [one for one in all_of_them if one["model"] == case.name]


@dataclass
class Project:
    """Agents and models for these cases in one folder, with one database for all of their runs."""

    folder: Path
    abide: Path
    server: Server
    cases: list
    documents: dict = field(default_factory=dict)  # what `show` says of each run, by the case's name

    def make(self):
        (self.folder / "files").mkdir(parents=True)
        (self.folder / "files" / FILE).write_text("Grüße aus Győr, 你好 und 👋\n", encoding="utf-8")
        demo = {"command": str(self.abide), "args": ["demo-server", str(self.folder / "files")]}
        (self.folder / ".mcp.json").write_text(json.dumps({"mcpServers": {"demo": demo}}))
        settings = SETTINGS
        for case in self.cases:
            base_url = f"http://127.0.0.1:{self.server.port}{WIRES[case.wire]}"
            settings += MODEL.format(name=case.name, wire=case.wire, base_url=base_url, timeout_s=case.timeout_s,
                                     stream=str(case.stream).lower())
            agent = AGENT.format(name=case.name, servers="demo" if case.calls else "")
            (self.folder / f"{case.name}.md").write_text(agent)
        (self.folder / "abide.toml").write_text(settings)
        return self

    def call(self, *words):
        kept = {key: value for key, value in os.environ.items() if not key.startswith("ABIDE_")}
        env = kept | {"ABIDE_CONFIG_DIR": str(self.folder / "config"), "NO_COLOR": "1", "LLMOCK_KEY": "sk-canary-0123456789"}
        command = [str(self.abide), *words, "--json", "--db", str(self.folder / "runs.db")]
        return subprocess.run(command, cwd=self.folder, env=env, timeout=COMMAND_S, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8", check=False)

    def run(self, case):
        """Runs one case. Returns it with the problems and `show`'s document."""
        began = time.monotonic()
        self.server.ask("POST", "/_llmock/scenario", {"behaviors": case.behaviors()})
        done = self.call("run", f"{case.name}.md", "Say what the file says.", "--id", case.name, "--yes", "--trust")
        if done.returncode != 0:
            return case, [f"`abide run` exits {done.returncode}: {done.stderr[-1000:]}"], {}, time.monotonic() - began
        document, problems = json.loads(done.stdout), []
        if document["run"]["output"] != TEXT:
            problems.append(f"it answered {document['run']['output']!r}")
        if "sk-canary" in done.stdout + done.stderr:
            problems.append("its output shows the key")
        asked = self.server.requests(case)
        attempts = sum(step["attempts"] for step in document["steps"] if step["kind"] == "llm")
        if len(asked) != attempts:
            problems.append(f"{attempts} attempts in the journal, and llmock was asked {len(asked)} times")
        if case.requests is None:
            refused = sum((one["fault"] or "").startswith("ratelimit:") for one in asked)
            # A refusal takes up a scripted call.
            if len(asked) != TURNS:
                problems.append(f"llmock was asked {len(asked)} times instead of {TURNS}, and refused {refused} of them")
            # Limits that answers name are kept from the first one on; others show themselves, and then again as they are probed.
            if refused > REFUSALS:
                problems.append(f"its quota refused it {refused} times: the limit was not learnt")
        if case.requests is not None and len(asked) != case.requests:
            problems.append(f"llmock was asked {len(asked)} times instead of {case.requests}")
        if any(one["stream"] != case.stream for one in asked):
            problems.append("`stream` was not asked for as configured")
        return case, problems, document, time.monotonic() - began

    def run_all(self):
        """All cases, a few at a time. Returns the number of those that failed."""
        failed = 0
        with ThreadPoolExecutor(AT_ONCE) as pool:
            for case, problems, document, took in pool.map(self.run, self.cases):
                self.documents[case.name] = document
                failed += bool(problems)
                print(f"{'FAIL' if problems else 'ok  '} {case.wire:17} {case.title:25} {took:5.1f} s", flush=True)
                for problem in problems:
                    print(f"         {problem}", flush=True)
        if self.call("verify").returncode != 0:
            print("FAIL `abide verify`")
            failed += 1
        return failed

    def verdict(self):
        """llmock's own. Returns 1 if it is not clean, warnings included."""
        report = self.server.ask("GET", "/_llmock/verdict?format=text").strip()
        print(report, flush=True)
        return 0 if "PASS" in report and "FAIL" not in report and "WARN" not in report else 1


def llm_outputs(document):
    return [step["output"] for step in document.get("steps", []) if step["kind"] == "llm"]


def lacks(streamed, whole, where=""):
    """What a whole answer says and the one put together from a stream does not, by place."""
    if type(streamed) is not type(whole):
        return [f"{where} is {type(streamed).__name__} instead of {type(whole).__name__}"]
    if isinstance(whole, dict):
        missing = [f"{where}.{key} is missing" for key in whole if key not in streamed and whole[key] is not None]
        both = [lacks(streamed[key], whole[key], f"{where}.{key}") for key in whole if key in streamed]
        return sum(both, missing)
    if isinstance(whole, list):
        if len(streamed) != len(whole):
            return [f"{where} has {len(streamed)} items instead of {len(whole)}"]
        return sum((lacks(*pair, f"{where}[{at}]") for at, pair in enumerate(zip(streamed, whole))), [])
    return []


def alike(documents):
    """Is the journal of a streamed run of the same shape as that of one that was not streamed?"""
    failed = 0
    for wire in WIRES:
        for what in ("text", "call"):
            streamed, whole = (llm_outputs(documents.get(Case(wire, f"{what}, {how}").name, {}))
                               for how in ("streamed", "whole"))
            problems = lacks(streamed, whole) if whole else ["there is nothing to compare"]
            failed += bool(problems)
            for problem in problems:
                print(f"FAIL {wire}, {what}: streamed, {problem}")
    return failed


def main():
    keep = "--keep" in sys.argv
    try:
        program, abide = install_llmock(), find_abide()
    except InstallError as error:
        sys.exit(f"endpoints.py: {error}")
    folder = Path(tempfile.mkdtemp(prefix="abide-endpoints-"))
    failed, cases = 0, 0
    with (Server(program, folder, ("--stream-chunk-delay-ms", "20")) as breaking, Server(program, folder, ("--rpm", "10")) as requests,
          Server(program, folder, ("--tpm", "8000")) as tokens):
        plain = Project(folder / "plain", abide, breaking, [case for wire in WIRES for case in plain_cases(wire)]).make()
        failed += plain.run_all()
        failed += alike(plain.documents)
        chunks = {wire: breaking.requests(Case(wire, "text, streamed"))[0]["chunks_sent"] for wire in WIRES}
        faults = [case for wire in WIRES for case in fault_cases(wire, chunks[wire])]
        projects = [
            Project(folder / "faults", abide, breaking, faults).make(),
            Project(folder / "requests", abide, requests, quota_cases("requests")).make(),
            Project(folder / "tokens", abide, tokens, quota_cases("tokens")).make(),
        ]
        with ThreadPoolExecutor(len(projects)) as pool:
            failed += sum(pool.map(Project.run_all, projects))
        cases = sum(len(project.cases) for project in (plain, *projects))
        failed += sum(project.verdict() for project in projects)
    if keep or failed:
        print(f"kept: {folder}")
    else:
        shutil.rmtree(folder)
    print(f"{cases} runs, {failed} failures")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
