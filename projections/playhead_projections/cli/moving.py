"""`playhead export` and `import`: runs leave as JSON lines and come back as they were, or not at all."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

import click

from playhead.errors import BadEvent, ImportRefused, NotFound
from playhead_projections.cli.faults import DONE, Usage
from playhead_projections.cli.output import count
from playhead_projections.cli.session import Session, command, json_option, refuse_output

if TYPE_CHECKING:
    from playhead.log.graft import Grafted, StreamCopy
    from playhead.log.reader import LogReader

SQLITE_MAGIC: Final = b"SQLite format 3\0"
STREAMS_MAX: Final = 10_000_000


@command("export")
@click.argument("runs", nargs=-1, metavar="RUN...")
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="Write to this file.")
@click.option("--all", "everything", is_flag=True, help="Every stream of the store.")
@click.option("--to", "kind", type=click.Choice(["otlp"]), help="Write spans of OpenTelemetry instead.")
@click.option("--endpoint", metavar="URL", help="With --to otlp: post them to this collector.")
@click.option(
    "--header", "headers", metavar="NAME=VALUE", multiple=True, help="With --endpoint: send it along."
)
@click.option("--content", is_flag=True, help="With --to otlp: prompts, arguments and results, too.")
@click.option("--service", default="playhead", help="With --to otlp: the name of the service.")
def export(
    session: Session,
    *,
    runs: tuple[str, ...],
    output: Path | None,
    everything: bool,
    kind: str | None,
    endpoint: str | None,
    headers: tuple[str, ...],
    content: bool,
    service: str,
) -> int:
    """Write RUN, with its mailbox, as JSON lines: one that says what follows, then one event per line."""
    from playhead.log.transfer import export_lines

    if kind is not None:
        return _spans(session, runs, output, everything, endpoint, headers, content, service)
    if endpoint or headers or content:
        raise Usage("--endpoint, --header and --content are for spans.", expected="--to otlp")

    if bool(runs) == everything:
        raise Usage("what is to be exported?", expected="one RUN or more, or --all")
    with session.reading() as log:
        streams = log.streams(limit=STREAMS_MAX) if everything else _streams(session, log, runs)
        lines = export_lines(log, streams)
        if output is None:
            _write(sys.stdout.buffer, lines)
            return DONE
        refuse_output(session.store, output)
        with output.open("wb") as file:
            written = _write(file, lines)
    session.out.aside(
        f"{count(written - len(streams), 'event')} in {count(len(streams), 'stream')} to {output}"
    )
    return DONE


def _spans(
    session: Session,
    runs: tuple[str, ...],
    output: Path | None,
    everything: bool,  # noqa: FBT001
    endpoint: str | None,
    headers: tuple[str, ...],
    content: bool,  # noqa: FBT001
    service: str,
) -> int:
    """Spans to a file, to a collector, or to standard output."""
    from playhead_projections.cli.pushing import lines, push

    if everything or not runs:
        raise Usage("which runs are to be exported as spans?", expected="one RUN or more")
    if output is not None and endpoint:
        raise Usage("spans go to a file or to a collector.", expected="-o FILE or --endpoint URL")
    documents = lines(session, runs, content=content, service=service)
    if endpoint:
        sent = push(endpoint, documents, headers)
        session.out.line(f"{count(sent.documents, 'document')} of spans taken by {endpoint}")
        for warning in sent.warnings:
            session.out.aside(f"it says: {warning}")
        return DONE
    if output is None:
        _write(sys.stdout.buffer, documents)
        return DONE
    refuse_output(session.store, output)
    with output.open("wb") as file:
        written = _write(file, documents)
    session.out.aside(f"{count(written, 'document')} of spans to {output}")
    return DONE


def _streams(session: Session, log: LogReader, runs: tuple[str, ...]) -> list[str]:
    """The streams of `runs`, each once: the run itself, and what outsiders said to it."""
    from playhead_projections.cli.addresses import find

    streams: dict[str, None] = {}
    for text in runs:
        address = find(log, session.store, text)
        if address.first is not None:
            raise Usage(
                "a run is exported whole, or its chain would prove nothing.", expected="RUN", found=text
            )
        streams[address.stream] = None
        if log.head(f"mailbox/{address.run}").seq:
            streams[f"mailbox/{address.run}"] = None
    return list(streams)


def _write(file: BinaryIO, lines: Iterator[bytes]) -> int:
    written = 0
    for line in lines:
        file.write(line)
        written += 1
    file.flush()
    return written


@command("import")
@click.argument("file", type=click.Path(path_type=Path))
@json_option
def import_(session: Session, *, file: Path, as_json: bool) -> int:
    """Take in FILE, an export or a whole store file. The store is made where there is none.

    The chains are checked first. Exit code 8, and nothing is taken, where FILE breaks a rule.
    """
    import asyncio

    copies = _read(file)
    _check_facts(copies)
    grafted = asyncio.run(_graft(session.target, copies))
    if as_json:
        session.out.document(
            "playhead.import/1",
            {
                "file": str(file),
                "store": str(session.place.path),
                "copied": list(grafted.copied),
                "already_here": list(grafted.already_here),
                "events": sum(len(copy.events) for copy in copies if copy.stream in grafted.copied),
            },
        )
        return DONE
    for stream in grafted.copied:
        session.out.line(f"copied        {stream}")
    for stream in grafted.already_here:
        session.out.line(f"already here  {stream}")
    return DONE


def _read(file: Path) -> list[StreamCopy]:
    if file == Path("-"):
        from playhead.log.transfer import import_lines

        return import_lines(sys.stdin.buffer)
    if not file.exists():
        raise NotFound(f"there is no file at {file}.")
    with file.open("rb") as opened:
        if opened.read(len(SQLITE_MAGIC)) != SQLITE_MAGIC:
            from playhead.log.transfer import import_lines

            opened.seek(0)
            return import_lines(opened)
    from playhead.log import quarantine

    try:
        return quarantine.read(file)
    except ImportRefused as error:
        error.next = error.next or f"Export it there: playhead --store {file} export RUN -o run.jsonl"
        raise


def _check_facts(copies: list[StreamCopy]) -> None:
    """An event that cannot be read stops every read model of the store it comes into, so it stays outside.

    A type that only a newer playhead knows is kept, as everywhere. Raises `ImportRefused`.
    """
    from playhead.events.codec import CATALOG, plain

    for copy in copies:
        for event in copy.events:
            try:
                CATALOG.decode(event)
                plain(event)  # also what a fact holds of the user's own, which is read when it is shown
            except BadEvent as error:
                raise ImportRefused(
                    error.message,
                    expected=f"a sound {event.type}",
                    found=f"event {event.seq} of {copy.stream}",
                    next_step="Nothing was imported. Whoever wrote this file did not write runs.",
                ) from error


async def _graft(path: Path, copies: list[StreamCopy]) -> Grafted:
    from playhead.log.sqlite_store import SqliteStore

    async with SqliteStore.open(path) as store:
        return await store.graft(copies)
