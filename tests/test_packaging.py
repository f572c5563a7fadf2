"""What is published is whole: it builds, installs into an empty environment and runs there.

Nothing is downloaded. The backend and the dependencies are the ones this suite runs with.
"""

import os
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.checkout import ROOT, ROOTS, files, name_of


def run(*command: str | Path, cwd: Path, **environment: str) -> str:
    """What a command prints; it must end well. Nothing of this checkout leaks in through the environment."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=inherited | environment,
        check=False,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the sdist, and the wheel that was built from that sdist."""
    out = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", out, ROOT, cwd=out)
    return out


@pytest.fixture(scope="module")
def installed(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin directory of an environment that has the wheel, and sees this one's dependencies after it."""
    place = tmp_path_factory.mktemp("install") / "venv"
    run(sys.executable, "-m", "venv", "--without-pip", place, cwd=built)
    python = place / "bin" / "python"
    (wheel,) = built.glob("*.whl")
    offline = ["--no-deps", "--no-index", "--no-compile", "--disable-pip-version-check"]
    run(sys.executable, "-m", "pip", "--python", python, "install", *offline, wheel, cwd=built)

    # A path that a .pth file adds is not searched for further .pth files, so the editable install of this
    # checkout stays out of sight.
    site = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=built).strip()
    (Path(site) / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return place / "bin"


def test_the_wheel_holds_every_file_of_both_packages_and_nothing_else(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    ours = {name for name in names if not name.startswith("playhead-")}

    assert ours == {
        name.partition("/")[2] for name in map(name_of, files()) if name.partition("/")[0] in ROOTS
    }


def test_the_sdist_holds_the_whole_checkout(built: Path) -> None:
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}

    assert not {name_of(path) for path in files()} - names


def test_playhead_imports_from_where_it_was_installed(installed: Path, tmp_path: Path) -> None:
    program = "import playhead, playhead_projections as p; print(playhead.__file__); print(p.__file__)"

    for line in run(installed / "python", "-c", program, cwd=tmp_path).splitlines():
        assert Path(line).is_relative_to(installed.parent)


def test_the_command_runs_from_where_it_was_installed(installed: Path, tmp_path: Path) -> None:
    assert run(installed / "playhead", "--help", cwd=tmp_path).startswith("Usage: playhead")


USES_THE_PLUGIN = """
import asyncio
import sys
from pathlib import Path

import playhead
from playhead import Engine, persona, tool
from playhead.log.reader import LogReader
from playhead.log.transfer import export_lines


@tool(side_effect_level="none")
async def double(n: int) -> int:
    return 2 * n


@persona
async def doubles(n: int) -> int:
    return await double(n)


async def record(directory: Path) -> None:
    async with Engine.open(directory / "runs.db", personas=[doubles]) as engine:
        await (await engine.start(doubles, 4)).result()
    with LogReader(directory / "runs.db") as log:
        (directory / "run.jsonl").write_bytes(b"".join(export_lines(log, log.streams())))


def test_it(playhead_replay, tmp_path: Path) -> None:
    assert Path(playhead.__file__).is_relative_to(sys.prefix)
    asyncio.run(record(tmp_path))
    assert playhead_replay(tmp_path / "run.jsonl", doubles).result == 8
"""


@pytest.mark.parametrize(
    "named", [(), ("-p", "no:playhead", "-p", "playhead.testing.plugin")], ids=["found", "named"]
)
def test_pytest_finds_the_plugin_where_it_was_installed(
    installed: Path, tmp_path: Path, named: tuple[str, ...]
) -> None:
    (tmp_path / "test_it.py").write_text(USES_THE_PLUGIN)

    options = ("-q", "-W", "error", "-p", "no:cacheprovider", *named)
    said = run(installed / "python", "-m", "pytest", *options, cwd=tmp_path)

    assert "1 passed" in said


def test_the_types_are_published(installed: Path, tmp_path: Path) -> None:
    program = (
        "from importlib.resources import files\n"
        f"assert all((files(name) / 'py.typed').is_file() for name in {list(ROOTS.values())!r})"
    )

    run(installed / "python", "-c", program, cwd=tmp_path)
