"""`playhead demo`: the whole thing in a minute, without network or key."""

from __future__ import annotations

from importlib import import_module

import click

from playhead_projections.cli.faults import DONE
from playhead_projections.cli.session import Session, command


@command("demo", context_settings={"ignore_unknown_options": True, "help_option_names": []})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def demo(_session: Session, *, arguments: tuple[str, ...]) -> int:
    """See it work: an audit that is killed half way and comes back."""
    # By name, because the demo is for people: no other command may come to need it.
    code = import_module("playhead_projections.demo").main(list(arguments))
    return code if isinstance(code, int) else DONE
