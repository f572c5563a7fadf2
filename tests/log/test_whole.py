"""Directories that are written whole or not at all."""

import errno
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from playhead.errors import BadValue
from playhead.log import whole
from playhead.log.whole import write_whole
from tests.checkout import ROOT

OLD = {"a": b"old", "folder/b": b"old"}
NEW = {"a": b"new", "other/c": b"new", "other/deep/d": b""}


def files(place: Path) -> dict[str, bytes]:
    return {
        path.relative_to(place).as_posix(): path.read_bytes() for path in place.rglob("*") if path.is_file()
    }


def test_what_is_written_is_there_and_nothing_else(tmp_path: Path) -> None:
    write_whole(tmp_path / "deep" / "x", NEW)
    assert files(tmp_path / "deep" / "x") == NEW
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["x"]
    write_whole(tmp_path / "empty", {})
    assert list((tmp_path / "empty").iterdir()) == []


@pytest.mark.parametrize("what", ["file", "directory", "full", "link", "dangling"])
def test_what_stands_there_stays(tmp_path: Path, what: str) -> None:
    place = tmp_path / "x"
    match what:
        case "file":
            place.write_bytes(b"mine")
        case "directory":
            place.mkdir()
        case "full":
            write_whole(place, OLD)
        case _:
            place.symlink_to(tmp_path if what == "link" else "nowhere")
    before = sorted(path.name for path in tmp_path.rglob("*"))
    with pytest.raises(BadValue, match="something at x already"):
        write_whole(place, NEW)
    assert sorted(path.name for path in tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    "name", ["../up", "{home}/up", "a/../../up", "a//b", "./a", "a/.", "a/", "", ".", "..", "a\0b"]
)
def test_whatever_names_are_given_nothing_is_written_beside_the_directory(tmp_path: Path, name: str) -> None:
    home = tmp_path / "home"
    home.mkdir()
    with pytest.raises(BadValue, match="cannot be written there"):
        write_whole(home / "x", {"a": b"fine", name.format(home=home): b"odd"})
    assert [path.name for path in tmp_path.rglob("*")] == ["home"]


@pytest.mark.parametrize("at_once", [True, False])
def test_what_is_replaced_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, at_once: bool) -> None:
    if not at_once:
        monkeypatch.setattr(whole, "_exchanged", lambda one, other: False)
    write_whole(tmp_path / "x", OLD)
    write_whole(tmp_path / "x", NEW, replace=True)
    assert files(tmp_path / "x") == NEW
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_of_writers_that_come_at_once_one_gets_the_place(tmp_path: Path) -> None:
    ends: list[str] = []
    begin = threading.Barrier(8)

    def write(n: int) -> None:
        begin.wait()
        try:
            write_whole(tmp_path / "x", {"who": str(n).encode(), "more": b"x" * 1000})
            ends.append(str(n))
        except BadValue:
            ends.append("refused")

    threads = [threading.Thread(target=write, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ends.count("refused") == 7
    (winner,) = (end for end in ends if end != "refused")
    assert files(tmp_path / "x")["who"] == winner.encode()


def test_replacers_at_once_leave_one_of_them_whole_where_names_cannot_be_exchanged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(whole, "_exchanged", lambda one, other: False)
    write_whole(tmp_path / "x", OLD)
    begin = threading.Barrier(6)
    odd: list[BaseException] = []

    def replace(n: int) -> None:
        begin.wait()
        for _ in range(10):
            try:
                write_whole(tmp_path / "x", {"who": str(n).encode()}, replace=True)
            except BadValue:
                continue
            except BaseException as error:  # noqa: BLE001  any other is what must not be
                odd.append(error)

    threads = [threading.Thread(target=replace, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert odd == []
    assert files(tmp_path / "x")["who"] in {str(n).encode() for n in range(6)}
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_whoever_takes_the_place_while_an_old_one_is_put_back_keeps_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    give, calls = whole._give_name, [0]

    def raced(new: Path, target: Path) -> None:
        calls[0] += 1
        if calls[0] == 1:
            raise OSError(errno.EIO, "the disk is tired")
        target.mkdir()
        (target / "who").write_bytes(b"somebody else")
        give(new, target)

    monkeypatch.setattr(whole, "_exchanged", lambda one, other: False)
    write_whole(tmp_path / "x", OLD)
    monkeypatch.setattr(whole, "_give_name", raced)
    with pytest.raises(OSError, match="the disk is tired"):
        write_whole(tmp_path / "x", {"who": b"me"}, replace=True)
    assert files(tmp_path / "x") == {"who": b"somebody else"}
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


KILLED = """
import os, pathlib, signal, sys
from playhead.log import whole

left = int(sys.argv[1])

def audit(event, arguments):
    global left
    if event in ("open", "os.rename", "os.mkdir", "os.rmdir", "os.remove", "ctypes.dlopen") and (
        ".x." in str(arguments) or event == "ctypes.dlopen"
    ):
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1

sys.addaudithook(audit)
whole.write_whole(pathlib.Path("x"), {"a": b"new", "other/c": b"new", "other/deep/d": b""}, replace=True)
"""


@pytest.mark.parametrize("there", [False, True])
def test_killed_at_any_moment_it_is_the_old_one_or_the_new_one(tmp_path: Path, *, there: bool) -> None:
    paths = os.pathsep.join([str(ROOT / "engine"), str(ROOT / "projections")])
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
    at_once = whole._exchanged(bytes(tmp_path / "one"), bytes(tmp_path / "other"))
    codes: list[int] = []
    seen: list[dict[str, bytes]] = []
    for moment in range(40):
        home = tmp_path / str(moment)
        home.mkdir()
        if there:
            write_whole(home / "x", OLD)
        done = subprocess.run(
            [sys.executable, "-c", KILLED, str(moment)],
            cwd=home,
            env={**os.environ, "PYTHONPATH": paths},
            check=False,
        )
        codes.append(done.returncode)
        found = files(home / "x") if (home / "x").exists() else {}
        if there and not found:
            assert not at_once, "between two names there was none"
            found = files(next(home.glob(".x.*/old")))
        seen.append(found)
    assert codes[0] == -signal.SIGKILL
    assert codes[-1] == 0
    assert [each for each in seen if each not in (OLD if there else {}, NEW)] == []
    assert seen[0] == (OLD if there else {})
    assert seen[-1] == NEW
