"""Tags: words by which people find a run again, recorded when it starts."""

from typing import Any

import pytest

from playhead import persona
from playhead.errors import BadValue
from playhead.events.catalog import RunStarted
from playhead.runtime.starting import TAG_LENGTH_MAX, TAGS_MAX
from tests.runtime.conftest import Home


@persona
async def doubles(n: int) -> int:
    return 2 * n


async def started(home: Home, **said: Any) -> RunStarted:
    async with home.engine(doubles) as engine:
        run = await engine.start(doubles, 4, **said)
        await run.result()
        fact = engine.catalog.decode((await engine.store.read(f"run/{run.id}", 0, 1))[0])
    assert isinstance(fact, RunStarted)
    return fact


async def test_tags_are_recorded_once_each_and_in_order(home: Home) -> None:
    assert (await started(home, tags=["release", "é", "2026", "release"])).tags == ("2026", "release", "é")
    assert (await started(home)).tags == ()


@pytest.mark.parametrize(
    "tags",
    [
        "release",
        [""],
        [3],
        [None],
        ["\ud800"],
        ["x" * (TAG_LENGTH_MAX + 1)],
        [str(n) for n in range(TAGS_MAX + 1)],
    ],
)
async def test_what_is_no_tag_is_refused_and_nothing_is_started(home: Home, tags: Any) -> None:
    async with home.engine(doubles) as engine:
        with pytest.raises(BadValue):
            await engine.start(doubles, 4, tags=tags)
        assert await engine.store.heads("run") == []
