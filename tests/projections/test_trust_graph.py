"""The trust graph is a fold of the log: a record for each fact about trust, in one chain that grows."""

import os
import random
import signal
import subprocess
import sys
import uuid
from collections.abc import Generator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from playhead.events.autonomy import TierChanged, TrustRecorded
from playhead.events.codec import CATALOG
from playhead.events.words import TierWord
from playhead.log.driver import sqlite
from playhead.log.reader import LogReader
from playhead.policy.tier import TIERS
from playhead.trust.book import Filters, effective_tier, is_effect, query
from playhead.trust.chain import chained, verify_chain
from playhead.trust.exchange import Producer, export_chain, import_chain
from playhead.trust.record import OUTCOMES, TrustRecord, hash_of
from playhead.trust.timestamp import written
from playhead_projections import projector
from playhead_projections.projector import ReadModels, models_path
from playhead_projections.trust_graph.graph import (
    TrustGraph,
    chain_of,
    chained_events,
    events_of,
    row_of,
)
from playhead_projections.trust_graph.kept import Kept, ask, kept_of, verify_kept
from tests.checkout import ROOT
from tests.projections.recorded import unknown
from tests.projections.trusted import (
    APPROVED,
    NOON_NS,
    SECOND_NS,
    Effect,
    Told,
    agents,
    as_events,
    instants,
    logs,
    moved,
    recorded,
    story,
    tell,
)

PRODUCER = Producer("playhead", "1")
STORY = [
    *story(
        Effect("one", "0/save#0"),
        Effect("one", "0/save#1", verdict="ask", tier="act_with_approval"),
        Effect("two", "0/save#0", verdict="shadow", tier="shadow", agent="watcher"),
        Effect("one", "0/save#2", fails=True),
        Effect("two", "0/save#1", verdict="ask", tier="act_with_approval", granted=False, agent="watcher"),
    ),
    Told("trust/watcher", NOON_NS + 90 * SECOND_NS, "", moved("watcher", "shadow", "suggest", reason="fine")),
    *story(
        Effect("three", "0/save#0", verdict="suggest", tier="suggest", agent="watcher"),
        at=NOON_NS + 100 * SECOND_NS,
    ),
]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    path = tmp_path / "runs.db"
    tell(path, STORY)
    return path


@contextmanager
def a_log(told: list[Told]) -> Generator[tuple[Path, LogReader]]:
    with TemporaryDirectory() as directory:
        path = Path(directory) / "runs.db"
        tell(path, told or STORY[:1])
        with LogReader(path) as log:
            yield path, log


def one_record(path: Path, fact: TrustRecorded | TierChanged, *, stream: str = "run/one") -> TrustRecord:
    tell(path, [Told(stream, NOON_NS, "0/save#0", fact)])
    with LogReader(path) as log:
        return list(chain_of(log))[-1]


def as_file(records: list[TrustRecord]) -> bytes:
    return export_chain(records, topic="trust_graph", producer=PRODUCER, generated_at=written(NOON_NS))


def damage(path: Path, sql: str, *values: Any) -> None:
    with closing(sqlite.connect(models_path(path))) as db:
        db.execute(sql, values)
        db.commit()


# What a record says.


def test_a_recorded_effect_becomes_a_record_with_all_that_it_says(tmp_path: Path) -> None:
    record = one_record(tmp_path / "runs.db", APPROVED)

    assert (record.agent, record.action, record.outcome) == ("audit", "fs.write", "success")
    assert (record.approver, record.autonomy_tier) == ("bob", "act_with_approval")
    assert (record.trace_id, record.timestamp, record.cost_usd) == ("one", "2026-04-19T12:00:00Z", 0.0015)
    assert record.metadata == {
        "autonomy.enforcement": "approval_granted",
        "builtin": "save",
        "action_class": "fs.write",
        "approval_request_id": "approval_1",
        "approval": {
            "required": True,
            "quorum": 2,
            "signatures": [
                {"reviewer": "ada", "signed_at": "2026-04-19T12:00:00Z", "signature": "unsigned"},
                {"reviewer": "bob", "signed_at": "2026-04-19T12:00:01.5Z", "signature": "unsigned"},
            ],
        },
        "event": "one@0",
    }


