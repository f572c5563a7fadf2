"""Without the rights of root, under whom no mode of a file stops anybody."""

import contextlib
import os
from collections.abc import Generator

import pytest

NOBODY = 65534


@contextlib.contextmanager
def as_nobody() -> Generator[None]:
    """Run a block as somebody whom modes of files stop; as whoever it is where that is not root."""
    if os.geteuid() != 0:
        yield
        return
    try:
        os.seteuid(NOBODY)
    except OSError:
        pytest.skip("this root cannot become somebody else")
    try:
        yield
    finally:
        os.seteuid(0)
