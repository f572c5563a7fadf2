"""Model calls: the request as the model was shown it, the reply whole, and what it used.

    reply = await model_call(client, Request(prompt="Is this licence permissive?"))
    reply.text, reply.usage.output_tokens, reply.cost_micros

A client is world code with one method. It answers a `Reply`, or it is an async
generator of text pieces that ends in a `Reply`; a stream is recorded as one
completed reply. A recorded answer is never asked for again.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import Executor as ThreadExecutor
from contextvars import ContextVar
from typing import Any, Protocol

import msgspec

from playhead.errors import BadValue, ModelFailed
from playhead.events.catalog import ModelAnswered
from playhead.events.catalog import ModelFailed as ModelFailedFact
from playhead.events.fact import Failure, OutcomeFact
from playhead.events.values import ValueCodec
from playhead.events.words import Usage
from playhead.policy.effect import EffectClass
from playhead.policy.retry import Retry
from playhead.runtime.machine import Machine


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


ASKS: ContextVar[Callable[[Any, Any], Awaitable[Reply]] | None] = ContextVar("playhead_asks", default=None)
"""Who answers `model_call` outside of a program: set inside a hook, which is charged for it."""

reply_codec: ValueCodec = ValueCodec(Reply, where="reply of a model")


class ModelCall:
    """One call of a model, as a runner carries it out."""

    effect = EffectClass.READ_ONLY

    def __init__(
        self, client: ModelClient, request: Any, machine: Machine, *, retry: Retry, timeout_s: float | None
    ) -> None:
        self.name = client.name
        self.client = client
        self.retry = retry
        self.timeout_s = timeout_s
        self._request = request
        self._machine = machine

    async def act(self, threads: ThreadExecutor) -> Reply:
        answer: Any = self.client.complete(self._request)
        # The protocol says what comes back; a client written by hand may not know it.
        reply: Any = await answer if inspect.isawaitable(answer) else await _gather(answer, self.name)
        if not isinstance(reply, Reply):
            raise ModelFailed(f"client {self.name} answered a {type(reply).__qualname__} instead of a Reply.")
        _check_money(reply, self.name)
        return reply

    def completed(self, value: Reply, number: int) -> OutcomeFact:
        return ModelAnswered(
            reply=self._machine.redacted(reply_codec.encode(value)),
            model=value.model,
            usage=value.usage,
            cost_micros=value.cost_micros,
            cost_source=value.cost_source,
            attempt=number,
        )

    def failed(self, failure: Failure, number: int) -> OutcomeFact:
        return ModelFailedFact(failure=failure, attempt=number)


def own_request(request: Any) -> Any:
    """`request` for one side alone: neither sees what the other does to it later."""
    if type(request) is not Request:
        return copy.deepcopy(request)
    if request.messages or request.tools or request.options or request.context is not None:
        return copy.deepcopy(request)
    return msgspec.structs.replace(request, messages=[], tools=[], options={})


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
