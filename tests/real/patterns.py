"""Every pattern with a real model and real MCP servers, from one file: SmolLM2-135M under llama.cpp's own server, which holds it to JSON
schemas by grammars; npm's filesystem and memory, PyPI's time and git.

Each is killed with `kill -9` at moments that chance decides by the seed that is printed, and resumed until it ends. A model this small knows
nothing, so its words are not judged. `bounds` (see abide.toml below) has it come to an end, `tool_choice` has it call. What is judged: every
run completes; whoever has tools has called one and was told its result; names that it chose are names that there are, in the structure of the
pattern; caps hold; by the ledgers of the model's proxy and of the servers' tees, no call whose outcome was in the journal was sent again;
`replay` and `verify` are content.

    python3 tests/real/patterns.py [--seed N] [--kills N] [--keep] [NAME...]
    ABIDE_BIN       the binary (default: target/release/abide, else target/debug/abide)
"""

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from ends import End, Stage, until_done
from install import InstallError, install, install_venv, once, venv_python
from model import ModelServer
from project import server
from run import find_abide
from servers import PYPI

SETTINGS = """\
# Words: some, then it is cut off, which is no error.
[models.words]
provider = "openai"
base_url = "{base_url}"
model = "smollm2"
max_tokens = 64
stream = false

# The same for whoever has to fill in what a tool wants to know.
[models.arguments]
provider = "openai"
base_url = "{base_url}"
model = "smollm2"
max_tokens = 160
stream = false
bounds = {{ text = 16, items = 1 }}

# Choices: as many as the grammar lets it say.
[models.choices]
provider = "openai"
base_url = "{base_url}"
model = "smollm2"
max_tokens = 400
stream = false
bounds = {{ text = 60, items = 2 }}

# A plan of one assignment: with two, what needs what becomes a knot.
[models.choice]
provider = "openai"
base_url = "{base_url}"
model = "smollm2"
max_tokens = 300
stream = false
bounds = {{ text = 60, items = 1 }}

[defaults]
model = "words"

[agents.writer]
description = "Writes one short sentence"
instructions = "Write one short sentence."
servers = []

[agents.reader]
description = "Reads and sums up"
instructions = "Sum up what you read."
servers = []

[agents.folders]
description = "Knows which folders may be read"
instructions = "Say which folders may be read."
servers = ["filesystem"]
tools = ["filesystem_list_allowed_directories"]
tool_choice = "required"
max_turns = 2

[agents.memories]
description = "Knows what is kept in memory"
instructions = "Say what is kept in memory."
servers = ["memory"]
tools = ["memory_read_graph"]
tool_choice = "required"
max_turns = 2

[agents.keeper]
description = "Keeps something in memory"
instructions = "Keep what you are told in memory."
model = "arguments"
servers = ["memory"]
tools = ["memory_create_entities"]
tool_choice = "required"
max_turns = 2

[agents.clock]
description = "Knows what time it is"
instructions = "Say what time it is."
model = "arguments"
servers = ["time"]
tools = ["time_get_current_time"]
tool_choice = "required"
max_turns = 2

[agents.historian]
description = "Knows what was changed"
instructions = "Say what was changed."
model = "arguments"
servers = ["git"]
tools = ["git_git_log"]
tool_choice = "required"
max_turns = 2

[agents.desk]
description = "Hands over"
instructions = "Call hand_over_to_chain."
model = "choice"
servers = []
tool_choice = "required"

[workflows.chain]
pattern = "chain"
agents = ["folders", "reader"]

[workflows.parallel]
pattern = "parallel"
agents = ["folders", "memories", "clock", "historian"]
fan_in = "writer"

[workflows.vote]
pattern = "parallel"
agents = ["writer", "reader", "memories"]
vote = true

[workflows.router]
pattern = "router"
agents = ["folders", "memories", "clock"]
model = "choices"

[workflows.classifier]
pattern = "classifier"
model = "choices"
[workflows.classifier.intents]
refund = ["I want my money back"]
bug = ["It crashes"]

[workflows.draft]
pattern = "evaluator-optimizer"
agents = ["folders"]
model = "choices"
at_least = 10
refinements = 1

[workflows.orchestrator]
pattern = "orchestrator"
agents = ["folders", "keeper"]
model = "choices"
plan = "iterative"
max_iterations = 4

[workflows.deep]
pattern = "deep-orchestrator"
agents = ["folders", "memories"]
model = "choice"
max_replans = 1
max_turns = 16

# To a workflow: another agent would hand the conversation back for ever, as a model this small does what was done before.
[workflows.swarm]
pattern = "swarm"
agents = ["desk", "chain"]
max_handoffs = 2

[workflows.map]
pattern = "map"
agents = ["keeper"]
parallel = 2

# The server leaves an entity alone that is there already.
[tools."memory_create_entities"]
policy = "allow"
effect = "idempotent"

[tools."*"]
policy = "allow"

[servers.filesystem]
trust = true
[servers.memory]
trust = true
[servers.time]
trust = true
[servers.git]
trust = true
"""
INPUTS = {"map": "a dog\na cat\na horse", "classifier": "I want my money back for order 7.", "router": "What time is it?",
          "swarm": "Call hand_over_to_chain.", "orchestrator": "Keep in memory which folders may be read.", "deep": "Which folders may be read, and what is kept in memory?"}
