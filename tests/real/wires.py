"""A real model through three wires: SmolLM2-135M under llama.cpp's own server, which speaks OpenAI Chat Completions, OpenAI
Responses and Anthropic Messages. Over each, streamed and not, an agent calls a real tool and answers with a text.

What is judged: the run completes; its first answer calls the tool, because it must (`tool_choice: required`); the tool's real
result is in the second request; tokens are counted; `replay` and `verify` are content. The model's words are not judged, and nothing stands between abide and the server.

    python3 tests/real/wires.py [--keep]
    ABIDE_BIN       the binary (default: target/release/abide, else target/debug/abide)
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from install import InstallError, install
from model import ModelServer
from run import find_abide

COMMAND_S = 100
WIRES = {"openai": "/v1", "openai-responses": "/v1", "anthropic": ""}

# A tool without arguments: a model this small fills a text of its own until it is cut off. `max_tokens` does that to its answer.
AGENT = """\
---
name: reader
model: {provider}
mcpServers: [filesystem]
tools: [filesystem_list_allowed_directories]
tool_choice: required
maxTurns: 2
---
You say which folders may be read.
"""
SETTINGS = """\
[models.{provider}]
provider = "{provider}"
base_url = "{base_url}"
model = "smollm2"
api_key = "none"
temperature = 0.0
max_tokens = 60
stream = {stream}

[servers.filesystem]
trust = true
"""


def make(folder, installed, provider, stream, port):
    """Writes the project and returns its root."""
    root = folder / "project"
    (root / "docs").mkdir(parents=True)
    base_url = f"http://127.0.0.1:{port}{WIRES[provider]}"
    (root / "reader.md").write_text(AGENT.format(provider=provider))
    (root / "abide.toml").write_text(SETTINGS.format(provider=provider, base_url=base_url, stream=str(stream).lower()))
    server = {"command": installed.node, "args": [str(installed.filesystem), "docs"]}
    (root / ".mcp.json").write_text(json.dumps({"mcpServers": {"filesystem": server}}))
    return root


def abide(binary, root, *words):
    """Runs a verb; returns its exit code, stdout and stderr."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("ABIDE_")}
    env = kept | {"ABIDE_CONFIG_DIR": str(root.parent / "config"), "NO_COLOR": "1"}
    done = subprocess.run([str(binary), *words, "--db", str(root.parent / "runs.db")], cwd=root, env=env, text=True,
                          timeout=COMMAND_S, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    with open(root.parent / "commands.log", "a", encoding="utf-8") as log:
        log.write(f"$ abide {' '.join(words)}\n{done.stdout}{done.stderr}-> {done.returncode}\n")
    return done.returncode, done.stdout, done.stderr


def perform(binary, root, stream):
    """Runs the agent; returns what is wrong, and a line about what happened."""
    problems = []
    try:
        words = ("run", "reader.md", "Which folders may be read?", "--id", "r", "--yes", "--trust", "--json")
        code, text, error = abide(binary, root, *words)
    except subprocess.TimeoutExpired:
        code, text, _ = abide(binary, root, "show", "r")
        return [f"it has not ended after {COMMAND_S} s:\n{text}"], ""
    if code != 0:
        return [f"`abide run` exits {code}: {error.strip()[-400:]}"], ""
    shown = json.loads(text)
    questions = [step for step in shown["steps"] if step["kind"] == "llm"]
    tools = [step for step in shown["steps"] if step["kind"] == "tool"]
    if len(questions) != 2 or any(step["status"] != "completed" for step in questions):
        problems.append(f"its questions to the model are {[(step['id'], step['status'], step['error']) for step in questions]}")
    if not tools:
        problems.append(f"the model called no tool: {json.dumps(questions[0]['output'])[:400]}")
        return problems, ""
    if any(bool(step["input"].get("stream")) != stream for step in questions):
        problems.append("it was not asked as it was to be")
    asked = json.dumps(questions[-1]["input"])
    for tool in tools:
        told = tool["output"]["content"][0]["text"] if tool["output"] else tool["error"]
        if json.dumps(told)[1:-1] not in asked:
            problems.append(f"what the tool said is not in the next request: {told}")
    usage = shown["run"]["usage"]
    if not (usage["input_tokens"] > 0 and usage["output_tokens"] > 0):
        problems.append(f"no tokens are counted: {usage}")
    if not str(shown["run"]["output"]).strip():
        problems.append("the run has no answer")
    for words in (("replay", "r"), ("verify",)):
        code, _, error = abide(binary, root, *words)
        if code != 0:
            problems.append(f"`abide {words[0]}` exits {code}: {error.strip()[-400:]}")
    if any(tool["status"] != "completed" or "docs" not in json.dumps(tool["output"]) for tool in tools):
        problems.append(f"the tool did not answer: {json.dumps(tools)[:400]}")
    return problems, f"{len(tools)} call of the tool, {usage['input_tokens']} tokens in, {usage['output_tokens']} out"


def main():
    try:
        installed, binary = install(), find_abide()
    except InstallError as error:
        sys.exit(f"wires.py: {error}")
    folder, failed = Path(tempfile.mkdtemp(prefix="abide-wires-")), 0
    with ModelServer(installed, folder / "llama.log") as model:
        for provider in WIRES:
            for stream in (True, False):
                began, name = time.monotonic(), f"{provider}, {'streamed' if stream else 'whole'}"
                home = folder / name.replace(", ", "-")
                home.mkdir()
                problems, told = perform(binary, make(home, installed, provider, stream, model.port), stream)
                print(f"{'FAIL' if problems else 'ok  '} {name:26} {time.monotonic() - began:5.1f} s  {told}", flush=True)
                for problem in problems:
                    print(f"         {problem}", flush=True)
                failed += bool(problems)
    if "--keep" in sys.argv or failed:
        print(f"kept: {folder}")
    else:
        shutil.rmtree(folder)
    print(f"{2 * len(WIRES) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
