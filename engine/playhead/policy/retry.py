"""Retries: how often, how long to wait in between, and for which errors."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """How a failed attempt is tried again.

    The wait before attempt n+1 is `first_wait_s * factor ** (n - 1)`, at most `wait_s_max`, of which
    a part between 1 - `jitter` and 1 is taken. The part follows from the idempotency key and the
    attempt, so that two runs do not march in step and a test can say what to expect.
    `on` names the error types that are worth another try; None means every `Exception`.
    An attempt of class `effect` that timed out is never tried again: nobody knows what it did.
    """

    max_attempts: int = 3
    first_wait_s: float = 0.1
    factor: float = 2.0
    wait_s_max: float = 30.0
    jitter: float = 0.5
    on: tuple[type[Exception], ...] | None = None

    def __post_init__(self) -> None:
        if self.max_attempts < 1:
            raise ValueError(f"max_attempts is at least 1, not {self.max_attempts}")
        if not 0 <= self.jitter <= 1:
            raise ValueError(f"jitter is between 0 and 1, not {self.jitter}")
        if self.first_wait_s < 0 or self.wait_s_max < 0 or self.factor < 1:
            raise ValueError("waits are not negative and factor is at least 1")

    def wants(self, error: BaseException) -> bool:
        """Whether `error` is worth another try."""
        return isinstance(error, Exception) if self.on is None else isinstance(error, self.on)

    def wait_s(self, attempt: int, key: str) -> float:
        """Seconds between failed attempt number `attempt` (from 1) and the next."""
        wait = min(self.first_wait_s * self.factor ** (attempt - 1), self.wait_s_max)
        draw = int.from_bytes(sha256(f"{key}:{attempt}".encode()).digest()[:4], "big") / 2**32
        return wait * (1 - self.jitter * draw)


ONCE = Retry(max_attempts=1)
"""No second try."""
