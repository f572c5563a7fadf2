"""What a program gets for an effect that was only proposed: `Proposed`, and never a bare None."""

from __future__ import annotations

from typing import Any

import msgspec

from playhead.policy.tier import Tier


class Proposed(msgspec.Struct, frozen=True, kw_only=True):
    """An effect that did not happen, because the tier of its agent is `shadow` or `suggest`.

        made = await open_issue("it rains in")
        if isinstance(made, Proposed):
            return f"would have called {made.tool}"

    False, and without any attribute that the real result would have. `args` are the arguments as they were
    recorded, and `request` is the id under which people were told of it, "" where nobody was.
    """

    tool: str
    action: str
    tier: Tier
    args: Any
    request: str = ""

    def __bool__(self) -> bool:
        return False

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(self._no(f".{name}"))

    def __getitem__(self, key: Any) -> Any:
        raise TypeError(self._no(f"[{key!r}]"))

    def __iter__(self) -> Any:
        raise TypeError(self._no("list of anything"))

    def __len__(self) -> int:
        raise TypeError(self._no("length"))

    def _no(self, what: str) -> str:
        return (
            f"{self.tool} was only proposed, under the tier {self.tier}: nothing was done, and there is no"
            f" {what}. Ask isinstance(result, Proposed) first."
        )