def test_a_move_of_an_agent_is_a_control_record_that_names_who_moved_it(tmp_path: Path) -> None:
    fact = moved("audit", "act_auto", "suggest", by="ada", reason="it wrote nonsense")

    record = one_record(tmp_path / "runs.db", fact, stream="trust/audit")

    assert (record.action, record.outcome, record.approver) == ("trust.demote", "success", "ada")
    assert (record.autonomy_tier, record.trace_id) == ("suggest", "trust/audit@0")
    assert record.metadata == {
        "control": True,
        "from_tier": "act_auto",
        "to_tier": "suggest",
        "reason": "it wrote nonsense",
        "signature": "unsigned",
        "event": "trust/audit@0",
    }
    assert not is_effect(record)


def test_that_no_more_happened_by_itself_is_a_control_record_without_an_approver(tmp_path: Path) -> None:
    fact = recorded(
        action="autonomy.tier_transition",
        outcome="denied",
        tier="act_with_approval",
        enforcement="budget_exceeded",
        reason="3 automatic decisions this hour, of 3",
        request="approval_2",
    )

    record = one_record(tmp_path / "runs.db", fact)

    assert (record.action, record.approver) == ("autonomy.tier_transition", None)
    assert record.metadata == {
        "autonomy.enforcement": "budget_exceeded",
        "builtin": "save",
        "control": True,
        "from_tier": "act_auto",
        "to_tier": "act_with_approval",
        "approval_request_id": "approval_2",
        "reason": "3 automatic decisions this hour, of 3",
        "event": "one@0",
    }
    assert not is_effect(record)


def test_nobody_approved_what_nobody_agreed_to(tmp_path: Path) -> None:
    fact = recorded(outcome="denied", tier="act_with_approval", enforcement="approval_timed_out", request="r")

    record = one_record(tmp_path / "runs.db", fact)

    assert record.approver is None
    assert "approval" not in record.metadata


def test_whoever_agreed_last_approved_where_the_fact_names_nobody_and_no_number(tmp_path: Path) -> None:
    fact = msgspec.structs.replace(APPROVED, approver=None, quorum=0)

    record = one_record(tmp_path / "runs.db", fact)

    assert (record.approver, record.metadata["approval"]["quorum"]) == ("bob", 1)
    assert import_chain(as_file([record])).report.verified


