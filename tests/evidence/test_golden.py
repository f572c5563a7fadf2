"""What was written once is written so for ever: files that an earlier playhead made hold, and are made again.

They were made of `golden/streams.jsonl`, with the key whose seed is 32 times 01. Where the rules of receipts
change, `BUILDER` grows, and then files are added here and none is replaced.
"""

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from playhead.log.checkpoints import checkpoints_path, keep, of, parse, signed
from playhead.log.proofs import LogTree
from playhead.log.reader import LogReader
from playhead.log.sqlite_store import SqliteStore
from playhead.log.transfer import import_lines
from playhead.sign import Signer
from playhead_projections.evidence import unpacking
from playhead_projections.evidence.bundle import consistency_of
from playhead_projections.evidence.canonical import read, written
from playhead_projections.evidence.checking import check_file
from playhead_projections.evidence.envelope import sealed
from playhead_projections.evidence.proof import BUILDER
from playhead_projections.evidence.unpacking import check_bundle, unpacked
from tests.evidence.making import SCRIPT, attested, attested_shortly, by_script

GOLDEN = Path(__file__).with_name("golden")


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The log that they were made of, under the checkpoint that they were made under."""
    path = tmp_path_factory.mktemp("golden") / "runs.db"
    lines = (GOLDEN / "streams.jsonl").read_bytes().splitlines(keepends=True)

    async def graft() -> None:
        async with SqliteStore.open(path) as store:
            await store.graft(import_lines(lines))

    asyncio.run(graft())
    keep(path, (GOLDEN / "checkpoint.txt").read_text())
    return path


def golden(name: str) -> bytes:
    return (GOLDEN / name).read_bytes()


def test_the_log_still_gives_the_same_checkpoint_and_proof(path: Path, ada: Signer) -> None:
    with LogReader(path) as log:
        tree = LogTree.of(log)
        text = signed(ada, of(log, tree))
        older = parse(read(golden("consistency.json"))["older"])
        proof = consistency_of(tree, older, parse(text))

    assert text.encode() == golden("checkpoint.txt")
    assert written(proof) == golden("consistency.json")
    assert checkpoints_path(path).exists()


def test_the_log_still_gives_the_same_receipts(path: Path, ada: Signer) -> None:
    run = read(golden("receipt.json"))["identifiers"]["task_id"]

    assert written(attested(path, run)) == golden("receipt.json")
    assert written(attested_shortly(path, run)) == golden("flat.json")
    assert sealed(ada, attested(path, run)) == golden("envelope.json")


def test_there_is_a_bundle_of_every_set_of_rules_that_ever_was_and_a_newer_playhead_takes_it(
    ada: Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_rules: dict[int, bytes] = {}
    for kept in GOLDEN.glob("bundle*.zip"):
        (name,) = [each for each in unpacked(kept.read_bytes()) if each.startswith("receipts/")][:1]
        about = read(unpacked(kept.read_bytes())[name])["metadata"]["playhead"]
        of_rules[about["builder"]] = kept.read_bytes()

    assert sorted(of_rules) == list(range(1, BUILDER + 1))
    monkeypatch.setattr(unpacking, "BUILDER", BUILDER + 1)
    assert [check_bundle(data, {"ada": (ada.public,)}).faults for data in of_rules.values()] == [[]] * BUILDER


def test_what_was_written_then_still_holds(ada: Signer) -> None:
    keys = {"ada": (ada.public,)}
    bare, signed_ = ["receipt.json", "flat.json"], ["envelope.json", "consistency.json"]

    assert [check_file(golden(name), {}).faults for name in bare] == [[]] * 2
    assert [check_file(golden(name), keys).faults for name in signed_] == [[]] * 2
    found = check_bundle(golden("bundle.zip"), keys)
    assert (found.faults, found.said[-1]) == ([], "the receipt is signed by ada")
    for files, words in ((bare, []), ([*signed_, "checkpoint.txt"], ["--key", ada.public])):
        done = by_script(*(GOLDEN / name for name in files), *words)
        assert (done.returncode, f"\n{done.stdout}".count("\nok ")) == (0, len(files)), done.stdout


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        ([], 2, "the following arguments are required: file"),
        (["envelope.json", "--key"], 2, "expected one argument"),
        (["envelope.json", "--key="], 2, "--key"),
        (["--key", "ed25519:", "envelope.json"], 2, "--key"),
        (["--key", "ed25519:AAAA", "envelope.json"], 2, "--key"),
        (["nowhere.json", "envelope.json"], 4, "FAULT nowhere.json"),
        (["streams.jsonl", "."], 4, "FAULT . "),
        (["bundle.zip"], 4, "FAULT bundle.zip"),
    ],
)
def test_the_script_never_takes_a_key_that_is_none_for_no_question(
    words: list[str], code: int, says: str
) -> None:
    command = [sys.executable, "-I", "-S", str(SCRIPT), *words]
    done = subprocess.run(command, cwd=GOLDEN, capture_output=True, text=True, check=False, timeout=60)

    assert (done.returncode, "Traceback" in done.stderr) == (code, False)
    assert says in done.stdout + done.stderr
    assert ("ok envelope.json" in done.stdout) is ("nowhere.json" in words)
