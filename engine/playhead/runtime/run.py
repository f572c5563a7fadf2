"""The handle that `Engine.start` returns."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from playhead.runtime.endings import Watch, unpack

if TYPE_CHECKING:
    from playhead.events.approval import ApprovalRequested
    from playhead.events.words import AnswerWord
    from playhead.runtime.engine import Engine
    from playhead.sign import Signer


class Run:
    """A handle on one run. Cheap; any number may exist."""

    __slots__ = ("_engine", "_watch", "id")

    def __init__(self, engine: Engine, run: str, watch: Watch | None = None) -> None:
        self._engine = engine
        self._watch = watch
        self.id = run

    def __repr__(self) -> str:
        return f"<run {self.id}>"

    async def result(self) -> Any:
        """What the program returned, durable. Raises what `Engine.result` raises."""
        watch = self._watch
        if watch is None:
            return await self._engine.result(self.id)
        ending = await asyncio.shield(watch.ended)
        return unpack(self.id, ending, watch.persona, self._engine.errors)

    async def status(self) -> str:
        """What the log says of the run now."""
        return await self._engine.status(self.id)

    async def signal(self, name: str, value: Any = None, *, sender: str = "") -> None:
        """Tell the run something; durable on return."""
        await self._engine.signal(self.id, name, value, sender=sender)

    async def requests(self) -> list[ApprovalRequested]:
        """What the run asks people for now, and has no decision on."""
        return await self._engine.requests(self.id)

    async def answer(
        self,
        request: str,
        word: AnswerWord,
        value: Any = ...,
        *,
        reviewer: str,
        reason: str = "",
        signer: Signer | None = None,
    ) -> None:
        """Answer what the run asked people for; durable on return. As `Engine.answer`."""
        await self._engine.answer(
            self.id, request, word, value, reviewer=reviewer, reason=reason, signer=signer
        )

    async def cancel(self, reason: str = "", *, sender: str = "") -> None:
        """Ask the run to stop; durable on return. The program may still tidy up."""
        await self._engine.cancel(self.id, reason, sender=sender)