WORKFLOWS = [line.split(".")[1].rstrip("]") for line in SETTINGS.splitlines() if line.startswith("[workflows.") and line.count(".") == 1]
TOOLS = {"folders", "memories", "keeper", "clock", "historian"}
# The most calls of the model that a pattern's caps allow.
CAPS = {"chain": 3, "parallel": 9, "vote": 4, "router": 3, "classifier": 2, "draft": 6, "orchestrator": 8 + 4 * 2 * 2 + 1, "deep": 30, "swarm": 4, "map": 6}


class Real(Stage):
    """One pattern's stage: the proxy's ledger is a new one, and every server is behind a tee."""

    def __init__(self, folder, abide, installed, model, chance):
        super().__init__(folder, abide, chance, 1.0)
        root, data = folder / "project", folder / "repo"
        (root / "docs").mkdir(parents=True)
        data.mkdir()
        git = ["git", "-C", str(data), "-c", "user.name=x", "-c", "user.email=x@example.com"]
        for words in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "first"]):
            subprocess.run([*git, *words], check=True)
        programs = venv_python(installed.root / "servers-venv").parent
        behind = lambda name, *words: server(self.ledgers, name, *words)
        servers = {
            "filesystem": behind("filesystem", installed.node, installed.filesystem, "docs"),
            "memory": behind("memory", installed.node, installed.memory) | {"env": {"MEMORY_FILE_PATH": str(folder / "memory.jsonl")}},
            "time": behind("time", programs / "mcp-server-time"),
            "git": behind("git", programs / "mcp-server-git", "--repository", data),
        }
        (root / ".mcp.json").write_text(json.dumps({"mcpServers": servers}))
        (root / "abide.toml").write_text(SETTINGS.format(base_url=model.open(self.ledgers, [])))
        self.end = End(self, root)


def agent_of(id):
    """`deep/step[1]/folders/llm#2` is a step of `folders`."""
    return id.split("/")[-2].split("#")[0]


