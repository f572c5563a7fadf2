"""`playhead trust promote` and `trust demote`: who trusts an agent with what."""

from __future__ import annotations

import os
from typing import Any

import click

from playhead.errors import BadValue
from playhead.policy.tier import TIERS
from playhead_projections.cli.faults import DONE, AnswerIsNo, Usage
from playhead_projections.cli.session import Session, command, json_option, key_option, keys_option


def _change(word: str, about: str) -> click.Command:
    def change(
        session: Session, *, agent: str, tier: Any, by: str, reason: str, key_file: str | None, as_json: bool
    ) -> int:
        import asyncio

        from playhead.replay.engine import Engine
        from playhead.runtime.approving import known_name
        from playhead.sign import Signer
        from playhead_projections.cli import endings

        if not by.strip():
            raise Usage(
                "a change of trust names who makes it.", expected="--by NAME", found="no --by and no USER"
            )
        who = known_name(by, "whoever says so")
        signer = Signer.from_file(key_file) if key_file else None
        with session.reading():
            pass  # a mistyped store is not there, and none is made for it
        endings.quiet_engine()

        async def go() -> Any:
            async with Engine.open(session.target, reviewer_keys=session.reviewer_keys) as engine:
                return await getattr(engine, word)(agent, tier, by=who, reason=reason, signer=signer)

        try:
            changed = asyncio.run(go())
        except BadValue as error:
            raise AnswerIsNo(error.message, next_step=error.next_step) from error
        if as_json:
            told = {"agent": agent, "action": word, "before": changed.before, "after": tier, "by": who}
            session.out.document("playhead.trust_changed/1", told | {"signed": bool(changed.signature)})
        else:
            signed = "" if changed.signature else ", unsigned"
            session.out.line(f"{agent}  {changed.before or 'no word'} -> {tier}, by {who}{signed}")
        return DONE

    change.__doc__ = about
    told = click.argument("tier", type=click.Choice(TIERS))(key_option(keys_option(json_option(change))))
    told = click.option("--by", default=lambda: os.environ.get("USER", ""), help="Who says so.")(told)
    told = click.option("--reason", default="", help="Why.")(told)
    return command(word)(click.argument("agent")(told))


promote = _change("promote", "Trust AGENT, a persona, with a higher TIER. It lifts no policy.")
demote = _change("demote", "Trust AGENT, a persona, with a lower TIER, also in runs under way.")
