"""What another policy would have said of the effects of past runs, and where that differs.

    effects = past_effects(log)
    [each for each in rejudge(effects, scopes, policy) if each.differs]

Nothing runs. What an agent was trusted with and how often it had acted by itself is taken from the
log: as it was looked up where it was, and else counted there. So each effect is judged as if all
before it had gone as they did.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple, cast

import msgspec
from msgspec import Raw

from playhead.events import autonomy as facts
from playhead.events.approval import OF_A_CALL, ApprovalGranted
from playhead.events.catalog import ModelCalled, RunStarted, ToolRequested
from playhead.events.codec import CATALOG, Catalog
from playhead.events.erasing import mended
from playhead.events.rules import PersonaEntered
from playhead.events.state import StateRequested
from playhead.events.words import CHANGES
from playhead.log.envelope import Event
from playhead.log.reader import LogReader
from playhead.policy.action import BY_NAME_ONLY, MODEL_CALL, STATE_CHANGE, Action
from playhead.policy.annotations import Annotations, Kind
from playhead.policy.approval import Decision
from playhead.policy.autonomy import Autonomy, Judgement, Ruling, Standing, Verdict, judge, rule
from playhead.policy.capability import Policy
from playhead.policy.level import Level
from playhead.policy.span import DAY_NS, HOUR_NS
from playhead.policy.tier import Tier, strictest
from playhead.trust.standing import Trusted
from playhead_projections.accounts import enclosing
from playhead_projections.projection import RUN_STREAMS
from playhead_projections.trust_graph.records import TRUST_STREAMS

NOT_SAID: Final = "no scope of autonomy says a word"

_TYPES: Final = (
    *("run.started", "persona.entered", "standing.requested", "standing.found", "standing.failed"),
    *("autonomy.decided", "autonomy.proposed", "approval.granted", "tool.requested", "trust.tier_changed"),
    *("state.requested", "model.called"),
)
_LEVELS: Final[Mapping[str, Level]] = {
    "fs": "workspace_write",
    "workspace": "workspace_write",
    "process": "process_exec",
    "network": "network",
    "desktop": "desktop_control",
}
_KINDS: Final[Mapping[str, Kind]] = {
    "fs.write": "edit",
    "fs.delete": "delete",
    "fs.move": "move",
    "process.exec": "execute",
}


class PastEffect(msgspec.Struct, kw_only=True):
    """An effect that an agent wanted to have, and what became of it.

    `standing` is None where it could not be looked up. `decided` says whether autonomy decided about it;
    where it did not, the effect happened, or people agreed to it because a policy wants them to.
    """

    run: str
    seq: int
    at: int
    op: str
    agent: str
    tool: str
    action: str
    verdict: Verdict
    decided: bool
    standing: Standing | None
    within: tuple[str, ...] = ()
    args: dict[str, Any] = {}


class Rejudged(NamedTuple):
    """A past effect under another policy: what becomes of it, and why. `because` are the rules that spoke."""

    effect: PastEffect
    verdict: Verdict
    reason: str
    because: tuple[str, ...]

    @property
    def differs(self) -> bool:
        return self.verdict != self.effect.verdict


def rejudge(effects: Iterable[PastEffect], scopes: Sequence[Autonomy], policy: Policy) -> Iterator[Rejudged]:
    """What `scopes`, the outermost first, and `policy` say of each effect. Pure.

    Of a tool the log holds the class of its effect, and no declarations: its level and kind follow from
    that, and what else a rule needs, such as `path_params`, the policy has to say as `tool_annotations`.
    """
    for effect in effects:
        said = (policy.tool_annotations or {}).get(effect.tool) or declared_by(effect.action)
        bounded = effect.action != MODEL_CALL  # policies say nothing of models
        allowed = policy.decide(effect.tool, effect.args, said) if bounded else Decision("approved")
        ruling = rule(scopes, effect.agent, Action(effect.tool, effect.action), effect.within)
        judgement, verdict = combined(ruling, effect.standing, allowed)
        if judgement is None and not effect.decided and effect.action in BY_NAME_ONLY:
            continue
        by_policy = judgement is None or verdict != judgement.verdict
        reason = allowed.reason if by_policy and allowed.reason else NOT_SAID
        yield Rejudged(
            effect,
            verdict,
            reason if judgement is None or by_policy else judgement.reason,
            ruling.because,
        )


def combined(
    ruling: Ruling, standing: Standing | None, allowed: Decision
) -> tuple[Judgement | None, Verdict]:
    """What becomes of an effect of which a capability policy and autonomy both have their say."""
    if allowed.verdict == "needs_approval":
        ruling = msgspec.structs.replace(ruling, human=True, because=(*ruling.because, allowed.reason))
    judgement = judge(ruling, standing)
    if allowed.verdict == "denied":
        return judgement, "denied"
    return judgement, "act" if judgement is None else judgement.verdict


def declared_by(action: str) -> Annotations:
    """What a class of effects says of a tool that has it."""
    if action == STATE_CHANGE:
        return Annotations(
            kind="edit",
            side_effect_level="workspace_write",
            capabilities={"state": ["write"]},
            path_params=[],
        )
    return Annotations(
        kind=_KINDS.get(action, "other"), side_effect_level=_LEVELS.get(action.partition(".")[0])
    )


# ----------------------------------------------------------------- the past


def past_effects(log: LogReader) -> list[PastEffect]:
    """Every effect of the runs of a log, in the order in which they were decided. Raises `BadEvent`."""
    return effects_of(_events(log))


def effects_of(events: Iterable[Event], *, catalog: Catalog = CATALOG) -> list[PastEffect]:
    """The same of some events, from the first of a log on. Pure."""
    past = _Past()
    for event in events:
        if event.type in _TYPES:
            past.take(event, catalog.decode(event))
    return past.effects


def _events(log: LogReader) -> Iterator[Event]:
    after = 0
    while page := log.feed(after, types=_TYPES):
        yield from mended(log, page)
        after = page[-1].position


class _Look(msgspec.Struct):
    """A look-up of how an agent stands, and what it found. `bounded`: which counts it asked for."""

    hour: bool
    day: bool
    within: tuple[str, ...] = ()
    found: facts.StandingFound | None = None


_Key = tuple[str, str]
"""A run, and an operation of it."""


class _Past:
    """Goes along a log, and keeps what effects there were."""

    def __init__(self) -> None:
        self.effects: list[PastEffect] = []
        self._known: dict[_Key, PastEffect] = {}
        self._looks: dict[_Key, _Look] = {}
        self._approved: set[_Key] = set()
        self._personas: dict[str, dict[str, str]] = {}
        self._around: dict[str, tuple[str, ...]] = {}
        self._trusted: defaultdict[str, Trusted] = defaultdict(Trusted)
        self._proposed: dict[_Key, Raw] = {}
        self._acted: Counter[tuple[str, int, int]] = Counter()

    def take(self, event: Event, fact: object) -> None:
        if event.stream.startswith(TRUST_STREAMS):
            self._trusted[event.stream.removeprefix(TRUST_STREAMS)].apply(event.seq, fact)
            return
        if not event.stream.startswith(RUN_STREAMS):
            return
        run = event.stream[len(RUN_STREAMS) :]
        around = (run, event.op.rpartition("/")[0])
        match fact:
            case RunStarted():
                self._personas[run] = {"": fact.persona}
                self._around[run] = fact.agents
            case PersonaEntered():
                self._personas.setdefault(run, {})[event.op] = fact.persona
            case facts.StandingRequested():
                bounds = (fact.per_hour is not None, fact.per_day is not None)
                self._looks[around] = _Look(*bounds, within=fact.within)
            case facts.StandingFound() if around in self._looks:
                self._looks[around].found = fact
            case facts.AutonomyDecided():
                self._add(run, event, fact.agent, fact.tool, fact.action, fact.verdict, decided=True)
            case ApprovalGranted() if event.op.endswith(OF_A_CALL):
                self._approved.add(around)
            case facts.AutonomyProposed():  # right before what is decided about it
                self._proposed[run, event.op] = fact.args
            case ToolRequested() if fact.side_effect:
                self._ask(run, event, fact.tool, fact.side_effect, _named(fact.args))
            case StateRequested() if fact.action in CHANGES:
                named = {"root": fact.root, "session": fact.session, "key": fact.key}
                self._ask(run, event, f"state.{fact.action}", STATE_CHANGE, named)
            case ModelCalled():
                self._ask(run, event, fact.client, MODEL_CALL, {})
            case _:
                pass

    def _ask(self, run: str, event: Event, tool: str, action: str, args: dict[str, Any]) -> None:
        if (run, event.op) not in self._known:
            verdict: Verdict = "ask" if (run, event.op) in self._approved else "act"
            agent = self._agents(run, event.op)[0]
            self._add(run, event, agent, tool, action, verdict, decided=False)
        effect = self._known[run, event.op]
        effect.args = effect.args or args

    def _add(
        self, run: str, event: Event, agent: str, tool: str, action: str, verdict: Verdict, *, decided: bool
    ) -> None:
        look = self._looks.pop((run, event.op), None)
        agents = self._agents(run, event.op)
        within = tuple(name for name in agents if name != agent)
        effect = PastEffect(
            run=run,
            seq=event.seq,
            at=event.at,
            op=event.op,
            agent=agent,
            tool=tool,
            action=action,
            verdict=verdict,
            decided=decided,
            within=within if look is None else look.within,
            standing=self._standing(look, (agent, *within), event),
        )
        if (args := self._proposed.pop((run, event.op), None)) is not None:
            effect.args = _named(args)
        self.effects.append(effect)
        self._known[run, event.op] = effect
        if verdict == "act":
            for length in (HOUR_NS, DAY_NS):
                self._acted[agent, length, event.at // length] += 1

    def _standing(self, look: _Look | None, agents: Sequence[str], event: Event) -> Standing | None:
        if look is not None and look.found is None:
            return None
        hour, day = (
            max(self._acted[agent, length, event.at // length] for agent in agents)
            for length in (HOUR_NS, DAY_NS)
        )
        if look is None or look.found is None:
            trusted = [self._trusted[agent] for agent in agents]
            tiers: list[Tier | None] = [each.tier for each in trusted]
            return Standing(strictest(*tiers), hour, day, all(each.promoted for each in trusted))
        found = look.found
        return Standing(
            found.tier, found.hour if look.hour else hour, found.day if look.day else day, found.promoted
        )

    def _agents(self, run: str, op: str) -> tuple[str, ...]:
        """Whose code asked for it: the innermost persona first, and those of runs around it last."""
        personas = self._personas.get(run, {})
        inside = [personas[each] for each in enclosing(op, personas)]
        around = [personas.get("", ""), *reversed(self._around.get(run, ()))]
        return tuple(dict.fromkeys((*inside, *around)))


def _named(args: Raw) -> dict[str, Any]:
    """Arguments by name, as they stand in the log."""
    found: object = msgspec.msgpack.decode(args)
    return cast("dict[str, Any]", found) if isinstance(found, dict) else {}
