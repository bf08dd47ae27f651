"""Every pattern with a real model: SmolLM2-135M under llama.cpp's own server, which enforces a schema as a grammar.

Workflows from a file alone. Each is killed with `kill -9` once its first call has ended, and resumed. A model this small knows nothing,
so its words are not judged, nor whether its plans reach anything. What is judged: every run ends, with an answer or with the
error that its own cap foresees; names that it chose are names that there are; caps hold; no call that had ended is made again;
`replay` and `verify` are content.

    python3 tests/real/patterns.py [--keep] [NAME...]
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
from pathlib import Path

from install import InstallError, install
from model import ModelServer
from run import find_abide
from wires import abide

COMMAND_S = 240
AGENTS = {"writer": "Writes one short sentence", "reader": "Reads and sums up"}
SETTINGS = """\
[models.small]
provider = "openai"
base_url = "http://127.0.0.1:{port}/v1"
model = "smollm2"
api_key = "none"
temperature = 0.0
max_tokens = 160
stream = false

[defaults]
model = "small"

[workflows.chain]
pattern = "chain"
agents = ["writer", "reader"]

[workflows.parallel]
pattern = "parallel"
agents = ["writer", "reader"]
fan_in = "writer"

[workflows.vote]
pattern = "parallel"
agents = ["writer", "writer", "reader"]
vote = true

[workflows.router]
pattern = "router"
agents = ["writer", "reader"]

[workflows.classifier]
pattern = "classifier"
[workflows.classifier.intents]
refund = ["I want my money back"]
bug = ["It crashes"]

[workflows.draft]
pattern = "evaluator-optimizer"
agents = ["writer"]
at_least = 10
refinements = 2

[workflows.orchestrator]
pattern = "orchestrator"
agents = ["writer", "reader"]
plan = "iterative"
max_iterations = 2

[workflows.deep]
pattern = "deep-orchestrator"
agents = ["writer", "reader"]
max_replans = 1
max_turns = 8

[workflows.swarm]
pattern = "swarm"
agents = ["writer", "reader"]
max_handoffs = 2

[workflows.map]
pattern = "map"
agents = ["writer"]
parallel = 2
"""
INPUTS = {"map": "a dog\na cat\na horse", "classifier": "I want my money back for order 7."}
# How a run may end besides with an answer: by its cap, or because a model this small does not come to an end of its JSON.
ENDS = ("did not come to an end in", "handed over more than", "found nobody for this input", "found no intent", "cut off at the limit",
        "cannot be used", "does not fit", "there is no JSON", "ended the conversation without an answer", "gave no answer")
# The most calls of the model that a pattern's caps allow; a corrected answer is a call, too.
CAPS = {"chain": 2, "parallel": 3, "vote": 3, "router": 3, "classifier": 2, "draft": 9, "swarm": 30, "map": 3}


def make(folder, port):
    root = folder / "project"
    (root / ".abide" / "agents").mkdir(parents=True)
    for name, about in AGENTS.items():
        text = f"---\nname: {name}\ndescription: {about}\n---\n{about}. Be brief.\n"
        (root / ".abide" / "agents" / f"{name}.md").write_text(text)
    (root / "abide.toml").write_text(SETTINGS.format(port=port))
    return root


def steps(binary, root, name):
    code, text, _ = abide(binary, root, "show", name, "--json")
    return {step["id"]: step for step in json.loads(text)["steps"] if step["kind"] == "llm"} if code == 0 else {}


def killed(binary, root, name):
    """Starts the workflow, and kills it once a call has ended; returns the calls that had."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("ABIDE_")}
    env = kept | {"ABIDE_CONFIG_DIR": str(root.parent / "config"), "NO_COLOR": "1"}
    words = [str(binary), "run", name, INPUTS.get(name, "Tell me about the sea."), "--id", name, "--trust", "--db",
             str(root.parent / "runs.db")]
    with open(root.parent / "killed.log", "a", encoding="utf-8") as log:
        process = subprocess.Popen(words, cwd=root, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    until = time.monotonic() + COMMAND_S
    while process.poll() is None and time.monotonic() < until:
        if any(step["status"] == "completed" for step in steps(binary, root, name).values()):
            process.send_signal(signal.SIGKILL)
        time.sleep(0.02)
    process.kill()
    process.wait()
    return {id: step["output"] for id, step in steps(binary, root, name).items() if step["status"] == "completed"}


def perform(binary, root, name):
    before = killed(binary, root, name)
    code, text, error = abide(binary, root, "resume", name, "--trust", "--json")
    problems = []
    if code not in (0, 1):
        return [f"`abide resume` exits {code}: {error.strip()[-400:]}"], ""
    shown = json.loads(text)["run"]
    if code == 1 and not any(words in (shown["error"] or "") for words in ENDS):
        problems.append(f"it failed with: {shown['error']}")
    if code == 0 and not shown["output"]:
        problems.append("it has no answer")
    after = steps(binary, root, name)
    for id, output in before.items():
        if after[id]["output"] != output or after[id]["attempts"] != 1:
            problems.append(f"{id} had ended, and was asked again")
    if len(after) > CAPS.get(name, len(after)):
        problems.append(f"{len(after)} calls are more than its caps allow: {sorted(after)}")
    known = set(AGENTS) | {"planner", "synthesizer", "evaluator", "router", "classifier", "keeper", "emergency"}
    strange = [id for id in after if id.split("/")[-2].split("#")[0] not in known]
    if strange:
        problems.append(f"nobody knows who made these calls: {strange}")
    if name in ("vote", "map", "chain", "parallel") and code != 0:
        problems.append(f"it has nothing to fail at: {shown['error']}")
    for words in (("replay", name), ("verify",)):
        again, _, error = abide(binary, root, *words)
        if again != 0:
            problems.append(f"`abide {words[0]}` exits {again}: {error.strip()[-400:]}")
    ended = "an answer" if code == 0 else f"its cap ({shown['error'][:70]}...)"
    return problems, f"{len(before)} calls before the kill, {len(after)} in all, ended with {ended}"


def main():
    try:
        installed, binary = install(), find_abide()
    except InstallError as error:
        sys.exit(f"patterns.py: {error}")
    chosen = [word for word in sys.argv[1:] if not word.startswith("-")]
    names = chosen or [line.split(".")[1].rstrip("]\n") for line in SETTINGS.splitlines()
                       if line.startswith("[workflows.") and line.count(".") == 1]
    folder, failed = Path(tempfile.mkdtemp(prefix="abide-patterns-")), 0
    with ModelServer(installed, folder / "llama.log") as model:
        root = make(folder, model.port)
        for name in names:
            began = time.monotonic()
            problems, told = perform(binary, root, name)
            print(f"{'FAIL' if problems else 'ok  '} {name:14} {time.monotonic() - began:5.1f} s  {told}", flush=True)
            for problem in problems:
                print(f"         {problem}", flush=True)
            failed += bool(problems)
    if "--keep" in sys.argv or failed:
        print(f"kept: {folder}")
    else:
        shutil.rmtree(folder)
    print(f"{len(names) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