def structure(name, shown, steps):
    """What is wrong with the way that a run went, as its pattern has it."""
    called, problems = [step for step in steps if step["kind"] == "llm"], []
    who = [agent_of(step["id"]) for step in called]
    if len(called) > CAPS[name]:
        problems.append(f"{len(called)} calls are more than its caps allow: {[step['id'] for step in called]}")
    known = set(SETTINGS.split()) and {line[8:-1] for line in SETTINGS.splitlines() if line.startswith("[agents.")}
    strange = set(who) - known - {"planner", "synthesizer", "evaluator", "router", "classifier", "keeper", "emergency"}
    if strange:
        problems.append(f"nobody knows who made these calls: {strange}")
    for agent in TOOLS & set(who):
        if name == "deep" and agent == "keeper":
            continue  # the pattern's own, which keeps facts
        results = [step for step in steps if step["kind"] == "tool" and agent_of(step["id"]) == agent]
        told = json.dumps([step["input"] for step in called if agent_of(step["id"]) == agent])
        if not results:
            problems.append(f"`{agent}` has tools, and called none")
        for step in results:
            text = step["output"]["content"][0]["text"]
            if json.dumps(json.dumps(text)[1:-1])[1:-1] not in json.dumps(told) and json.dumps(text)[1:-1] not in told:
                problems.append(f"`{agent}` was not told what {step['id']} came to: {text[:200]}")
    wanted = {
        "chain": lambda: who[-1] == "reader" and "folders" in who,
        "parallel": lambda: {"folders", "memories", "clock", "historian"} <= set(who) and who.count("writer") == 1,
        "vote": lambda: {"writer", "reader", "memories"} == set(who),
        "router": lambda: who[0] == "router" and len(set(who)) == 2,
        "classifier": lambda: shown["output"]["intents"][0]["name"] in ("refund", "bug"),
        "draft": lambda: 1 <= who.count("evaluator") <= 2 and "folders" in who,
        "orchestrator": lambda: "planner" in who and who.count("synthesizer") == 1 and {"folders", "keeper"} & set(who),
        "deep": lambda: "planner" in who and {"folders", "memories"} & set(who) and who.count("synthesizer") == 1 and "emergency" not in who,
        "swarm": lambda: who[0] == "desk" and who[-1] == "reader" and "folders" in who,
        "map": lambda: [one["item"] for one in shown["output"]] == INPUTS["map"].splitlines() and all("answer" in one for one in shown["output"]),
    }[name]
    if not wanted():
        problems.append(f"it went like this: {[step['id'] for step in steps]}, to {json.dumps(shown['output'])[:300]}")
    return problems


def perform(stage, name, kills):
    end = stage.end
    shown, problems = until_done(stage, end, name, kills, name, INPUTS.get(name, "Tell me about the sea."))
    if problems:
        return problems
    if not shown["output"]:
        problems.append("it has no answer")
    return problems + structure(name, shown, end.calls()) + end.problems()


def main():
    words = argparse.ArgumentParser(description="Every pattern with a real model and real servers.")
    words.add_argument("name", nargs="*", choices=[*WORKFLOWS, []])
    words.add_argument("--seed", type=int, default=random.randrange(1_000_000))
    words.add_argument("--kills", type=int, default=2)
    words.add_argument("--keep", action="store_true")
    asked = words.parse_args()
    try:
        installed, binary = install(), find_abide()
        once(installed.root, "servers-venv", PYPI, install_venv)
    except InstallError as error:
        sys.exit(f"patterns.py: {error}")
    names, folder, failed = asked.name or WORKFLOWS, Path(tempfile.mkdtemp(prefix="abide-patterns-")), 0
    print(f"seed {asked.seed}", flush=True)
    with ModelServer(installed, folder / "llama.log") as model:
        for name in names:
            began = time.monotonic()
            stage = Real(folder / name, binary, installed, model, random.Random(f"{asked.seed} {name}"))
            problems = perform(stage, name, asked.kills)
            total, again = stage.repeated()
            print(f"{'FAIL' if problems else 'ok  '} {name:14} {time.monotonic() - began:5.1f} s  {stage.kills} kills, {len(stage.end.calls())} steps, "
                  f"{total} calls sent, {again} of them again", flush=True)
            for problem in problems:
                print(f"         {problem}", flush=True)
            failed += bool(problems)
    if asked.keep or failed:
        print(f"kept: {folder}")
    else:
        shutil.rmtree(folder)
    times = os.times()
    print(f"{len(names) - failed} passed, {failed} failed; {times.children_user + times.children_system:.0f} s of processor time, most of it the model's")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
