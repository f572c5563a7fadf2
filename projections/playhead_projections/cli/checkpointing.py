"""`playhead checkpoint`: sign what the log holds now, so that nobody can say that it held something else."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from playhead.errors import BadValue, Corrupt
from playhead_projections.cli.faults import DONE, Usage
from playhead_projections.cli.output import count
from playhead_projections.cli.session import Session, command, json_option, key_option, refuse_output

if TYPE_CHECKING:
    from playhead.log.checkpoints import Checkpoint
    from playhead.log.proofs import LogTree
    from playhead.log.reader import LogReader
    from playhead.sign import Signer


@command("checkpoint")
@key_option
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="Write to this file.")
@click.option(
    "--since",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write the proof that the log only grew from the checkpoint in FILE to this one.",
)
@json_option
def checkpoint(
    session: Session, *, key_file: str | None, output: Path | None, since: Path | None, as_json: bool
) -> int:
    """Sign how many events the log has and the root of the tree over them, and keep that beside the store.

    Nothing is signed where an event was changed, or an earlier checkpoint says something else: exit code 4.
    """
    from playhead.log.proofs import LogTree
    from playhead.sign import Signer
    from playhead_projections.evidence.bundle import consistency_of
    from playhead_projections.evidence.canonical import written
    from playhead_projections.evidence.unbroken import expect_whole

    if not key_file or not key_file.strip():
        raise Usage(
            "a checkpoint is signed, and no key was named.",
            expected="--key FILE",
            next_step="Make one: playhead key new NAME --out FILE",
        )
    if output is not None:
        refuse_output(session.store, output, key_file)
    signer = Signer.from_file(key_file)
    older = None if since is None else checkpoint_in(since)
    with session.reading() as log:
        tree = LogTree.of(log, shortcut=False)
        if tree.size:
            expect_whole(log)
        made, fresh = _made(log, tree, signer)
        if older is not None:
            _expect(tree, older, made.origin)
            data = written(consistency_of(tree, older, made))
        else:
            data = made.text.encode()
    if as_json:
        body = {"origin": made.origin, "size": made.size, "root": made.root.hex(), "key": signer.key}
        told = {**body, "new": fresh, "checkpoint": made.text}
        session.out.document("playhead.checkpoint/1", told)
    if output is not None:
        output.write_bytes(data)
        session.out.aside(f"the checkpoint at {count(made.size, 'event')} to {output}")
    elif not as_json:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    return DONE


def _made(log: LogReader, tree: LogTree, signer: Signer) -> tuple[Checkpoint, bool]:
    """The checkpoint of now, and whether it is new. Raises `Corrupt` where an earlier one is not met."""
    from playhead.log import checkpoints

    kept = checkpoints.kept_beside(log.path)
    body = checkpoints.of(log, tree)
    for one in kept:
        _expect(tree, one, body.partition("\n")[0])
    for one in kept:
        if one.body == body and one.signer({"": (signer.public,)}) is not None:
            return one, False
    text = checkpoints.signed(signer, body)
    checkpoints.keep(log.path, text)
    return checkpoints.parse(text), True


def _expect(tree: LogTree, one: Checkpoint, origin: str) -> None:
    """Raise `Corrupt` unless the log begins with all that it held at a checkpoint."""
    from playhead.log.checkpoints import named

    if one.origin != origin or one.size > tree.size or tree.root(one.size) != one.root:
        raise Corrupt(
            f"the log is not what {named(one)} says, so nothing was signed.",
            expected=one.root.hex(),
            found=tree.root(one.size).hex() if one.size <= tree.size else f"{tree.size} events",
        )


def checkpoint_in(path: Path) -> Checkpoint:
    """The checkpoint that a file holds. Raises `OSError`, and `BadValue` where it holds none."""
    from playhead.log.checkpoints import TEXT_BYTES_MAX, parse

    with path.open("rb") as file:
        data = file.read(TEXT_BYTES_MAX + 1)
    try:
        return parse(data.decode())
    except UnicodeDecodeError as error:
        raise BadValue(f"{path} holds no checkpoint.", expected="text in UTF-8") from error
