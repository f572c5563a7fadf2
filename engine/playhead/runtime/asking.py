"""Asking a model from program code: `model_call`.

    reply = await model_call(Request(prompt="Is this licence permissive?"))

The request goes out with the model of the step around it where it names none, and with
what the budgets around it have left; what comes back is settled with them, and told to
the hooks that wait for a threshold.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from typing import Any, Final, cast, overload

import msgspec

from playhead.errors import BadValue, ModelFailed, ProgramError
from playhead.events.catalog import ModelAnswered, ModelCalled
from playhead.events.catalog import ModelFailed as ModelFailedFact
from playhead.events.fact import OutcomeFact
from playhead.events.values import encode_value
from playhead.policy.action import MODEL_CALL, Action
from playhead.policy.annotations import Annotations
from playhead.policy.retry import ONCE, Retry
from playhead.runtime.enforcing import Effect, Wish, permitted
from playhead.runtime.machine import Machine
from playhead.runtime.model import ASKS, ModelCall, ModelClient, Reply, Request, own_request, reply_codec
from playhead.runtime.moments import crossings
from playhead.runtime.purse import Share, refuse_broken, reserve, settled
from playhead.runtime.scope import current, require_scope
from playhead.runtime.signature import check_name

BYTES_PER_TOKEN: Final = 4
"""A guess of what a request itself comes to that suits most texts; the answer tells how many there were."""
_NOTHING_SAID: Final = Annotations()


@overload
async def model_call(request: Any, /, *, retry: Retry = ONCE, timeout_s: float | None = None) -> Reply: ...
@overload
async def model_call(
    client: ModelClient, request: Any, /, *, retry: Retry = ONCE, timeout_s: float | None = None
) -> Reply: ...
async def model_call(*args: Any, retry: Retry = ONCE, timeout_s: float | None = None) -> Reply:
    """Ask a model, once: `model_call(client, request)`, or `model_call(request)` with the engine's client.

    The whole request and the whole reply are recorded, with tokens and cost. Raises what the client
    raised where that type is registered, else `ModelFailed`. Inside a step a request that names no model
    goes to the step's. Under a budget what the call may use is reserved first and settled afterwards, and
    `BudgetExceeded` is raised before a call for which nothing is left and after one that passed the limit,
    which is paid and recorded. A crash before the reply is recorded makes
    a resumed run ask again; a recorded reply is never asked for twice.
    """
    asks = ASKS.get()
    if asks is not None and current() is None:
        if retry is not ONCE:
            raise ProgramError("model_call() inside a hook is asked once; it takes no retry.")
        client, request = args if len(args) == 2 else (None, *args)
        async with asyncio.timeout(timeout_s):
            return await asks(client, request)
    scope = require_scope("model_call()")
    machine = scope.machine
    client, request = _client_and_request(args, machine)
    request = _with_model(request, scope.around.model, machine.model)
    op = scope.op(check_name(client.name, "a model client"))
    around = scope.around
    effect: Effect | None = None
    said: bytes | None = None
    if around.policy is not None and around.policy.scopes:
        request = own_request(request)  # what is judged is what is asked, whatever the program does later
        said = _encoded(request)
        permit = await permitted(scope, op, _wish(machine, client, said))
        if permit.proposed is not None:
            return cast("Reply", permit.proposed)
        effect = permit.effect
    purse = around.purse
    if purse is None:
        return await _ask(machine, op, client, request, None, effect, retry=retry, timeout_s=timeout_s)
    machine.check_inside(op)
    bound = _asked_for(request, "max_output_tokens")
    guess = len(_encoded(request) if said is None else said) // BYTES_PER_TOKEN
    try:
        share = await reserve(
            machine,
            purse,
            op,
            tokens=None if bound is None else bound + guess,
            cost_micros=_asked_for(request, "max_cost_micros"),
        )
    except BaseException as error:
        if effect is not None:
            effect.refuse(error)
        raise
    try:
        request = _bounded(request, share, bound, guess)
        reply = await _ask(machine, op, client, request, share, effect, retry=retry, timeout_s=timeout_s)
    finally:
        settled(machine, share, op)
    await crossings(scope, purse)
    refuse_broken(machine, purse)
    return reply


async def _ask(
    machine: Machine,
    op: str,
    client: ModelClient,
    request: Any,
    share: Share | None,
    effect: Effect | None,
    *,
    retry: Retry,
    timeout_s: float | None,
) -> Reply:
    recorded = ModelCalled(
        client=client.name,
        model=getattr(request, "model", None),
        request=machine.redacted(msgspec.Raw(_encoded(request))),
        site=machine.site(),
    )
    executor = ModelCall(client, own_request(request), machine, retry=retry, timeout_s=timeout_s)
    settle: Callable[[Any], Any] = functools.partial(_settle, machine, share)
    try:
        watched = settle if effect is None else effect.watch(settle, recorded)
        reply: Reply = await machine.perform(op, recorded, watched, executor=executor)
    finally:
        if effect is not None:
            effect.over()
    return reply


def _wish(machine: Machine, client: ModelClient, said: bytes) -> Wish:
    """A question to a model, as scopes of autonomy know it. People see it, and cannot edit it."""
    action = Action(client.name, MODEL_CALL)
    recorded = machine.redacted(msgspec.Raw(said))
    return Wish(client.name, _NOTHING_SAID, action, {}, recorded, bounded=False)


def _encoded(request: Any) -> bytes:
    return encode_value(request, where="model request", plain=False, ordered=True)


def _asked_for(request: Any, bound: str) -> int | None:
    """A bound that a request sets itself. Raises `BadValue` for one that is no count."""
    value: Any = getattr(request, bound, None)
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and value >= 0):
        return value
    raise BadValue(f"{bound} of a request is a whole number from 0 on.", expected="0 or more", found=value)


def _with_model(request: Any, model: str | None, instead: str | None) -> Any:
    """`request`, for the model of the step where it names none, or for the one that a fork has `instead`."""
    if not isinstance(request, Request):
        return request
    named = instead or (model if request.model is None else request.model)
    return request if named == request.model else msgspec.structs.replace(request, model=named)


def _bounded(request: Any, share: Share, bound: int | None, guess: int) -> Any:
    """`request` with what was reserved for it as its bounds, where it is one that has bounds."""
    if not isinstance(request, Request):
        return request
    bounds: dict[str, Any] = {}
    if share.tokens is not None:
        left = max(share.tokens - guess, 1)
        bounds["max_output_tokens"] = left if bound is None else min(bound, left)
    if share.cost_micros is not None:
        bounds["max_cost_micros"] = share.cost_micros
    return msgspec.structs.replace(request, **bounds)


def _client_and_request(args: tuple[Any, ...], machine: Machine) -> tuple[ModelClient, Any]:
    if len(args) == 2:
        return args[0], args[1]
    if len(args) != 1:
        raise TypeError(f"model_call() takes (client, request) or (request), not {len(args)} arguments")
    client = getattr(machine.host, "model", None)
    if client is None:
        raise ProgramError(
            "model_call(request) needs a client, and this engine has none.",
            next_step="Pass Engine.open(model=client), or call model_call(client, request).",
        )
    return client, args[0]


def _settle(machine: Machine, share: Share | None, fact: OutcomeFact) -> Reply:
    if share is not None:
        share.settle(fact)
    if isinstance(fact, ModelAnswered):
        reply: Reply = reply_codec.decode(fact.reply)
        return reply
    assert isinstance(fact, ModelFailedFact)
    raise machine.errors.revive(fact.failure, otherwise=ModelFailed)
