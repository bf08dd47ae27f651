"""What the ledgers, the servers' own records and abide's journal must agree on. Pure reading: it changes and starts nothing.

Two words are kept apart. A call is *sent* when its request reached the relay. A step is *done* when `abide show` says that
its outcome is in the journal. A call that is done must never be sent again; one that was sent and is not done may be, if
nobody can tell or mind the difference.
"""

import json
from dataclasses import dataclass

import ledger
import project

SERVERS = ("filesystem", "memory")


@dataclass(frozen=True)
class Seen:
    """A run as seen from both sides at one moment. Calls and steps are in the order in which they were begun."""

    status: str | None
    output: object
    requests: list  # fingerprints of the bodies sent to the model
    said: list  # the same of the conversation alone, without random ids and notes: see model.said
    told: bool  # whether the model was told that a server was started anew
    calls: list  # (server, tool, arguments as JSON) as sent to the servers
    llm_steps: list  # statuses
    tool_steps: list  # ((server, tool, arguments as JSON), status)
    remembered: list

    def llm_done(self):
        return self.llm_steps.count("completed")

    def tools_done(self):
        return sum(1 for _, status in self.tool_steps if status == "completed")


def seen(folder, document):
    """Reads the ledgers and the memory file in `folder`; `document` is what `abide show --json` prints."""
    model = arrivals(folder, "model")
    calls = [one | {"server": server} for server in SERVERS for one in arrivals(folder, server)]
    calls.sort(key=lambda one: one["time_ms"])
    steps = document["steps"]
    return Seen(
        status=document["run"].get("status"),
        output=document["run"].get("output"),
        requests=[one["hash"] for one in model],
        said=list(dict.fromkeys(one["said"] for one in model)),
        told=any(one["told"] for one in model),
        calls=[identity(one) for one in calls],
        llm_steps=[step["status"] for step in steps if step["kind"] == "llm"],
        tool_steps=[(identity(step["input"]), step["status"]) for step in steps if step["kind"] == "tool"],
        remembered=project.remembered(folder),
    )


def arrivals(folder, who):
    return [one for one in ledger.read(folder, who) if one["event"] == "arrived"]


def identity(call):
    return call["server"], call["tool"], json.dumps(call["arguments"], sort_keys=True)


def run_is_whole(folder, end, served):
    """Problems of a run at its end, whatever happened before. `served`: the model server's own count of requests."""
    problems = []
    if end.status != "completed":
        problems.append(f"the run is {end.status}, not completed")
    if (len(end.llm_steps), len(end.tool_steps)) != (len(project.POLICY), len(project.POLICY) - 1):
        problems.append(f"the journal holds {len(end.llm_steps)} model calls and {len(end.tool_steps)} tool calls")
    events = ledger.read(folder, "model")
    if ledger.count(events, "passed") != served:
        problems.append(f"the proxy passed {ledger.count(events, 'passed')} requests, the model server served {served}")
    refused = [one["status"] for one in events if one["event"] == "answered" and one["status"] != 200]
    if refused:
        problems.append(f"the model server answered {refused}")
    writes = ledger.read(folder, "memory")
    passed, steps = ledger.count(writes, "passed"), sum(1 for call, _ in end.tool_steps if call[0] == "memory")
    if passed != steps:
        problems.append(f"the memory server got {passed} calls for {steps} steps")
    results = [one["result"] or {} for one in writes if one["event"] == "answered"]
    created = [entity for result in results for entity in result.get("structuredContent", {}).get("entities", [])]
    if sorted(map(project.entity, created)) != end.remembered or not end.remembered:
        problems.append(f"the memory server's file holds {end.remembered}, but it answered {created}")
    facts = [fact for line in end.remembered for fact in json.loads(line)["observations"]]
    invented = [fact for fact in facts if not any(fact in text for text in project.FILES.values())]
    if invented:
        problems.append(f"remembered, but in none of the files: {invented}")
    return problems


def nothing_repeated(at_kill, end, decided):
    """Problems with what was sent after the kill. `decided`: about calls in doubt; without a kill all is `after`."""
    problems = []
    sent, done = (at_kill.requests, at_kill.llm_done()) if at_kill else ([], 0)
    after = end.requests[len(sent) :]
    if not len(sent) - 1 <= done <= len(sent):
        problems.append(f"at the kill {len(sent)} requests were sent and {done} model calls were done")
    if set(sent[:done]) & set(after):
        problems.append("a request whose answer was in the journal was sent to the model again")
    if sent[done:] and sent[done:] != after[:1]:
        problems.append("the request under way at the kill was not repeated as it was")
    if len(set(sent[:done] + after)) != len(end.llm_steps) or len(sent[:done] + after) != len(end.llm_steps):
        problems.append(f"{len(sent[:done] + after)} requests for {len(end.llm_steps)} model calls")

    sent, done = (at_kill.calls, at_kill.tools_done()) if at_kill else ([], 0)
    after = end.calls[len(sent) :]
    known = sent[: done + decided.count("result")]  # done, or declared done by the person who looked
    if not len(sent) - 1 <= done <= len(sent):
        problems.append(f"at the kill {len(sent)} tool calls were sent and {done} were done")
    if set(known) & set(after):
        problems.append(f"tool calls made again although their results were known: {set(known) & set(after)}")
    if known + after != [call for call, _ in end.tool_steps]:
        problems.append(f"calls at the servers {known + after}, tool steps in the journal {end.tool_steps}")
    return problems


def as_if_never_killed(yardstick, end):
    """Problems where the run differs from the one that was left alone, but for a model that was told of the kill."""
    if went_its_own_way(yardstick, end):
        return []
    problems = []
    if end.said != yardstick.said:
        problems.append("the conversation differs from the one without a kill")
    if end.remembered != yardstick.remembered:
        problems.append(f"remembered {end.remembered}, without a kill {yardstick.remembered}")
    if end.output != yardstick.output:
        problems.append(f"answered {end.output!r}, without a kill {yardstick.output!r}")
    return problems


def went_its_own_way(yardstick, end):
    """Whether the model, told that a server was new, said something else than it would have."""
    return end.told and end.said != yardstick.said


def what_became_of_it(folder):
    """What a person reads in the memory server's ledger about the call in doubt: ("retry", None) or ("result", it)."""
    events = ledger.read(folder, "memory")
    last = max(one["call"] for one in events if one["event"] == "arrived")
    of_it = {one["event"]: one for one in events if one["call"] == last}
    if "answered" in of_it:
        return "result", of_it["answered"]["result"]
    return "retry", None


def summary(at_kill, end):
    """For the report: what was sent, what was done, and what was sent once more."""
    before = (at_kill.llm_done(), at_kill.tools_done()) if at_kill else (0, 0)
    again = len(end.requests) - len(set(end.requests)), len(end.calls) - len(set(end.calls))
    return (f"done before {before[0]}+{before[1]} of {len(end.llm_steps)}+{len(end.tool_steps)}, "
            f"sent twice {again[0]}+{again[1]}")
