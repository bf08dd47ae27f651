#!/usr/bin/env python3
"""Counts syncs with strace, which nobody at abide wrote: 200 dependent steps, and an agent of 50 turns with one tool call each.

It proves what one turn costs on the disk, not how fast that disk is. The model here is a stub that always asks for the same tool.
"""
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", REPO / "target")) / "release"
TURNS = 50


class Model(BaseHTTPRequestHandler):
    """Chat Completions: a tool call for the first 50 requests of a conversation, then an answer."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        done = sum(message["role"] == "tool" for message in body["messages"])
        message = {"role": "assistant", "content": f"turn {done}: " + "words " * 40}
        stop = "stop"
        if done < TURNS:
            stop = "tool_calls"
            function = {"name": "demo_list_files", "arguments": "{}"}
            message["tool_calls"] = [{"id": f"call_{done}", "type": "function", "function": function}]
        usage = {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}
        choice = {"index": 0, "message": message, "finish_reason": stop}
        reply = {"id": "x", "object": "chat.completion", "model": "stub", "choices": [choice], "usage": usage}
        data = json.dumps(reply).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


def syncs(command, folder):
    """Runs a command under strace and returns how many syncs it and its children made."""
    trace = folder / "strace.txt"
    env = {**os.environ, "ABIDE_CONFIG_DIR": str(folder / "config")}
    prefix = ["strace", "-f", "-c", "-e", "trace=fdatasync,fsync", "-o", str(trace)]
    done = subprocess.run(prefix + command, cwd=folder, env=env, capture_output=True, text=True, timeout=300)
    if done.returncode != 0:
        sys.exit(f"syncs.py: {' '.join(command)} exited {done.returncode}:\n{done.stdout}{done.stderr}")
    counts = re.findall(r"^\s*[\d.]+\s+[\d.]+\s+\d+\s+(\d+)\s+(?:\d+\s+)?(fdatasync|fsync)\s*$", trace.read_text(), re.M)
    return sum(int(count) for count, _ in counts), done.stdout


def steps(folder):
    # As the tests have built it: optimising changes no sync, and examples have other features than the binary, so that all would be built twice.
    counter = TARGET.parent / "debug" / "examples" / "counter"
    subprocess.run(["cargo", "build", "--quiet", "--locked", "--workspace", "--example", "counter"], cwd=REPO, check=True)
    count, out = syncs([str(counter), "200"], folder)
    assert "counted to 200" in out, out
    return count


def agent(folder, port):
    (folder / "files").mkdir()
    (folder / "files" / "a.txt").write_text("a\n")
    server = {"command": str(TARGET / "abide"), "args": ["demo-server", str(folder / "files")]}
    (folder / ".mcp.json").write_text(json.dumps({"mcpServers": {"demo": server}}))
    (folder / "abide.toml").write_text(
        f'[models.stub]\nprovider = "openai"\nbase_url = "http://127.0.0.1:{port}/v1"\nmodel = "stub"\n'
        f'[limits]\nidentical_calls = {TURNS + 5}\n'
        '[tools."demo_*"]\npolicy = "allow"\neffect = "idempotent"\n'
    )
    (folder / "looker.md").write_text(f"---\nname: looker\nmodel: stub\nmaxTurns: {TURNS + 5}\n---\nYou look.\n")
    command = [str(TARGET / "abide"), "run", "looker.md", "look", "--id", "looker", "--trust", "--yes", "--json"]
    count, out = syncs(command + ["--db", str(folder / "runs.db")], folder)
    document = json.loads(out)
    tools = sum(step["kind"] == "tool" for step in document["steps"])
    assert (document["run"]["status"], tools) == ("completed", TURNS), (document["run"], tools)
    size = sum((folder / name).stat().st_size for name in ("runs.db", "runs.db-wal") if (folder / name).exists())
    return count, size


def main():
    if not shutil.which("strace"):
        sys.exit("syncs.py: strace is missing: install the package strace")
    model = ThreadingHTTPServer(("127.0.0.1", 0), Model)
    threading.Thread(target=model.serve_forever, daemon=True).start()
    failed = 0
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as two:
        count = steps(Path(one))
        failed += count > 220
        print(f"200 dependent steps: {count} syncs, {count / 200:.3f} a step (at most 1.1)")
        count, size = agent(Path(two), model.server_port)
        failed += count > 110
        print(f"an agent of {TURNS} turns with one tool call each: {count} syncs (at most 110), {size / 1024:.0f} KB on disk")
        memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        print(f"largest process of all: {memory:.1f} MB resident")
    print(f"{2 - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
