"""What a snippet uses, counted: steps, cells, and bytes of output. It ends where a count runs out.

A count depends on the source and the values alone, never on a clock, the machine or the
release of Python. Whatever takes longer for a larger value is charged by size before it
is done.
"""

from __future__ import annotations

from typing import Final

from playhead.snippet.protocol import Limits

TEXT_LENGTH_MAX: Final = 1_000_000
CALLS_DEPTH_MAX: Final = 40
HEIGHT_MAX: Final = 1_000
"""Nodes that are open one inside the other, over all calls under way."""
CHARACTERS_PER_CELL: Final = 16
CHARACTERS_PER_STEP: Final = 256
ELEMENTS_PER_STEP: Final = 8
STEPS_PER_ERROR: Final = 8
"""What it takes to catch one."""


class Limit(BaseException):
    """The end of a snippet that used up what it may use. No `except` and no `finally` of it sees this."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name = name
        self.message = message
        self.line = 0
        self.col = 0

    def at(self, line: int, col: int) -> None:
        """It was reached here, unless somewhere deeper said so already."""
        if not self.line:
            self.line, self.col = line, col


class Meter:
    """What is left for one run."""

    __slots__ = ("cells", "limits", "output", "steps")

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.steps = limits.max_steps
        self.cells = limits.max_cells
        self.output = limits.max_output_bytes

    @property
    def steps_used(self) -> int:
        return min(self.limits.max_steps - self.steps, self.limits.max_steps)

    def spend(self, steps: int) -> None:
        """Charge steps. Raises `Limit`."""
        self.steps -= steps
        if self.steps < 0:
            raise Limit("max_steps", f"the snippet took more than {self.limits.max_steps} steps.")

    def grow(self, elements: int) -> None:
        """Charge a container of that many elements, and the time it takes to make. Raises `Limit`."""
        self.cells -= elements + 1
        self.steps -= elements // ELEMENTS_PER_STEP
        if self.cells < 0:
            raise Limit("max_cells", f"the snippet allocated more than {self.limits.max_cells} cells.")
        if self.steps < 0:
            self.spend(0)

    def write(self, length: int) -> None:
        """Charge a text of that many characters, and the time it takes to make. Raises `Limit`."""
        if length > TEXT_LENGTH_MAX:
            raise Limit("max_text", f"a text would be longer than {TEXT_LENGTH_MAX} characters.")
        self.cells -= length // CHARACTERS_PER_CELL + 1
        self.steps -= length // CHARACTERS_PER_STEP
        if self.cells < 0:
            raise Limit("max_cells", f"the snippet allocated more than {self.limits.max_cells} cells.")
        if self.steps < 0:
            self.spend(0)

    def look(self, elements: int) -> None:
        """Charge looking at that many elements."""
        self.spend(elements // ELEMENTS_PER_STEP)

    def read(self, length: int) -> None:
        """Charge looking at a text of that many characters."""
        self.spend(length // CHARACTERS_PER_STEP)

    def put_out(self, size: int) -> None:
        """Charge bytes of output. Raises `Limit`."""
        self.output -= size
        if self.output < 0:
            limit = self.limits.max_output_bytes
            raise Limit("max_output_bytes", f"result and output came to more than {limit} bytes.")
