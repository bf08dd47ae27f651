"""The stories of examples/stories, each from its one file as it is, with the real MCP servers, killed and resumed.

    python3 tests/real/stories.py [--seed N] [--kills N] [--keep] [research] [review] [editor]
    ABIDE_BIN       the binary (default: target/release/abide, else target/debug/abide)

The model is played (roles.py), so that everything else can be judged to the letter; `npx` is a script that puts a tee (tee.py) before npm's
servers. Each story is killed with `kill -9` after so many events of the ledgers, which chance decides by the seed that is printed, then
resumed until it ends. Judged: the files that it was to write, the memory server's own file, who worked side by side, and that nothing
whose outcome was in the journal at a kill was sent again. `editor` has two ends, an agent and the served orchestrator that is its tool:
either is killed, and both together.
"""

import argparse
import json
import os
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

from ends import END_S, End, Stage, until_done
from install import REPO, InstallError, install
from model import free_port
from roles import Roles
from run import find_abide

STORIES = REPO / "examples" / "stories"
LATENCY_S = 0.1
NOTES = {path.stem: path.read_text().splitlines() for path in sorted((STORIES / "research" / "notes").glob("*.txt"))}
SHIM = """\
#!/bin/sh
# Stands for npx: `-y PACKAGE ARGS...` starts the installed server behind a tee.
package=$2
shift 2
case $package in
*/server-filesystem) exec "{python}" "{tee}" filesystem "{ledgers}" -- "{node}" "{filesystem}" "$@" ;;
*/server-memory) exec "{python}" "{tee}" memory "{ledgers}" -- "{node}" "{memory}" "$@" ;;
esac
exit 1
"""


class Story(Stage):
    """A stage with the endpoint that plays the model, and servers behind tees."""

    def __init__(self, folder, abide, installed, chance):
        super().__init__(folder, abide, chance, 1.5 * LATENCY_S)
        self.roles = Roles(self.ledgers, LATENCY_S)
        (folder / "bin").mkdir()
        shim = folder / "bin" / "npx"
        tee = Path(__file__).with_name("tee.py")
        shim.write_text(SHIM.format(python=sys.executable, tee=tee, ledgers=self.ledgers, node=installed.node,
                                    filesystem=installed.filesystem, memory=installed.memory))
        shim.chmod(0o755)
        self.port = free_port()
        self.env |= {
            "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
            "ANTHROPIC_BASE_URL": self.roles.address,
            "ANTHROPIC_API_KEY": "sk-ant-played-by-roles-py",
            "LIBRARY_PORT": str(self.port),
        }

    def end(self, name):
        """A copy of this story's folder."""
        shutil.copytree(STORIES / name, self.folder / name)
        return End(self, self.folder / name)


def pages(root):
    """What is wrong with what a research leaves behind."""
    found, overview = [], ""
    for subject, facts in NOTES.items():
        page = f"# {subject.capitalize()}\n\n" + "".join(f"- {fact}\n" for fact in facts)
        path = root / f"{subject}.md"
        if not path.is_file() or path.read_text() != page:
            found.append(f"{path.name} is {path.read_text()!r}" if path.is_file() else f"{path.name} is not there")
    path = root / "overview.md"
    overview = path.read_text() if path.is_file() else ""
    found += [f"the overview lacks {fact!r}" for facts in NOTES.values() for fact in facts if overview.count(fact) != 1]
    kept = [json.loads(line) for line in (root / "memory.jsonl").read_text().splitlines()]
    kept = {one["name"]: one["observations"] for one in kept}, len(kept)
    if kept != (NOTES, len(NOTES)):
        found.append(f"the memory server keeps {kept}")
    return found


