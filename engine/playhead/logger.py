"""The one logger that playhead says things with while it runs.

    log.warning("anchor.not_written", store=path, error=text)

It is structlog's, configured as the host configures it. What structlog brings with it to show things on
a console takes longer to import than most commands take, so it is imported when something is first said.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger


class _Unmade:
    """Stands for the logger, and asks for it whenever something is said."""

    def __getattr__(self, name: str) -> Any:
        import structlog  # noqa: PLC0415  see above

        return getattr(structlog.get_logger("playhead"), name)


if TYPE_CHECKING:
    log: FilteringBoundLogger
else:
    log = _Unmade()
