"""`playhead trust verify` and `export`: the chain held against the log, and chains as files."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
import msgspec

from playhead.errors import NotFound
from playhead_projections.cli.faults import BROKEN, DONE, NO, Usage
from playhead_projections.cli.output import count
from playhead_projections.cli.session import Session, command, json_option, refuse_output

if TYPE_CHECKING:
    from playhead.trust.chain import ChainReport
    from playhead.trust.exchange import Imported
    from playhead.trust.record import TrustRecord

FILE_BYTES_MAX: Final = 256 * 1024 * 1024
SHOWN_MAX: Final = 20
WHOLE_CHAIN: Final = "trust_graph"
"""Where a record that is exported with those of its agent only says where it stands in the whole chain."""

_expected: Final = re.compile(r"([1-9]\d{0,17}):(sha256:[0-9a-f]{64})").fullmatch


@command("verify")
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option(
    "--expect",
    multiple=True,
    metavar="N:HASH",
    help="The hash of record N, kept elsewhere; several may be given.",
)
@json_option
def verify(session: Session, *, file: Path | None, expect: tuple[str, ...], as_json: bool) -> int:
    """Make the chain of the store anew from its log, and hold what is kept against it; or check FILE.

    Exit code 4 where it is broken, and 1 where a file holds records that nobody here can read.
    """
    wanted = dict(_place(text) for text in expect)
    if file is None:
        report, problems, warnings = _of_store(session, wanted)
    else:
        report, problems, warnings = _of_file(file, wanted)
    broken = bool(problems) or not (report.verified or (report.unread and not report.errors))
    verified = report.verified and not problems
    if as_json:
        body = {
            **msgspec.to_builtins(report),
            "path": str(file or session.store),
            "verified": verified,
            "problems": problems,
            "warnings": warnings,
        }
        session.out.document("playhead.trust_verification/1", body)
    else:
        # Of a file the problems tell the same as the report, with where it stands in the file.
        said = [*(report.errors if file is None else ()), *problems]
        session.out.lines(_lines(session, report, said, warnings, verified=verified))
    if broken:
        return BROKEN
    return DONE if verified else NO


def _of_store(session: Session, wanted: dict[int, str]) -> tuple[ChainReport, list[str], list[str]]:
    """The chain of the log, and what is wrong with the log that it is made of."""
    from playhead.log.verify import verify as check
    from playhead_projections.trust_graph.kept import ask, verify_kept

    problems: list[str] = []
    log_is = check(session.store)
    if not log_is.ok:
        faults = len(log_is.faults) + log_is.faults_unlisted
        problems.append(f"the log is broken, {count(faults, 'fault')}: see `playhead verify`")
    with session.reading() as log:
        report, erased = ask(
            log,
            session.store,
            lambda kept: (verify_kept(log, kept, expected=wanted), kept.head.erased),
            mend=False,
        )
    warnings = [f"{count(erased, 'event')} about trust erased, and left out of the chain"] if erased else []
    return report, problems, warnings


def _of_file(path: Path, wanted: dict[int, str]) -> tuple[ChainReport, list[str], list[str]]:
    from playhead.trust.exchange import examine_chain

    if not path.is_file():
        raise NotFound(f"there is no file at {path}.", expected="a chain of trust records", found=str(path))
    found = examine_chain(path.read_bytes(), bytes_max=FILE_BYTES_MAX)
    problems = [str(problem) for problem in found.problems]
    problems += _otherwise(found, wanted)
    return found.report, problems, list(found.warnings)


def _otherwise(found: Imported, wanted: dict[int, str]) -> Iterator[str]:
    for place, hash_ in sorted(wanted.items()):
        entry = found.entries[place - 1] if place <= len(found.entries) else None
        if entry is None:
            yield f"record {place} is expected, and there are {len(found.entries)}"
        elif entry.entry_hash != hash_:
            yield f"record {place}: entry_hash mismatch; expected {hash_}, found {entry.entry_hash}"


def _place(text: str) -> tuple[int, str]:
    match = _expected(text)
    if match is None:
        raise Usage(f"--expect {text!r} names no record.", expected="N:sha256:…, as `trust verify` prints it")
    return int(match[1]), match[2]


def _lines(
    session: Session, report: ChainReport, said: list[str], warnings: list[str], *, verified: bool
) -> list[str]:
    lines = said[:SHOWN_MAX]
    if len(said) > SHOWN_MAX:
        lines.append(f"… {len(said) - SHOWN_MAX:,} more: --json")
    lines += warnings
    what = count(report.total, "record")
    if not verified:
        where = f", broken at record {report.broken_at}" if report.broken_at else ""
        return [*lines, f"{session.out.word('no')}: {what} of {report.topic}{where}"]
    lines.append(f"{session.out.word('ok')}  {what} of {report.topic}")
    if report.root_hash is not None:
        lines += ["", "keep elsewhere, for --expect:", f"  {report.total}:{report.root_hash}"]
    return lines


# ------------------------------------------------------------------ export


@command("export")
@click.option("--agent", help="Only the records of this agent, as a chain of their own.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Write to this file.")
def export(session: Session, *, agent: str | None, out: Path | None) -> int:
    """Write the chain as opentrustgraph-chain/v0. Exit code 1 where there are no records of the agent.

    The records of one agent are no beginning of the whole chain: they get links of their own, and each
    says which place and hash it has in the whole. Such a file does not show that no record is missing.
    """
    from playhead.clock import SystemClock
    from playhead.trust.chain import TOPIC
    from playhead.trust.exchange import Producer, export_chain
    from playhead.trust.timestamp import written
    from playhead_projections.trust_graph.graph import chain_of

    with session.reading() as log:
        if out is not None:
            refuse_output(session.store, out)
        records = list(chain_of(log)) if agent is None else list(_own(chain_of(log), agent))
    if agent is not None and not records:
        session.out.aside(f"there are no records of {agent}.")
        return NO
    data = export_chain(
        records,
        topic=TOPIC if agent is None else f"{TOPIC}.{agent}",
        producer=Producer("playhead", _version()),
        generated_at=written(SystemClock().now()),
    )
    if out is None:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return DONE
    out.write_bytes(data)
    session.out.aside(f"{count(len(records), 'record')} to {out}")
    return DONE


def _version() -> str:
    try:
        return metadata.version("playhead")
    except metadata.PackageNotFoundError:
        return "unknown"


def _own(records: Iterable[TrustRecord], agent: str) -> Iterator[TrustRecord]:
    """The records of an agent as a chain of their own, each with its place in the whole."""
    from playhead.trust.chain import chained

    def placed(record: TrustRecord) -> TrustRecord:
        place: dict[str, Any] = {"chain_index": record.chain_index, "entry_hash": record.entry_hash}
        return msgspec.structs.replace(record, metadata={**record.metadata, WHOLE_CHAIN: place})

    return chained(placed(record) for record in records if record.agent == agent)
