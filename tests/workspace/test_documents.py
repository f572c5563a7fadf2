"""What a workspace keeps is there until it is replaced or forgotten, whoever else keeps something."""

import asyncio
import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest

from playhead import Policy, ToolRejected, Workspace, persona
from playhead.errors import BadValue
from playhead.workspace import ground
from tests.checkout import ROOT
from tests.runtime.conftest import Home
from tests.workspace.conftest import names

Sets = Callable[[Workspace, str, Any], Awaitable[None]]
Gets = Callable[[Workspace, str], Awaitable[Any]]
KINDS: dict[str, tuple[Sets, Gets]] = {
    "store": (lambda ws, key, value: ws.store_set(key, value), lambda ws, key: ws.store_get(key)),
    "checkpoints": (lambda ws, key, value: ws.checkpoint(key, value), lambda ws, key: ws.checkpoint_get(key)),
}
each_kind = pytest.mark.parametrize(("put", "get"), KINDS.values(), ids=KINDS)


@pytest.mark.parametrize(
    "value", [None, True, 0, 1.5, "text", "\N{SNOWMAN}", [], {}, {"a": [1, {"b": None}]}, 2**63]
)
@each_kind
async def test_what_is_kept_comes_back_as_it_was(ws: Workspace, put: Sets, get: Gets, value: Any) -> None:
    await put(ws, "a key", value)

    found = await get(ws, "a key")
    assert (found, type(found)) == (value, type(value))


async def test_what_a_killed_writer_left_goes_with_the_next_change(ws: Workspace, root: Path) -> None:
    await ws.store_set("a", 1)
    (root / ".playhead" / f".playhead-tmp-{'0' * 32}").touch()

    await ws.store_set("b", 1)

    assert names(root / ".playhead") == ["lock", "store.json"]


async def test_what_was_never_kept_is_the_default_and_nothing_is_made(ws: Workspace, root: Path) -> None:
    assert await ws.store_get("a") is None
    assert await ws.store_get("a", 7) == 7
    assert await ws.checkpoint_get("a", []) == []
    assert await ws.metadata_get("a") == {}
    assert names(root.parent) == []


async def test_a_key_is_forgotten_alone_or_with_all_others(ws: Workspace) -> None:
    for key in "abc":
        await ws.store_set(key, key)
        await ws.checkpoint(key, key)

    await ws.store_delete("a")
    await ws.store_delete("a")
    assert [await ws.store_get(key) for key in "abc"] == [None, "b", "c"]
    await ws.store_clear()
    await ws.checkpoint_delete("b")

    assert [await ws.store_get(key) for key in "abc"] == [None, None, None]
    assert [await ws.checkpoint_get(key) for key in "abc"] == ["a", None, "c"]
    await ws.checkpoint_clear()
    assert await ws.checkpoint_get("a") is None


async def test_what_is_said_of_a_path_is_said_key_by_key(ws: Workspace) -> None:
    await ws.metadata_set("notes/plan.md", "reviewed", True)
    await ws.metadata_set("notes/plan.md", "by", ["ada"])
    await ws.metadata_set("", "whole", 1)
    await ws.metadata_set("notes/plan.md", "reviewed", None)

    assert await ws.metadata_get("notes/plan.md") == {"by": ["ada"]}
    assert await ws.metadata_get("") == {"whole": 1}
    await ws.metadata_set("notes/plan.md", "by", None)
    assert await ws.metadata_get("notes/plan.md") == {}
    for path in ("../a", "/a", ".playhead/store.json"):
        with pytest.raises(BadValue):
            await ws.metadata_set(path, "a", 1)
        with pytest.raises(BadValue):
            await ws.metadata_get(path)


@pytest.mark.parametrize(
    "value", [b"x", (1,), {1: "a"}, {"a": (1,)}, {1, 2}, float("nan"), float("inf"), object()]
)
async def test_what_is_not_plain_is_refused(ws: Workspace, root: Path, value: Any) -> None:
    for call in (ws.store_set, ws.checkpoint):
        with pytest.raises(BadValue, match="the value is not plain"):
            await call("a", value)
    with pytest.raises(BadValue, match="the value is not plain"):
        await ws.metadata_set("a", "a", value)

    assert names(root) == []


@pytest.mark.parametrize("key", ["", " ", "a\0b", "a\nb", "\N{ZERO WIDTH SPACE}", "x" * 201])
async def test_what_is_no_key_is_refused(ws: Workspace, root: Path, key: str) -> None:
    for call in (
        ws.store_set(key, 1),
        ws.store_get(key),
        ws.store_delete(key),
        ws.checkpoint(key, 1),
        ws.checkpoint_get(key),
        ws.checkpoint_delete(key),
        ws.metadata_set("a", key, 1),
    ):
        with pytest.raises(BadValue, match="key"):
            await call

    assert names(root) == []


async def test_a_document_is_json_that_others_can_read(ws: Workspace, root: Path) -> None:
    await ws.store_set("b", "\N{SNOWMAN}")
    await ws.store_set("a", 1)

    text = (root / ".playhead" / "store.json").read_text("utf-8")
    assert json.loads(text) == {"values": {"a": 1, "b": "\N{SNOWMAN}"}}
    assert names(root / ".playhead") == ["lock", "store.json"]


