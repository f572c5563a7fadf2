"""A finished step leaves one receipt, inner ones first, with every key, and nobody gets one twice."""

from pathlib import Path
from typing import Any

from msgspec import Raw

from playhead.events import catalog as facts
from playhead.events import words
from playhead.events.fact import Fact, Failure
from playhead.events.words import Usage
from playhead.log.reader import LogReader
from playhead_projections.projector import state_at
from playhead_projections.receipts import Book, Receipts, document, drain, peek
from tests.projections.recorded import audit, failing, mixed, record, started, write

EMPTY = Raw(b"\x80")
NOTHING = Raw(words.NOTHING)
TOKENS = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "reasoning_tokens")
SUMS = {*TOKENS, "cost_micros"}
KEYS = {
    "name", "function", "op", "step", "status", "error", "model", "started", "finished", "started_seq", "seq",
    "model_calls", "attempts", "waited_for", "inclusive", *SUMS, *(f"{name}_unknown" for name in SUMS),
}  # fmt: skip


def book_of(path: Path, start: tuple[Any, ...]) -> Book:
    (run,) = record(path, start)
    with LogReader(path) as log:
        return state_at(log, Receipts(), f"run/{run}").state


def told(path: Path, *facts_: tuple[str, Fact]) -> Book:
    write(path, "a", started(), *facts_)
    with LogReader(path) as log:
        return state_at(log, Receipts(), "run/a").state


def entered(op: str) -> tuple[str, Fact]:
    return op, facts.StepStarted(step=op.rpartition("/")[2].partition("#")[0], function="f", args=EMPTY)


def test_inner_steps_come_before_the_ones_around_them(tmp_path: Path) -> None:
    inner, outer = book_of(tmp_path / "runs.db", (audit, [1, 2])).finished

    assert (inner.name, outer.name) == ("ask", "summarise")
    assert inner.step == outer.op
    assert inner.seq is not None
    assert outer.seq is not None
    assert inner.seq < outer.seq


def test_use_belongs_to_the_innermost_step_and_is_included_around_it(tmp_path: Path) -> None:
    inner, outer = map(document, book_of(tmp_path / "runs.db", (audit, [1, 2])).finished)

    assert (inner["model"], inner["model_calls"], inner["input_tokens"], inner["cost_micros"]) == (
        "tiny-1", 1, 300, 1210,
    )  # fmt: skip
    assert (outer["model"], outer["model_calls"], outer["input_tokens"], outer["cost_micros"]) == (
        None,
        0,
        0,
        0,
    )
    assert (outer["inclusive"]["model_calls"], outer["inclusive"]["cost_micros"]) == (1, 1210)


def test_attempts_and_waits_are_counted(tmp_path: Path) -> None:
    _, outer = map(document, book_of(tmp_path / "runs.db", (audit, [1, 2])).finished)

    assert outer["attempts"] == 3
    assert [(waited["kind"], waited["count"]) for waited in outer["waited_for"]] == [
        ("retry", 1),
        ("tool", 2),
    ]
    assert all(waited["ns"] > 0 for waited in outer["waited_for"])


def test_every_key_is_there_whatever_happened(tmp_path: Path) -> None:
    books = [
        book_of(tmp_path / f"{n}.db", start) for n, start in enumerate([(audit, [2]), (mixed,), (failing,)])
    ]

    for book in books:
        for receipt in book.finished:
            assert set(document(receipt)) == KEYS


def test_a_failed_step_has_its_error_and_an_unknown_cost(tmp_path: Path) -> None:
    (receipt,) = map(document, book_of(tmp_path / "runs.db", (failing,)).finished)

    assert receipt["status"] == "failed"
    assert receipt["error"]["type"] == "RuntimeError"
    assert receipt["error"]["causes"] == ["ConnectionError: the model is away"]
    assert (receipt["model_calls"], receipt["cost_micros"], receipt["cost_micros_unknown"]) == (1, None, 1)


def test_a_cancelled_step_says_so_and_an_unfinished_one_has_no_receipt(tmp_path: Path) -> None:
    book = told(
        tmp_path / "runs.db",
        entered("0/outer#0"),
        entered("0/outer#0/inner#0"),
        ("0/outer#0/inner#0/go#0", facts.WaitStarted(signal="go")),
        ("0/outer#0/inner#0/go#0", facts.OperationCancelled()),
        ("0/outer#0/inner#0", facts.StepCancelled(step="inner")),
    )

    assert [(receipt.name, receipt.status) for receipt in book.finished] == [("inner", "cancelled")]
    assert list(book.open) == ["0/outer#0"]
    assert document(book.finished[0])["waited_for"] == [{"kind": "signal", "count": 1, "ns": 1_000_000}]


def test_a_step_that_outlives_the_one_around_it_is_counted_where_it_can_be(tmp_path: Path) -> None:
    book = told(
        tmp_path / "runs.db",
        entered("0/outer#0"),
        entered("0/outer#0.1/late#0"),
        ("0/outer#0", facts.StepCompleted(step="outer", result=NOTHING)),
        ("0/outer#0.1/late#0/t#0", facts.ToolRequested(tool="t", args=EMPTY, effect="pure")),
        ("0/outer#0.1/late#0/t#0", facts.ToolFailed(failure=Failure(type="E"))),
        ("0/outer#0.1/late#0", facts.StepFailed(step="late", failure=Failure(type="E"))),
    )

    assert [(receipt.name, receipt.own.attempts) for receipt in book.finished] == [("outer", 0), ("late", 1)]


def test_a_model_call_that_outlives_its_step_stays_unknown_in_its_receipt(tmp_path: Path) -> None:
    call = "0/outer#0.1/m#0"
    book = told(
        tmp_path / "runs.db",
        entered("0/outer#0"),
        (call, facts.ModelCalled(client="m", model=None, request=NOTHING)),
        ("0/outer#0", facts.StepCompleted(step="outer", result=NOTHING)),
        (call, facts.ModelAnswered(reply=NOTHING, usage=Usage(input_tokens=3), cost_micros=5)),
    )

    receipt = document(book.finished[0])

    assert (receipt["model_calls"], receipt["input_tokens"], receipt["input_tokens_unknown"]) == (1, None, 1)
    assert (receipt["cost_micros"], receipt["inclusive"]["cost_micros"]) == (None, None)


def test_the_cursor_gives_each_receipt_once_and_takes_nothing_away(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    (run,) = record(path, (audit, [1]))
    seen: list[str] = []
    cursor = -1

    with LogReader(path) as log:
        for seq in range(log.head(f"run/{run}").seq):
            fresh, cursor = drain(state_at(log, Receipts(), f"run/{run}", seq).state, after=cursor)
            seen += [receipt.op for receipt in fresh]
        book = state_at(log, Receipts(), f"run/{run}").state

    assert seen == [receipt.op for receipt in peek(book)] == [receipt.op for receipt in peek(book)]
    assert drain(book, after=cursor) == ([], cursor)
