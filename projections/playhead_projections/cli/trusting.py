"""`playhead trust …`: what agents did and who let them, proven, passed on, and under another policy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import click
import msgspec

from playhead.policy.tier import TIERS
from playhead.trust.book import Filters, by_trace, score, summaries
from playhead.trust.record import OUTCOMES
from playhead_projections.cli.addresses import as_of_option, find_as_of, position_of
from playhead_projections.cli.faults import DONE, NO, Usage
from playhead_projections.cli.output import count, cut, money, table
from playhead_projections.cli.promoting import demote, promote
from playhead_projections.cli.rejudging import what_if
from playhead_projections.cli.session import Session, command, json_option
from playhead_projections.cli.trust_files import export, verify

if TYPE_CHECKING:
    from playhead.trust.book import AgentSummary, Score
    from playhead.trust.record import TrustRecord
    from playhead_projections.projector import Parked
    from playhead_projections.trust_graph.grants import Granted, Wanted
    from playhead_projections.trust_graph.kept import Kept

LIMIT: Final = 500
NAME_WIDTH: Final = 28
REASON_WIDTH: Final = 40


@click.group("trust")
def trust() -> None:
    """What agents did and who let them: one chain of records that nobody can change unseen."""


class Asked(NamedTuple):
    """What was asked for, and how it is to be told."""

    filters: Filters
    as_of: str | None
    traces: bool
    summary: bool
    scored: bool


class Found(NamedTuple):
    """What there is as of then. `total` and `root` are those of the whole chain."""

    records: list[TrustRecord]
    left_out: int
    total: int
    root: str | None
    stopped: Parked | None


@command("query")
@click.option("--agent", help="Only records of this agent.")
@click.option("--action", help="Only records of this action, such as fs.write.")
@click.option("--since", metavar="TIME", help="Of this time or later, as 2026-05-01T12:00:00Z.")
@click.option("--until", metavar="TIME", help="Of this time or earlier.")
@click.option("--tier", type=click.Choice(TIERS), help="Only records under this tier.")
@click.option("--outcome", type=click.Choice(OUTCOMES), help="Only records with this outcome.")
@click.option(
    "--limit", type=click.IntRange(1), help=f"The newest so many. Of a list {LIMIT}, else all, if not given."
)
@click.option("--by-trace", "traces", is_flag=True, help="What belongs to one run stands together.")
@click.option("--summary", is_flag=True, help="Count the records of each agent.")
@click.option(
    "--score", "scored", is_flag=True, help="Say how the effects of --agent went, and what follows."
)
@as_of_option
@json_option
def query(
    session: Session,
    *,
    agent: str | None,
    action: str | None,
    since: str | None,
    until: str | None,
    tier: Any,
    outcome: Any,
    limit: int | None,
    traces: bool,
    summary: bool,
    scored: bool,
    as_of: str | None,
    as_json: bool,
) -> int:
    """Find trust records, in order of time. Exit code 1 where there are none."""
    if traces + summary + scored > 1:
        raise Usage("an answer has one form.", expected="one of --by-trace, --summary and --score")
    if scored and agent is None:
        raise Usage("a score is that of an agent.", expected="--score --agent NAME")
    if scored and any((since, until, tier, outcome, limit)):
        raise Usage("a score counts all effects.", expected="--score with --agent, --action and --as-of only")
    listed = not (summary or scored)
    filters = Filters(
        agent=agent,
        action=None if scored else action,  # moves of the agent count for its tier, whatever the action
        since=since,
        until=until,
        tier=tier,
        outcome=outcome,
        limit=LIMIT if limit is None and listed else limit,
    )
    asked = Asked(filters, as_of, traces, summary, scored)
    found = _find(session, asked)
    if found.stopped is not None:
        session.out.aside(_stands_still(found.stopped))
    judged = score(found.records, agent, action) if scored and agent is not None else None
    if as_json:
        session.out.document("playhead.trust/1", _document(asked, found, judged))
    else:
        session.out.lines(_lines(asked, found, judged))
    return DONE if found.records else NO


def _find(session: Session, asked: Asked) -> Found:
    from playhead_projections.trust_graph.kept import ask

    with session.reading() as log:
        position = None if asked.as_of is None else position_of(log, session.store, asked.as_of)

        def work(kept: Kept) -> Found:
            total = kept.head.total if position is None else kept.last_at(position)
            records = kept.find(asked.filters, last=total)
            every = len(records) if asked.filters.limit is None else kept.count(asked.filters, last=total)
            return Found(records, every - len(records), total, kept.root_at(total), kept.parked)

        return ask(log, session.store, work)


def _stands_still(parked: Parked) -> str:
    place = f"{parked.stream}@{parked.seq}"
    return (
        f"the trust graph stops at {place}, position {parked.position}: {parked.error}\n"
        f"What came later is missing from it. See it: playhead event {place}. Try again: playhead rebuild"
    )


def _document(asked: Asked, found: Found, judged: Score | None) -> dict[str, Any]:
    stopped = found.stopped
    body: dict[str, Any] = {
        "as_of": asked.as_of,
        "total": found.total,
        "root_hash": found.root,
        "stopped_at": None if stopped is None else f"{stopped.stream}@{stopped.seq}",
    }
    if judged is not None:
        told = {name: getattr(judged, name) for name in judged.__slots__}
        return {**body, "score": {**told, "policy": judged.policy.document()}}
    if asked.summary:
        return {**body, "agents": msgspec.to_builtins(summaries(found.records))}
    body["left_out"] = found.left_out
    if asked.traces:
        return {**body, "traces": msgspec.to_builtins(by_trace(found.records))}
    return {**body, "records": msgspec.to_builtins(found.records)}


def _lines(asked: Asked, found: Found, judged: Score | None) -> list[str]:
    if not found.records:
        return ["no records."]
    if judged is not None:
        return _score_lines(judged)
    if asked.summary:
        return _summary_lines(summaries(found.records))
    if asked.traces:
        lines: list[str] = []
        for group in by_trace(found.records):
            lines += [group.trace_id, *(f"  {line}" for line in table(list(map(_row, group.records))))]
    else:
        head = ["", "when", "agent", "action", "outcome", "tier", "how", "by", "where", "why"]
        lines = table(list(map(_row, found.records)), head=head, right=(0,))
    if found.left_out:
        every = len(found.records) + found.left_out
        lines.append(f"… {found.left_out:,} older ones more: --limit {every}")
    return lines


def _row(record: TrustRecord) -> list[str]:
    about = record.metadata
    approval = about.get("approval")
    agreed = [each["reviewer"] for each in approval["signatures"]] if approval else []
    moved = f"{about.get('from_tier') or '?'} to {about.get('to_tier')}" if "to_tier" in about else ""
    return [
        str(record.chain_index),
        record.timestamp,
        cut(record.agent, NAME_WIDTH),
        cut(record.action, NAME_WIDTH),
        record.outcome,
        record.autonomy_tier,
        cut(str(moved or about.get("autonomy.enforcement", "")), NAME_WIDTH),
        cut(", ".join(agreed) or record.approver or "-", NAME_WIDTH),
        cut(str(about.get("event", record.trace_id)), NAME_WIDTH),
        cut(str(about.get("reason", "")), REASON_WIDTH),
    ]


def _summary_lines(found: list[AgentSummary]) -> list[str]:
    rows = [
        [
            cut(each.agent, NAME_WIDTH),
            count(each.total),
            f"{each.success_rate:.0%}",
            money(None if each.mean_cost_usd is None else round(each.mean_cost_usd * 1e6)),
            _counted(each.outcome_distribution),
            _counted(each.tier_distribution),
        ]
        for each in found
    ]
    return table(
        rows, head=["agent", "records", "success", "mean cost", "outcomes", "tiers"], right=(1, 2, 3)
    )


def _counted(distribution: dict[str, int]) -> str:
    return ", ".join(f"{number:,} {name}" for name, number in distribution.items())


def _score_lines(judged: Score) -> list[str]:
    of = "" if judged.action is None else f", {judged.action}"
    outcomes = {
        "success": judged.successes,
        "failure": judged.failures,
        "denied": judged.denied,
        "timeout": judged.timeouts,
    }
    latest = f"{judged.latest_outcome} at {judged.latest_timestamp}" if judged.latest_outcome else "none yet"
    level = judged.policy.side_effect_level or "any"
    return [
        f"{judged.agent}{of}: {count(judged.total, 'effect')}, {judged.success_rate:.0%} success",
        f"  outcomes   {_counted({name: n for name, n in outcomes.items() if n}) or 'none'}",
        f"  latest     {latest}",
        f"  tier       {judged.effective_tier}",
        f"  may reach  {level}",
    ]


# ------------------------------------------------------------------ grants


@command("grants")
@click.argument("run", metavar="RUN[@N]")
@as_of_option
@json_option
def grants(session: Session, *, run: str, as_of: str | None, as_json: bool) -> int:
    """Say which effects of RUN were granted, by whom, used, denied, and used without a grant.

    Exit code 1 where one was used without.
    """
    from playhead_projections.projector import state_as_of
    from playhead_projections.trust_graph.grants import Grants

    with session.reading() as log:
        address = find_as_of(log, session.store, run, as_of)
        if address.first != address.last:
            raise Usage("one event is meant here.", expected="RUN or RUN@N", found=run)
        found = state_as_of(log, Grants(), address.stream, address.first).state
    if as_json:
        body = {
            "run": found.run,
            "grants": msgspec.to_builtins(list(found.grants.values())),
            "denials": msgspec.to_builtins(found.denials),
            "ungranted": msgspec.to_builtins(found.ungranted),
        }
        session.out.document("playhead.grants/1", body)
    else:
        session.out.lines(_grant_lines(found))
    return NO if found.ungranted else DONE


def _grant_lines(found: Granted) -> list[str]:
    rows: list[tuple[int, list[str]]] = []
    for grant in found.grants.values():
        used = "not used" if grant.used is None else f"used @{grant.used}, {grant.outcome or 'not over yet'}"
        by = ", ".join(grant.by) or "the rules"
        rows.append((grant.seq, ["granted", *_wanted(grant.to), f"by {by}", used, grant.reason]))
    for denial in found.denials:
        by = denial.by or "the rules"
        rows.append((denial.seq, [denial.word, *_wanted(denial.to), f"by {by}", "", denial.reason]))
    for use in found.ungranted:
        why = "nothing decided" if use.decided is None else f"decided: {use.decided}"
        rows.append((use.seq, ["ungranted", *_wanted(use.to), "by nobody", use.outcome, why]))
    rows.sort(key=lambda row: row[0])
    if not rows:
        return ["no effects."]
    return table([[str(seq), *map(_short, cells)] for seq, cells in rows], right=(0,))


def _wanted(to: Wanted) -> list[str]:
    return [to.agent, f"{to.tool} {to.action}".strip()]


def _short(text: str) -> str:
    return cut(text, REASON_WIDTH)


for each in (query, verify, promote, demote, export, what_if, grants):
    trust.add_command(each)
