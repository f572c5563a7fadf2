"""What a report tells, in words and tables, before it has a form.

    for section in sections(document, 200):
        section.title, section.head, section.rows

Every cell is the text as it is: who gives it a form escapes it for that form. Nothing is left out without a
word: a section says how many of its rows are not there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

from playhead.events.words import CHANGES
from playhead_projections.accounts import length
from playhead_projections.cli.output import count, cut, money, span
from playhead_projections.reports.shares import SHARES

ROWS_MAX: Final = 20
WIDTH: Final = 160
NAME_WIDTH: Final = 60
HEADLINE_WIDTH: Final = 28
NEVER_DONE: Final = ("denied", "proposed")
SET_BACK_NS_MIN: Final = 1_000_000_000
"""Less is told nobody: two threads may say their times in another order than they are recorded in."""
SHARE_WORDS: Final = {
    "work": "at work",
    "people": "waited for people",
    "signals": "waited for signals",
    "children": "waited for child runs",
    "retries": "paused between attempts",
    "timers": "waited for timers",
    "away": "no process had it",
    "program": "the program's own",
}
TREE_HEAD: Final = ("event", "what", "status", "took", "at work", "used", "and")


class Section(NamedTuple):
    """One part of a report. `right` are the columns of numbers; `left_out` are rows that are not there."""

    title: str
    head: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    right: tuple[int, ...] = ()
    left_out: int = 0


def headline(document: dict[str, Any]) -> list[str]:
    """The first lines: which run, how it ended, what it did and took."""
    run, totals = document["run"], document["totals"]
    name = f'  "{cut(run["name"], HEADLINE_WIDTH)}"' if run["name"] else ""
    status = "unknown" if run["status"] is None else run["status"]
    as_of = f", as of event {document['at']}" if document["at"] is not None else ""
    took = f", took {span(run['took'])}" if run["took"] is not None else ""
    first = f"{run['run']}  {cut(run['persona'] or '?', HEADLINE_WIDTH)}{name}  {status}{as_of}{took}"
    did = [count(totals["steps"], "step"), count(totals["operations"], "operation")]
    if totals["retries"]:
        did.append("1 retry" if totals["retries"] == 1 else f"{totals['retries']:,} retries")
    for number, what in (
        (totals["denied"], "denied call"),
        (run["resumes"], "resume"),
        (run["deaths"], "death"),
    ):
        if number:
            did.append(count(number, what))
    lines = [first, ", ".join(did)]
    if totals["model_calls"]:
        lines.append(used(totals))
    if run["parent"]:
        lines.append(f"child of {run['parent']}")
    if run["forked_from"]:
        lines.append(f"forked from {run['forked_from']}")
    if run["args"] not in (None, "{}"):
        lines.append(f"given  {run['args']}")
    if run["result"] is not None:
        lines.append(f"result {run['result']}")
    if run["reason"]:
        lines.append(f"{status}: {cut(run['reason'], WIDTH)}")
    return lines


def used(totals: dict[str, Any]) -> str:
    """What models took, with what is not known of it."""
    tokens = [
        f"{count(totals[f'{name}_tokens'], unknown=totals[f'{name}_tokens_unknown'])} {word}"
        for name, word in (("input", "in"), ("output", "out"))
    ]
    cost = money(totals["cost_micros"], totals["cost_micros_unknown"])
    return f"{count(totals['model_calls'], 'model call')} ({', '.join(tokens)}), {cost}"


def sections(document: dict[str, Any]) -> Iterator[Section]:
    """All that there is to tell beside the tree, in the order of reading."""
    for section in (
        _time(document),
        _kinds(document),
        _errors(document),
        _waits(document),
        _denied(document),
        _people(document),
        _decisions(document),
        _bounds(document),
        _budgets(document),
        _children(document),
        _state(document),
        _mailbox(document),
        _absences(document),
        _gaps(document),
    ):
        if section.rows:
            yield section


def _section(
    title: str, head: tuple[str, ...], rows: Sequence[tuple[str, ...]], right: tuple[int, ...] = ()
) -> Section:
    """A section of at most ROWS_MAX rows. The newest say most, so the last are kept."""
    left_out = max(len(rows) - ROWS_MAX, 0)
    return Section(title, head, rows[left_out:], right, left_out)


def _time(document: dict[str, Any]) -> Section:
    time = document["time"]
    whole = time["took"] or 1
    rows = [
        (SHARE_WORDS[name], span(time[name]), f"{time[name] * 100 / whole:.0f} %")
        for name in SHARES
        if time[name]
    ]
    return Section("Time", ("", "took", ""), rows, (1, 2))


def _kinds(document: dict[str, Any]) -> Section:
    rows = [
        (kind, f"{sum(statuses.values()):,}", ", ".join(f"{n:,} {status}" for status, n in statuses.items()))
        for kind, statuses in document["totals"]["by_status"].items()
    ]
    return Section("Counts", ("kind", "count", "status"), rows, (1,))


def _errors(document: dict[str, Any]) -> Section:
    rows: list[tuple[str, ...]] = []
    for error in document["errors"]:
        text = f"{error['type']}: {error['message']}" if error["message"] else error["type"]
        because = "".join(f", because {cause}" for cause in error["causes"])
        where = f"{error['of']} {cut(error['op'], NAME_WIDTH)}".strip()
        rows.append((str(error["seq"]), where, cut(text + because, WIDTH), error["site"] or ""))
    return _section("Errors", ("event", "of", "error", "at"), rows, (0,))


def _waits(document: dict[str, Any]) -> Section:
    run = document["run"]["run"]
    rows: list[tuple[str, ...]] = []
    for wait in document["waits_for"]:
        name = cut(wait["name"], NAME_WIDTH)
        command = ""
        if wait["status"] == "in_doubt":
            command = f"playhead resolve {run}@{wait['seq']} --retry | --value JSON | --fail"
        elif wait["kind"] == "signal":
            command = f"playhead signal {run} {name} [JSON]"
        elif wait["kind"] == "approval":
            command = f"playhead approve {run}@{wait['seq']}"
        elif wait["kind"] == "child":
            command = f"playhead report {wait['child']}"
        what = "in doubt" if wait["status"] == "in_doubt" else wait["kind"]
        rows.append((str(wait["seq"]), what, name, command))
    return _section("Waits for", ("event", "kind", "name", "what helps"), rows, (0,))


def _denied(document: dict[str, Any]) -> Section:
    rows = [
        (
            str(each["seq"]),
            f"{each['of']} {cut(each['name'], NAME_WIDTH)}",
            _who(each),
            cut(each["reason"], WIDTH),
        )
        for each in document["denied"]
    ]
    return _section("Denied", ("event", "what", "by", "reason"), rows, (0,))


def _who(denied: dict[str, Any]) -> str:
    """Who did not let a call happen: a hook, people who said no or nothing, or else a policy."""
    people: dict[str, Any] | None = denied["people"]
    if denied["by"]:
        return f"hook {denied['by']}"
    if people is None:
        return "policy"
    return cut(", ".join(people["by"]), NAME_WIDTH) if people["by"] else "nobody agreed in time"


def _people(document: dict[str, Any]) -> Section:
    rows: list[tuple[str, ...]] = []
    for each in document["people"]:
        said = "; ".join(
            f"{answer['reviewer']}: {answer['word']}"
            + (" as edited" if answer["edited"] else "")
            + (f" ({answer['reason']})" if answer["reason"] else "")
            + ("" if answer["counted"] else ", not counted")
            for answer in each["answers"]
        )
        status = each["status"] if each["waits"] else "only told"
        by = f" by {', '.join(each['by'])}" if each["by"] else ""
        what = f"{each['kind']} {cut(each['action'], NAME_WIDTH)}"
        if each["edited"]:
            status = f"{status} as edited"
        rows.append(
            (str(each["seq"]), what, f"{status}{cut(by, NAME_WIDTH)}", span(each["took"]), cut(said, WIDTH))
        )
        if each["edited"]:
            rows.append(("", f"  asked for {each['args']}", f"agreed to {each['agreed']}", "", ""))
    return _section("People", ("event", "asked", "decided", "took", "said"), rows, (0, 3))


def _decisions(document: dict[str, Any]) -> Section:
    rows = [
        (each["verdict"], each["tier"], each["action"], each["outcome"] or "-", f"{each['count']:,}")
        for each in document["decisions"]["by_verdict"]
    ]
    return _section("Decisions about effects", ("verdict", "tier", "of", "outcome", "count"), rows, (4,))


def _bounds(document: dict[str, Any]) -> Section:
    """Policies, each once with where it was put first: a stage is entered again and again."""
    first: dict[tuple[str, str], int] = {}
    times: dict[tuple[str, str], int] = {}
    for each in document["bounds"]:
        policy: dict[str, Any] = each["policy"] or {}
        words = ", ".join(f"{name}: {value}" for name, value in policy.items() if value)
        what = f"{each['of'].replace('_', ' ')} {cut(each['name'], NAME_WIDTH)}"
        key = (what, cut(words or "no bound of its own", WIDTH))
        first.setdefault(key, each["seq"])
        times[key] = times.get(key, 0) + 1
    rows = [(str(first[key]), f"{times[key]:,}", *key) for key in first]
    return _section("Policies", ("event", "times", "of", "bounds"), rows, (0, 1))


def _budgets(document: dict[str, Any]) -> Section:
    rows: list[tuple[str, ...]] = []
    for each in document["budgets"]:
        most = (
            f"{each['limit_value']:,} tokens" if each["limit"] == "max_tokens" else money(each["limit_value"])
        )
        spent = [] if each["spent_tokens"] is None else [f"{each['spent_tokens']:,} tokens"]
        spent += [] if each["spent_micros"] is None else [money(each["spent_micros"])]
        what = "used up" if each["percent"] is None else f"over {each['percent']:g} %"
        of = f"{each['of']} {cut(each['name'], NAME_WIDTH)}"
        rows.append((str(each["seq"]), of, what, most, " and ".join(spent)))
    return _section("Budgets", ("event", "of", "", "limit", "spent"), rows, (0,))


def _children(document: dict[str, Any]) -> Section:
    rows = [
        (
            each["run"],
            cut(each["persona"] or "?", NAME_WIDTH),
            each["status"],
            span(each["took"]),
            money(each["cost_micros"], each["cost_micros_unknown"]) if each["model_calls"] else "-",
        )
        for each in document["children"]
    ]
    return _section("Child runs", ("run", "persona", "status", "took", "cost"), rows, (3, 4))


def _state(document: dict[str, Any]) -> Section:
    rows = [
        (
            str(each["seq"]),
            each["action"],
            cut(f"{each['root']} {each['session']} {each['key']}", WIDTH),
            str(each["version"]),
            "met another writer" if each["conflict"] else "",
        )
        for each in document["state"]
        if each["action"] in CHANGES
    ]
    return _section("State", ("event", "", "key", "version", ""), rows, (0, 3))


def _mailbox(document: dict[str, Any]) -> Section:
    rows = [
        (
            str(each["seq"]),
            each["kind"],
            cut(each["name"], NAME_WIDTH),
            cut(each["sender"] or "-", NAME_WIDTH),
        )
        for each in document["mailbox"]
    ]
    return _section("Taken from the mailbox", ("event", "kind", "name", "from"), rows, (0,))


def _absences(document: dict[str, Any]) -> Section:
    rows = [
        (each["why"], span(length(each["since"], each["until"])))
        for each in document["absences"]
        if each["until"] is None or each["until"] > each["since"]
    ]
    return _section("No process had it", ("why", "took"), rows, (1,))


def _gaps(document: dict[str, Any]) -> Section:
    rows: list[tuple[str, ...]] = []
    if document["clock_set_back"] >= SET_BACK_NS_MIN:
        back = span(document["clock_set_back"])
        rows.append((f"the clock went back by {back} meanwhile: what went on then took longer than is said",))
    if document["events_unknown"]:
        rows.append(
            (f"{count(document['events_unknown'], 'event')} of a newer playhead kept, known by type alone",)
        )
    if document["events_erased"]:
        rows.append((f"{count(document['events_erased'], 'payload')} erased: what they said is not here",))
    if document["hooks"]["model_calls"]:
        rows.append((f"hooks asked models as well: {used(document['hooks'])}",))
    return Section("Besides", ("",), rows)


# ------------------------------------------------------------------- tree


def what(node: dict[str, Any]) -> str:
    """What a node is: its kind and name, and in brief what it was given."""
    name = f"{node['kind']} {cut(node['name'], NAME_WIDTH)}"
    state = node.get("state")
    if state is not None:
        return f"{name} {cut(' '.join((state['root'], state['session'], state['key'])), NAME_WIDTH)}".rstrip()
    return name if node["input"] in (None, "{}") else f"{name} {node['input']}"


def cells(node: dict[str, Any]) -> tuple[str, ...]:
    """The columns of TREE_HEAD but the second, which is `what`."""
    work = node.get("time")
    taken = node.get("inclusive")
    text = (
        ""
        if taken is None or not taken["model_calls"]
        else money(taken["cost_micros"], taken["cost_micros_unknown"])
    )
    if node["kind"] == "model":
        usage: dict[str, Any] = node["usage"] or {}
        known: list[int] = [
            usage[name] for name in ("input_tokens", "output_tokens") if usage.get(name) is not None
        ]
        text = (
            f"{sum(known):,} tok {money(node['cost_micros'])}"
            if known
            else f"? tok {money(node['cost_micros'])}"
        )
    return (
        str(node["seq"]),
        node["status"],
        span(node["took"]) if node["took"] is not None and node["status"] not in NEVER_DONE else "-",
        "" if work is None else span(work["work"]),
        text,
        cut("; ".join(remarks(node)), WIDTH),
    )


def remarks(node: dict[str, Any]) -> Iterator[str]:
    """What is worth a word about a node."""
    if len(node.get("attempts", ())) > 1:
        yield f"{len(node['attempts'])} attempts"
    error = node["error"]
    if error is not None:
        yield f"{error['type']}: {error['message']}" if error["message"] else error["type"]
    denied = node.get("denied")
    if denied is not None:
        who = _who(denied)
        yield f"denied{'' if who == 'policy' else f' by {who}'}: {denied['reason']}"
    decision = node.get("decision")
    if decision is not None and decision["verdict"] != "act":
        approver = f", approved by {decision['approver']}" if decision["approver"] else ""
        yield f"{decision['verdict']} under {decision['tier']}{approver}"
    edited = node.get("edited")
    if edited is not None:
        yield f"edited by {', '.join(edited['by'])}: asked for {edited['asked']}"
    people = node.get("people")
    if people is not None and people["by"]:
        as_edited = f" as {people['agreed']}" if people["edited"] else ""
        yield f"{people['status']}{as_edited} by {', '.join(people['by'])}"
    if node.get("stage"):
        yield f"stage {node['stage']}"
    if node.get("exhausted"):
        yield f"budget {node['exhausted']} used up"
    if node.get("child"):
        yield f"run {node['child']}"
    if node.get("resolved_by"):
        yield f"answered for by {node['resolved_by']}"
    if node.get("outcome_unknown"):
        yield "may have happened"
    if node.get("erased"):
        yield "erased"
