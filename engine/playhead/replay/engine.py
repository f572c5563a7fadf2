"""The whole engine: what runs programs, and what plays their tapes again."""

from __future__ import annotations

from typing import Any

from playhead.errors import Diverged
from playhead.replay.divergence import report_of
from playhead.replay.player import Outcome, Player
from playhead.runtime import engine as runtime
from playhead.runtime.difference import Divergence
from playhead.runtime.persona import Persona
from playhead.runtime.tape import Tape


class Engine(runtime.Engine):
    """Starts, resumes, recovers and replays runs on one log. Made by `Engine.open`."""

    async def replay(self, run: str) -> Outcome:
        """Run the program of `run` again against its tape, touching nothing.

        Raises `NotFound`, `PersonaMissing`, and what `playhead.replay.player.play` raises. A divergence
        is an answer, not an error: look at `Outcome.divergence`, or call `Outcome.check()`.
        """
        tape = Tape(run, await self._read(run), self.catalog)
        persona = self._persona_for(tape)
        player = Player(tape, persona, errors=self.errors, redaction=self.redaction, model=self.model)
        return await player.play_relaxed() if tape.started.mode == "relaxed" else player.play()

    def _diverged(self, tape: Tape, persona: Persona[..., Any], found: Divergence) -> Diverged:
        report = report_of(tape, persona, found)
        return Diverged(str(report), divergence=report)
