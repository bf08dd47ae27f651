"""The project that the agent works in: real files, a declaration of the real servers, an agent, and the model's policy.

It only writes files; run.py runs and judges. Everything the model sees is the same in every project (paths are relative),
so that two runs can be compared word for word.
"""

import json
import sys
from pathlib import Path

FILES = {
    "rivers.txt": "The Danube rises in the Black Forest and ends in the Black Sea.\n"
    "It is 2850 kilometres long and passes through ten countries.\n",
    "boats.txt": "The Kisfaludy was a paddle steamer built in 1846.\nIt carried passengers on Lake Balaton.\n",
    "bridges.txt": "The Chain Bridge in Budapest was opened in 1849.\n"
    "It was the first permanent bridge across the Danube in Hungary.\n",
}
AGENT = """\
---
name: keeper
description: Reads the project's files and keeps what they say in memory
model: local
mcpServers: [filesystem, memory]
tools: ["filesystem_list_directory", "filesystem_read_text_file", "memory_create_entities"]
maxTurns: 10
---
You keep notes. After reading a file, store what it says: name is what the file is about, entityType is its kind, \
observations are sentences copied from the file.
"""
PROMPT = "Read the files rivers.txt, boats.txt and bridges.txt and store one entity for each of them."

# The filesystem server is trusted: its read-only tools may be called without asking and again after a kill. Nothing is
# said about the memory server, so its tools are `once`: after a kill in mid-call a person decides.
SETTINGS = """\
[models.local]
provider = "openai"
base_url = "{base_url}"
stream = false
model = "smollm2"
api_key = "none"

[servers.filesystem]
trust = true
"""

# What the model server does with the n-th result in the conversation; the last entry is for all that follow.
LIST = {"tool": "filesystem_list_directory", "narrow": {"path": {"enum": ["."]}}}
READ = {"tool": "filesystem_read_text_file", "narrow": {"path": {"enum": list(FILES)}}}
STORE = {
    "tool": "memory_create_entities",
    "narrow": {
        "name": {"enum": ["Danube", "Kisfaludy", "Chain Bridge"]},
        "entityType": {"enum": ["river", "ship", "bridge"]},
        "observations": {"pattern": r"^(The|It) [A-Za-z0-9 ]{20,120}\.$"},
    },
}
ANSWER = {"grammar": r'root ::= "The notes say that " [A-Za-z0-9 ]{20,120} "."'}
POLICY = [LIST, READ, STORE, READ, STORE, ANSWER]


def make(folder, installed, base_url):
    """Writes the project into `folder` and returns its root; ledgers and the memory file lie beside it."""
    root = Path(folder) / "project"
    (root / "docs").mkdir(parents=True)
    for name, text in FILES.items():
        (root / "docs" / name).write_text(text)
    (root / "keeper.md").write_text(AGENT)
    (root / "abide.toml").write_text(SETTINGS.format(base_url=base_url))
    servers = {
        "filesystem": server(folder, "filesystem", installed.node, installed.filesystem, "docs"),
        "memory": server(folder, "memory", installed.node, installed.memory)
        | {"env": {"MEMORY_FILE_PATH": str(memory_file(folder))}},
    }
    (root / ".mcp.json").write_text(json.dumps({"mcpServers": servers}, indent=2))
    return root


def server(folder, name, *command):
    tee = Path(__file__).with_name("tee.py")
    return {"command": sys.executable, "args": [str(word) for word in (tee, name, folder, "--", *command)]}


def memory_file(folder):
    return Path(folder) / "remembered.jsonl"


def remembered(folder):
    """The entities in the memory server's own file, each as a line of JSON with its keys in order, sorted."""
    path = memory_file(folder)
    lines = path.read_text().splitlines() if path.is_file() else []
    return sorted(entity(json.loads(line)) for line in lines if line.strip())


def entity(value):
    return json.dumps({key: value[key] for key in ("name", "entityType", "observations")})