@pytest.mark.parametrize(
    ("content", "why"),
    [("{", "no JSON"), ("[]", "no values"), ('{"values": [NaN]}', "no JSON"), ("\ud800", "no JSON")],
)
async def test_a_document_that_somebody_spoiled_stays_and_is_told(
    ws: Workspace, root: Path, content: str, why: str
) -> None:
    await ws.store_set("a", 1)
    document = root / ".playhead" / "store.json"
    document.write_bytes(content.encode("utf-8", "surrogatepass"))

    for call in (ws.store_get("a"), ws.store_set("a", 2), ws.store_clear()):
        with pytest.raises(BadValue, match=f"store.json: somebody else wrote it, and it .*{why}"):
            await call
    assert document.read_bytes() == content.encode("utf-8", "surrogatepass")
    (root / ".playhead" / "metadata.json").write_text('{"values": {"a": 1}}')
    for call in (ws.metadata_get("a"), ws.metadata_set("a", "b", 1)):
        with pytest.raises(BadValue, match="somebody else wrote what is known of a"):
            await call


@pytest.mark.parametrize("which", [".playhead", ".playhead/store.json", ".playhead/lock"])
async def test_a_document_behind_a_link_is_left_alone(
    ws: Workspace, root: Path, outside: Path, which: str
) -> None:
    await ws.checkpoint("a", 1)
    (root / which).parent.mkdir(exist_ok=True)
    if which == ".playhead":
        (root / which).rename(root / "old")
    elif (root / which).exists():
        (root / which).unlink()
    (root / which).symlink_to(outside / "secret" if "/" in which else outside)

    with pytest.raises(BadValue, match=r"link|no file"):
        await ws.store_set("a", 1)

    assert names(outside) == ["secret"]
    assert (outside / "secret").read_text() == "nobody's business"


async def test_of_many_who_keep_something_at_once_nobody_loses_it(ws: Workspace, root: Path) -> None:
    other = Workspace(root)

    await asyncio.gather(*(place.store_set(f"{n}", n) for n in range(15) for place in (ws, other)))
    await asyncio.gather(*(ws.metadata_set("a", f"{n}", n) for n in range(15)))

    assert [await ws.store_get(f"{n}") for n in range(15)] == list(range(15))
    assert len(await ws.metadata_get("a")) == 15


async def test_who_keeps_the_lock_is_waited_for_and_not_for_ever(
    ws: Workspace, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await ws.store_set("a", 1)
    held = os.open(root / ".playhead" / "lock", os.O_RDWR)
    fcntl.flock(held, fcntl.LOCK_EX)

    waiting = asyncio.create_task(ws.store_set("a", 2))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    fcntl.flock(held, fcntl.LOCK_UN)
    await waiting
    fcntl.flock(held, fcntl.LOCK_EX)
    monkeypatch.setattr(ground, "LOCK_LOOKS_MAX", 5)
    with pytest.raises(TimeoutError, match=r"store\.json: another process keeps it locked"):
        await ws.store_set("a", 3)
    os.close(held)

    assert await ws.store_get("a") == 2


WRITER = """
import asyncio, sys
from playhead import Workspace

async def main() -> None:
    ws = Workspace(sys.argv[1])
    for n in range(10_000_000):
        await ws.store_set(sys.argv[2], n)
        await ws.store_set("text", str(n) * 20_000)
        print(n, flush=True)

asyncio.run(main())
"""


async def test_who_is_killed_meanwhile_leaves_a_whole_document_and_no_lock(ws: Workspace, root: Path) -> None:
    chance = Random(3)
    for turn in range(2):
        last = [killed(root, name, chance.uniform(0.05, 0.2)) for name in ("one", "other")]
        found = [await ws.store_get(name) for name in ("one", "other")]
        assert all(one >= least for one, least in zip(found, last, strict=True))
        await ws.store_set("mine", turn)
        assert await ws.store_get("mine") == turn
        assert names(root / ".playhead") == ["lock", "store.json"]


def killed(root: Path, name: str, after_s: float) -> int:
    """Set a key again and again until killed, and return what was set at last for certain."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "engine")}
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, root, name], stdout=subprocess.PIPE, text=True, env=environment
    ) as writer:
        assert writer.stdout is not None
        first = writer.stdout.readline()
        threading.Event().wait(after_s)
        writer.send_signal(signal.SIGKILL)
        return int([first, *writer.stdout.read().splitlines()][-1])


PLACE: list[Workspace] = []


@persona
async def counts() -> list[Any]:
    ws = PLACE[0]
    await ws.store_set("n", await ws.store_get("n", 0) + 1)
    await ws.checkpoint("half", {"n": 1})
    await ws.metadata_set("a.md", "seen", True)
    return [await ws.store_get("n"), await ws.checkpoint_get("half"), await ws.metadata_get("a.md")]


async def test_a_replay_keeps_nothing(home: Home, ws: Workspace) -> None:
    PLACE[:] = [ws]
    async with home.engine(counts) as engine:
        run = await engine.start(counts)
        assert await run.result() == [1, {"n": 1}, {"seen": True}]
        assert (await engine.replay(run.id)).identical

    assert await ws.store_get("n") == 1


@persona(policy=Policy(capabilities={"store": ["read"]}))
async def only_reads() -> Any:
    ws = PLACE[0]
    try:
        await ws.store_set("n", 2)
    except ToolRejected as error:
        return [str(error), await ws.store_get("n", "unset")]


async def test_a_policy_that_lets_read_lets_nobody_keep(home: Home, ws: Workspace) -> None:
    PLACE[:] = [ws]
    async with home.engine(only_reads) as engine:
        run = await engine.start(only_reads)
        said, found = await run.result()

    assert "exceeds capability ceiling: store.write" in said
    assert found == "unset"
