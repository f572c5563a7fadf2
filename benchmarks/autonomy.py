"""What it costs that an effect is decided about: calls in a row, under nothing, a policy, and a tier.

    python benchmarks/autonomy.py [--calls 3000] [--rounds 3]

Each round runs all ways once, on a log of its own on disk, and the best of each counts.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from pathlib import Path
from typing import Any

from playhead import Autonomy, Engine, Policy, persona, tool

BOUNDLESS = 1_000_000_000
WAYS: dict[str, Policy | None] = {
    "no policy": None,
    "a policy that says nothing": Policy(),
    "act_auto: looked up, decided, recorded": Policy(autonomy=Autonomy(tier="act_auto")),
    "act_auto, and counted by the day": Policy(autonomy=Autonomy(tier="act_auto", per_day=BOUNDLESS)),
    "shadow: looked up, decided, not done": Policy(autonomy=Autonomy(tier="shadow")),
}


@tool(side_effect_level="network")
async def send(to: int) -> int:
    return to


def program(policy: Policy | None, calls: int) -> Any:
    @persona(name="sender", policy=policy)
    async def sender() -> None:
        for number in range(calls):
            await send(number)

    return sender


async def once(policy: Policy | None, calls: int) -> tuple[float, int]:
    """Calls in a second, and how many events each left."""
    sender = program(policy, calls)
    with tempfile.TemporaryDirectory() as place:
        async with Engine.open(Path(place) / "runs.db", personas=[sender]) as engine:
            began = time.perf_counter()
            run = await engine.start(sender)
            await run.result()
            took = time.perf_counter() - began
            return calls / took, (await engine.store.head(f"run/{run.id}")).seq // calls


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--calls", type=int, default=3_000)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    best: dict[str, tuple[float, int]] = {}
    for _ in range(asked.rounds):
        for name, policy in WAYS.items():
            found = asyncio.run(once(policy, asked.calls))
            best[name] = max(best.get(name, (0.0, 0)), found)
    plain = best["no policy"][0]
    print(f"{'calls of an effect, in a row':<42}{'calls/s':>10}{'of plain':>10}{'events each':>13}")
    for name, (speed, events) in best.items():
        print(f"{name:<42}{speed:>10,.0f}{speed / plain:>10.2f}{events:>13}")


if __name__ == "__main__":
    main()
