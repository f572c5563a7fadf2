"""The fence of a fork: what may happen in the world once its tape is over.

    withheld = withheld_by(("publish", "model"), run, executor)     # None: let it happen

What looks at the world may happen. What changes it, and what costs, only where the
fence names it: a tool by its name, or `tool:` and its name (and by that alone where its
name is a word of the fence), all tools of an effect class or of a side-effect class by
that, models by `model` or `model:` and the name of the client, state by `state`, and
`all` is everything. State of the fork's own session is its own. Hooks and look-ups of
standing always happen: they judge. A child run may begin, because it has the same fence.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from playhead.errors import BadValue, ForkDenied
from playhead.events.catalog import EffectWithheld, ModelCalled, ToolRequested
from playhead.events.codec import CATALOG
from playhead.events.fact import OutcomeFact, ProgramFact
from playhead.events.state import StateRequested
from playhead.events.words import CHANGES
from playhead.log.envelope import Told
from playhead.policy.action import KINDS
from playhead.policy.effect import EffectClass
from playhead.runtime.copied import answers
from playhead.runtime.failures import record_failure

if TYPE_CHECKING:
    from playhead.runtime.machine import Machine, Pending

ALL: Final = "all"
MODEL: Final = "model"
STATE: Final = "state"
OF_A_TOOL: Final = "tool:"
_RESERVED: Final = (ALL, MODEL, STATE, *(effect.value for effect in EffectClass))
"""Words of the fence: a tool that is called so is named `tool:` and that."""
_LOOKS: Final = (EffectClass.PURE, EffectClass.READ_ONLY)

Fence = tuple[str, ...]


def fence_of(allow: Any) -> Fence:
    """The fence that lets `allow` happen. Raises `BadValue` for what are no words."""
    if isinstance(allow, str):
        raise BadValue(f"allow={allow!r} is one text.", expected="a list of words", found=allow)
    words: list[Any] = list(allow)
    for word in words:
        if not isinstance(word, str) or not word:
            raise BadValue(
                f"a fork can allow a tool, a class or a model by name, not {word!r}.",
                expected=f"a tool, an effect class, a side-effect class, {MODEL}, {STATE} or {ALL}",
                found=word,
            )
    return tuple(sorted(set(words)))


def check_known(
    allow: Collection[str], tools: Collection[str], classes: Collection[str], clients: Collection[str]
) -> None:
    """Raise `BadValue` for a word that lets nothing happen, because nothing is called so.

    A tool that is not known here, as one that is made while the program runs, is named `tool:` and its name.
    """
    known = {*_RESERVED, *(f"{STATE}.{action}" for action in CHANGES), *KINDS, *classes, *tools}
    known |= {f"{MODEL}:{client}" for client in clients}
    for word in allow:
        if word not in known and not word.startswith(OF_A_TOOL):
            raise BadValue(
                f"nothing that a fork could allow is called {word!r}.",
                expected=", ".join(
                    (*sorted(tools), MODEL, STATE, *(effect.value for effect in EffectClass), ALL)
                ),
                found=word,
                next_step=f"Name a tool that is made while the program runs {OF_A_TOOL}NAME.",
            )


def withheld_by(fence: Fence | None, run: str, request: ProgramFact, executor: Any) -> EffectWithheld | None:
    """Why what `request` asks for must not happen in `run`; None where it may."""
    if fence is None or ALL in fence:
        return None
    found = _words(run, request, executor)
    named = {f"{OF_A_TOOL}{found.name}"} if found is not None and found.kind == "tool" else set[str]()
    if found is None or not named.union(found.allow).isdisjoint(fence):
        return None
    return found


def _words(run: str, request: ProgramFact, executor: Any) -> EffectWithheld | None:
    """What it takes to let it happen; None where it needs nothing. What a tool is now counts."""
    if isinstance(request, ModelCalled):
        return EffectWithheld(kind="model", name=request.client, allow=(MODEL, f"{MODEL}:{request.client}"))
    if isinstance(request, StateRequested):
        if request.action not in CHANGES or request.session == run:
            return None
        name = f"{STATE}.{request.action}"
        return EffectWithheld(kind="state", name=name, allow=(STATE, name))
    if not isinstance(request, ToolRequested):
        return None
    effect = EffectClass(request.effect if executor is None else executor.effect)
    if effect in _LOOKS:
        return None
    name = f"{OF_A_TOOL}{request.tool}" if request.tool in _RESERVED else request.tool
    classes = [name, effect.value, *([request.side_effect] if request.side_effect else [])]
    return EffectWithheld(kind="tool", name=request.tool, effect=effect.value, allow=tuple(classes))


def would_open(fence: Fence | None, run: str, request: ProgramFact) -> EffectWithheld | None:
    """What is withheld of `request` where the session that it opens is not there yet: to make it."""
    if not isinstance(request, StateRequested) or request.action != "init" or request.session == run:
        return None
    if fence is None or {ALL, STATE} & set(fence):
        return None
    return EffectWithheld(kind="state", name=f"{STATE}.init", allow=(STATE,))


def withheld_in(machine: Machine, op: str) -> EffectWithheld | None:
    """What was withheld as `op` was carried out: its executor saw that it would be no look."""
    pending = machine.pending.get(op)
    return None if pending is None else getattr(pending.executor, "withheld", None)


def denied(withheld: EffectWithheld) -> ForkDenied:
    """The error that the program is told."""
    return ForkDenied(
        f"{withheld.name} is not carried out in a fork that does not allow it.",
        expected=f"one of --allow {', --allow '.join(withheld.allow)}",
        found=withheld.kind,
    )


class Instead(NamedTuple):
    """What an operation comes to without being carried out, and what is written before that."""

    fact: OutcomeFact
    before: EffectWithheld | None


def instead_of(machine: Machine, pending: Pending) -> Instead | None:
    """What `pending` comes to in a fork without being carried out; None where it is."""
    words = machine.prepared.get(pending.op)
    if words is not None and answers(words, pending.request, machine.run, machine.grounds.get(pending.op)):
        told = Told("", 0, words.type, words.version, 0, pending.op, bytes(words.fact))
        return Instead(cast("OutcomeFact", CATALOG.decode(told)), None)
    withheld = withheld_by(machine.fence, machine.run, pending.request, pending.executor)
    if withheld is None:
        return None
    return Instead(pending.executor.failed(record_failure(denied(withheld)), 1), withheld)


def is_from_source(machine: Machine, op: str, request: ProgramFact | None) -> bool:
    """Whether what `machine`, which is a fork, was told last of `op` did not happen in it: it had it ready.

    All that it was told up to where it was made is so.
    """
    fork = machine.fork
    if fork is None or machine.delivered <= fork.outcomes:
        return fork is not None
    words = machine.prepared.get(op)
    if words is None or request is None:
        return False
    return answers(words, request, machine.run, machine.grounds.get(op))


def check_model(fence: Fence | None, client: str) -> None:
    """Raise `ForkDenied` where a hook of a fork must not ask the model `client`."""
    words = (ALL, MODEL, f"{MODEL}:{client}")
    if fence is not None and set(words).isdisjoint(fence):
        raise denied(EffectWithheld(kind="model", name=client, allow=words[1:]))
