"""A program runs inside, with what it was given, and nothing of it is left afterwards."""

import asyncio
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from playhead import Workspace, persona
from playhead.errors import BadValue
from playhead.workspace.processes import Finished, placed
from tests.runtime.conftest import Home, until
from tests.workspace.conftest import names

MINE = f"family-of-{os.getpid()}-"
"""Tells the processes of this session of tests from those of another."""
SLEEP = f"1000.{os.getpid()}"


def living(marker: str) -> list[str]:
    """The processes that have `marker` among their arguments."""
    listed = subprocess.run(["ps", "-wwAo", "stat=,args="], check=True, capture_output=True, text=True)
    return [line for line in listed.stdout.splitlines() if marker in line and not line.startswith("Z")]


async def test_what_a_program_says_and_how_it_ends_is_a_result(ws: Workspace) -> None:
    done = await ws.exec([sys.executable, "-c", "import sys; print('out'); sys.exit('err')"])

    assert done == Finished(exit_code=1, stdout="out\n", stderr="err\n")
    assert not done.ok
    assert (await ws.exec(["true"])).ok


async def test_arguments_are_arguments_and_no_shell_reads_them(ws: Workspace, root: Path) -> None:
    done = await ws.exec(["printf", "%s|", "a b", "$HOME", ";touch x", "*", "`touch x`"])

    assert done.stdout == "a b|$HOME|;touch x|*|`touch x`|"
    assert names(root) == []


async def test_a_command_is_read_by_a_shell(ws: Workspace, root: Path) -> None:
    done = await ws.shell("echo a > x; cat x >&2; exit 3")

    assert (done.exit_code, done.stderr, names(root)) == (3, "a\n", ["x"])


async def test_a_program_begins_in_the_folder_that_is_named(ws: Workspace, root: Path) -> None:
    await ws.write_file("d/e/run.sh", "#!/bin/sh\npwd")
    (root / "d" / "e" / "run.sh").chmod(0o755)

    assert (await ws.exec(["pwd"])).stdout == f"{root}\n"
    assert (await ws.exec(["pwd"], "d/e")).stdout == f"{root}/d/e\n"
    assert (await ws.exec(["./run.sh"], "d/e")).stdout == f"{root}/d/e\n"


async def test_a_program_begins_nowhere_else(ws: Workspace, root: Path, outside: Path) -> None:
    await ws.write_file("f", "text")
    (root / "d").symlink_to(outside)

    for cwd in ("..", "/", "d/..", "./", ".playhead"):
        with pytest.raises(BadValue):
            await ws.exec(["touch", "x"], cwd)
    with pytest.raises(BadValue, match="d is a link"):
        await ws.exec(["touch", "x"], "d")
    with pytest.raises(FileNotFoundError, match="none: there is no such"):
        await ws.exec(["touch", "x"], "none")
    with pytest.raises(NotADirectoryError, match="f: a part of it is no folder"):
        await ws.exec(["touch", "x"], "f")

    assert names(outside) == ["secret"]


def test_a_folder_keeps_its_program_whatever_becomes_of_its_name(made: Path, outside: Path) -> None:
    for platform in {sys.platform, "darwin"}:
        (made / "d").mkdir()
        folder = os.open(made / "d", os.O_RDONLY)
        command, cwd, descriptors = placed(["sh", "-c", "pwd; ls /dev/fd | wc -l; cat"], folder, platform)
        (made / "d").rename(made / platform)
        (made / "d").symlink_to(outside)
        found = subprocess.run(
            command,
            check=True,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            cwd=cwd,
            pass_fds=descriptors,
        )
        os.close(folder)
        (made / "d").unlink()
        assert found.stdout.splitlines()[0] == str(made / platform)
        assert int(found.stdout.splitlines()[1]) <= 4, "a descriptor of ours went along"


def test_where_a_program_is_launched_that_does_not_exist_that_is_said(made: Path) -> None:
    folder = os.open(made, os.O_RDONLY)
    command, cwd, descriptors = placed(["no-such-program"], folder, "darwin")
    found = subprocess.run(
        command, check=False, capture_output=True, text=True, cwd=cwd, pass_fds=descriptors
    )
    os.close(folder)

    assert (found.returncode, found.stderr) == (127, "no-such-program: No such file or directory\n")


