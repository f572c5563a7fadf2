"""`playhead resolve`, `cancel` and `signal`: what outsiders say to a run, through its mailbox."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

import click

from playhead_projections.accounts import TERMINAL
from playhead_projections.cli.faults import DONE, AnswerIsNo, Usage
from playhead_projections.cli.running import from_json
from playhead_projections.cli.session import Session, command, json_option

if TYPE_CHECKING:
    from playhead.runtime.engine import Engine
    from playhead_projections.run_report import Operation, Report

CLAIMS_MAX: Final = 1_000_000

by_option = click.option("--by", "sender", default=lambda: os.environ.get("USER", ""), help="Who says it.")


@command("signal")
@click.argument("run")
@click.argument("name")
@click.argument("value", required=False, metavar="[JSON]")
@click.option("--text", help="The value as a plain text, in place of JSON.")
@by_option
@json_option
def signal(
    session: Session, *, run: str, name: str, value: str | None, text: str | None, sender: str, as_json: bool
) -> int:
    """Tell RUN something: it answers the oldest wait for the signal NAME, or the next. Durable on return."""
    if text is not None and value is not None:
        raise Usage("a signal has one value.", expected="JSON or --text", found="both")
    sent = text if text is not None else None if value is None else from_json(value, f"the value of {name}")
    report, status = open_run(session, run)
    return tell(
        session,
        report,
        status,
        lambda engine: engine.signal(report.life.run, name, sent, sender=sender),
        {"message": "signal", "name": name},
        as_json=as_json,
    )


@command("cancel")
@click.argument("run")
@click.option("--reason", default="", help="Why.")
@by_option
@json_option
def cancel(session: Session, *, run: str, reason: str, sender: str, as_json: bool) -> int:
    """Ask RUN to stop. Its program may still tidy up. Durable on return."""
    report, status = open_run(session, run)
    return tell(
        session,
        report,
        status,
        lambda engine: engine.cancel(report.life.run, reason, sender=sender),
        {"message": "cancel", "name": reason},
        as_json=as_json,
    )


@command("resolve")
@click.argument("place", metavar="RUN@SEQ")
@click.option(
    "--retry", is_flag=True, help="It did not happen: run it again, under the same idempotency key."
)
@click.option("--value", metavar="JSON", help="It happened: this is its result.")
@click.option("--fail", is_flag=True, help="It failed, or is to count as failed.")
@by_option
@json_option
def resolve(
    session: Session,
    *,
    place: str,
    retry: bool,
    value: str | None,
    fail: bool,
    sender: str,
    as_json: bool,
) -> int:
    """Answer for the operation in doubt that event RUN@SEQ belongs to. Durable on return."""
    from playhead_projections.cli.addresses import split

    if retry + fail + (value is not None) != 1:
        raise Usage("an operation in doubt has one answer.", expected="--retry, --value JSON or --fail")
    action: Any = "retry" if retry else "fail" if fail else "value"
    answer = None if value is None else from_json(value, "--value")
    name, first, last = split(place)
    if first is None or last != first:
        raise Usage(f"{place!r} names no single event.", expected="RUN@SEQ", found=place)
    report, status = open_run(session, name)
    operation = _in_doubt(session, report, status, first)
    return tell(
        session,
        report,
        status,
        lambda engine: engine.resolve(report.life.run, operation.op, action, answer, sender=sender),
        {"message": "resolution", "name": action, "op": operation.op},
        as_json=as_json,
    )


def open_run(session: Session, text: str) -> tuple[Report, str]:
    """The report of a run, and how it stands now."""
    from playhead_projections.cli.addresses import find_run
    from playhead_projections.cli.standing import Living
    from playhead_projections.projector import state_at
    from playhead_projections.run_report import RunReport

    with session.reading() as log:
        run = find_run(log, session.store, text)
        report = state_at(log, RunReport(), f"run/{run}").state
        return report, Living(log, session.store).status(report.life)


def _in_doubt(session: Session, report: Report, status: str, seq: int) -> Operation:
    """The operation that event `seq` belongs to, where somebody may answer for it. Raises `AnswerIsNo`."""
    from playhead.errors import NotFound

    run = report.life.run
    with session.reading() as log:
        found = log.read(f"run/{run}", seq, 1)
    if not found:
        raise NotFound(f"run {run} has no event {seq}.", found=seq, next_step=f"See `playhead show {run}`.")
    operation = report.operations.get(found[0].op)
    if operation is None:
        said = f"event {seq} of {run} ({found[0].type}) belongs to no operation"
    elif operation.status == "in_doubt":
        return operation
    elif operation.status != "open":
        ended = f"it {operation.status} at event {operation.ended_seq}"
        said = f"{operation.name} at event {seq} is not in doubt: {ended}"
    elif operation.kind != "tool" or operation.effect != "effect":
        said = f"{operation.name} at event {seq} is never in doubt: it runs again by itself"
    elif status == "running":
        said = f"{operation.name} at event {seq} is not in doubt: it is in flight in a living worker"
    else:
        return operation  # in flight when its owner died; the next owner finds the answer waiting
    raise AnswerIsNo(f"{said}.")


def tell(
    session: Session,
    report: Report,
    status: str,
    say: Callable[[Engine], Awaitable[None]],
    told: dict[str, str],
    *,
    as_json: bool,
) -> int:
    """Post a message to the mailbox of a run that is not over."""
    run = report.life.run
    if status in TERMINAL:
        raise AnswerIsNo(f"run {run} is over: it {status if status != 'cancelled' else 'was cancelled'}.")
    asyncio.run(_post(session, say))
    lives = status == "running" or (status == "suspended" and _is_watched(session, run))
    if as_json:
        session.out.document(
            "playhead.message/1", {"run": run, **told, "status": status, "owner_lives": lives}
        )
    else:
        after = "its process lives and takes it" if lives else _nobody(run, report.life.persona)
        session.out.line(f"told {run}: {told['message']} {told['name']}".rstrip() + f"; {after}")
    return DONE


def _nobody(run: str, persona: str | None) -> str:
    # Another worker may be looking at the store; that cannot be seen in it.
    from playhead_projections.cli.snippets import PERSONA

    how = f"compose resume {run} --host" if persona == PERSONA else f"resume {run} --program"
    return f"no process holds it, so unless a worker takes it up: playhead {how} FILE.py"


def _is_watched(session: Session, run: str) -> bool:
    """Whether the process that put the sleeping `run` away still lives: it wakes what it put away."""
    from playhead_projections.cli.standing import Living
    from playhead_projections.cli.wording import decoded

    with session.reading() as log:
        claims = log.read(f"run/{run}", 0, CLAIMS_MAX, types=("run.claimed",))
        worker = getattr(decoded(claims[-1]), "worker", None) if claims else None
        return Living(log, session.store).lives(worker)


async def _post(session: Session, say: Callable[[Engine], Awaitable[None]]) -> None:
    from playhead.replay.engine import Engine
    from playhead_projections.cli.endings import quiet_engine

    quiet_engine()
    async with Engine.open(session.store) as engine:
        await say(engine)
