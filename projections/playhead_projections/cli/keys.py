"""`playhead key new`: a key to sign answers with."""

from __future__ import annotations

import json

import click

from playhead_projections.cli.faults import DONE
from playhead_projections.cli.session import Session, command, json_option


@click.group("key")
def key() -> None:
    """Keys that people sign their answers with."""


@command("new")
@click.argument("name")
@click.option("--out", "path", required=True, metavar="FILE", help="Where the private key goes: a new file.")
@json_option
def new(session: Session, *, name: str, path: str, as_json: bool) -> int:
    """Make a key for NAME and print what the keyring says of it. The file is for its owner alone.

    A keyring is a file {"reviewers": {…}} with such a line for each person; see --reviewer-keys of `run`.
    """
    from playhead.runtime.approving import known_name
    from playhead.sign import Signer

    name = known_name(name, "a reviewer")
    made = Signer.new(path)
    if as_json:
        told = {"name": name, "public": made.public, "key": made.key, "file": path}
        session.out.document("playhead.key/1", told)
    else:
        session.out.line(f"{json.dumps(name, ensure_ascii=False)}: {json.dumps([made.public])}")
    return DONE


key.add_command(new)
