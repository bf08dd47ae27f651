"""Calls every tool of servers that nobody at abide wrote, by `abide call`, and judges what comes back.

    python3 tests/real/servers.py            # installs what is missing first; about a minute and a half
    python3 tests/real/servers.py --keep     # leaves the folder: what was called and what was printed

The servers: npm's server-everything (over stdio and over streamable HTTP), server-filesystem and server-memory; PyPI's
mcp-server-git and mcp-server-time. Beside each tool: progress, time-outs, an interrupt, a server killed in mid-call, and questions
that are declined where nobody is there and answered where somebody is; and through an agent (asked.py) the same over kill -9.
"""

import json
import os
import pty
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from asked import through_an_agent, type_answers
from install import InstallError, cache_folder, install_npm, install_venv, need, once, venv_python
from run import find_abide

NPM = [f"@modelcontextprotocol/server-{name}@2026.8.31" for name in ("everything", "filesystem", "memory")]
PYPI = ["mcp-server-git==2026.10.19", "mcp-server-time==2026.10.19"]
SETTINGS = """\
[servers.everything]
roots = true
[servers.web]
roots = true
[tools."patient_*"]
timeout_s = 2
max_timeout_s = 20
"""
DATA = "data:text/plain;base64,aGVsbG8="


class Place:
    """A project that declares the servers."""

    def __init__(self, folder, abide):
        self.folder, self.abide, self.called, self.problems, self.checks = folder, abide, set(), [], 0
        root = cache_folder()
        root.mkdir(parents=True, exist_ok=True)
        once(root, "servers-npm", NPM, install_npm)
        once(root, "servers-venv", PYPI, install_venv)
        node, packages = need("node", "Node.js 18 or newer"), root / "servers-npm" / "node_modules" / "@modelcontextprotocol"
        script = lambda name: str(packages / f"server-{name}" / "dist" / "index.js")
        bin_folder = venv_python(root / "servers-venv").parent
        self.files, self.repo, self.everything = folder / "files", folder / "repo", [node, script("everything")]
        self.files.mkdir()
        self.repo.mkdir()
        git(self.repo, "init", "-q")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        everything = {"command": node, "args": [script("everything"), "stdio", str(folder)]}
        servers = {
            "everything": everything,
            "patient": everything,
            "web": {"type": "http", "url": f"http://127.0.0.1:{self.port}/mcp"},
            "filesystem": {"command": node, "args": [script("filesystem"), str(self.files)]},
            "memory": {"command": node, "args": [script("memory")], "env": {"MEMORY_FILE_PATH": str(folder / "memory.json")}},
            "git": {"command": str(bin_folder / "mcp-server-git"), "args": ["--repository", str(self.repo)]},
            "time": {"command": str(bin_folder / "mcp-server-time")},
        }
        (folder / ".mcp.json").write_text(json.dumps({"mcpServers": servers}))
        (folder / "abide.toml").write_text(SETTINGS)
        self.env = {**os.environ, "ABIDE_CONFIG_DIR": str(folder / "config"), "NO_COLOR": "1"}
        self.log = (folder / "commands.log").open("w")

    def start(self, *words, **options):
        return subprocess.Popen([str(self.abide), *words], cwd=self.folder, env=self.env, text=True, **options)

    def run(self, *words):
        process = self.start(*words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            out, err = process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
            err += "\n(killed after 60 s)"
        self.log.write(f"$ abide {' '.join(words)}\n{out}{err}[{process.returncode}]\n")
        self.log.flush()
        return process.returncode, out, err

    def check(self, what, good, seen):
        self.checks += 1
        if not good:
            self.problems.append(what)
            print(f"FAIL {what}: {seen}"[:1500], flush=True)

    def call(self, server, tool, arguments, expect=None, code=0):
        """Calls and checks the exit code and a text in the result."""
        self.called.add((server, tool))
        got, out, err = self.run("call", server, tool, json.dumps(arguments), "--trust", "--json")
        good = got == code and (expect is None or expect in out)
        self.check(f"{server} {tool}", good, f"exit {got}, wanted {code} and {expect!r}: {out}{err}")
        return out

    def serve(self):
        """Starts server-everything over HTTP."""
        env = {**self.env, "PORT": str(self.port)}
        server = subprocess.Popen([*self.everything, "streamableHttp"], env=env, stdout=subprocess.DEVNULL,
                                  stderr=subprocess.DEVNULL)
        until = time.monotonic() + 20
        while time.monotonic() < until and server.poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return server
            time.sleep(0.05)
        sys.exit("servers.py: server-everything does not listen")


def git(folder, *words):
    subprocess.run(["git", "-c", "user.name=x", "-c", "user.email=x@example.com", *words], cwd=folder, check=True)


def everything(place, server):
    call = lambda *words, **options: place.call(server, *words, **options)
    call("echo", {"message": "hello there"}, "hello there")
    call("get-annotated-message", {"messageType": "success", "includeImage": True}, "image/png")
    call("get-env", {}, "PATH" if server != "web" else None)
    call("get-resource-links", {"count": 2}, "resource_link")
    call("get-resource-reference", {"resourceType": "Text", "resourceId": 1}, "resource")
    call("get-structured-content", {"location": "Chicago"}, "structuredContent")
    call("get-sum", {"a": 2, "b": 40}, "42")
    call("get-tiny-image", {}, "image/png")
    call("gzip-file-as-resource", {"name": "a.gz", "data": DATA, "outputType": "resource"}, "application/gzip")
    call("toggle-simulated-logging", {})
    call("toggle-subscriber-updates", {})
    call("trigger-long-running-operation", {"duration": 1, "steps": 2}, "completed")
    call("get-roots-list", {}, place.folder.name)
    call("trigger-elicitation-request", {}, "declined")
    call("trigger-url-elicitation", {"url": "https://example.com/"}, "declin")
    call("trigger-sampling-request", {"prompt": "hello"}, "sampling was declined", code=1)
    # Tasks of 2025-11-25 were an experiment; abide speaks those of 2026-07-28, and this tool works only as one of the others.
    call("simulate-research-query", {"topic": "x"}, "task", code=1)
    call("resources/list", {}, "demo://")
    call("resources/read", {"uri": "demo://resource/dynamic/text/1"}, "resource")


def filesystem(place):
    call = lambda *words, **options: place.call("filesystem", *words, **options)
    at = lambda name: {"path": str(place.files / name)}
    call("write_file", {**at("a.txt"), "content": "one\ntwo\n"}, "wrote")
    call("edit_file", {**at("a.txt"), "edits": [{"oldText": "two", "newText": "three"}]}, "three")
    for tool in ("read_file", "read_text_file"):
        call(tool, at("a.txt"), "three")
    call("read_multiple_files", {"paths": [str(place.files / "a.txt")]}, "three")
    (place.files / "p.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    call("read_media_file", at("p.png"), "image/png")
    call("create_directory", at("sub"), "sub")
    for tool in ("list_directory", "list_directory_with_sizes", "directory_tree"):
        call(tool, {"path": str(place.files)}, "a.txt")
    call("search_files", {"path": str(place.files), "pattern": "*.txt"}, "a.txt")
    call("get_file_info", at("a.txt"), "size")
    call("move_file", {"source": str(place.files / "a.txt"), "destination": str(place.files / "b.txt")}, "b.txt")
    # It would take the client's roots in the place of the folder it was started with, and is told none.
    call("list_allowed_directories", {}, str(place.files))
    call("read_file", {"path": "/etc/passwd"}, "denied", code=1)
    place.check("the file is where it was moved", (place.files / "b.txt").read_text() == "one\nthree\n", "")


def memory(place):
    call = lambda *words, **options: place.call("memory", *words, **options)
    entity = lambda name: {"name": name, "entityType": "river", "observations": ["long"]}
    call("create_entities", {"entities": [entity("Danube"), entity("Tisza")]}, "Danube")
    call("create_relations", {"relations": [{"from": "Tisza", "to": "Danube", "relationType": "flows into"}]}, "flows into")
    call("add_observations", {"observations": [{"entityName": "Danube", "contents": ["blue"]}]}, "blue")
    for tool, arguments in (("read_graph", {}), ("search_nodes", {"query": "blue"}), ("open_nodes", {"names": ["Danube"]})):
        call(tool, arguments, "blue")
    call("delete_observations", {"deletions": [{"entityName": "Danube", "observations": ["blue"]}]})
    call("delete_relations", {"relations": [{"from": "Tisza", "to": "Danube", "relationType": "flows into"}]})
    call("delete_entities", {"entityNames": ["Tisza"]})
    kept = (place.folder / "memory.json").read_text()
    place.check("the memory holds what is left", "Danube" in kept and "Tisza" not in kept and "blue" not in kept, kept)


def git_server(place):
    repo = {"repo_path": str(place.repo)}
    call = lambda tool, arguments, *rest: place.call("git", tool, {**repo, **arguments}, *rest)
    for key, value in (("user.name", "x"), ("user.email", "x@example.com")):
        git(place.repo, "config", key, value)
    (place.repo / "f.txt").write_text("one\n")
    call("git_add", {"files": ["f.txt"]}, "staged")
    call("git_commit", {"message": "the first"}, "committed")
    (place.repo / "f.txt").write_text("two\n")
    call("git_status", {}, "f.txt")
    call("git_diff_unstaged", {}, "+two")
    call("git_add", {"files": ["f.txt"]}, "staged")
    call("git_diff_staged", {}, "+two")
    call("git_diff", {"target": "HEAD"}, "+two")
    call("git_reset", {}, "reset")
    call("git_log", {}, "the first")
    call("git_show", {"revision": "HEAD"}, "the first")
    call("git_create_branch", {"branch_name": "other"}, "other")
    call("git_checkout", {"branch_name": "other"}, "other")
    call("git_branch", {"branch_type": "local"}, "other")


def clock(place):
    place.call("time", "get_current_time", {"timezone": "Europe/Budapest"}, "Europe/Budapest")
    place.call("time", "convert_time", {"source_timezone": "Etc/UTC", "time": "12:00", "target_timezone": "Asia/Tokyo"}, "21:00")
    code, out, err = place.run("call", "time", "convert_time", "{}", "--trust", "--json")
    place.check("missing arguments are the tool's error", code == 1, f"{code} {out}{err}")


def every_tool_was_called(place):
    code, out, err = place.run("tools", "--trust", "--json")
    listed = json.loads(out or "{}")
    place.check("abide tools", code == 0 and not listed["failed"], f"{code} {err}")
    # Some offer resources and have none.
    for tool in listed["tools"]:
        at = (tool["server"], tool["tool"])
        if tool["tool"].startswith("resources/") and at not in place.called and tool["server"] != "patient":
            place.call(*at, {"uri": "none://"}, code=1 if tool["tool"] == "resources/read" else 0)
    tools = {(tool["server"], tool["tool"]) for tool in listed["tools"] if tool["server"] != "patient"}
    place.check("every tool was called", tools <= place.called, sorted(tools - place.called))
    eras = {tool["server"]: tool["protocol"] for tool in listed["tools"]}
    place.check("both eras were spoken", set(eras.values()) == {"2025-11-25", "2026-07-28"}, eras)
    print(f"{len(tools)} tools of {len(eras)} servers: {eras}")


def long(duration, steps):
    return json.dumps({"duration": duration, "steps": steps})


def time_passes(place):
    operation = "trigger-long-running-operation"
    code, _, err = place.run("call", "patient", operation, long(4, 4), "--trust")
    place.check("progress keeps a call alive and is shown", code == 0 and "3 of 4" in err, f"{code} {err}")
    code, _, err = place.run("call", "patient", operation, long(8, 1), "--trust", "--json")
    place.check("without progress it is given up", code == 1 and "no sign of life" in err, f"{code} {err}")
    for server, signals in (("everything", "abide"), ("web", "abide"), ("everything", "server"), ("web", "server")):
        interrupted(place, server, signals, operation)


def interrupted(place, server, whom, operation):
    """Ctrl-C for abide, or kill -9 for the server, in the middle of a call."""
    process = place.start("call", server, operation, long(20, 40), "--trust", stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    said = []
    for line in process.stderr:
        said.append(line)
        if " of 40" in line:
            break
    began = time.monotonic()
    if whom == "abide":
        process.send_signal(signal.SIGINT)
    else:
        for pid in servers_of(place, server):
            os.kill(pid, signal.SIGKILL)
    out, err = process.communicate(timeout=60)
    took, err = time.monotonic() - began, "".join(said) + err
    wanted = 130 if whom == "abide" else 1
    good = process.returncode == wanted and took < 20 and (whom == "abide" or "is not known" in err)
    place.check(f"{server}: {whom} is ended in mid-call", good, f"exit {process.returncode} after {took:.1f} s: {out}{err}")
    if server == "everything":
        place.check(f"{server}: nothing is left behind", not servers_of(place, server), servers_of(place, server))


def servers_of(place, server):
    """The processes of a server: those over stdio name the project's folder, the one over HTTP says so."""
    listed = subprocess.run(["ps", "-eo", "pid,args"], capture_output=True, text=True, check=True).stdout
    mark = f"stdio {place.folder}" if server == "everything" else "server-everything/dist/index.js streamableHttp"
    return [int(line.split()[0]) for line in listed.splitlines() if mark in line and "abide" not in line.split()[1]
            and (server == "everything" or int(line.split()[0]) == place.web.pid)]


def a_person_answers(place):
    """On a terminal the server's question is put to the person."""
    ours, theirs = pty.openpty()
    process = place.start("call", "everything", "trigger-elicitation-request", "--trust", stdin=theirs, stderr=theirs,
                          stdout=subprocess.PIPE)
    os.close(theirs)
    screen = []

    type_answers(ours, screen, "Ada")
    try:
        out, _ = process.communicate(timeout=60)
    except subprocess.TimeoutExpired:
        process.kill()
        out, _ = process.communicate()
    good = process.returncode == 0 and "Ada" in out and "the server `everything` asks" in "".join(screen)
    place.check("a person answers a question", good, f"{process.returncode} {out} {''.join(screen)}")


def main():
    folder = Path(tempfile.mkdtemp(prefix="abide-servers-")).resolve()
    began = time.monotonic()
    try:
        place = Place(folder, find_abide())
    except InstallError as error:
        sys.exit(f"servers.py: {error}")
    place.web = place.serve()
    try:
        everything(place, "everything")
        everything(place, "web")
        filesystem(place)
        memory(place)
        git_server(place)
        clock(place)
        every_tool_was_called(place)
        a_person_answers(place)
        time_passes(place)
        through_an_agent(place)
    finally:
        place.web.kill()
    if place.problems or "--keep" in sys.argv:
        print(f"kept: {folder}")
    else:
        shutil.rmtree(folder)
    print(f"{place.checks - len(place.problems)} passed, {len(place.problems)} failed, {time.monotonic() - began:.0f} s")
    return 1 if place.problems else 0


if __name__ == "__main__":
    sys.exit(main())
