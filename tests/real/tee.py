"""Stands between abide and a real MCP server on stdio, passes every line on as it is, and keeps a ledger of tool calls.

    tee.py NAME FOLDER -- COMMAND ARGS...

It never answers for the server and never changes a line. Told by a gate (see ledger.py) it withholds one request or one
answer, as a server does that is slow at the wrong moment. When abide goes away, so does the server, and then the tee.
"""

import json
import subprocess
import sys
import threading

from ledger import Ledger


def main():
    name, folder, dashes, *command = sys.argv[1:]
    assert dashes == "--", __doc__
    ledger = Ledger(folder, name)
    ledger.note("started")
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    under_way = {}  # JSON-RPC id of a tools/call -> the call's number in the ledger
    answers = threading.Thread(target=pass_answers, args=(server, ledger, under_way), daemon=True)
    answers.start()
    for line in sys.stdin.buffer:
        call = take_request(ledger, under_way, line)
        if call is not None and ledger.held("arrived", call):
            continue
        if call is not None:
            ledger.note("passed", call)
        server.stdin.write(line)
        server.stdin.flush()
    # End of input: abide closed the pipe or died. The servers leave when theirs is closed, too.
    server.stdin.close()
    try:
        server.wait(5)
    except subprocess.TimeoutExpired:
        server.kill()
    answers.join(1)
    ledger.note("ended")


def take_request(ledger, under_way, line):
    """Notes what is coming in; returns the number of a tool call, None for anything else."""
    message = parse(line)
    if message.get("method") != "tools/call":
        if "method" in message:
            ledger.note(message["method"])
        return None
    params = message.get("params", {})
    call = ledger.arrived(tool=params.get("name"), arguments=params.get("arguments", {}), meta=params.get("_meta", {}))
    under_way[json.dumps(message.get("id"))] = call
    return call


def pass_answers(server, ledger, under_way):
    for line in server.stdout:
        message = parse(line)
        call = None if "method" in message else under_way.pop(json.dumps(message.get("id")), None)
        if call is not None:
            ledger.note("answered", call, result=message.get("result"), error=message.get("error"))
            if ledger.held("answered", call):
                continue
        try:
            sys.stdout.buffer.write(line)
            sys.stdout.buffer.flush()
        except OSError:
            if call is not None:
                ledger.note("lost", call)
            continue
        if call is not None:
            ledger.note("delivered", call)


def parse(line):
    """The message on a line, or an empty one: what is not JSON-RPC is passed on without a look."""
    try:
        message = json.loads(line)
    except ValueError:
        return {}
    return message if isinstance(message, dict) else {}


if __name__ == "__main__":
    main()