async def test_a_program_that_does_not_exist_is_an_error(ws: Workspace, root: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no-such-program: there is no such file") as told:
        await ws.exec(["no-such-program"])
    assert str(root) not in repr(told.value)
    await ws.write_file("plain", "text")
    with pytest.raises(PermissionError, match=r"\./plain: Permission denied"):
        await ws.exec(["./plain"])


@pytest.mark.parametrize("argv", [[], [""], ["a\0b"]])
async def test_what_no_system_takes_is_refused(ws: Workspace, argv: list[str]) -> None:
    with pytest.raises(BadValue, match="argv is a list of texts"):
        await ws.exec(argv)
    with pytest.raises(BadValue, match="env has names"):
        await ws.exec(["true"], env={"A=B": "c"})
    with pytest.raises(BadValue, match="timeout_s is above 0"):
        await ws.exec(["true"], timeout_s=0)


async def test_the_environment_is_what_was_given_and_little_more(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_OF_OURS", "x")
    ws = Workspace(root, env={"FOR_ALL": "1", "BOTH": "all"})

    done = await ws.exec(["env"], env={"FOR_ONE": "2", "BOTH": "one"})

    assert {line.partition("=")[0] for line in done.stdout.splitlines()} == {
        "PATH",
        "LANG",
        "FOR_ALL",
        "FOR_ONE",
        "BOTH",
    }
    assert "BOTH=one" in done.stdout


async def test_a_program_reads_what_it_is_given_and_else_nothing(ws: Workspace) -> None:
    assert (await ws.exec(["cat"], input="x" * 1_000_000)).stdout == "x" * 1_000_000
    assert (await ws.exec(["cat"])).stdout == ""
    assert (await ws.exec(["true"], input="x" * 1_000_000)).ok


async def test_of_a_flood_the_beginning_is_kept(ws: Workspace) -> None:
    done = await ws.shell("yes | head -c 5000000; yes no | head -c 300 >&2", output_bytes_max=1_000)

    assert (len(done.stdout), done.stdout_truncated) == (1_000, True)
    assert (len(done.stderr), done.stderr_truncated) == (300, False)
    exactly = await ws.exec(["printf", "12345"], output_bytes_max=5)
    assert (exactly.stdout, exactly.stdout_truncated) == ("12345", False)


async def test_what_is_no_text_is_replaced(ws: Workspace) -> None:
    assert (await ws.exec(["printf", "a\\377b"])).stdout == "a\N{REPLACEMENT CHARACTER}b"


FAMILY = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
for _ in range(3):
    if not os.fork():
        time.sleep(1000)
print("all here", flush=True)
time.sleep(float(sys.argv[2]))
"""


def family(marker: str, for_s: float = 1000) -> list[str]:
    return [sys.executable, "-c", FAMILY, marker, str(for_s)]


async def test_whose_time_is_over_goes_with_all_its_children(ws: Workspace) -> None:
    started = time.monotonic()

    done = await ws.exec(family(MINE + "over"), timeout_s=0.5)

    assert (done.exit_code, done.stdout, done.timed_out) == (-9, "all here\n", True)
    assert time.monotonic() - started < 60
    await until(lambda: living(MINE + "over") == [])


async def test_whose_caller_is_cancelled_goes_with_all_its_children(ws: Workspace) -> None:
    task = asyncio.create_task(ws.exec(family(MINE + "gone")))
    await until(lambda: len(living(MINE + "gone")) == 4)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    await until(lambda: living(MINE + "gone") == [])


async def test_whose_caller_is_cancelled_at_any_moment_is_not_left(ws: Workspace) -> None:
    for turn in range(60):
        task = asyncio.create_task(ws.exec(["sleep", SLEEP]))
        for _ in range(turn % 12):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    await until(lambda: living(SLEEP) == [])


async def test_children_go_when_their_parent_ends(ws: Workspace) -> None:
    done = await ws.exec(family(MINE + "left", 0))

    assert (done.exit_code, done.stdout) == (0, "all here\n")
    await until(lambda: living(MINE + "left") == [])


@pytest.mark.skipif(shutil.which("setsid") is None, reason="there is no setsid here")
async def test_who_has_left_the_group_keeps_nobody_waiting(ws: Workspace) -> None:
    async with asyncio.timeout(20):
        done = await ws.shell(f"setsid sh -c 'echo $$; exec sleep {SLEEP}' & sleep 0.2; echo done")
    os.kill(int(done.stdout.split()[0]), 9)

    assert done.stdout.split()[1] == "done"


async def test_no_descriptor_is_left_open(ws: Workspace) -> None:
    await ws.exec(["true"])
    before = names(Path("/dev/fd"))
    for _ in range(20):
        await ws.exec(["true"], input="x")
        with pytest.raises(FileNotFoundError):
            await ws.exec(["no-such-program"], input="x")

    assert len(names(Path("/dev/fd"))) <= len(before)


PLACE: list[Workspace] = []


@persona
async def builds() -> str:
    done = await PLACE[0].shell("echo x >> count; wc -l < count; exit 2", input="text")
    return f"{done.exit_code} {done.stdout.strip()} {done.ok}"


async def test_a_replay_runs_no_program(home: Home, ws: Workspace) -> None:
    PLACE[:] = [ws]
    async with home.engine(builds) as engine:
        run = await engine.start(builds)
        assert await run.result() == "2 1 False"
        assert (await engine.replay(run.id)).identical

    assert await ws.read_file("count") == "x\n"


@persona
async def waits() -> None:
    await PLACE[0].exec(family(MINE + "run"))


async def test_a_run_that_is_interrupted_leaves_no_program(home: Home, ws: Workspace) -> None:
    PLACE[:] = [ws]
    async with home.engine(waits) as engine:
        run = await engine.start(waits)
        await until(lambda: len(living(MINE + "run")) == 4)

    await until(lambda: living(MINE + "run") == [])
    async with home.engine(waits) as engine:
        await engine.recover()
        await until(lambda: in_doubt(home, run.id))
        assert living(MINE + "run") == []
        await engine.resolve(run.id, "0/exec#0", "fail", None, sender="ada")


async def in_doubt(home: Home, run: str) -> bool:
    return "operation.outcome_unknown" in await home.types(run)


async def test_a_program_is_a_list_of_words_and_a_time_is_a_number(ws: Workspace) -> None:
    with pytest.raises(BadValue, match="argv is a list"):
        await ws.exec("ls")  # type: ignore[arg-type]
    for odd in (float("nan"), float("inf"), 0):
        with pytest.raises(BadValue, match="timeout_s"):
            await ws.exec(["true"], timeout_s=odd)
