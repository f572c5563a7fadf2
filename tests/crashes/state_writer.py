"""A process that writes the same keys as seven others, and says what it was told: for test_state.py.

python -m tests.crashes.state_writer STORE WITNESS WRITER SEED WRITES
"""

import asyncio
import os
import sys
from pathlib import Path
from random import Random

from playhead import Engine, StateConflict, state

KEYS = [f"folder{n % 5}/key{n}" for n in range(50)]


async def main(store: str, witness: str, writer: str, seed: int, writes: int) -> None:
    random = Random(seed)
    told = os.open(witness, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    async with Engine.open(Path(store)) as engine:
        shared = await state("shared", "s1", conflict_policy="error", writer_id=writer, engine=engine)
        for n in range(writes):
            key, content = random.choice(KEYS), f"{writer}:{seed}:{n}"
            os.write(told, f"ask {key} {content}\n".encode())
            try:
                written = await shared.write(key, content)
            except StateConflict as error:
                was = error.conflict.previous.writer_id
                os.write(told, f"no {key} {content} {was}\n".encode())
            else:
                os.write(told, f"yes {key} {content} {written.version}\n".encode())
    os.write(told, b"end\n")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5])))
