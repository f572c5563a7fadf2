"""Signals that must pass through a program's own `except Exception`.

They are not errors, so they derive from BaseException. Nobody outside this floor
sees one.
"""

from __future__ import annotations


class Unwinding(BaseException):
    """The program is being put away; no operation may start while it unwinds."""
