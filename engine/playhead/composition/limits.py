"""What a composition may use, in all and in each call."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Final

from playhead.snippet.protocol import Limits

COUNT_MAX: Final = 2**53


@dataclass(frozen=True, slots=True, kw_only=True)
class CompositionLimits:
    """Bounds of a composition. Times are milliseconds, and None is no limit.

    `timeout_ms` counts in the process that runs the composition: one that was interrupted has all of it
    again. `call_timeout_ms` is for one attempt, and does not count waiting for a free place. Only times may
    be None. Raises `ValueError` for what is no whole number from 0 on; of what bounds concurrency there is
    at least 1.
    """

    max_operations: int = 64
    timeout_ms: int | None = 10_000
    call_timeout_ms: int | None = None
    max_output_bytes: int = 65_536
    max_call_output_bytes: int = 1_000_000
    max_concurrent_operations: int = 16
    max_concurrent_per_server: int = 4
    max_steps: int = 1_000_000

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if value is None and name in ("timeout_ms", "call_timeout_ms"):
                continue
            if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= COUNT_MAX:
                raise ValueError(f"{name} is a whole number from 0 on, not {value!r}")
        for name in ("max_concurrent_operations", "max_concurrent_per_server"):
            object.__setattr__(self, name, max(1, getattr(self, name)))
        if self.call_timeout_ms == 0:
            object.__setattr__(self, "call_timeout_ms", None)

    def document(self) -> dict[str, int | None]:
        """As plain values."""
        return asdict(self)

    def of_the_machine(self) -> Limits:
        """What the machine itself counts."""
        return Limits(
            max_steps=self.max_steps,
            max_output_bytes=self.max_output_bytes,
            max_concurrent=self.max_concurrent_operations,
        )
