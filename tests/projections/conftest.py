"""A run with a little of everything, recorded once for all tests that only read."""

import pytest

from tests.projections import everything


@pytest.fixture(scope="session")
def desk(tmp_path_factory: pytest.TempPathFactory) -> everything.Desk:
    """Nobody may write here."""
    return everything.recorded(tmp_path_factory.mktemp("desk") / "runs.db")
