"""The checkout as the tests see it: where it lies and which files are part of it."""

import subprocess
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ROOTS = {"engine": "playhead", "projections": "playhead_projections"}

_MADE_BY_MACHINES = {"dist", "__pycache__"}


@cache
def files() -> tuple[Path, ...]:
    """Every file that is in git or about to be; without git, every file that no machine made."""
    command = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, check=False, capture_output=True)
    if (ROOT / ".git").exists() and listed.returncode == 0:
        found = {ROOT / name for name in listed.stdout.decode().split("\0") if name}
    else:
        found = {
            path
            for path in ROOT.rglob("*")
            if not any(_is_made(part) for part in path.relative_to(ROOT).parts)
        }
    return tuple(sorted(path for path in found if path.is_file()))


def _is_made(part: str) -> bool:
    known = {".ci", ".gitignore", ".editorconfig"}
    return part in _MADE_BY_MACHINES or (part.startswith(".") and part not in known)


def name_of(path: Path) -> str:
    """The path as people write it, from the top of the checkout."""
    return path.relative_to(ROOT).as_posix()
