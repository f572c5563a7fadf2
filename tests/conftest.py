"""What every test stands on.

Async tests need no mark: `anyio_mode = "auto"` in pyproject.toml runs every `async def test_`, on the one
backend named here. Hypothesis draws the same examples each time, so that a change never fails by chance;
`make long` lets it draw afresh.
"""

import gc

import pytest
from hypothesis import settings

from playhead.testing import guard_live_files

pytest_plugins = ["pytester"]  # for tests of the plugin, which run a pytest of their own

settings.register_profile("steady", deadline=None, derandomize=True, database=None)
settings.register_profile("afresh", deadline=None, max_examples=1_000, print_blob=True)


def pytest_configure(config: pytest.Config) -> None:
    """Run once in each process, before anything is collected."""
    settings.load_profile("afresh" if config.option.markexpr == "long" else "steady")
    # Audit hooks cannot be taken out again, so this one is put in once per process: nobody opens the live
    # files of a store by path, in any test.
    guard_live_files()


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """The engine is at home in asyncio only; see `anyio_mode` in pyproject.toml."""
    return "asyncio"


def pytest_collection_finish() -> None:
    """Run once in each process, when it holds all tests: the collector need not look at them each time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000)
