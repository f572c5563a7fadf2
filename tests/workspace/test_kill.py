"""Who is killed while writing leaves the old content or the new one, and nothing that stays."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from random import Random

import pytest

from playhead import Workspace
from playhead.errors import BadValue
from playhead.workspace.ground import Ground
from tests.checkout import ROOT
from tests.workspace.conftest import names

SIZE = 300_000
WRITER = f"""
import asyncio, sys
from playhead import Workspace

async def main() -> None:
    ws = Workspace(sys.argv[1])
    n = 0
    while True:
        n += 1
        await ws.write_file("d/f", str(n % 10) * {SIZE})
        await ws.copy_file("d/f", "d/copy")
        print(n, flush=True)

asyncio.run(main())
"""


def killed(root: Path, after_s: float) -> None:
    """Write until killed."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "engine")}
    started = subprocess.Popen([sys.executable, "-c", WRITER, root], stdout=subprocess.PIPE, env=environment)
    with started as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        threading.Event().wait(after_s)
        writer.send_signal(signal.SIGKILL)


async def test_a_file_is_whole_whenever_its_writer_is_killed(ws: Workspace, root: Path) -> None:
    chance = Random(7)
    left = 0
    for _ in range(8):
        killed(root, chance.uniform(0.01, 0.05))
        for name in ("d/f", "d/copy"):
            content = await ws.read_file(name)
            assert len(content) == SIZE
            assert len(set(content)) == 1
        left += len(set(names(root / "d")) - {"f", "copy"})
        await Workspace(root).write_file("d/f", "0" * SIZE)
        assert names(root / "d") == ["copy", "f"]

    assert left, "nobody was killed in the middle of a write"


async def test_what_a_killed_writer_left_is_not_listed(ws: Workspace, made: Path) -> None:
    (made / f".playhead-tmp-{'0' * 32}").touch()

    assert await ws.list_files() == []
    await ws.write_file("a", "text")
    assert names(made) == ["a"]


def test_what_a_living_writer_has_begun_is_not_swept(root: Path) -> None:
    with Ground.at(root, make=True) as ground, Ground.at(root) as other:

        def chunks() -> "list[bytes]":
            other.sweep([])
            assert len(names(root)) == 1
            return [b"text"]

        ground.write(["a"], (chunk for make in (chunks,) for chunk in make()))
    assert (root / "a").read_text() == "text"


async def test_what_only_looks_left_over_stays(ws: Workspace, made: Path, outside: Path) -> None:
    name = f".playhead-tmp-{'0' * 32}"
    (made / name).symlink_to(outside / "secret")
    (made / f".playhead-tmp-{'1' * 32}").mkdir()
    (made / ".playhead-tmp-of-mine").touch()

    await ws.write_file("a", "text")

    assert names(made) == sorted([name, f".playhead-tmp-{'1' * 32}", ".playhead-tmp-of-mine", "a"])
    assert (outside / "secret").exists()


async def test_a_folder_cannot_be_named_where_the_system_has_no_way_below(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "supports_dir_fd", os.supports_dir_fd - {os.rename})

    with pytest.raises(
        (OSError, BadValue), match=r"a: this system cannot name files .* \(dir_fd\): \['rename'\]"
    ):
        await ws.write_file("a", "text")
