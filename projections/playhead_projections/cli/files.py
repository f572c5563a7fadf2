"""Files of JSON that somebody names on the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from playhead.errors import NotFound
from playhead_projections.cli.faults import Usage


def json_of(path: Path, what: str) -> Any:
    """What a file of JSON holds. Raises `NotFound`, and `Usage` where it is none."""
    if not path.is_file():
        raise NotFound(f"there is no file at {path}.", expected=what, found=str(path))
    try:
        return json.loads(path.read_text(encoding="utf-8"), parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise Usage(f"{path} is no JSON: {error}.", expected=what, found=str(path)) from error


def _no_number(word: str) -> Any:
    """NaN and infinity, which Python reads and JSON has not. Raises `ValueError`."""
    raise ValueError(f"{word} is no number of JSON")
