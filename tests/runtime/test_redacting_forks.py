"""What a fork took from the run that it was made of goes with it, and so do words of people at its start."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from playhead import Edits, Engine, persona, tool
from playhead.events.approval import ApprovalAnswered, ApprovalGranted
from playhead.events.catalog import RunStarted, ToolCompleted
from playhead.events.codec import CATALOG
from playhead.events.composition import CompositionStarted
from playhead.events.erasing import MARK
from playhead.events.fact import Fact
from playhead.events.words import ForkWords, GrantWords
from playhead.log.envelope import Event
from playhead.log.sqlite_store import SqliteStore
from playhead.log.transfer import import_lines
from playhead.runtime.needles import Needles
from playhead.runtime.redacting import redact
from tests.checkout import ROOT
from tests.log.evidence_helpers import both
from tests.runtime.letters import holding

HANDOFF = "replay_fixtures/0035-state-conflicts-and-a-handoff.jsonl"


@tool(side_effect_level="read_only")
async def look(place: str) -> str:
    return f"lovelace of {place}"


@tool(side_effect_level="network")
async def send(text: str) -> str:
    return "sent"


@persona
async def visits(first: str, second: str) -> int:
    await send(await look(first))
    await look(second)
    return 2


async def test_answers_that_a_fork_holds_ready_are_erased_with_those_they_were_taken_from(
    tmp_path: Path,
) -> None:
    async with Engine.open(tmp_path / "runs.db", personas=[visits]) as engine:
        run = await engine.start(visits, "Ulm", "Aachen")
        await run.result()
        fork = await engine.fork(run.id, edits=Edits(outcomes={"look#0": "sun"}), allow=["send"])
        await fork.result()
        started = engine.catalog.decode((await engine.store.read(f"run/{fork.id}"))[0])
        assert isinstance(started, RunStarted)
        assert "0/look#1" in (started.prepared or {})

        done = await engine.redact(run.id, 7, "/result", reason="she asked", by="ada", everywhere=True)

        places = [(stream.removeprefix("run/"), seq) for stream, seq, _ in done.everywhere]
        assert (fork.id, 0) in places
        assert (await engine.replay(fork.id)).divergence is None
    assert holding(tmp_path, b"lovelace of Aachen") == []


async def test_tags_are_words_of_people_and_can_be_erased(tmp_path: Path) -> None:
    async with Engine.open(tmp_path / "runs.db", personas=[visits]) as engine:
        run = await engine.start(visits, "Ulm", "Aachen", tags=["case-lovelace", "audit"])
        await run.result()

        await engine.redact(run.id, 0, "/tags/1", reason="she asked", by="ada")
        await engine.redact(run.id, 0, "/tags", reason="all of them", by="ada")

        assert (await engine.replay(run.id)).divergence is None
    assert holding(tmp_path, b"case-lovelace") == []


async def test_a_name_that_stands_in_the_name_of_the_code_takes_nothing_from_other_runs(
    tmp_path: Path,
) -> None:
    async with Engine.open(tmp_path / "runs.db", personas=[visits]) as engine:
        run = await engine.start(visits, "Ulm", "Aachen", name="test_redacting")
        await run.result()
        other = await engine.start(visits, "Ulm", "Aachen")
        await other.result()

        done = await engine.redact(run.id, 0, "/name", reason="she asked", by="ada", everywhere=True)

        assert __name__.endswith("test_redacting_forks")
        assert (done.everywhere, done.also, done.held) == ((), (), ())
        assert (await engine.replay(other.id)).identical


def test_a_number_that_is_none_is_looked_for_nowhere() -> None:
    payload = msgspec.msgpack.encode({"of": [float("nan"), float("inf"), 2.0, 4711.5]})

    assert set(Needles(payload, "of.another/1").numbers) == {4711.5}


@tool
async def rings(number: int, by_name: dict[str, int]) -> str:
    return f"rang {number}, which is 1{number}, and {next(iter(by_name))}"


@persona
async def calls(number: int) -> str:
    said = await rings(number, {"Ada L.": 1, "count": 2})
    return said + await rings(7, {"count": number})


async def test_numbers_are_found_where_they_are_spelled_and_names_where_they_are_no_names_of_fields(
    tmp_path: Path,
) -> None:
    async with Engine.open(tmp_path / "runs.db", personas=[calls]) as engine:
        run = await engine.start(calls, 4711123)
        await run.result()
        number = await engine.redact(run.id, 0, "/args/number", reason="she asked", dry_run=True)
        (asked,) = [e.seq for e in await engine.store.read(f"run/{run.id}") if e.type == "tool.requested"][:1]
        names = await engine.redact(run.id, asked, "/args/by_name", reason="she asked", dry_run=True)

    assert {(place.seq, place.part, place.how) for place in number.also} >= {
        (asked, "/args/number", "same"),
        (asked + 1, "/result", "inside"),
    }
    assert [(place.seq - asked, place.part, place.how) for place in names.also] == [
        (1, "/result", "inside"),
        (4, "/result", "inside"),
    ]


def test_a_text_of_digits_is_found_where_it_is_a_number_and_in_no_digest() -> None:
    payload = msgspec.msgpack.encode({"result": ["4711123", "3e8"]})
    needles = Needles(payload, "tool.completed", ("/result",))
    forked = ForkWords(
        run="aaaaaaaaaaaa", event=1, digest="3e8" * 21 + "0", mode="exact", events=1, outcomes=0
    )
    args = msgspec.Raw(msgspec.msgpack.encode({"n": 4711123}))
    started = RunStarted(persona="p", args=args, args_digest="", mode="strict", seed=b"", forked=forked)
    new = CATALOG.new_event(started, at=1)
    event = Event(1, "run/x", 0, new.type, new.version, 1, 1, "", None, None, b"s", new.payload, b"d")

    assert [(place.part, place.how) for place in needles.places(event, CATALOG)] == [("/args/n", "same")]


@tool
async def born(name: str) -> dict[str, datetime]:
    return {"on": datetime(1987, 6, 5, 4, 3, 2, 100, tzinfo=UTC)}


@tool
async def tells(on: datetime, by_time: dict[datetime, int], text: str, shown: str) -> str:
    return f"noted at {on.isoformat()}"


@persona
async def registers(name: str) -> datetime:
    on = (await born(name))["on"]
    await tells(on, {on: 1}, f"born {on}", repr([on]))
    return on


async def test_a_moment_is_found_wherever_it_stands_and_where_it_is_spelled(tmp_path: Path) -> None:
    async with Engine.open(tmp_path / "runs.db", personas=[registers]) as engine:
        run = await engine.start(registers, "ada")
        await run.result()
        done = await engine.redact(run.id, 3, "/result/on", reason="she asked", everywhere=True)
        left = await engine.store.read(f"run/{run.id}")

    told = ("/args/by_time", "/args/on", "/args/shown", "/args/text")
    assert [(seq, parts) for _, seq, parts in done.everywhere] == [
        (4, told),
        (5, ("/result",)),
        (6, ("/result",)),
    ]
    assert done.also == ()
    moment = msgspec.msgpack.encode(datetime(1987, 6, 5, 4, 3, 2, 100, tzinfo=UTC))
    assert [event.seq for event in left if moment in (event.payload or b"")] == []
    assert holding(tmp_path, b"1987") == []


@tool
async def rooms(name: str) -> dict[int | str | tuple[int, str], str]:
    return {1: name, "1": name, (2, "b"): name, 3: "nobody"}


@persona
async def lodges(name: str) -> int:
    return len(await rooms(name))


async def test_what_was_kept_of_an_event_is_bound_as_the_event_is(tmp_path: Path) -> None:
    async with Engine.open(tmp_path / "runs.db", personas=[lodges]) as engine:
        run = await engine.start(lodges, "adalovelace", name="lodges-by-3.11")
        await run.result()
        await engine.redact(run.id, 0, "/name", reason="one")
        done = await engine.redact(run.id, 3, "/result/3", reason="two", everywhere=True)
        first = await engine.redact(run.id, 2, "/args/name", reason="three", everywhere=True)

    assert done.also == ()
    assert [(seq, parts) for _, seq, parts in first.everywhere] == [
        (0, ("/args/name", "/args_digest", "/name")),
        (3, ("/result/(2, 'b')", "/result/1", "/result/3")),
    ]


async def test_a_value_that_bounds_a_run_stays_also_when_other_parts_of_that_went(tmp_path: Path) -> None:
    async with Engine.open(tmp_path / "runs.db", personas=[lodges]) as engine:
        run = await engine.start(lodges, "strict")
        await run.result()
        await engine.redact(run.id, 0, "/args", reason="one")
        done = await engine.redact(run.id, 2, "/args/name", reason="two", everywhere=True)

    assert [(place.seq, place.part, place.how) for place in done.also] == [(0, "/mode", "bound")]
    assert [(seq, parts) for _, seq, parts in done.everywhere] == [(3, ("/result/(2, 'b')", "/result/1"))]


async def test_names_that_are_spelled_alike_or_are_no_texts_hide_nothing(tmp_path: Path) -> None:
    async with Engine.open(tmp_path / "runs.db", personas=[lodges]) as engine:
        run = await engine.start(lodges, "adalovelace")
        await run.result()
        done = await engine.redact(run.id, 0, "/args/name", reason="she asked", everywhere=True)
        one = await engine.redact(run.id, 3, "/result/3", reason="and the rest")

    assert done.everywhere[-1][2] == ("/result/(2, 'b')", "/result/1")
    assert one.kept["result"] == {1: MARK, "1": MARK, (2, "b"): MARK, 3: MARK}
    assert holding(tmp_path, b"adalovelace") == []


@tool
async def table(name: str) -> list[dict[str, str]]:
    return [{"who": name, "number": str(n)} for n in range(2_000)]


@persona
async def lists(name: str) -> int:
    return len(await table(name))


async def test_thousands_of_places_in_one_event_are_erased_together(tmp_path: Path) -> None:
    async with Engine.open(tmp_path / "runs.db", personas=[lists]) as engine:
        run = await engine.start(lists, "adalovelace")
        await run.result()
        done = await engine.redact(run.id, 0, "/args/name", reason="she asked", everywhere=True)

    assert [len(parts) for _, _, parts in done.everywhere] == [1, 2_000]
    assert done.also == ()
    assert holding(tmp_path, b"adalovelace") == []


async def test_thousands_of_texts_are_looked_for_at_once(tmp_path: Path) -> None:
    said = [
        [f"person {n:05}" for n in range(5_000)],
        *(f"to {n}" for n in range(1_000)),
        "to person 04711, alone",
    ]
    facts = [ToolCompleted(result=msgspec.Raw(msgspec.msgpack.encode(each))) for each in said]
    async with SqliteStore.open(tmp_path / "runs.db") as store:
        await store.append("run/x", 0, [CATALOG.new_event(fact, at=1, op="0/x#0") for fact in facts])
        done = await redact(store, CATALOG, "run/x", 0, reason="asked to")

    assert [(place.seq, place.how) for place in done.also] == [(1_001, "inside")]


@pytest.mark.parametrize(
    "value", ["J\u00f6rg M\u00fcller", 'he "left"\nat noon', "C:\\ada", 'it\'s "hers"', b"\xff\xfeada"]
)
def test_a_text_is_found_where_it_is_escaped(value: str | bytes) -> None:
    needles = Needles(msgspec.msgpack.encode({"result": value}), "tool.completed", ("/result",))
    shown = [f"said {[value]}"]
    if isinstance(value, str):
        shown += [json.dumps({"said": value}), json.dumps({"said": value}, ensure_ascii=False)]

    assert [text for text in shown if not needles.inside(text)] == []
    assert not needles.inside("said nothing")


async def test_what_goes_whole_takes_only_words_of_people_along(tmp_path: Path) -> None:
    copies = import_lines((ROOT / HANDOFF).read_bytes().splitlines(keepends=True))
    async with SqliteStore.open(tmp_path / "runs.db") as store:
        await store.graft(copies)
        stream = "state/notes/audit-7/__handoff.json"
        done = await redact(store, CATALOG, stream, 1, reason="asked for", everywhere=True)

    assert both(tmp_path / "runs.db").ok
    parts = [part.rpartition("/")[2] for _, _, parts in done.everywhere for part in parts]
    assert set(parts) == {"reason", "task", "label", "id"}  # the id follows from them
    assert [(place.stream, place.how) for place in done.also] == [(stream, "envelope")]
    assert holding(tmp_path, b"judge the licence") == []


GRANTS = (
    GrantWords(reviewer="ada", said_at=1, signed="valid", signature="c2lnbmF0dXJl", key="key_1", signed_at=1),
    GrantWords(reviewer="bob", said_at=2),
)
ANSWER = ApprovalAnswered(
    request="question_1", word="approve", reviewer="ada", value=msgspec.Raw(b"\x07"), message=0, said_at=1,
    digest="sha256:00", reason="seven", signature="c2lnbmF0dXJl", key="key_1", signed_at=1,
)  # fmt: skip
GRANTED = ApprovalGranted(request="question_1", digest="sha256:00", args=msgspec.Raw(b"\x07"), granted=GRANTS)
COMPOSED = CompositionStarted(
    language="snippet/1", engine="e/1", snippet="return 7", snippet_hash="sha256:00", ceiling="read_only",
    manifest_hash="sha256:11", limits={}, inputs=msgspec.Raw(b"\x80"),
)  # fmt: skip


@pytest.mark.parametrize(
    ("fact", "part", "gone"),
    [
        (ANSWER, "/value", ("/digest", "/signature", "/value")),
        (ANSWER, "/reason", ("/digest", "/reason", "/signature")),
        (ANSWER, "/signature", ("/signature",)),
        (GRANTED, "/args", ("/args", "/digest", "/granted/0/signature")),
        (GRANTED, "/granted/0/reviewer", ("/digest", "/granted/0/reviewer", "/granted/0/signature")),
        (COMPOSED, "/snippet", ("/snippet", "/snippet_hash")),
        (COMPOSED, "/inputs", ("/inputs",)),
    ],
)
async def test_nothing_in_a_payload_lets_anybody_make_sure_of_a_part_that_is_gone(
    tmp_path: Path, fact: Fact, part: str, gone: tuple[str, ...]
) -> None:
    async with SqliteStore.open(tmp_path / "runs.db") as store:
        await store.append("run/x", 0, [CATALOG.new_event(fact, at=1, op="0/x#0")])
        done = await redact(store, CATALOG, "run/x", 0, part, reason="asked for")

    assert done.parts == gone
