"""What a run begins with: its first fact, and the id that a key stands for."""

from __future__ import annotations

import functools
import platform
from collections.abc import Iterable, Sequence
from decimal import Decimal
from hashlib import sha256
from typing import Any, Final, NamedTuple

from msgspec import Raw

from playhead.clock import encode_id
from playhead.errors import BadEvent, BadValue
from playhead.events.catalog import RunStarted
from playhead.events.words import HookWords, PolicyWords
from playhead.policy.autonomy import SILENT
from playhead.policy.budget import Budget, usd
from playhead.policy.capability import Policy, policy_of
from playhead.runtime.around import Around
from playhead.runtime.hook import Hooks
from playhead.runtime.persona import Persona
from playhead.runtime.purse import Purse
from playhead.sign import Keys, keyring, usable

SEED_BYTES: Final = 16
TAGS_MAX: Final = 100
TAG_LENGTH_MAX: Final = 200
LOOKED_UP: Final = Policy(autonomy=SILENT)
"""Says nothing itself: for every effect it is looked up how its agent stands."""


class Parent(NamedTuple):
    """Who asked for a child run, and what encloses the call: it holds for all of the child.

    `tokens` and `micros` are what was reserved for it in the budgets around the call; None is no limit.
    Where the parent has `reviewer_keys` the child has the same.
    """

    run: str
    op: str
    policy: PolicyWords | None = None
    depth: int = 0
    tokens: int | None = None
    micros: int | None = None
    reviewer_keys: Keys | None = None
    agents: tuple[str, ...] = ()
    fence: tuple[str, ...] | None = None


def run_started(
    persona: Persona[..., Any],
    arguments: Raw,
    *,
    seed: bytes,
    name: str | None,
    key: str | None,
    parent: Parent | None,
    hooks: Sequence[HookWords] = (),
    budget: Budget | None = None,
    model: str | None = None,
    trusted: bool = False,
    reviewer_keys: Keys | None = None,
    tags: tuple[str, ...] = (),
) -> RunStarted:
    """The first fact of a run. `budget` is what it may use, where no parent says so."""
    budget = budget or Budget()
    keys = (parent.reviewer_keys if parent else None) or reviewer_keys
    return RunStarted(
        persona=persona.name,
        args=arguments,
        args_digest=sha256(arguments).hexdigest()[:32],
        mode=persona.mode,
        seed=seed,
        name=name,
        key=key,
        parent=parent.run if parent else None,
        parent_op=parent.op if parent else None,
        policy=parent.policy if parent else None,
        depth=parent.depth if parent else 0,
        hooks=tuple(hooks),
        model=model,
        trusted=trusted,
        agents=parent.agents if parent else (),
        reviewer_keys=dict(keys) if keys else None,
        tags=tags,
        fence=parent.fence if parent else None,
        max_tokens=parent.tokens if parent else budget.max_tokens,
        max_micros=parent.micros if parent else budget.max_micros,
        module=persona.function.__module__ or "",
        code=persona.code,
        python=platform.python_version(),
        anyio=_version("anyio"),
        playhead=_version("playhead"),
    )


def around_of(started: RunStarted) -> Around:
    """What encloses a run, as its first fact says.

    Raises `BadEvent` for a policy or keys that it cannot read, and `ProgramError` where the run has keys and
    the cryptography package is missing: then nobody could say what its answers came to.
    """
    policy = None
    if started.policy is not None:
        try:
            policy = policy_of(started.policy)
        except (ValueError, TypeError) as error:
            raise BadEvent(
                f"the policy of a run of {started.persona} cannot be read: {error}.",
                next_step="Use the version of playhead that started its parent, or a newer one.",
            ) from error
    if started.trusted:
        policy = LOOKED_UP.narrowed(policy or Policy())
    purse = None
    if started.max_tokens is not None or started.max_micros is not None:
        budget = Budget(max_tokens=started.max_tokens, max_usd=_usd(started.max_micros))
        purse = Purse(budget, of="run", name=started.persona, function=started.persona, op="")
    hooks = Hooks(started.hooks) if started.hooks else None
    keys = _keys_of(started)
    return Around(
        policy=policy,
        purse=purse,
        depth=started.depth,
        hooks=hooks,
        reviewer_keys=keys,
        agents=started.agents,
    )


def _keys_of(started: RunStarted) -> Keys:
    if not started.reviewer_keys:
        return {}
    usable()
    try:
        return keyring(started.reviewer_keys)
    except BadValue as error:
        raise BadEvent(f"the keys of a run of {started.persona} cannot be read: {error.message}") from error


def _usd(micros: int | None) -> Decimal | None:
    return None if micros is None else usd(micros)


def check_text(what: str, text: object) -> None:
    """Raise `BadValue` where `text` is not what the `what` of a run may be: None, or a text of its own."""
    if text is None:
        return
    try:
        if isinstance(text, str) and text and text.encode():
            return
    except UnicodeEncodeError:
        pass
    raise BadValue(
        f"the {what} of a run cannot be {text!r}.",
        expected="a text of at least one character",
        found=type(text).__qualname__,
        next_step=f"Give {what}=... as a text, or leave it out.",
    )


def tags_of(tags: Iterable[str]) -> tuple[str, ...]:
    """What people said to find a run by, each once, in order. Raises `BadValue` for what is no tag."""
    if isinstance(tags, str):
        raise BadValue(f"tags={tags!r} is one text.", expected="a list of texts", found="str")
    listed: list[Any] = list(tags)
    for tag in listed:
        if tag is None:
            raise BadValue("a tag of a run cannot be None.", expected="a text", found=None)
        check_text("tag", tag)
    if len(listed) > TAGS_MAX or any(len(tag) > TAG_LENGTH_MAX for tag in listed):
        raise BadValue(
            "that is too much for tags of a run.",
            expected=f"at most {TAGS_MAX}, each of at most {TAG_LENGTH_MAX} characters",
            found=f"{len(listed)}, the longest of {max(map(len, listed))}",
        )
    return tuple(sorted(set(listed)))


def id_of_key(key: str) -> str:
    """The id of the run that an idempotency key stands for, in any store."""
    return encode_id(sha256(f"playhead.key/1:{key}".encode()).digest())


def id_of_child(run: str, op: str) -> str:
    """The id of the child run that operation `op` of `run` asks for."""
    return encode_id(sha256(f"playhead.child/1:{run}:{op}".encode()).digest())


@functools.cache
def _version(package: str) -> str:
    from importlib import metadata  # noqa: PLC0415  brings a parser of mail, and only who starts a run needs it

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "unknown"
