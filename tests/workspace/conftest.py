"""A workspace on a real disk, with something outside of it that must stay as it is."""

from pathlib import Path

import pytest

from playhead import Workspace
from tests.runtime.conftest import Home


def names(place: Path) -> list[str]:
    """What is in a directory; nothing where there is none."""
    return sorted(path.name for path in place.iterdir()) if place.exists() else []


def move_away(place: Path) -> None:
    place.rename(place.with_name("elsewhere"))


def link(place: Path, target: str) -> None:
    place.symlink_to(target)


SECRET = "nobody's business"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def made(root: Path) -> Path:
    """The directory of the workspace, where it is there already."""
    root.mkdir()
    return root


@pytest.fixture
def ws(root: Path) -> Workspace:
    return Workspace(root)


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A directory beside the workspace, with a file in it."""
    place = tmp_path / "outside"
    place.mkdir()
    (place / "secret").write_text(SECRET)
    return place


@pytest.fixture(params=["memory", "sqlite"])
def home(request: pytest.FixtureRequest, tmp_path: Path) -> Home:
    return Home(request.param, tmp_path)
