"""A report holds everything once, its sums are those of the events, and its time adds up."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec import Raw

from playhead.events import approval as approvals
from playhead.events import autonomy
from playhead.events import catalog as facts
from playhead.events.codec import CATALOG
from playhead.events.fact import Fact, Failure
from playhead.log.envelope import Event
from playhead.log.reader import LogReader
from playhead_projections.accounts import KINDS, STEP_ENDS
from playhead_projections.cli.reports.sections import sections
from playhead_projections.policy_report import PolicyReport
from playhead_projections.projection import fold
from playhead_projections.projector import state_at
from playhead_projections.reports.document import child_runs, document
from playhead_projections.reports.fold import Reports
from playhead_projections.reports.picking import picked
from playhead_projections.reports.shares import SHARES, WAITS, Stretch, shared
from playhead_projections.search.index import index_of
from playhead_projections.search.language import field_named
from tests import long_run
from tests.projections.everything import Desk
from tests.projections.recorded import started, unknown, write

MS = 1_000_000
Node = dict[str, Any]


def told(path: Path, run: str, last: int | None = None) -> dict[str, Any]:
    with LogReader(path) as log:
        return document(state_at(log, Reports(), f"run/{run}", last).state, at=last)


def events_of(path: Path, run: str) -> list[Event]:
    with LogReader(path) as log:
        return list(log.scan(f"run/{run}"))


def rows_of(report: dict[str, Any], title: str) -> list[tuple[str, ...]]:
    return [row for each in sections(report) if each.title == title for row in each.rows]


def by_name(document: dict[str, Any]) -> dict[str, list[Node]]:
    found: dict[str, list[Node]] = {}
    for node in document["nodes"]:
        found.setdefault(f"{node['kind']} {node['name']}", []).append(node)
    return found


# The time.

stretches = st.lists(
    st.tuples(st.integers(-5, 40), st.integers(3, 30), st.sampled_from(("work", "away", *WAITS))).map(
        lambda drawn: Stretch(drawn[0], drawn[0] + drawn[1], drawn[2])
    ),
    min_size=2,
    max_size=12,
)


def moment_by_moment(since: int, until: int, found: list[Stretch]) -> dict[str, int]:
    """What each moment counts as, asked one by one."""
    shares = dict.fromkeys(SHARES, 0)
    for at in range(since, until):
        now = {stretch.what for stretch in found if stretch.since <= at < stretch.until}
        if "work" in now and "away" not in now:
            shares["work"] += 1
        else:
            shares[next((what for what in (*WAITS, "away") if what in now), "program")] += 1
    return shares


@example(0, 10, [Stretch(0, 10, "work"), Stretch(5, 20, "away"), Stretch(8, 9, "people")])
@example(5, 10, [Stretch(0, 7, "work"), Stretch(14, 30, "timers")])
@example(0, 0, [])
@given(st.integers(0, 10), st.integers(10, 40), stretches)
def test_every_moment_counts_once(since: int, took: int, found: list[Stretch]) -> None:
    shares = shared(since, since + took, found)

    assert sum(shares.values()) == took
    assert shares == moment_by_moment(since, since + took, found)


def test_what_people_take_is_not_work_and_what_nobody_carries_out_is_not_either(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    asked = approvals.ApprovalRequested(
        request="r",
        kind="approval",
        action="go",
        digest="",
        args=Raw(b"\xc0"),
        detail=Raw(b"\xc0"),
        principal="p",
    )
    tool = facts.ToolRequested(tool="t", args=Raw(b"\x80"), effect="read_only")
    claim = facts.RunClaimed(worker="w", pid=1, host="h")
    write(path, "r", started(), ("", claim), ("0/go#0", asked))  # 1, 2, 3 ms
    write(path, "r", ("", facts.RunSuspended(waiting=[])))  # 4: asleep, and people are asked all the same
    write(path, "r", ("", claim), ("", facts.RunResumed(after="suspension")))  # 5, 6
    granted = approvals.ApprovalGranted(request="r", digest="", args=Raw(b"\xc0"), granted=())
    write(path, "r", ("0/go#0", granted), ("0/t#0", tool))  # 7, 8
    write(path, "r", ("", claim), ("", facts.RunResumed(after="crash")))  # 9: it was gone since 8
    write(path, "r", ("0/t#0", facts.AttemptStarted(attempt=2, reason="resume")))  # 11
    write(path, "r", ("0/t#0", facts.ToolCompleted(result=Raw(b"\x01"), attempt=2)))  # 12
    write(path, "r", ("", facts.RunCompleted(result=Raw(b"\xc0"))))  # 13

    time = told(path, "r")["time"]

    assert time["took"] == 12 * MS
    assert (time["people"], time["away"]) == (4 * MS, 2 * MS)  # 3 to 7; 1 to 2, 8 to 9
    assert time["work"] == 1 * MS  # 11 to 12: the first attempt was lost as soon as it began
    assert time["program"] == 5 * MS


def test_an_effect_in_doubt_waits_for_people_until_somebody_answers(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    claim = facts.RunClaimed(worker="w", pid=1, host="h")
    tool = facts.ToolRequested(tool="t", args=Raw(b"\x80"), effect="effect")
    write(
        path, "r", started(), ("", claim), ("0/t#0", tool), ("0/v#0", facts.ValueRequested(name="v"))
    )  # 1 to 4
    write(path, "r", ("", claim), ("0/t#0", facts.OperationOutcomeUnknown(attempt=1)))  # 5, 6
    write(path, "r", ("", facts.RunSuspended(waiting=[])))  # 7

    waiting = told(path, "r")
    write(path, "r", ("", claim), ("0/t#0", facts.OperationResolved(action="value", by="eve")))  # 8, 9
    write(path, "r", ("0/t#0", facts.ToolCompleted(result=Raw(b"\xc0"), resolved_by="eve")))  # 10
    answered = told(path, "r")

    assert waiting["in_doubt"] == ["0/t#0"]
    assert (waiting["time"]["work"], waiting["time"]["people"]) == (1 * MS, 2 * MS)  # 3 to 4, 5 to 7
    assert answered["time"]["people"] == 5 * MS  # 5 to 10
    assert answered["time"]["away"] == 2 * MS  # 1 to 2, 4 to 5; asleep it waited for people


def test_an_effect_that_somebody_lets_happen_again_waited_until_it_began_again(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    claim = facts.RunClaimed(worker="w", pid=1, host="h")
    tool = facts.ToolRequested(tool="t", args=Raw(b"\x80"), effect="effect")
    write(path, "r", started(), ("", claim), ("0/t#0", tool), ("0/p#0", facts.PatchTaken(name="p")))  # 1 to 4
    write(path, "r", ("", claim), ("0/t#0", facts.OperationOutcomeUnknown(attempt=1)))  # 5, 6
    write(path, "r", ("0/t#0", facts.OperationResolved(action="retry", by="eve")))  # 7
    write(path, "r", ("0/t#0", facts.AttemptStarted(attempt=2, reason="resolution")))  # 8
    write(path, "r", ("0/t#0", facts.ToolCompleted(result=Raw(b"\xc0"), attempt=2)))  # 9

    time = told(path, "r")["time"]

    assert (time["work"], time["people"], time["away"]) == (2 * MS, 3 * MS, 2 * MS)  # 3-4, 8-9; 5-8; 1-2, 4-5


# The whole.


def test_every_operation_stands_in_the_report_once(desk: Desk) -> None:
    report = told(desk.path, desk.run)

    expected = {event.op for event in events_of(desk.path, desk.run) if event.type in KINDS}
    expected |= {event.op for event in events_of(desk.path, desk.run) if event.type == "step.started"}
    expected |= {event.op for event in events_of(desk.path, desk.run) if event.type == "tool.denied"}
    assert Counter(node["op"] for node in report["nodes"]) == dict.fromkeys(expected, 1)


def test_a_node_stands_behind_the_one_around_it_and_one_deeper(desk: Desk) -> None:
    report = told(desk.path, desk.run)

    seen: dict[str | None, int] = {None: -1}
    for node in report["nodes"]:
        assert node["depth"] == seen[node["parent"]] + 1
        assert node["parent"] is None or node["op"].startswith(node["parent"])
        seen[node["op"]] = node["depth"]


def test_nodes_stand_in_the_order_in_which_the_program_came_to_them(tmp_path: Path, desk: Desk) -> None:
    report = told(desk.path, desk.run)
    for parent in {node["parent"] for node in report["nodes"]}:
        came = [node["seq"] for node in report["nodes"] if node["parent"] == parent]
        assert came == sorted(came)

    path = tmp_path / "runs.db"
    tool = facts.ToolRequested(tool="t", args=Raw(b"\x80"), effect="effect")
    decided = autonomy.AutonomyDecided(
        agent="p", tool="t", action="a", verdict="ask", tier="act_auto", cause="tier", reason=""
    )
    write(path, "r", started(), ("0/late#0", decided), ("0/soon#0", tool), ("0/late#0", tool))

    assert [node["op"] for node in told(path, "r")["nodes"]] == ["0/late#0", "0/soon#0"]


@pytest.mark.parametrize(
    ("verdict", "outcome", "status"),
    [
        ("ask", None, "open"),
        ("ask", "denied", "denied"),
        ("ask", "timeout", "failed"),
        ("suggest", None, "proposed"),
        ("shadow", "success", "proposed"),
        ("denied", "denied", "denied"),
    ],
)
def test_an_effect_that_was_only_decided_about_stands_there_too(
    tmp_path: Path, verdict: Any, outcome: Any, status: str
) -> None:
    decided = autonomy.AutonomyDecided(
        agent="p", tool="t", action="a", verdict=verdict, tier="act_auto", cause="tier", reason=""
    )
    record = autonomy.TrustRecorded(
        agent="p", action="a", tool="t", outcome=outcome or "success", tier="act_auto", enforcement="denied"
    )
    write(tmp_path / "runs.db", "r", started(), ("0/t#0", decided), *([("0/t#0", record)] if outcome else []))

    (node,) = told(tmp_path / "runs.db", "r")["nodes"]

    assert (node["kind"], node["name"], node["status"]) == ("tool", "t", status)


def test_totals_are_the_sums_over_the_events(desk: Desk) -> None:
    assert_sums(told(desk.path, desk.run), events_of(desk.path, desk.run))


def assert_sums(report: dict[str, Any], events: list[Event]) -> None:
    """Everything that is counted, counted again from the events alone."""
    said: list[tuple[Event, Any]] = [(event, CATALOG.decode(event)) for event in events]
    answers = [fact for _, fact in said if isinstance(fact, facts.ModelAnswered)]
    totals = report["totals"]

    assert totals["model_calls"] == sum(event.type == "model.called" for event in events)
    assert totals["input_tokens"] == sum(answer.usage.input_tokens or 0 for answer in answers)
    assert totals["output_tokens"] == sum(answer.usage.output_tokens or 0 for answer in answers)
    assert totals["cost_micros"] == sum(answer.cost_micros or 0 for answer in answers)
    assert totals["retries"] == sum(
        isinstance(fact, facts.AttemptStarted) and fact.reason == "retry" for _, fact in said
    )
    assert totals["operations"] == len({event.op for event in events if event.type in KINDS})
    assert totals["steps"] == sum(event.type == "step.started" for event in events)
    assert report["decisions"]["total"] == sum(event.type == "autonomy.decided" for event in events)
    assert sum(sum(kinds.values()) for kinds in totals["by_status"].values()) == len(report["nodes"])
    assert (
        sum(node["cost_micros"] or 0 for node in report["nodes"] if node["kind"] == "model")
        == (totals["cost_micros"])
    )
    failed = [event for event in events if event.type in ("tool.failed", "model.failed", "step.failed")]
    assert len(report["errors"]) == len(failed)
    took = report["time"]["took"]
    assert sum(report["time"][share] for share in SHARES) == took == events[-1].at - events[0].at


def test_the_time_of_every_step_adds_up_at_every_event(desk: Desk) -> None:
    for last in range(len(events_of(desk.path, desk.run))):
        report = told(desk.path, desk.run, last)
        parts = [report["time"], *(node["time"] for node in report["nodes"] if "time" in node)]
        for time in parts:
            assert sum(time[share] for share in SHARES) == time["took"] >= 0
        assert len({node["op"] for node in report["nodes"]}) == len(report["nodes"])


def test_a_report_as_of_an_event_knows_nothing_of_what_came_later(desk: Desk) -> None:
    events = events_of(desk.path, desk.run)
    asked = next(event.seq for event in events if event.type == "approval.requested")

    then = told(desk.path, desk.run, asked)

    assert then["at"] == asked
    assert then["run"]["status"] == "running"
    assert [wait["kind"] for wait in then["waits_for"]] == ["approval"]
    assert then["people"][0]["status"] == "open"
    publish = by_name(then)["tool publish"][1]
    assert (publish["status"], publish["decision"]["verdict"]) == ("open", "ask")
    assert then["run"]["result"] is None


def test_who_decided_what_is_told_with_the_call_and_by_itself(desk: Desk) -> None:
    report = told(desk.path, desk.run)

    (asked,) = report["people"]
    (answer,) = asked["answers"]
    assert (asked["status"], list(asked["by"]), asked["reason"]) == ("granted", ["ada"], "looks good")
    assert (answer["reviewer"], answer["counted"], answer["is_signed"]) == ("ada", True, False)
    early, late = by_name(report)["tool publish"]
    assert early["status"] == "denied"
    assert "side-effect ceiling" in early["denied"]["reason"]
    assert (late["decision"]["approver"], late["decision"]["outcome"]) == ("ada", "success")
    assert (late["status"], late["effect"]) == ("completed", "effect")
    assert late["took"] > 0
    assert report["decisions"]["by_verdict"] == [
        {"verdict": "ask", "tier": "act_auto", "action": "network.call", "outcome": "success", "count": 1}
    ]
    assert [bound["of"] for bound in report["bounds"]] == ["persona", "stage"]


def test_what_stands_with_a_node_is_what_applies_to_it(desk: Desk) -> None:
    nodes = by_name(told(desk.path, desk.run))

    assert [node["output"] for node in nodes["step look"]] == [
        f'"page {page} speaks of licences"' for page in (1, 2, 3)
    ]
    (broken,) = nodes["step breaks"]
    assert broken["error"]["causes"] == ["KeyError: 'no such word'"]
    assert broken["time"]["retries"] > 0
    (composed,) = nodes["composition compose"]
    assert (composed["snippet"]["calls"], composed["snippet"]["cause"]) == (3, None)
    assert [node["parent"] for node in nodes["tool read.file"]] == [composed["op"]] * 2
    (child,) = nodes["child proofreads"]
    assert child["child"] == desk.child
    (written,) = nodes["state write"]
    assert (written["state"]["key"], written["state"]["version"]) == ("headline.json", 1)
    model = nodes["model oracle"][0]
    assert (model["input"], model["model"]) == (
        '"page 1 speaks of licences\\npage 2 speaks of licences\\npage 3 speaks of licences"',
        "oracle-1",
    )
    retried = next(node for node in nodes["tool fetch"] if "attempts" in node)
    assert [attempt["number"] for attempt in retried["attempts"]] == [1, 2]
    assert retried["attempts"][0]["error"]["type"] == "LookupError"


def test_child_runs_are_named_in_the_order_of_asking(desk: Desk) -> None:
    with LogReader(desk.path) as log:
        assert child_runs(state_at(log, Reports(), f"run/{desk.run}").state) == [desk.child]


def test_folding_at_once_is_folding_one_by_one(desk: Desk) -> None:
    events = events_of(desk.path, desk.run)

    whole = fold(Reports(), desk.run, events).state

    assert whole.ruled == fold(PolicyReport(), desk.run, events).state
    assert json.loads(json.dumps(document(whole))) == json.loads(json.dumps(told(desk.path, desk.run)))


# Odd runs.


def test_a_run_that_only_began_has_an_empty_report(tmp_path: Path) -> None:
    write(tmp_path / "runs.db", "r", started())

    report = told(tmp_path / "runs.db", "r")

    assert (report["nodes"], report["time"]["took"], report["run"]["status"]) == ([], 0, "running")


def test_what_was_erased_or_is_of_a_newer_playhead_is_counted_and_does_not_stop_it(desk: Desk) -> None:
    events = [event._replace(payload=None) if event.op else event for event in events_of(desk.path, desk.run)]
    newer = unknown("tool.dreamt")
    odd = events[-1]._replace(seq=len(events), type=newer.type, payload=newer.payload)

    report = document(fold(Reports(), desk.run, [*events, odd]).state)

    assert report["events_unknown"] == 1
    assert report["events_erased"] == sum(event.payload is None for event in events)
    kinds = {event.op for event in events if event.type in KINDS}
    assert kinds <= {node["op"] for node in report["nodes"]}
    assert all(node.get("erased") for node in report["nodes"] if node["kind"] in ("tool", "model"))


def test_every_payload_can_be_gone(desk: Desk) -> None:
    gone = [event._replace(payload=None) for event in events_of(desk.path, desk.run)]

    report = document(fold(Reports(), desk.run, gone).state)

    assert report["run"]["persona"] is None
    assert report["run"]["status"] == "completed"
    assert {event.op for event in gone if event.type in KINDS} <= {node["op"] for node in report["nodes"]}


def test_people_who_are_only_told_are_not_waited_for(tmp_path: Path) -> None:
    nothing = Raw(b"\xc0")
    told_only = approvals.ApprovalRequested(
        request="r",
        kind="approval",
        action="go",
        digest="",
        args=nothing,
        detail=nothing,
        principal="p",
        waits=False,
    )
    write(tmp_path / "runs.db", "r", started(), ("", facts.RunClaimed(worker="w", pid=1, host="h")))
    write(tmp_path / "runs.db", "r", ("0/go#0/approval", told_only), ("", facts.RunReleased(reason="")))

    report = told(tmp_path / "runs.db", "r")

    assert report["waits_for"] == []
    assert report["time"]["people"] == 0


@pytest.mark.parametrize(
    ("end", "status"),
    [
        (facts.RunFailed(failure=Failure(type="E", message="m")), "failed"),
        (facts.RunCancelled(reason="enough"), "cancelled"),
        (facts.RunParked(deaths=3, last_op="0/t#0", last_type="tool.requested"), "parked"),
        (facts.RunReleased(reason="diverged: x"), "diverged"),
    ],
    ids=["failed", "cancelled", "parked", "diverged"],
)
def test_a_run_may_end_in_any_way(tmp_path: Path, end: Fact, status: str) -> None:
    tool = facts.ToolRequested(tool="t", args=Raw(b"\x80"), effect="effect")
    write(tmp_path / "runs.db", "r", started(), ("0/t#0", tool), ("", end))

    report = told(tmp_path / "runs.db", "r")

    assert report["run"]["status"] == status
    assert [node["status"] for node in report["nodes"]] == ["open"]


def test_a_fork_waited_for_nobody_while_it_was_made(tmp_path: Path) -> None:
    asked = facts.ToolRequested(tool="t", args=Raw(b"\x80"), effect="read_only")
    made = [("0/t#0", asked), ("0/t#0", facts.ToolCompleted(result=Raw(b"\x01")))]
    let_go = [
        ("", facts.RunReleased(reason="forked from x@3")),
        ("", facts.RunClaimed(worker="w", pid=1, host="h")),
        ("", facts.RunCompleted(result=Raw(b"\x01"))),
    ]
    write(tmp_path / "runs.db", "r", started(), *made, *let_go)

    over, under_way = told(tmp_path / "runs.db", "r"), told(tmp_path / "runs.db", "r", 2)

    assert [(each["why"], each["until"] - each["since"]) for each in over["absences"]] == [("released", MS)]
    assert (over["time"]["took"], over["time"]["work"], over["time"]["away"]) == (5 * MS, MS, MS)
    assert (under_way["absences"], under_way["time"]["work"]) == ([], MS)


def test_a_length_is_never_below_zero_and_the_clock_is_named(tmp_path: Path) -> None:
    asked = facts.ToolRequested(tool="t", args=Raw(b"\x80"), effect="read_only")
    done = facts.ToolCompleted(result=Raw(b"\x01"))
    ended = facts.RunCompleted(result=Raw(b"\x01"))
    hour = 3_600_000 * MS
    at = {0: 2 * hour, 1: 2 * hour, 2: 2 * hour + MS, 3: hour, 4: hour + MS}
    told_of = [("", facts.RunClaimed(worker="w", pid=1, host="h")), ("0/t#0", asked), ("0/t#0", done)]
    write(
        tmp_path / "runs.db",
        "r",
        *(
            CATALOG.new_event(fact, at=at[n], op=op)
            for n, (op, fact) in enumerate([started(), *told_of, ("", ended)])
        ),
    )

    report = told(tmp_path / "runs.db", "r")
    with LogReader(tmp_path / "runs.db") as log, index_of(log, tmp_path / "runs.db") as index:
        assert index.facets(["r"], *field_named("duration")) == {"0ns": 1}

    assert (report["run"]["took"], report["nodes"][0]["took"], report["time"]["took"]) == (0, 0, 0)
    assert report["clock_set_back"] == hour + MS
    assert "the clock went back by 1 h" in "\n".join(row[0] for row in rows_of(report, "Besides"))


def test_a_run_that_sleeps_is_away_whatever_is_erased_of_it(tmp_path: Path) -> None:
    asked = facts.ToolRequested(tool="t", args=Raw(b"\x80"), effect="read_only")
    claimed = ("", facts.RunClaimed(worker="w", pid=1, host="h"))
    asleep = ("", facts.RunSuspended(waiting=["x"]))
    erased = ("0/t#0", facts.PayloadErased(reason="asked to", event=1))
    write(tmp_path / "runs.db", "r", started(), claimed, ("0/t#0", asked), asleep, erased, claimed)

    absences = told(tmp_path / "runs.db", "r")["absences"]

    assert [(each["why"], each["until"] - each["since"]) for each in absences[1:]] == [("suspended", 2 * MS)]


def test_a_run_that_is_left_again_is_gone_for_one_reason_at_a_time(tmp_path: Path) -> None:
    left = [
        ("", facts.RunSuspended(waiting=["x"])),
        ("", facts.RunParked(deaths=3, last_op="", last_type="")),
    ]
    claimed = ("", facts.RunClaimed(worker="w", pid=1, host="h"))
    write(tmp_path / "runs.db", "r", started(), claimed, *left, claimed)

    absences = told(tmp_path / "runs.db", "r")["absences"]

    assert [(each["why"], each["until"] - each["since"]) for each in absences] == [
        ("waited to be taken up", MS),
        ("suspended", MS),
        ("parked", MS),
    ]


# What is shown where there is not room for all.


def tree(shape: list[int], statuses: list[str]) -> list[Node]:
    """Nodes depth first: each number says how much deeper than allowed the next one lies, at most."""
    nodes: list[Node] = []
    way: list[str] = []
    for number, (deeper, status) in enumerate(zip(shape, statuses, strict=True)):
        way = way[: min(deeper, len(way))]
        nodes.append(
            {"op": str(number), "parent": way[-1] if way else None, "depth": len(way), "status": status}
        )
        way.append(str(number))
    return nodes


trees = st.integers(0, 80).flatmap(
    lambda size: st.builds(
        tree,
        st.lists(st.integers(0, 4), min_size=size, max_size=size),
        st.lists(st.sampled_from(["completed", "completed", "failed"]), min_size=size, max_size=size),
    )
)


@given(trees, st.integers(1, 60))
def test_what_is_not_shown_is_counted_where_it_would_stand(nodes: list[Node], limit: int) -> None:
    rows = picked(nodes, limit)

    shown = [row.node for row in rows if row.node is not None]
    assert len(shown) <= limit
    assert len(shown) + sum(row.left_out for row in rows) == len(nodes)
    ops = {node["op"] for node in shown}
    assert all(node["parent"] is None or node["parent"] in ops for node in shown)
    assert [node for node in nodes if node["op"] in ops] == shown
    assert all(row.parent is None or row.parent in ops for row in rows if row.node is None)
    if limit >= len(nodes):
        assert shown == nodes


def test_what_went_wrong_is_shown_before_others() -> None:
    statuses = ["completed"] * 5_000
    statuses[4_321] = "failed"

    rows = picked(tree([0] * 5_000, statuses), 100)

    assert "4321" in {row.node["op"] for row in rows if row.node is not None}
    assert rows[-1].left_out == 5_000 - sum(row.node is not None for row in rows)


# A long run.


def test_the_sums_of_a_longer_run_are_those_of_its_events(tmp_path: Path) -> None:
    check_long(tmp_path / "runs.db", 2_000)


@pytest.mark.long
def test_the_sums_of_a_run_of_a_hundred_thousand_events_are_those_of_its_events(tmp_path: Path) -> None:
    check_long(tmp_path / "runs.db", 100_000)


def check_long(path: Path, events: int) -> None:
    run = long_run.recorded(path, events)
    report = told(path, run)

    assert_sums(report, events_of(path, run))
    ended = {event.op: STEP_ENDS[event.type] for event in events_of(path, run) if event.type in STEP_ENDS}
    assert {node["op"]: node["status"] for node in report["nodes"] if node["kind"] == "step"} == ended
