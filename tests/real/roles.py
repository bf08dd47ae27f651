"""An endpoint that speaks Anthropic Messages, streamed, and plays the roles of the stories: it says what a sensible model would say, so
that what abide and the servers do can be judged to the letter.

It answers from what it is sent alone: who is asked stands in the instructions, and how far they are in the conversation. It keeps a
ledger of requests (see ledger.py) with their idempotency keys, takes `latency` seconds for each, and never refuses one.
"""

import json
import re
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import ledger


class Roles:
    """The endpoint, on a port of its own. A context manager."""

    def __init__(self, folder, latency):
        self.log, self.latency = ledger.Ledger(folder, "model"), latency
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler(self))
        self.server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self.server.server_address[1]}"

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()


def handler(roles):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            who, said = play(body)
            call = roles.log.arrived(who=who, hash=ledger.fingerprint(body), key=self.headers.get("idempotency-key"))
            time.sleep(roles.latency)
            roles.log.note("answered", call)
            try:
                self.send_response(200)
                self.send_header("content-type", "text/event-stream")
                self.send_header("connection", "close")
                self.end_headers()
                for event in events(said):
                    self.wfile.write(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode())
                self.wfile.flush()
                roles.log.note("delivered", call)
            except OSError:
                roles.log.note("lost", call)
            self.close_connection = True

        def log_message(self, *_):
            pass

    return Handler


def events(said):
    """A text, or a call of a tool as (name, arguments), as a stream of Messages."""
    usage = {"input_tokens": 50, "output_tokens": 1}
    message = {"id": "m", "type": "message", "role": "assistant", "model": "scripted", "content": [], "stop_reason": None, "usage": usage}
    yield {"type": "message_start", "message": message}
    if isinstance(said, str):
        yield {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
        for at in range(0, len(said), 40):
            yield {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": said[at : at + 40]}}
    else:
        name, arguments = said
        call = {"type": "tool_use", "id": f"toolu_{ledger.fingerprint([name, arguments])}", "name": name, "input": {}}
        yield {"type": "content_block_start", "index": 0, "content_block": call}
        yield {"type": "content_block_delta", "index": 0, "delta": {"type": "input_json_delta", "partial_json": json.dumps(arguments)}}
    yield {"type": "content_block_stop", "index": 0}
    reason = "end_turn" if isinstance(said, str) else "tool_use"
    yield {"type": "message_delta", "delta": {"stop_reason": reason, "stop_sequence": None}, "usage": {"output_tokens": 20}}
    yield {"type": "message_stop"}


def play(body):
    """Who is asked, and what they say."""
    system = texts(body.get("system", ""))
    asked = texts(body["messages"][0]["content"])
    results = [texts(part.get("content", "")) for message in body["messages"] if isinstance(message["content"], list)
               for part in message["content"] if part["type"] == "tool_result"]
    for words, (who, role) in ROLES.items():
        if words in system:
            return who, role(asked, results)
    raise AssertionError(f"nobody plays this: {system}")


def texts(content):
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)


SUBJECTS = ("rivers", "boats", "bridges")


def plan(asked, _):
    if "What is done already" in asked:
        return json.dumps({"complete": True, "steps": []})
    research = [{"agent": "researcher", "instruction": f"Research {subject}."} for subject in SUBJECTS]
    after = [{"agent": "librarian", "instruction": "Keep it."}, {"agent": "writer", "instruction": "Make the overview."}]
    return json.dumps({"complete": False, "steps": [{"assignments": research}, {"assignments": after}]})


def researcher(asked, results):
    subject = re.search(r"Research (\w+)\.", asked.rsplit("nothing else:", 1)[-1]).group(1)
    facts = results[1].strip().splitlines() if len(results) > 1 else []
    page = f"# {subject.capitalize()}\n\n" + "".join(f"- {fact}\n" for fact in facts)
    return [
        ("memory_search_nodes", {"query": subject}),
        ("filesystem_read_text_file", {"path": f"notes/{subject}.txt"}),
        ("filesystem_write_file", {"path": f"{subject}.md", "content": page}),
        " ".join(facts),
    ][len(results)]


def found_in(asked):
    """What researchers have found, by subject, as an orchestrator tells it to others."""
    return re.findall(r"## researcher was asked: Research (\w+)\.\s+(.*?)(?=\n\n##|\n\nYour part|\n\nWhat is)", asked, re.DOTALL)


def librarian(asked, results):
    sentences = lambda facts: [fact.strip() for fact in re.findall(r"[^.]+\.", facts)]
    entities = [{"name": subject, "entityType": "subject", "observations": sentences(facts)} for subject, facts in found_in(asked)]
    return [("memory_create_entities", {"entities": entities}), "It is kept."][len(results)]


def overview(asked, results):
    page = "".join(f"# {subject.capitalize()}\n\n{facts.strip()}\n\n" for subject, facts in found_in(asked))
    return [("filesystem_write_file", {"path": "overview.md", "content": page}), "overview.md"][len(results)]


def synthesis(asked, _):
    return "The notes say: " + " ".join(facts.strip() for _, facts in found_in(asked))


def draft(asked, _):
    last = re.findall(r"Draft (\d)", asked)
    return f"Draft {int(last[-1]) + 1 if last else 1}: the Danube has two sources, and towns that quarrel about them."


def rating(asked, _):
    points = {"1": 4, "2": 6, "3": 9}[re.findall(r"Draft (\d)", asked)[-1]]
    return json.dumps({"rating": points, "feedback": "" if points >= 8 else f"{points} points: say more"})


def editor(asked, results):
    return ("library_research", {"input": asked}) if not results else f"A piece, from the library: {results[0]}"


def reader(asked, results):
    if not results:
        return "filesystem_read_text_file", {"path": f"notes/{asked.strip()}"}
    return f"{asked.strip()} says: {results[0].strip()}"


ROLES = {
    "You plan how agents": ("planner", plan),
    "You make one answer": ("synthesizer", synthesis),
    "You research one subject": ("researcher", researcher),
    "You keep what researchers": ("librarian", librarian),
    "You make one Markdown page": ("overview", overview),
    "You rate answers": ("reviewer", rating),
    "You write short, plain articles": ("writer", draft),
    "You have your library": ("editor", editor),
    "You are given the name of a file": ("reader", reader),
}
