"""Runs the protocol's own conformance suite against abide's server layer, for both dated versions.

    python3 tests/real/conformance_server.py            # installs what is missing first
    python3 tests/real/conformance_server.py tasks      # only scenarios with this in their names

The server is mcp/examples/conformance_server: what the suite wants to meet, on the layer that `abide serve` stands on. What is
expected to fail stands in conformance_server.json with its reason; a scenario that fails without standing there, or stands there
and passes, is a failure. What the suite only warns of, or says of itself that it could not try, is told. Nothing outside of this
machine is called.
"""

import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from conformance_client import VERSIONS, suite
from install import REPO, InstallError

EXPECTED = Path(__file__).with_name("conformance_server.json")


def build():
    subprocess.run(["cargo", "build", "--locked", "--quiet", "-p", "abide", "-p", "abide-mcp", "--example", "conformance_server"],
                   cwd=REPO, check=True)
    target = Path(os.environ.get("CARGO_TARGET_DIR", REPO / "target"))
    return target / "debug" / "examples" / "conformance_server"


def scenarios(command):
    """(name, version) of every server scenario of the two versions; extensions have none, and speak the newer one."""
    listed = subprocess.run([*command, "list"], capture_output=True, text=True, check=True).stdout
    servers = listed.split("Server scenarios", 1)[1].split("Client scenarios", 1)[0]
    for name, versions in re.findall(r"^\s+- (\S+) \[(.*)\]$", servers, re.M):
        for version in VERSIONS:
            if version in versions.split(","):
                yield name, version
        if versions == "extension":
            yield name, None


def call(words, folder, patience):
    """What the suite says when it is called so, and its checks by scenario."""
    try:
        done = subprocess.run([*words, "-o", str(folder)], capture_output=True, text=True, timeout=patience, check=False)
        code, said = done.returncode, done.stdout[-1500:] + done.stderr[-500:]
    except subprocess.TimeoutExpired:
        code, said = 1, f"(not done after {patience} s)"
    checks = {}
    for file in folder.rglob("checks.json"):
        # server-NAME-2026-11-26T03-28-51-239Z
        name = re.sub(r"-\d{4}-\d\d-\d\dT.*$", "", file.parent.name).removeprefix("server-")
        checks.setdefault(name, []).extend(json.loads(file.read_text()))
    return code, said, checks


def judge(checks, code):
    """Whether a scenario passes (None if it tried nothing), and the checks that it is not content with."""
    words = [f"{check['status']} {check['id']}: {check.get('errorMessage', '')}" for check in checks
             if check["status"] not in ("SUCCESS", "INFO")]
    good = code == 0 and not any(word.startswith("FAILURE") for word in words)
    if good and not any(check["status"] == "SUCCESS" for check in checks):
        good = None
    return good, words


def alone(command, url, name, version, folder):
    """One scenario: whether it passes, what it says, and its checks."""
    words = [*command, "server", "--url", url, "--scenario", name] + (["--spec-version", version] if version else [])
    code, said, checks = call(words, folder, 90)
    good, words = judge([check for some in checks.values() for check in some], code)
    return good, said, words


def together(command, url, version, names, folder):
    """The scenarios of a version, by one process: starting Node takes longer than most of them. Those that it leaves out, and all
    if it does not end as its checks say, are tried alone."""
    words = [*command, "server", "--url", url, "--suite", "all", "--spec-version", version]
    code, said, checks = call(words, folder / "all", 300)
    judged = {name: judge(checks[name], 0) for name in names if name in checks}
    as_said = (code == 0) == all(good is not False for good, _ in judged.values())
    for n, name in enumerate(names):
        if name in judged and as_said:
            yield name, (judged[name][0], said, judged[name][1])
        else:
            yield name, alone(command, url, name, version, folder / str(n))


def results(command, url, wanted, folder, in_one):
    """(name, version, result) of each scenario, two processes at a time."""
    with ThreadPoolExecutor(2) as pool:
        versions = VERSIONS if in_one else ()
        groups = [(version, pool.submit(lambda v: list(together(
            command, url, v, [name for name, of in wanted if of == v], folder / v)), version)) for version in versions]
        rest = [(*one, pool.submit(alone, command, url, *one, folder / str(n))) for n, one in enumerate(wanted)
                if one[1] not in versions]
        for version, group in groups:
            for name, result in group.result():
                yield name, version, result
        for name, version, job in rest:
            yield name, version, job.result()


def start(server):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen([str(server), f"127.0.0.1:{port}"], stderr=subprocess.PIPE, text=True)
    url = process.stderr.readline().strip()
    if not url:
        sys.exit("conformance_server.py: the server does not listen")
    return process, url


def main():
    began = time.monotonic()
    try:
        command, server = suite(), build()
    except InstallError as error:
        sys.exit(f"conformance_server.py: {error}")
    chosen = [word for word in sys.argv[1:] if not word.startswith("-")]
    expected = json.loads(EXPECTED.read_text())
    wanted = [one for one in scenarios(command) if not chosen or any(word in one[0] for word in chosen)]
    problems = passed = known = untried = 0
    process, url = start(server)
    try:
        with tempfile.TemporaryDirectory() as folder:
            for name, version, (good, said, checks) in results(command, url, wanted, Path(folder), not chosen):
                version, why = version or "extension ", expected.get(name)
                passed += bool(good)
                if good is None:
                    untried += 1
                    print(f"none  {version}  {name}: nothing was tried", flush=True)
                elif good and not why:
                    told = [f"\n      {check}"[:160] for check in checks[:5]]
                    told += [f"\n      and {len(checks) - 5} more like it"] if len(checks) > 5 else []
                    print(f"ok    {version}  {name}", *told, flush=True)
                elif not good and why:
                    known += 1
                    print(f"known {version}  {name}: {why}", flush=True)
                else:
                    problems += 1
                    told = "passes, and is expected to fail" if good else "\n".join(checks) or said
                    print(f"FAIL  {version}  {name}: {told}", flush=True)
    finally:
        process.kill()
    print(f"{passed} passed, {untried} tried nothing, {known} failed as expected, {problems} failed, {time.monotonic() - began:.0f} s")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
