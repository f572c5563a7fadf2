"""`playhead attest` and `bundle`: the receipt of a run, and all that proves it, to hand over."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from playhead_projections.cli.faults import DONE, AnswerIsNo, Usage
from playhead_projections.cli.output import count, in_json
from playhead_projections.cli.session import Session, command, refuse_output

if TYPE_CHECKING:
    from playhead.log.checkpoints import Checkpoint
    from playhead.log.reader import LogReader

LONG: Final = "receipt-2026-04-25"
SHORT: Final = "harn.receipt.v1"
SIGN_HELP: Final = "Sign it with the key in FILE, as `playhead key new` makes one."


@command("attest")
@click.argument("run", default="@")
@click.option("--format", "wanted", type=click.Choice([LONG, SHORT]), default=LONG, help=f"Default: {LONG}.")
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="Write to this file.")
@click.option("--sign", "key_file", metavar="FILE", help=f"{SIGN_HELP} Then it comes in an envelope.")
def attest(session: Session, *, run: str, wanted: str, output: Path | None, key_file: str | None) -> int:
    """Write the receipt of RUN, which is over, in canonical JSON, with proofs that need no log.

    The same log and the same checkpoints beside it give the same bytes. `playhead verify FILE` checks it.
    """
    from playhead.sign import Signer
    from playhead_projections.evidence.canonical import written
    from playhead_projections.evidence.envelope import sealed
    from playhead_projections.evidence.unbroken import expect_met

    signer = Signer.from_file(_named(key_file)) if key_file is not None else None
    with session.reading() as log:
        if signer:
            expect_met(log)
        document, checkpoint = _receipt(session, log, run, wanted)
    data = sealed(signer, document) if signer else written(document)
    if output is None and session.out.terminal:
        session.out.line(in_json(document if signer is None else json.loads(data), indent=2))
    elif output is None:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    else:
        _write(session, output, data, key_file)
    session.out.aside(_under(checkpoint))
    return DONE


def _receipt(session: Session, log: LogReader, run: str, wanted: str) -> tuple[dict[str, Any], Checkpoint]:
    from playhead.log.checkpoints import origin_of
    from playhead_projections.evidence import agents_protocol, run_receipt
    from playhead_projections.evidence.gathered import gather_run
    from playhead_projections.evidence.proof import first_over, proof_of
    from playhead_projections.evidence.unbroken import expect_unbroken
    from playhead_projections.projector import state_at
    from playhead_projections.receipts import Receipts

    name = _whole_run(session, log, run)
    expect_unbroken(log, [f"run/{name}"])
    gathered = gather_run(log, name)
    assert gathered.last is not None
    checkpoint = first_over(log, gathered.last.position)
    proof, issuer = proof_of(log, gathered, checkpoint), origin_of(log)
    if wanted == LONG:
        long = agents_protocol.receipt(gathered, issuer=issuer, proof=proof)
        agents_protocol.check(long)
        return long, checkpoint
    book = state_at(log, Receipts(), f"run/{name}", gathered.last.seq).state
    return run_receipt.receipt(gathered, book, issuer=issuer, proof=proof), checkpoint


@command("bundle")
@click.argument("run", default="@")
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="The file to write.",
)
@click.option("--sign", "key_file", metavar="FILE", help=SIGN_HELP)
def bundle(session: Session, *, run: str, output: Path, key_file: str | None) -> int:
    """Write the evidence of RUN, which is over, as one file: events, receipts, proofs and what it ran on.

    `playhead verify FILE` checks all of it where the store is not.
    """
    from playhead.sign import Signer
    from playhead_projections.evidence.bundle import bundle as made
    from playhead_projections.evidence.unbroken import expect_met

    signer = Signer.from_file(_named(key_file)) if key_file is not None else None
    with session.reading() as log:
        if signer:
            expect_met(log)
        data = made(log, _whole_run(session, log, run), signer=signer)
    _write(session, output, data, key_file)
    session.out.aside(f"{count(len(data), 'byte')} to {output}")
    return DONE


def _whole_run(session: Session, log: LogReader, text: str) -> str:
    """The run that `text` names, which is over. Raises `Usage`, `NotFound` and `AnswerIsNo`."""
    from playhead_projections.cli.addresses import find

    address = find(log, session.store, text)
    if address.first is not None:
        raise Usage("a receipt is of a whole run.", expected="RUN", found=text)
    end = log.read(address.stream, 0, types=("run.completed", "run.failed", "run.cancelled"))
    if not end:
        raise AnswerIsNo(
            f"run {address.run} is not over, so there is no receipt of it.",
            next_step=f"See how it stands: playhead show {address.run}",
        )
    return address.run


def _named(key_file: str) -> str:
    """The file of a key. Raises `Usage` where an empty name would have something go out unsigned."""
    if not key_file.strip():
        raise Usage("--sign names no key.", expected="--sign FILE", found=key_file)
    return key_file


def _write(session: Session, output: Path, data: bytes, key_file: str | None) -> None:
    refuse_output(session.store, output, key_file)
    output.write_bytes(data)


def _under(checkpoint: Checkpoint) -> str:
    if checkpoint.signatures:
        return f"proven under the checkpoint at {checkpoint.size}, which is signed"
    return (
        "proven under no checkpoint that anybody signed. To sign one, and attest again:"
        " playhead checkpoint --key FILE"
    )
