"""A real model on loopback: SmolLM2-135M under llama.cpp's own HTTP server, and a proxy in front that counts and steers.

The proxy keeps a ledger of requests (see ledger.py) and stands for what an operator may set at a model server: greedy
sampling, a short limit, and a *policy* that says, for a conversation that holds n tool results, which one of the tools
on offer must be called (`tool_choice: required`), and may narrow its arguments' JSON schema, which the server enforces
as a grammar. Left alone, a model this small calls tools half of the time and invents paths; what the test needs is
real tokens, real calls and a predictable shape. The proxy never writes an answer, nor a part of one, by itself: the model
chooses every value, and an offered value only leaves the list once it was used. It never retries.

    python3 tests/real/model.py PORT        # serves the model through the proxy, without a policy, until Ctrl-C
"""

import copy
import json
import os
import re
import select
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import ledger
from install import InstallError, install

CHAT = "/v1/chat/completions"
THREADS = (1, 2)  # to generate, to read: two that generate wait for each other, which is dear on a busy machine
START_S = 120
ANSWER_S = 300
NOTE = r"\[Note: the server "  # what abide's agents put before a result of a server that they had to start again

# The template inside the model's file drops tools and, with tools, the instructions as well. This one keeps the
# instructions and shows calls and results the way llama.cpp recognises them. The tools' schemas are left to the grammar.
CHAT_TEMPLATE = """\
{%- for message in messages -%}
{%- if message['role'] == 'assistant' -%}
{{- '<|im_start|>assistant\\n' -}}
{%- if message['content'] -%}{{- message['content'] -}}{%- endif -%}
{%- if message['tool_calls'] -%}
{%- for call in message['tool_calls'] -%}
{{- '<tool_call>\\n{"name": "' + call['function']['name'] + '", "arguments": ' -}}
{%- if call['function']['arguments'] is string -%}{{- call['function']['arguments'] -}}
{%- else -%}{{- call['function']['arguments'] | tojson -}}{%- endif -%}
{{- '}\\n</tool_call>' -}}
{%- endfor -%}
{%- endif -%}
{{- '<|im_end|>\\n' -}}
{%- elif message['role'] == 'tool' -%}
{{- '<|im_start|>user\\n<tool_response>\\n' + message['content'] + '\\n</tool_response><|im_end|>\\n' -}}
{%- else -%}
{{- '<|im_start|>' + message['role'] + '\\n' + message['content'] -}}
{%- if loop.first -%}
{{- 'Call tools like this:\\n<tool_call>\\n{"name": "name_of_tool", "arguments": {}}\\n</tool_call>' -}}
{%- endif -%}
{{- '<|im_end|>\\n' -}}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}
"""


class ModelServer:
    """The real model in a process of its own, and the proxy in this one. A context manager."""

    def __init__(self, installed, log):
        self.log = Path(log)
        self.policy = []
        self.port = free_port()
        words = [str(installed.python), __file__, "--serve", str(installed.gguf), str(self.port)]
        self.process = subprocess.Popen(words, stdout=open(self.log, "wb"), stderr=subprocess.STDOUT)
        self.proxy = None

    def open(self, folder, policy, port=0):
        """Starts a new ledger in `folder` under a new policy; returns the base URL to give to abide."""
        self.ledger, self.policy = ledger.Ledger(folder, "model"), policy
        if self.proxy is None:
            self.proxy = ThreadingHTTPServer(("127.0.0.1", port), handler(self))
            self.proxy.daemon_threads = True
            threading.Thread(target=self.proxy.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{self.proxy.server_address[1]}/v1"

    def requests_served(self):
        """The real server's own count of finished chat requests, from its own log."""
        return self.log.read_text(errors="replace").count(f"done request: POST {CHAT} ")

    def __enter__(self):
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=5):
                    return self
            except OSError:  # refused, or 503 while it loads
                time.sleep(0.1)
        self.__exit__()
        raise RuntimeError(f"the model server did not start:\n{self.log.read_text(errors='replace')[-2000:]}")

    def __exit__(self, *_):
        if self.proxy is not None:
            self.proxy.shutdown()
        self.process.kill()
        self.process.wait()


def handler(model):
    class Proxy(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            log = model.ledger
            asked = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            body = json.loads(asked)
            facts = {"hash": ledger.fingerprint(body), "said": ledger.fingerprint(said(body)), "told": was_told(body)}
            call = log.arrived(path=self.path, **facts, body=body)
            hold_while(log, "arrived", call, self.connection)
            if gone(self.connection):
                log.note("lost", call)
                self.close_connection = True
                return
            log.note("passed", call)
            status, answer = forward(model.port, self.path, steer(body, model.policy))
            log.note("answered", call, status=status, answer=json.loads(answer))
            hold_while(log, "answered", call, self.connection)
            self.deliver(log, call, status, answer)

        def deliver(self, log, call, status, answer):
            if gone(self.connection):
                log.note("lost", call)
                self.close_connection = True
                return
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)
            log.note("delivered", call)

        def log_message(self, *_):
            pass

    return Proxy


