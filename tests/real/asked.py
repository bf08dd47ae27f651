"""What server-everything asks in the middle of its tools, through an agent: questions to a person and to a model, progress, and kill -9
while it works or waits. The model is a script on loopback, so that only abide and the server are on trial. Called by servers.py.
"""

import http.server
import json
import os
import pty
import re
import subprocess
import threading
import time

AGENT = """\
---
name: asker
model: scripted
mcpServers: [everything]
---
You call the tool that you are told to call.
"""
SETTINGS = """
[models.scripted]
provider = "openai"
base_url = "http://127.0.0.1:{port}/v1"
stream = false
model = "scripted"
api_key = "none"
[tools."everything_*"]
policy = "allow"
"""


class Script(http.server.BaseHTTPRequestHandler):
    """Calls the tool that the user names, then repeats what it said; without tools it is a server that asks."""

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.count += 1
        last = body["messages"][-1]
        if not body.get("tools"):
            message = {"role": "assistant", "content": "a sampled answer"}
        elif last["role"] == "tool":
            message = {"role": "assistant", "content": f"it said: {last['content']}"}
        else:
            tool, arguments = last["content"].split(" ", 1)
            call = {"id": "c", "type": "function", "function": {"name": f"everything_{tool}", "arguments": arguments}}
            message = {"role": "assistant", "content": None, "tool_calls": [call]}
        reply = {"id": "r", "object": "chat.completion", "model": "scripted",
                 "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls" if "tool_calls" in message else "stop"}],
                 "usage": {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12}}
        text = json.dumps(reply).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_):
        pass


def through_an_agent(place):
    model = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Script)
    model.count = 0
    threading.Thread(target=model.serve_forever, daemon=True).start()
    settings = place.folder / "abide.toml"
    before = settings.read_text()
    (place.folder / "asker.md").write_text(AGENT)
    settings.write_text(before.replace("[servers.everything]", '[servers.everything]\nsampling = "allow"')
                        + SETTINGS.format(port=model.server_port))
    try:
        a_model_is_asked(place, model)
        another_process_answers(place)
        a_terminal_answers(place)
        killed_while_asking(place)
        killed_while_working(place)
    finally:
        settings.write_text(before)
        model.shutdown()


def start(place, run, tool, arguments, **options):
    words = ("run", "asker.md", f"{tool} {json.dumps(arguments)}", "--id", run, "--trust")
    return place.start(*words, **{"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options})


def until(place, run, wanted):
    """The run's document, once it is as wanted."""
    end, shown = time.monotonic() + 60, None
    while time.monotonic() < end:
        code, out, _ = place.run("show", run, "--json")
        shown = json.loads(out) if code == 0 else shown
        if code == 0 and wanted(shown):
            return shown
        time.sleep(0.05)
    place.check(f"{run} comes to what is waited for", False, shown)
    return shown


def waits_for(what):
    return lambda shown: shown["run"]["waiting_for"] == what


def a_model_is_asked(place, model):
    before = model.count
    process = start(place, "sampled", "trigger-sampling-request", {"prompt": "hello", "maxTokens": 20})
    out, err = process.communicate(timeout=60)
    good = process.returncode == 0 and "a sampled answer" in out and model.count - before == 3
    place.check("sampling through an agent", good, f"{process.returncode} {model.count - before} {out}{err}")


def another_process_answers(place):
    process = start(place, "asked", "trigger-elicitation-request", {})
    until(place, "asked", waits_for("answer"))
    code, _, err = place.run("answer", "asked", '{"name": 7}')
    place.check("an answer that does not fit is refused", code == 2 and "/name" in err, f"{code} {err}")
    code, _, err = place.run("answer", "asked", '{"name": "Ada"}')
    place.check("an answer is recorded", code == 0 and "hears of it" in err, f"{code} {err}")
    out, err = process.communicate(timeout=60)
    place.check("a question through an agent", process.returncode == 0 and "Ada" in out, f"{process.returncode} {out}{err}")


def a_terminal_answers(place):
    ours, theirs = pty.openpty()
    process = start(place, "typed", "trigger-elicitation-request", {}, stdin=theirs, stderr=theirs)
    os.close(theirs)
    screen = []

    type_answers(ours, screen, "Grace")
    try:
        out, _ = process.communicate(timeout=60)
    except subprocess.TimeoutExpired:
        process.kill()
        out, _ = process.communicate()
    place.check("a terminal answers through an agent", process.returncode == 0 and "Grace" in out,
                f"{process.returncode} {out} {''.join(screen)}")


def type_answers(terminal, screen, name):
    """Says yes, and fills in the field `name` alone; what is seen goes to `screen`."""

    def answer():
        unanswered = ""
        try:
            while data := os.read(terminal, 4096).decode(errors="replace"):
                screen.append(data)
                unanswered += data
                field = re.search(r"  (\w+) \([^\n]*: ?$", unanswered)
                if "[y/N]" in unanswered:
                    os.write(terminal, b"y\n")
                elif field:
                    os.write(terminal, name.encode() + b"\n" if field[1] == "name" else b"\n")
                else:
                    continue
                unanswered = ""
        except OSError:
            pass  # the terminal is closed when abide ends

    threading.Thread(target=answer, daemon=True).start()


def killed_while_asking(place):
    process = start(place, "lost", "trigger-elicitation-request", {})
    until(place, "lost", waits_for("answer"))
    process.kill()
    process.communicate()
    code, _, err = place.run("resume", "lost", "--trust")
    place.check("a question that died with its call is in doubt", code == 3 and "in doubt" in err, f"{code} {err}")
    code, _, err = place.run("resolve", "lost", "--fail", "never mind", "--resume", "--trust")
    place.check("and can be let go", code == 0, f"{code} {err}")


def killed_while_working(place):
    arguments = {"duration": 4, "steps": 8}
    ours, theirs = pty.openpty()
    env = {key: value for key, value in place.env.items() if key != "NO_COLOR"}
    process = subprocess.Popen([str(place.abide), "run", "asker.md", f"trigger-long-running-operation {json.dumps(arguments)}", "--id",
                                "long", "--trust"], cwd=place.folder, env={**env, "TERM": "xterm"}, stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=theirs)
    os.close(theirs)
    seen, end = "", time.monotonic() + 60
    try:
        while "3 of 8" not in seen and time.monotonic() < end:
            seen += os.read(ours, 4096).decode(errors="replace")
    except OSError:
        pass
    process.kill()
    process.communicate()
    os.close(ours)
    place.check("progress is seen live", "3 of 8" in seen, seen)
    code, _, err = place.run("resume", "long", "--trust")
    place.check("kill -9 in the middle of a call leaves a doubt", code == 3 and "in doubt" in err, f"{code} {err}")
    code, out, err = place.run("resolve", "long", "--retry", "--resume", "--trust")
    place.check("a person lets it be made again", code == 0 and "completed" in out, f"{code} {out}{err}")
