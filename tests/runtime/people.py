"""What tests ask of runs that ask people."""

from typing import Any

from playhead import Engine
from playhead.events.approval import ApprovalRequested
from tests.runtime.conftest import until


async def asked(engine: Engine, run: str, number: int = 1) -> ApprovalRequested:
    """The request of a run, once it is in the log."""
    found: list[ApprovalRequested] = []

    async def there() -> bool:
        found[:] = [fact for _, fact in await engine.facts_of(run) if isinstance(fact, ApprovalRequested)]
        return len(found) >= number

    await until(there)
    return found[number - 1]


async def of(engine: Engine, run: str, kind: type[Any]) -> list[Any]:
    return [fact for _, fact in await engine.facts_of(run) if isinstance(fact, kind)]