def forward(port, path, body):
    """Hands the request to the real model; its status and its bytes come back as they are."""
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", json.dumps(body).encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=ANSWER_S) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def steer(body, policy):
    """The request as the operator's policy has it: see the head of this file. Without a policy only sampling is fixed."""
    body = copy.deepcopy(body)
    body.update(temperature=0, seed=1, max_tokens=body.get("max_tokens", 200), cache_prompt=True, parallel_tool_calls=False)
    if not policy:
        return body
    results = sum(message["role"] == "tool" for message in body["messages"])
    step = policy[min(results, len(policy) - 1)]
    offered = [tool for tool in body.pop("tools", []) if tool["function"]["name"] == step.get("tool")]
    body.pop("tool_choice", None)
    if offered:
        narrow(offered[0]["function"]["parameters"], step.get("narrow", {}), used_values(body["messages"]))
        body.update(tools=offered, tool_choice="required")
    elif "grammar" in step:
        body["grammar"] = step["grammar"]
    return body


def narrow(schema, limits, used):
    """Keeps the required properties only, one item to an array, and lays `limits` (by property name) over the schema."""
    schema.pop("$schema", None)
    required = schema.get("required", [])
    schema["properties"] = {name: schema["properties"][name] for name in required}
    schema["additionalProperties"] = False
    for name, part in schema["properties"].items():
        if part.get("type") == "array":
            part.update(minItems=1, maxItems=1)
            part = part["items"]
        if part.get("type") == "object":
            narrow(part, limits, used)
        part.update(limits.get(name, {}))
        fresh = [value for value in part.get("enum", []) if value not in used]
        if fresh:
            part["enum"] = fresh


def used_values(messages):
    """Every string that is a whole value somewhere in the arguments of earlier tool calls."""
    calls = [call for message in messages for call in message.get("tool_calls") or []]
    return {text for call in calls for text in re.findall(r'"((?:[^"\\]|\\.)*)"', call["function"]["arguments"])}


def said(body):
    """The conversation without what chance or a restart put into it: equal in runs that went alike.

    Left out are the ids of calls, which the model server draws at random, and abide's notes that a server was started anew.
    """
    calls = lambda message: [call["function"] for call in message.get("tool_calls") or []]
    words = lambda message: re.sub(rf"^{NOTE}.*\n", "", str(message.get("content") or ""))
    return [[message["role"], words(message), calls(message)] for message in body.get("messages", [])]


def was_told(body):
    """Whether the model was told that a server was started anew."""
    return any(re.match(NOTE, str(message.get("content") or "")) for message in body.get("messages", []))


def hold_while(log, event, call, connection):
    while log.held(event, call) and not gone(connection):
        time.sleep(0.01)


def gone(connection):
    """Whether the client has hung up: its end reads as empty."""
    readable, _, _ = select.select([connection], [], [], 0)
    try:
        return bool(readable) and connection.recv(1, socket.MSG_PEEK) == b""
    except OSError:
        return True


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def serve(gguf, port):
    """Runs in the interpreter that has xllamacpp, until the process that started it is gone."""
    import xllamacpp

    parent = os.getppid()
    params = xllamacpp.CommonParams()
    params.model.path, params.hostname, params.port = gguf, "127.0.0.1", port
    # One slot: requests are served one after the other, and the next turn finds the last one's prompt in the cache.
    params.n_ctx, params.n_parallel, params.use_jinja, params.chat_template = 8192, 1, True, CHAT_TEMPLATE
    for threads in (params.cpuparams, params.cpuparams_batch):
        threads.poll = 0  # no spinning: the machine may be busy with a build
    params.cpuparams.n_threads, params.cpuparams_batch.n_threads = THREADS
    server = xllamacpp.Server(params)
    while os.getppid() == parent:
        time.sleep(0.5)
    del server


def main():
    try:
        installed = install()
    except InstallError as error:
        sys.exit(f"model.py: {error}")
    with tempfile.TemporaryDirectory() as folder, ModelServer(installed, Path(folder) / "llama.log") as model:
        print(f"base_url = \"{model.open(folder, [], int(sys.argv[1]))}\"", flush=True)
        model.process.wait()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        serve(sys.argv[2], int(sys.argv[3]))
    else:
        main()
