"""Servers that do harm, called by the binary: floods, giants, schemas without end, hanging and dying. Each call must end by itself, say
what was wrong, and take no more memory than is allowed here.

    python3 tests/real/hostile.py            # a minute
    python3 tests/real/hostile.py schema     # only those with this in their names

It needs a built `abide` (ABIDE_BIN, else target/release/abide, else target/debug/abide) and nothing else. What does harm over stdio is
evil.py; over HTTP it is this script.
"""

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from install import InstallError
from run import find_abide

EVIL = Path(__file__).with_name("evil.py")
LIMITS = '[tools."*"]\ntimeout_s = 120\n[tools."hangs_*"]\ntimeout_s = 2\n'
CALL = ("call", "{server}", "t")
LIST = ("tools", "{server}")
# (way, words, exit code, what is said, MiB at most)
STDIO = [
    ("behaves", CALL, 0, "well", 100),
    ("answers 1 GiB", CALL, 1, "limit of 16777216 bytes", 200),
    ("prints 1 GiB", CALL, 0, "well", 150),
    ("stderr of 1 GiB", CALL, 0, "well", 100),
    ("asks without reading", CALL, 0, "well", 150),
    ("asks people without reading", CALL, 0, "well", 150),
    ("tells progress", CALL, 0, "well", 150),
    ("tells of changes", CALL, 0, "well", 150),
    ("branching schema", CALL, 1, "takes longer", 150),
    ("deep schema", CALL, 1, "takes longer", 150),
    ("circular schema", CALL, 0, "well", 150),
    ("large pages", LIST, 8, "the limit", 400),
    ("long cursors", LIST, 0, "", 200),
    ("hangs", CALL, 1, "no sign of life within 2 s", 100),
    ("dies", CALL, 1, "is not known", 100),
    ("dies at once", CALL, 8, "no such folder", 100),
]
HTTP = [
    ("web behaves", CALL, 0, "well", 100),
    ("web answers 1 GiB", CALL, 1, "limit", 250),
    ("web streams 1 GiB", CALL, 1, "limit", 250),
    ("web refuses with 1 GiB", CALL, 1, "", 250),
    ("web asks without taking answers", CALL, 0, "well", 250),
    ("web is not there", LIST, 8, "refused", 100),
]


class Web(BaseHTTPRequestHandler):
    """2025-11-25 over HTTP; the way stands in the path."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.answer(405, "", b"")

    def do_POST(self):
        way = self.path.strip("/").replace("-", " ")
        message = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        number, method = message.get("id"), message.get("method")
        if method is None and way == "web asks without taking answers":
            time.sleep(600)
        if number is None or method is None:
            return self.answer(202, "", b"")
        results = {
            "initialize": {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}, "serverInfo": {"name": "web", "version": "1"}},
            "tools/list": {"tools": [{"name": "t", "inputSchema": {"type": "object"}}]},
            "tools/call": {"content": [{"type": "text", "text": "well"}]},
        }
        if method not in results:
            return self.answer(400, "", b"")
        whole = json.dumps({"jsonrpc": "2.0", "id": number, "result": results[method]}).encode()
        if method != "tools/call" or way == "web behaves":
            return self.answer(200, "application/json", whole)
        giant = (b"x" * (1 << 20) for _ in range(1024))
        if way == "web answers 1 GiB":
            self.stream(200, "application/json", giant)
        elif way == "web streams 1 GiB":
            self.stream(200, "text/event-stream", giant, b"data: ")
        elif way == "web refuses with 1 GiB":
            self.stream(400, "text/plain", giant)
        else:
            ask = b'data: {"jsonrpc":"2.0","id":%d,"method":"ping"}\n\n'
            asks = (b"".join(ask % n for n in range(at, at + 1000)) for at in range(0, 200_000, 1000))
            self.stream(200, "text/event-stream", asks, last=b"data: " + whole + b"\n\n")

    def answer(self, status, kind, body):
        self.send_response(status)
        if kind:
            self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def stream(self, status, kind, parts, first=b"", last=b""):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        try:
            self.wfile.write(first)
            for part in parts:
                self.wfile.write(part)
            self.wfile.write(last)
        except OSError:
            pass  # It has heard enough.

    def log_message(self, *_):
        pass


def called(abide, folder, words):
    """Exit code, what was said, seconds, and the most memory that it had, in MiB."""
    env = {**os.environ, "ABIDE_CONFIG_DIR": str(folder / "config"), "NO_COLOR": "1"}
    began = time.monotonic()
    with (folder / "said").open("w+b") as said:
        process = subprocess.Popen([str(abide), *words, "--trust"], cwd=folder, env=env, stdin=subprocess.DEVNULL, stdout=said, stderr=said)
        timer = threading.Timer(150, process.kill)
        timer.start()
        _, status, usage = os.wait4(process.pid, 0)
        timer.cancel()
        process.returncode = os.waitstatus_to_exitcode(status)
        # Its end is what counts: a flood of progress is shown.
        said.seek(max(0, said.tell() - 20_000))
        text = said.read().decode(errors="replace")
    unit = 1 << 20 if sys.platform == "darwin" else 1 << 10
    return process.returncode, text, time.monotonic() - began, usage.ru_maxrss // unit


def main():
    began = time.monotonic()
    try:
        abide = find_abide()
    except InstallError as error:
        sys.exit(f"hostile.py: {error}")
    chosen = [word for word in sys.argv[1:] if not word.startswith("-")]
    web = ThreadingHTTPServer(("127.0.0.1", 0), Web)
    web.daemon_threads = True
    threading.Thread(target=web.serve_forever, daemon=True).start()
    name = lambda way: way.replace(" ", "-")
    servers = {name(way): {"command": sys.executable, "args": [str(EVIL), way]} for way, *_ in STDIO}
    for way, *_ in HTTP:
        port = 9 if way == "web is not there" else web.server_address[1]
        servers[name(way)] = {"type": "http", "url": f"http://127.0.0.1:{port}/{name(way)}"}
    passed = failed = 0
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        (folder / ".mcp.json").write_text(json.dumps({"mcpServers": servers}))
        (folder / "abide.toml").write_text(LIMITS)
        for way, words, code, says, most in STDIO + HTTP:
            if chosen and not any(word in way for word in chosen):
                continue
            got, said, seconds, memory = called(abide, folder, [word.format(server=name(way)) for word in words])
            good = got == code and says in said and memory <= most
            passed, failed = passed + good, failed + (not good)
            figures = f"exit {got}, {seconds:.1f} s, {memory} MiB"
            print(f"ok    {way}: {figures}" if good else
                  f"FAIL  {way}: {figures}; wanted exit {code}, {says!r}, {most} MiB: {said[-800:]}", flush=True)
    print(f"{passed} passed, {failed} failed, {time.monotonic() - began:.0f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