def test_the_same_fact_in_a_stream_where_no_such_facts_stand_is_no_record(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    tell(
        path,
        [
            Told("mailbox/one", NOON_NS, "", recorded()),
            Told("trust/audit", NOON_NS, "", recorded()),
            Told("run/one", NOON_NS, "", moved("audit", None, "act_auto")),
        ],
    )

    with LogReader(path) as log:
        assert list(chain_of(log)) == []
        with kept_of(log, path) as kept:
            assert kept.head.total == 0


@settings(max_examples=100, deadline=None)
@given(logs)
def test_each_fact_about_trust_is_one_record_in_the_order_of_the_log(told: list[Told]) -> None:
    about = [(at, fact) for _, at, _, fact in told if isinstance(fact, TrustRecorded | TierChanged)]

    records = list(chained_events(as_events(told)))

    assert [record.agent for record in records] == [fact.agent or "unknown" for _, fact in about]
    assert [record.timestamp for record in records] == [written(at) for at, _ in about]
    assert [record.chain_index for record in records] == list(range(1, len(about) + 1))
    assert verify_chain(records).verified


@settings(max_examples=100, deadline=None)
@given(logs)
def test_what_we_write_is_a_file_that_others_take(told: list[Told]) -> None:
    records = list(chained_events(as_events(told)))

    assert list(import_chain(as_file(records)).records) == records


@settings(max_examples=100, deadline=None)
@given(logs)
def test_ids_are_of_version_seven_each_its_own_and_hold_the_time(told: list[Told]) -> None:
    records = list(chained_events(as_events(told)))

    ids = [uuid.UUID(record.record_id) for record in records]
    assert len(set(ids)) == len(ids)
    assert all((id_.version, id_.variant) == (7, uuid.RFC_4122) for id_ in ids)
    assert [written((id_.int >> 80) * 1_000_000) for id_ in ids] == [record.timestamp for record in records]


# The chain.


@settings(max_examples=100, deadline=None)
@given(logs, st.integers(0, 14))
def test_an_earlier_chain_is_the_beginning_of_a_later_one(told: list[Told], cut: int) -> None:
    events = as_events(told)
    whole, early = list(chained_events(events)), list(chained_events(events[:cut]))

    assert whole[: len(early)] == early
    assert [record.entry_hash for record in whole] == [hash_of(record) for record in whole]


def test_the_log_holds_nothing_more_for_it_when_records_are_asked_for(store: Path) -> None:
    before = store.read_bytes()

    with LogReader(store) as log, kept_of(log, store) as kept:
        assert kept.head.total == 7

    assert store.read_bytes() == before


# Finding.

filters = st.builds(
    Filters,
    agent=st.none() | agents,
    action=st.none() | st.sampled_from(["fs.write", "trust.promote"]),
    since=st.none() | instants.map(written),
    until=st.none() | instants.map(written),
    tier=st.none() | st.sampled_from(TIERS),
    outcome=st.none() | st.sampled_from(OUTCOMES),
    limit=st.none() | st.integers(0, 5),
)


@settings(max_examples=30, deadline=None)
@given(logs, st.lists(filters, min_size=1, max_size=5))
def test_what_is_found_is_what_a_look_at_the_whole_chain_finds(
    told: list[Told], asked: list[Filters]
) -> None:
    with a_log(told) as (path, log), kept_of(log, path) as kept:
        records = list(chain_of(log))
        assert list(kept.chain()) == records

        for each in asked:
            assert kept.find(each) == query(records, each)
            assert kept.count(each) == len(query(records, replace(each, limit=None)))


def test_names_that_look_alike_are_two_agents(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    tell(path, [Told("run/one", NOON_NS, "", recorded(agent)) for agent in ("a/b", "a_b", "A/b", "a/b ")])

    with LogReader(path) as log, kept_of(log, path) as kept:
        assert [record.agent for record in kept.find(Filters(agent="a/b"))] == ["a/b"]


# As of then.


@settings(max_examples=20, deadline=None)
@given(logs)
def test_as_of_each_event_there_is_what_a_fold_from_zero_comes_to(told: list[Told]) -> None:
    with a_log(told) as (path, log), kept_of(log, path) as kept:
        for event in log.feed(0):
            then = list(chain_of(log, event.position))
            last = kept.last_at(event.position)

            assert list(kept.chain(last=last)) == then
            assert kept.find(Filters(agent="audit"), last=last) == query(then, Filters(agent="audit"))
            assert kept.root_at(last) == (then[-1].entry_hash if then else None)


@settings(max_examples=20, deadline=None)
@given(logs, instants)
def test_as_of_a_time_there_are_the_records_before_the_first_later_one(told: list[Told], time: int) -> None:
    with a_log(told) as (path, log), kept_of(log, path) as kept:
        events = log.feed(0)
        later = next((event.position for event in events if event.at > time), len(events) + 1)
        then = list(chain_of(log, later - 1))

        assert list(kept.chain(last=kept.last_at(log.position_at(time)))) == then


def test_the_tier_of_an_agent_as_of_then_is_the_one_that_it_had(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    tiers: list[TierWord] = ["suggest", "act_with_approval", "act_auto"]
    befores: list[TierWord | None] = [None, *tiers[:-1]]
    moves = [moved("audit", before, after) for before, after in zip(befores, tiers, strict=True)]
    tell(path, [Told("trust/audit", NOON_NS + n, "", fact) for n, fact in enumerate(moves)])

    with LogReader(path) as log, kept_of(log, path) as kept:
        found = [kept.find(Filters(agent="audit"), last=last) for last in range(4)]

    assert [effective_tier(records, "audit", default="shadow") for records in found] == ["shadow", *tiers]


# Keeping.


def contents(path: Path) -> list[Any]:
    with closing(sqlite.connect(models_path(path))) as db:
        return db.execute("select * from list_trust_graph order by n").fetchall()


def test_a_rebuild_gives_the_same_rows_and_in_how_many_sittings_does_not_matter(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with LogReader(store) as log:
        with kept_of(log, store) as kept:
            head = kept.head
        whole = contents(store)
        with ReadModels.open(store, [TrustGraph()]) as models:
            models.rebuild(log)
        assert contents(store) == whole
        for page, checkpoint in ((1, 1), (3, 5), (7, 1000)):
            models_path(store).unlink()
            monkeypatch.setattr(projector, "PAGE_EVENTS", page)
            monkeypatch.setattr(projector, "CHECKPOINT_EVENTS", checkpoint)
            with kept_of(log, store) as kept:
                assert kept.head == head
            assert contents(store) == whole
    assert len(whole) == head.total == 7


def test_what_came_since_is_folded_in_and_nothing_else(store: Path) -> None:
    with LogReader(store) as log:
        with kept_of(log, store) as kept:
            early = list(kept.chain())
        tell(store, story(Effect("four", "0/save#0")))
        with ReadModels.open(store, [TrustGraph()]) as models:
            assert models.catch_up(log) == len(story(Effect("four", "0/save#0")))
            records = list(Kept(models).chain())

    assert records[:-1] == early
    assert records == list(chained(records))


INTERRUPTED = """
import sys
from pathlib import Path
from playhead.log.reader import LogReader
from playhead_projections import projector
from playhead_projections.trust_graph.graph import TrustGraph
projector.PAGE_EVENTS, projector.CHECKPOINT_EVENTS = 2, 3
store = Path(sys.argv[1])
print("ready", flush=True)
with LogReader(store) as log, projector.ReadModels.open(store, [TrustGraph()]) as models:
    while True:
        models.catch_up(log)
        models.rebuild(log)
"""


def test_killed_at_any_moment_it_leaves_a_chain_to_go_on_with(store: Path) -> None:
    chance = random.Random(17)
    with LogReader(store) as log, kept_of(log, store):
        whole = contents(store)
    roots = [str(ROOT / "engine"), str(ROOT / "projections")]

    for _ in range(8):
        with subprocess.Popen(
            [sys.executable, "-c", INTERRUPTED, str(store)],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(roots)},
            stdout=subprocess.PIPE,
        ) as child:
            assert child.stdout is not None
            child.stdout.readline()
            with pytest.raises(subprocess.TimeoutExpired):
                child.wait(chance.uniform(0.005, 0.12))
            child.send_signal(signal.SIGKILL)

        with LogReader(store) as log, kept_of(log, store) as kept:
            assert contents(store) == whole
            assert verify_kept(log, kept).verified


def test_an_event_that_cannot_be_read_stops_the_graph_and_says_where(store: Path) -> None:
    tell(store, [unknown("trust.recorded", NOON_NS)], stream="run/odd")
    tell(store, story(Effect("four", "0/save#0")))

    with LogReader(store) as log, kept_of(log, store) as kept:
        assert kept.head.total == 7
        assert kept.parked is not None
        assert (kept.parked.stream, kept.parked.seq) == ("run/odd", 0)


# Damage, and verifying.


def test_a_whole_graph_is_verified_and_its_root_is_the_last_hash(store: Path) -> None:
    with LogReader(store) as log, kept_of(log, store) as kept:
        report = verify_kept(log, kept)

        assert (report.verified, report.total, report.errors) == (True, 7, ())
        assert report.root_hash == kept.head.root == list(chain_of(log))[-1].entry_hash


@pytest.mark.parametrize("cut", [0, 5_000])
def test_a_read_model_that_is_damaged_is_built_again(store: Path, cut: int) -> None:
    with LogReader(store) as log:
        whole = ask(log, store, lambda kept: kept.find(Filters()))
        data = bytearray(models_path(store).read_bytes())
        data[cut:] = b"x" * (len(data) - cut)
        models_path(store).write_bytes(data)

        assert ask(log, store, lambda kept: kept.find(Filters())) == whole
        assert ask(log, store, lambda kept: verify_kept(log, kept)).verified


@pytest.mark.parametrize(
    "sql",
    [
        "delete from list_trust_graph where n = 7",
        "delete from list_trust_graph",
        "update list_trust_graph set body = x'00' where n = 3",
        "update list_trust_graph set body = x'00' where n = 7",
    ],
)
def test_rows_that_are_lost_or_cannot_be_read_are_built_again(store: Path, sql: str) -> None:
    with LogReader(store) as log:
        whole = ask(log, store, lambda kept: kept.find(Filters()))
        damage(store, sql)

        assert ask(log, store, lambda kept: kept.find(Filters())) == whole


def test_a_chain_that_was_made_anew_with_all_its_hashes_is_told_by_the_log(store: Path) -> None:
    with LogReader(store) as log:
        with kept_of(log, store) as kept:
            forged = chained(msgspec.structs.replace(record, agent="eve") for record in kept.chain())
            rows = [row_of(record, event) for record, event in zip(forged, events_of(log), strict=True)]
        damage(store, "delete from list_trust_graph")
        for row in rows:
            damage(store, f"insert into list_trust_graph values ({','.join('?' * 8)})", *row)

        with kept_of(log, store) as kept:
            assert verify_chain(kept.chain()).verified
            report = verify_kept(log, kept)

    assert (report.verified, report.broken_at, report.total) == (False, 1, 7)
    assert "entry_hash mismatch" in report.errors[0]


ONE_MORE = """insert into list_trust_graph
    select 8, position, agent, action, outcome, tier, at, body from list_trust_graph where n = 7"""


@pytest.mark.parametrize(
    ("sql", "broken_at", "said"),
    [
        ("update list_trust_graph set agent = 'eve' where n = 3", 3, "kept with another agent"),
        ("update list_trust_graph set outcome = 'success' where n = 3", 3, "kept with another outcome"),
        ("update list_trust_graph set body = x'00' where n = 3", 3, "what is kept of it cannot be read"),
        ("delete from list_trust_graph where n = 7", 7, "it is not kept"),
        (
            ONE_MORE,
            8,
            "1 more kept than the log tells",
        ),
    ],
)
def test_what_is_kept_otherwise_than_the_log_tells_is_named_with_its_place(
    store: Path, sql: str, broken_at: int, said: str
) -> None:
    with LogReader(store) as log:
        ask(log, store, lambda kept: kept.head)
        damage(store, sql)

        with kept_of(log, store) as kept:
            report = verify_kept(log, kept)

    assert (report.verified, report.broken_at) == (False, broken_at)
    assert f"record {broken_at}: {said}" in report.errors[0]


def test_a_log_that_was_changed_no_longer_tells_what_is_kept(store: Path) -> None:
    with LogReader(store) as log:
        ask(log, store, lambda kept: kept.head)
        event = list(events_of(log))[3]
    fact = CATALOG.decode(event)
    assert isinstance(fact, TrustRecorded)
    forged = msgspec.msgpack.encode(msgspec.structs.replace(fact, outcome="success"))
    with closing(sqlite.connect(store)) as db:
        db.execute("update payloads set bytes = ? where position = ?", (forged, event.position))
        db.commit()

    with LogReader(store) as log, kept_of(log, store) as kept:
        report = verify_kept(log, kept)

    assert (report.verified, report.broken_at) == (False, 4)


def test_a_root_that_was_kept_elsewhere_holds_the_beginning_of_the_chain(store: Path) -> None:
    with LogReader(store) as log, kept_of(log, store) as kept:
        root = kept.root_at(4)
        assert root is not None

        assert verify_kept(log, kept, expected={4: root}).verified
        other = verify_kept(log, kept, expected={5: root})
        beyond = verify_kept(log, kept, expected={8: root})

    assert (other.verified, other.broken_at) == (False, 5)
    assert (beyond.verified, beyond.broken_at) == (False, 8)
    assert "the chain has 7 records" in beyond.errors[0]