def research(stage, kills):
    end = stage.end("research")
    shown, problems = until_done(stage, end, "notes", kills, "research", "What do the notes say about rivers, boats and bridges?")
    if problems:
        return problems
    side = stage.side_by_side("researcher")
    if side < len(NOTES):
        problems.append(f"at most {side} researchers worked at the same time")
    if not all(fact in shown["output"] for facts in NOTES.values() for fact in facts):
        problems.append(f"it answers {shown['output']!r}")
    return problems + pages(end.root) + end.problems()


def review(stage, kills):
    end = stage.end("review")
    shown, problems = until_done(stage, end, "article", kills, "article", "Why the Danube has no single source")
    if problems:
        return problems
    drafts = [step["id"] for step in end.steps() if "/writer" in step["id"]]
    if len(drafts) != 3 or not shown["output"].startswith("Draft 3:"):
        problems.append(f"after {drafts} it answers {shown['output']!r}")
    return problems + end.problems()


def interrupted(end):
    runs = json.loads(end.ask("ls", "--json")[1])["runs"]
    return [run["id"] for run in runs if run["status"] in ("interrupted", "waiting")]


def editor(stage, kills):
    library, end = stage.end("research"), stage.end("editor")
    serve = ("serve", "--http", f"127.0.0.1:{stage.port}", "--trust")
    library.start(*serve)
    try:
        end.start("run", "editor", "A short piece about the Danube's bridges", "--id", "piece", "--trust")
        victims = [(library,), (end,), (library, end)] * kills
        for who in stage.chance.sample(victims[:max(kills, 3)], max(kills, 3)):
            if not stage.wait(end, stage.chance.randint(1, 12)):
                break
            for one in who:
                one.kill()
            if library in who:
                library.start(*serve)
            if end in who:
                end.start("resume", "piece", "--trust")
        # A process that found no server there says so and leaves its run to the next.
        for _ in range(10):
            end.process.wait(END_S)
            if "piece" not in interrupted(end):
                break
            end.start("resume", "piece", "--trust")
    finally:
        library.process.kill()
        library.process.wait()
    shown = json.loads(end.ask("show", "piece", "--json")[1])["run"]
    if shown["status"] != "completed":
        return [f"the run is {shown['status']}: {shown['error']}"]
    runs = json.loads(library.ask("ls", "--json")[1])["runs"]
    problems = [] if len(runs) == 1 and runs[0]["status"] == "completed" else [f"the library's runs are {runs}"]
    if not all(fact in shown["output"] for facts in NOTES.values() for fact in facts):
        problems.append(f"it answers {shown['output']!r}")
    return problems + pages(library.root) + library.problems() + end.problems()


def main():
    stories = {"research": research, "review": review, "editor": editor}
    words = argparse.ArgumentParser(description="The stories, killed and resumed.")
    words.add_argument("story", nargs="*", choices=[*stories, []])
    words.add_argument("--seed", type=int, default=random.randrange(1_000_000))
    words.add_argument("--kills", type=int, default=5)
    words.add_argument("--keep", action="store_true")
    asked = words.parse_args()
    try:
        installed, binary = install(), find_abide()
    except InstallError as error:
        sys.exit(f"stories.py: {error}")
    folder, failed = Path(tempfile.mkdtemp(prefix="abide-stories-")), 0
    print(f"seed {asked.seed}", flush=True)
    for name in asked.story or stories:
        began = time.monotonic()
        stage = Story(folder / name, binary, installed, random.Random(f"{asked.seed} {name}"))
        with stage.roles:
            problems = stories[name](stage, asked.kills)
        total, again = stage.repeated()
        print(f"{'FAIL' if problems else 'ok  '} {name:9} {time.monotonic() - began:5.1f} s  {stage.kills} processes killed; {total} calls "
              f"reached models and servers, {again} of them again after a kill in mid-call", flush=True)
        for problem in problems:
            print(f"         {problem}", flush=True)
        failed += bool(problems)
    if asked.keep or failed:
        print(f"kept: {folder}")
    else:
        shutil.rmtree(folder)
    print(f"{len(asked.story or stories) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
