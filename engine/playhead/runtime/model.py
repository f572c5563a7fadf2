"""Model calls: the request as the model was shown it, the reply whole, and what it used.

    reply = await model_call(client, Request(prompt="Is this licence permissive?"))
    reply.text, reply.usage.output_tokens, reply.cost_micros

A client is world code with one method. It answers a `Reply`, or it is an async
generator of text pieces that ends in a `Reply`; a stream is recorded as one
completed reply. A recorded answer is never asked for again.
"""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import AsyncIterator, Awaitable
from concurrent.futures import Executor as ThreadExecutor
from typing import Any, Protocol, overload

import msgspec

from playhead.errors import BadValue, ModelFailed, ProgramError
from playhead.events.catalog import ModelAnswered, ModelCalled, Usage
from playhead.events.catalog import ModelFailed as ModelFailedFact
from playhead.events.fact import Failure, OutcomeFact
from playhead.events.values import ValueCodec, encode_value
from playhead.policy.effect import EffectClass
from playhead.policy.retry import ONCE, Retry
from playhead.runtime.machine import Machine
from playhead.runtime.place import call_site
from playhead.runtime.purse import Share, refuse_broken, reserve, settled
from playhead.runtime.scope import require_scope
from playhead.runtime.signature import check_name


class Request(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a model is asked. Every field is recorded; `context` and `options` take any plain value.

    `max_output_tokens` and `max_cost_micros` (millionths) bound what the answer may use. Under a budget
    both are lowered to what is left of it, and reserved while the call is under way.
    """

    prompt: str = ""
    model: str | None = None
    system: str | None = None
    messages: list[Any] = []
    context: Any = None
    tools: list[Any] = []
    max_output_tokens: int | None = None
    max_cost_micros: int | None = None
    temperature: float | None = None
    options: dict[str, Any] = {}


class Reply(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a model answered.

    `cost_micros` is money in millionths of the currency unit, rounded half to even once per call, and
    `cost_source` says who computed it (`provider`, `price_table`, ...). Both stay unknown when unknown.
    """

    text: str = ""
    model: str | None = None
    usage: Usage = Usage()
    cost_micros: int | None = None
    cost_source: str = "unknown"
    stop_reason: str | None = None
    tool_calls: list[Any] = []
    data: Any = None


class ModelClient(Protocol):
    """What `model_call` needs of a client."""

    name: str

    def complete(self, request: Any) -> Awaitable[Reply] | AsyncIterator[str | Reply]:
        """Answer `request`, at once or in pieces of which the last is the `Reply`."""
        ...


_reply: ValueCodec = ValueCodec(Reply, where="reply of a model")


class ModelCall:
    """One call of a model, as a runner carries it out."""

    effect = EffectClass.READ_ONLY

    def __init__(
        self, client: ModelClient, request: Any, machine: Machine, *, retry: Retry, timeout_s: float | None
    ) -> None:
        self.name = client.name
        self.retry = retry
        self.timeout_s = timeout_s
        self._client = client
        self._request = request
        self._machine = machine

    async def act(self, threads: ThreadExecutor) -> Reply:
        answer: Any = self._client.complete(self._request)
        # The protocol says what comes back; a client written by hand may not know it.
        reply: Any = await answer if inspect.isawaitable(answer) else await _gather(answer, self.name)
        if not isinstance(reply, Reply):
            raise ModelFailed(f"client {self.name} answered a {type(reply).__qualname__} instead of a Reply.")
        _check_money(reply, self.name)
        return reply

    def completed(self, value: Reply, number: int) -> OutcomeFact:
        return ModelAnswered(
            reply=self._machine.redacted(_reply.encode(value)),
            model=value.model,
            usage=value.usage,
            cost_micros=value.cost_micros,
            cost_source=value.cost_source,
            attempt=number,
        )

    def failed(self, failure: Failure, number: int) -> OutcomeFact:
        return ModelFailedFact(failure=failure, attempt=number)


async def _gather(pieces: AsyncIterator[str | Reply], name: str) -> Reply:
    """A stream as one completed reply: its pieces make the text where the last one brings none."""
    text: list[str] = []
    async for piece in pieces:
        if isinstance(piece, Reply):
            return piece if piece.text else msgspec.structs.replace(piece, text="".join(text))
        text.append(piece)
    raise ModelFailed(f"the stream of client {name} ended without a Reply.")


def _check_money(reply: Reply, name: str) -> None:
    counts = (
        reply.usage.input_tokens,
        reply.usage.output_tokens,
        reply.usage.cache_read_tokens,
        reply.usage.cache_write_tokens,
        reply.usage.reasoning_tokens,
        reply.cost_micros,
    )
    if any(count is not None and count < 0 for count in counts):
        raise BadValue(f"client {name} reported a negative count or cost.", found=counts)


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
    scope = require_scope("model_call()")
    machine = scope.machine
    client, request = _client_and_request(args, machine)
    request = _with_model(request, scope.around.model)
    op = scope.op(check_name(client.name, "a model client"))
    purse = scope.around.purse
    if purse is None:
        return await _ask(machine, op, client, request, None, retry=retry, timeout_s=timeout_s)
    machine.check_inside(op)
    share = await reserve(
        machine,
        purse,
        op,
        tokens=getattr(request, "max_output_tokens", None),
        cost_micros=getattr(request, "max_cost_micros", None),
    )
    try:
        request = _bounded(request, share)
        reply = await _ask(machine, op, client, request, share, retry=retry, timeout_s=timeout_s)
    finally:
        settled(machine, share, op)
    refuse_broken(machine, purse)
    return reply


async def _ask(
    machine: Machine,
    op: str,
    client: ModelClient,
    request: Any,
    share: Share | None,
    *,
    retry: Retry,
    timeout_s: float | None,
) -> Reply:
    recorded = ModelCalled(
        client=client.name,
        model=getattr(request, "model", None),
        request=machine.redacted(
            msgspec.Raw(encode_value(request, where="model request", plain=False, ordered=True))
        ),
        site=call_site(),
    )
    executor = ModelCall(client, copy.deepcopy(request), machine, retry=retry, timeout_s=timeout_s)
    settle = functools.partial(_settle, machine, share)
    reply: Reply = await machine.perform(op, recorded, settle, executor=executor)
    return reply


def _with_model(request: Any, model: str | None) -> Any:
    """`request`, for the model of the step where it names none."""
    if model is None or not isinstance(request, Request) or request.model is not None:
        return request
    return msgspec.structs.replace(request, model=model)


def _bounded(request: Any, share: Share) -> Any:
    """`request` with what was reserved for it as its bounds, where it is one that has bounds."""
    if not isinstance(request, Request):
        return request
    bounds: dict[str, Any] = {}
    if share.tokens is not None:
        bounds["max_output_tokens"] = share.tokens
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
        reply: Reply = _reply.decode(fact.reply)
        return reply
    assert isinstance(fact, ModelFailedFact)
    raise machine.errors.revive(fact.failure, otherwise=ModelFailed)
