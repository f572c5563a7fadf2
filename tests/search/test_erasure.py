"""What was erased is found by nobody: it leaves the index with its bytes, and its mark is no text."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import msgspec

from playhead.events.codec import CATALOG
from playhead.events.erasing import MARK
from playhead.log.reader import LogReader
from playhead.log.sqlite_store import SqliteStore
from playhead.runtime.redacting import redact
from playhead_projections.projector import models_path, state_at
from playhead_projections.reports.document import document
from playhead_projections.reports.fold import Reports
from playhead_projections.search.index import index_of
from playhead_projections.search.language import field_named
from tests.log.second_writer import SecondWriter
from tests.projections import recorded
from tests.search.expressions import quoted
from tests.search.generated import Making, erase, make_run
from tests.search.test_index import contents, found, made

ERROR = {"type": "LookupError", "message": "secretword"}
SECRETS: Sequence[tuple[str, str, dict[str, Any]]] = (
    (
        "run.started",
        "",
        {
            "persona": "p",
            "args": {"a": "secretword"},
            "args_digest": "",
            "mode": "strict",
            "seed": bytes(16),
            "tags": ["secretword"],
            "name": "secretword",
        },
    ),
    ("step.started", "0/s#1", {"step": "s", "function": "s", "args": {"a": "secretword"}}),
    ("tool.requested", "0/s#1/t#1", {"tool": "t", "args": {"a": "secretword"}, "effect": "pure"}),
    ("attempt.finished", "0/s#1/t#1", {"attempt": 1, "failure": ERROR}),
    ("tool.completed", "0/s#1/t#1", {"result": "secretword"}),
    ("step.failed", "0/s#1", {"step": "s", "failure": ERROR}),
    (
        "approval.requested",
        "0/a#1",
        {
            "request": "r",
            "kind": "question",
            "action": "a",
            "digest": "d",
            "args": None,
            "detail": "secretword",
            "principal": "p",
        },
    ),
    (
        "approval.answered",
        "",
        {
            "request": "r",
            "word": "approve",
            "reviewer": "ada",
            "value": "secretword",
            "message": 1,
            "said_at": 1,
        },
    ),
    ("run.failed", "", {"failure": ERROR}),
)


def test_an_erased_payload_is_forgotten_with_its_bytes_whichever_event_it_was(tmp_path: Path) -> None:
    for seq in range(len(SECRETS)):
        path = tmp_path / f"{seq}.db"
        writer = SecondWriter(path)
        making = Making(writer, "onerun000000", Random(1))
        for n, (type_, op, said) in enumerate(SECRETS):
            kept = msgspec.msgpack.decode(msgspec.msgpack.encode(said).replace(b"secretword", b"publicword"))
            making.tell(type_, op, **(said if n == seq else kept))
        writer.db.execute("commit")
        with LogReader(path) as log:
            with index_of(log, path) as index:
                assert found(index, '"secretword" or tag = secretword')
            assert b"secretword" in models_path(path).read_bytes()
            writer.db.execute("begin")
            erase(writer, "onerun000000", seq)
            writer.close()

            with index_of(log, path) as index:
                assert not found(index, '"secretword" or tag = secretword or name = secretword')
                assert found(index, '"publicword"')
                kept_now = contents(index)
                assert index.rebuild(log)
                assert contents(index) == kept_now
            assert b"secretword" not in models_path(path).read_bytes()
            assert b"sec" not in models_path(path).read_bytes()


def test_what_was_erased_before_it_was_indexed_is_no_reason_to_make_it_anew(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    writer = SecondWriter(path)
    for n in range(12):
        make_run(writer, f"run{n:09}", Random(n))
        if n % 3 == 0:
            erase(writer, f"run{n:09}", 0)
    writer.close()
    with LogReader(path) as log, index_of(log, path) as index:
        assert index.catch_up(log) == 0


def test_of_what_was_erased_in_part_the_rest_is_found_and_the_mark_is_not(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    (run,) = recorded.record(path, (recorded.audit, [1, 2]))

    async def go() -> None:
        async with SqliteStore.open(path) as store:
            await redact(store, CATALOG, f"run/{run}", 0, "/args/numbers", reason="asked to")

    asyncio.run(go())
    with LogReader(path) as log, index_of(log, path) as index:
        assert found(index, "persona = audit and kind = run and args.numbers exists")
        assert found(index, "event = payload.erased")
        for asked in (MARK, "erased", "playhead:"):
            assert not found(index, quoted(asked)), asked
        for sign in ("=", "!=", "~"):
            assert not found(index, f"kind = run and args.numbers {sign} {quoted(MARK)}"), sign
        assert index.facets([run], *field_named("args.numbers")) == {}
        assert index.catch_up(log) == 0


def test_of_an_answer_without_its_usage_the_model_the_cost_and_the_text_are_told(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    (run,) = recorded.record(path, (recorded.audit, [1]))

    async def go() -> None:
        async with SqliteStore.open(path) as store:
            answers = await store.read(f"run/{run}", types=("model.answered",))
            await redact(store, CATALOG, f"run/{run}", answers[0].seq, "/usage", reason="asked to")

    asyncio.run(go())
    with LogReader(path) as log, index_of(log, path) as index:
        told = document(state_at(log, Reports(), f"run/{run}").state)
        assert found(index, "model = tiny-1")
    assert (told["totals"]["cost_micros"], told["totals"]["input_tokens"]) == (1210, None)
    assert [node["output"] for node in told["nodes"] if node["kind"] == "model"] == ['"fine"']


def test_the_words_of_a_program_that_look_like_the_mark_are_found(tmp_path: Path) -> None:
    path = made(
        tmp_path / "runs.db",
        ("tool.requested", "0/t#1", {"tool": "t", "args": {"a": MARK}, "effect": "pure"}),
    )
    with LogReader(path) as log, index_of(log, path) as index:
        assert found(index, f"args.a = {quoted(MARK)} and {quoted(MARK)}")
