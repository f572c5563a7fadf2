"""`playhead demo`: a run that is killed and comes back, on the packages of this machine.

No network, no key, nothing but files in one directory. Exit code 0 means that every
sentence it printed was checked and is true.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from playhead_projections.demo.story import NotTrue, Story


def main(arguments: Sequence[str] | None = None) -> int:
    """Tell the story; the exit code says whether it is true."""
    parser = argparse.ArgumentParser(
        prog="playhead demo", description="See it work: an audit that is killed half way and comes back."
    )
    parser.add_argument("--keep", metavar="DIR", type=Path, help="keep log, report and counts there")
    keep: Path | None = parser.parse_args(arguments).keep
    try:
        if keep is None:
            with tempfile.TemporaryDirectory(prefix="playhead-demo-") as directory:
                Story(Path(directory)).tell()
            print("Keep the files and look around: playhead demo --keep DIR")
        else:
            keep.mkdir(parents=True, exist_ok=True)
            Story(keep.resolve()).tell()
            print(f"Look around: cd {keep}; playhead show @; cat workspace/licences.md; playhead verify")
    except NotTrue as false:
        print(f"\nThe demo stops here, because this is not true: {false}", file=sys.stderr)
        return 1
    return 0
