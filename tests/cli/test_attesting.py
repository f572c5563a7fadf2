"""`playhead attest`, `checkpoint`, `bundle`, and what `verify` makes of what they wrote."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from playhead.log.checkpoints import keep, parse, signed
from playhead.sign import Signer
from playhead_projections.evidence.bundle import BUNDLE_BYTES_MAX
from tests.checkout import ROOT
from tests.cli.shell import WAIT_S_MAX, Done, Shell, environment
from tests.projections.recorded import started, write

Recorded = tuple[Shell, dict[str, str]]
HEAVY = ("asyncio", "aiosqlite", "pydantic", "structlog")


class Desk:
    """A store of one's own with four runs, a key, and files."""

    def __init__(self, recorded: Recorded, directory: Path) -> None:
        shell, self.runs = recorded
        shutil.copytree(shell.directory, directory / "desk")
        self.shell = Shell(directory / "desk")
        self.directory = self.shell.directory
        self.ada = Signer.new(self.directory / "ada.pem")
        self.bob = Signer.new(self.directory / "bob.pem")

    def __call__(self, *words: str) -> Done:
        return self.shell.here(*words)

    def ok(self, *words: str) -> Done:
        done = self(*words)
        assert done.code == 0, done
        return done

    def read(self, name: str) -> bytes:
        return (self.directory / name).read_bytes()


@pytest.fixture
def desk(recorded: Recorded, tmp_path: Path) -> Desk:
    return Desk(recorded, tmp_path)


def test_a_receipt_is_written_whole_and_checked(desk: Desk) -> None:
    desk.ok("checkpoint", "--key", "ada.pem")
    desk.ok("attest", "nightly", "-o", "receipt.json")
    printed = desk.ok("attest", "nightly")

    assert printed.out.encode() == desk.read("receipt.json")
    assert "which is signed" in printed.err
    assert desk.ok("verify", "receipt.json").out.startswith("ok  receipt\n")
    unsigned = desk("verify", "receipt.json", "--key", desk.ada.public)
    assert (unsigned.code, unsigned.out.splitlines()[0]) == (4, "the receipt is unsigned.")
    found = desk.ok("verify", "receipt.json", "--json").document
    assert (found["schema"], found["what"], found["ok"], found["faults"]) == (
        "playhead.evidence/1", "receipt", True, [],
    )  # fmt: skip
    wrong = desk("verify", "receipt.json", "--key", desk.bob.public)
    assert (wrong.code, wrong.out.splitlines()[-1]) == (4, "no: this receipt does not hold")


@pytest.mark.parametrize("damage", ["line", "bytes", "folder"])
def test_where_the_checkpoints_beside_the_store_cannot_be_read_nothing_is_made_and_that_is_said(
    desk: Desk, damage: str
) -> None:
    desk.ok("checkpoint", "--key", "ada.pem")
    beside = desk.directory / "runs.db-checkpoints"
    kept = beside.read_bytes()
    if damage == "folder":
        beside.unlink()
        beside.mkdir()
    else:
        beside.write_bytes(kept + {"line": b'{"checkpoint":"x"}\n', "bytes": b"\xff{}\n"}[damage])

    for words in (
        ["attest", "nightly", "-o", "x"],
        ["bundle", "nightly", "-o", "x"],
        ["checkpoint", "--key", "ada.pem"],
    ):
        done = desk(*words)
        assert (done.code, done.out) == (4, "")
        assert "runs.db-checkpoints" in done.err.splitlines()[0]
        assert "Put a copy of runs.db-checkpoints back." in done.err
    assert not (desk.directory / "x").exists()


@pytest.mark.parametrize("wanted", ["receipt-2026-04-25", "harn.receipt.v1"])
def test_each_format_is_written_and_signed(desk: Desk, wanted: str) -> None:
    document = json.loads(desk.ok("attest", "nightly", "--format", wanted).out)
    assert document["schema"] == wanted
    desk.ok("attest", "nightly", "--format", wanted, "--sign", "ada.pem", "-o", "sealed.json")

    said = desk.ok("verify", "sealed.json", "--key", desk.ada.public).out.splitlines()
    assert said[:2] == ["ok  envelope", f"  signed by {desk.ada.key}"]


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["attest", "@", "--sign", "nothing.pem"], 3, "nothing.pem"),
        (["attest", "@", "--sign", "agents.py"], 2, "agents.py"),
        (["attest", "asks"], 3, "no run is called"),
        (["attest", "nightly@3"], 2, "of a whole run"),
        (["attest", "nightly", "-o", "runs.db"], 2, "over the store"),
        (["attest", "nightly", "-o", "nowhere/x.json"], 3, "nowhere/x.json"),
        (["attest", "nightly", "--format", "x"], 2, "format"),
        (["bundle", "nightly"], 2, "--output"),
        (["bundle", "nightly", "-o", "runs.db"], 2, "over the store"),
        (["bundle", "nightly", "-o", "."], 2, "directory"),
        (["checkpoint"], 2, "no key was named"),
        (["checkpoint", "--key", "agents.py"], 2, "agents.py"),
        (["checkpoint", "--key", "ada.pem", "-o", "runs.db"], 2, "over the store"),
        (["checkpoint", "--key", "ada.pem", "--since", "agents.py"], 2, "no checkpoint"),
        (["checkpoint", "--key", "ada.pem", "--since", "runs.db"], 2, "no checkpoint"),
        (["checkpoint", "--key", "ada.pem", "--since", "missing"], 3, "missing"),
        (["verify", "--checkpoint", "agents.py"], 2, "no checkpoint"),
        (["verify", "--checkpoint", "missing"], 3, "missing"),
        (["verify", "--key", "ed25519:x"], 2, "public key"),
        (["verify", "--key", "missing"], 3, "missing"),
        (["verify", "--key", "agents.py"], 2, "keyring"),
    ],
)
def test_a_mistake_is_said_with_a_code_and_without_a_traceback(
    desk: Desk, words: list[str], code: int, says: str
) -> None:
    done = desk(*words)

    assert (done.code, "Traceback" in done.err) == (code, False)
    assert says in done.err
    assert not (desk.directory / "runs.db-checkpoints").exists()


def test_of_a_run_that_waits_there_is_no_receipt_and_no_bundle(desk: Desk) -> None:
    for words in (["attest", desk.runs["asks"]], ["bundle", desk.runs["asks"], "-o", "x.zip"]):
        done = desk(*words)
        assert (done.code, "is not over" in done.err) == (1, True)
        assert not (desk.directory / "x.zip").exists()


def edit(desk: Desk, stream: str, seq: int) -> None:
    """Change a byte of a payload behind the back of the log."""
    db = sqlite3.connect(desk.shell.store)
    sql = (
        "select position, bytes from payloads natural join events natural join streams"
        " where name = ? and seq = ?"
    )
    ((position, data),) = db.execute(sql, (stream, seq))
    db.execute("update payloads set bytes = ? where position = ?", (data[:-1] + b"\xc0", position))
    db.commit()
    db.close()


def test_nothing_is_signed_or_handed_over_of_a_log_that_was_edited(desk: Desk) -> None:
    stream = f"run/{desk.runs['audit']}"
    edit(desk, stream, 1)
    for words in (
        ["attest", stream[4:]],
        ["bundle", stream[4:], "-o", "x.zip"],
        ["checkpoint", "--key", "ada.pem"],
    ):
        done = desk(*words)
        assert (done.code, done.out) == (4, ""), done
        assert f"{stream}@1" in done.err
    assert not (desk.directory / "x.zip").exists()
    assert not (desk.directory / "runs.db-checkpoints").exists()


# Checkpoints.


def test_a_checkpoint_is_kept_beside_the_store_and_met_from_then_on(desk: Desk) -> None:
    first = desk.ok("checkpoint", "--key", "ada.pem").out
    again = desk.ok("checkpoint", "--key", "ada.pem", "--json").document
    other = desk.ok("checkpoint", "--key", "bob.pem", "-o", "bobs.txt")

    assert parse(first).signer({"ada": (desk.ada.public,)}) == "ada"
    assert (again["new"], again["checkpoint"], again["key"]) == (False, first, desk.ada.key)
    assert "events to bobs.txt" in other.err
    assert desk.read("runs.db-checkpoints").count(b"\n") == 2
    assert "what 2 checkpoints say of it is so" in desk.ok("verify").out
    assert desk.ok("verify", "--json").document["checkpoints"] == 2
    assert desk.ok("verify", "bobs.txt", "--key", desk.bob.public).out.startswith("ok  checkpoint\n")
    keys = ["--key", desk.ada.public, "--key", desk.bob.public]
    desk.ok("verify", *keys)
    only_ada = desk("verify", "--key", desk.ada.public)
    assert (only_ada.code, "signed with none of the keys" in only_ada.out) == (4, True)


def test_keys_are_also_taken_from_a_keyring(desk: Desk) -> None:
    ring = {"reviewers": {"ada": [desk.ada.public]}}
    (desk.directory / "keys.json").write_text(json.dumps(ring))
    desk.ok("checkpoint", "--key", "ada.pem", "-o", "one.txt")

    assert "is signed by ada" in desk.ok("verify", "one.txt", "--key", "keys.json").out


def test_a_log_that_is_not_what_it_was_is_found_out_and_nothing_is_signed(desk: Desk, tmp_path: Path) -> None:
    desk.ok("checkpoint", "--key", "ada.pem", "-o", "one.txt")
    (desk.directory / "runs.db-checkpoints").unlink()
    other = _other(tmp_path)

    for path in (desk.shell.store, desk.directory / "runs.db-anchors"):
        path.unlink()
    shutil.copy(other, desk.shell.store)
    done = desk("verify", "--checkpoint", "one.txt")
    assert (done.code, "[checkpoint]" in done.out) == (4, True)
    assert "of another log" in done.out
    refused = desk("checkpoint", "--key", "ada.pem", "--since", "one.txt")
    assert (refused.code, "nothing was signed" in refused.err) == (4, True)


def _other(directory: Path) -> Path:
    path = directory / "other.db"
    write(path, "aaaaaaaaaaaa", started())
    return path


def test_a_log_that_only_grew_is_proven_to_have_grown(desk: Desk) -> None:
    desk.ok("checkpoint", "--key", "ada.pem", "-o", "one.txt")
    assert desk.shell("run", "agents.py:naps").code == 0
    desk.ok("checkpoint", "--key", "ada.pem", "--since", "one.txt", "-o", "grown.json")

    said = desk.ok("verify", "grown.json", "--key", desk.ada.public).out
    assert said.startswith("ok  consistency\n  from ")
    wrong = desk.read("grown.json").replace(b'"path":["', b'"path":["00', 1)
    (desk.directory / "grown.json").write_bytes(wrong)
    assert desk("verify", "grown.json").code == 4


def test_a_checkpoint_file_that_makes_no_sense_stops_the_next_and_is_a_fault(desk: Desk) -> None:
    (desk.directory / "runs.db-checkpoints").write_text('{"checkpoint":"x"}\n')

    assert desk("checkpoint", "--key", "ada.pem").code == 4
    done = desk("verify")
    assert (done.code, "runs.db-checkpoints, line 1" in done.out) == (4, True)


@pytest.mark.parametrize("more", [0, 5])
def test_where_one_of_the_checkpoints_is_not_met_nothing_is_signed(desk: Desk, more: int) -> None:
    mine = parse(desk.ok("checkpoint", "--key", "ada.pem").out)
    root = "A" * 43 + "="
    keep(desk.shell.store, signed(desk.bob, f"{mine.origin}\n{mine.size + more}\n{root}\n"))
    assert desk("verify").code == 4

    for words in (
        ["checkpoint", "--key", "ada.pem"],
        ["attest", desk.runs["audit"], "--sign", "ada.pem"],
        ["bundle", desk.runs["audit"], "--sign", "ada.pem", "-o", "x.zip"],
    ):
        done = desk(*words)
        assert (done.code, done.out) == (4, ""), done
        assert f"the checkpoint at {mine.size + more} of" in done.err
    assert not (desk.directory / "x.zip").exists()
    assert desk.read("runs.db-checkpoints").count(b"\n") == 2
    assert desk("attest", desk.runs["audit"]).code == 0


def test_two_processes_sign_at_once_and_both_are_kept(desk: Desk) -> None:
    processes = [desk.shell.start("checkpoint", "--key", key) for key in ("ada.pem", "bob.pem") * 2]
    for process in processes:
        out, err = process.communicate(timeout=WAIT_S_MAX)
        assert process.returncode == 0, err
        parse(out)

    assert desk("verify", "--key", desk.ada.public, "--key", desk.bob.public).code == 0


# Bundles.


def test_a_bundle_is_checked_where_the_store_is_not(desk: Desk, tmp_path: Path) -> None:
    desk.ok("checkpoint", "--key", "ada.pem")
    desk.ok("bundle", "nightly", "-o", "evidence.zip", "--sign", "ada.pem")
    (tmp_path / "elsewhere").mkdir()
    elsewhere = Shell(tmp_path / "elsewhere")
    shutil.copy(desk.directory / "evidence.zip", elsewhere.directory)

    said = elsewhere.here("verify", "evidence.zip", "--key", desk.ada.public)
    assert (said.code, said.out.splitlines()[-1]) == (0, f"  the receipt is signed by {desk.ada.key}")
    assert elsewhere.here("verify", "evidence.zip", "--key", desk.bob.public).code == 4
    data = desk.read("evidence.zip")
    (elsewhere.directory / "evidence.zip").write_bytes(data.replace(b"nightly", b"nightlY", 1))
    wrong = elsewhere.here("verify", "evidence.zip", "--json")
    assert (wrong.code, wrong.document["ok"], len(wrong.document["faults"])) == (4, False, 1)
    assert list(elsewhere.directory.glob("runs.db*")) == []


@pytest.mark.parametrize("before", [b"\xef\xbb\xbf", b" ", b"\r\n"])
def test_something_in_front_of_a_receipt_makes_it_none_and_no_store(desk: Desk, before: bytes) -> None:
    (desk.directory / "one.json").write_bytes(before + desk.ok("attest", desk.runs["audit"]).out.encode())

    done = desk("verify", "one.json")
    assert (done.code, done.out.splitlines()[-1]) == (4, "no: this document does not hold"), done


@pytest.mark.parametrize("word", ["", " "])
def test_a_key_without_a_name_is_a_mistake_and_not_a_command_without_keys(desk: Desk, word: str) -> None:
    run = desk.runs["audit"]
    desk.ok("attest", run, "-o", "one.json")
    for words in (
        ["verify", "one.json", "--key", word],
        ["attest", run, "--sign", word],
        ["bundle", run, "-o", "x.zip", "--sign", word],
        ["checkpoint", "--key", word],
    ):
        done = desk(*words)
        assert (done.code, done.out) == (2, ""), done
        assert "no key" in done.err
    assert not (desk.directory / "x.zip").exists()


@pytest.mark.parametrize(
    "data",
    [b"PK", b"{", b"{}", b'{"schema":"receipt-2026-04-25"}', b'{"payloadType":1}', b"playhead.log/", b"{\xff",
     b'{"schema":"playhead.consistency/1"}', b"PK\3\4\x1b[2J", b'{"schema":"\x1b[2J"}'],
)  # fmt: skip
def test_whatever_begins_like_evidence_and_is_none_is_refused_in_words(desk: Desk, data: bytes) -> None:
    (desk.directory / "strange").write_bytes(data)
    done = desk("verify", "strange")

    assert (done.code, done.err) == (4, "")
    assert done.out.splitlines()[-1].startswith("no: this ")
    assert "\x1b" not in done.out


def test_a_file_that_is_too_large_to_be_evidence_is_not_read(desk: Desk) -> None:
    with (desk.directory / "huge.zip").open("wb") as file:
        file.write(b"PK\3\4")
        file.truncate(BUNDLE_BYTES_MAX * 3)

    done = desk("verify", "huge.zip")
    assert (done.code, "too large" in done.out) == (4, True)


def test_expectations_are_about_stores(desk: Desk) -> None:
    desk.ok("attest", "nightly", "-o", "receipt.json")

    assert desk("verify", "receipt.json", "--expect", f"store@1:{'0' * 64}").code == 2
    assert desk("verify", "receipt.json", "--checkpoint", "receipt.json").code == 2


def test_these_commands_load_nothing_that_runs_programs(desk: Desk) -> None:
    code = (
        "import sys\nfrom playhead_projections.cli import cli\n"
        "from playhead_projections.cli.faults import guarded\n"
        "for words in (['checkpoint', '--key', 'ada.pem'], ['attest', 'nightly', '-o', 'r.json'],"
        " ['bundle', 'nightly', '-o', 'b.zip'], ['verify', 'b.zip'], ['verify', 'r.json'], ['verify']):\n"
        "    assert guarded(cli, words) == 0, words\n"
        f"print(sorted(set({HEAVY!r}) & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=desk.directory,
        env=environment(),
        capture_output=True,
        check=False,
        text=True,
        timeout=WAIT_S_MAX,
    )
    assert done.stdout.splitlines()[-1] == "[]", done.stdout + done.stderr


def test_the_script_checks_what_the_commands_wrote(desk: Desk) -> None:
    desk.ok("checkpoint", "--key", "ada.pem", "-o", "one.txt")
    desk.ok("attest", "nightly", "-o", "receipt.json")
    desk.ok("attest", desk.runs["breaks"], "-o", "sealed.json", "--sign", "ada.pem")
    signed = ["one.txt", "sealed.json"]
    script = [sys.executable, "-I", "-S", str(ROOT / "docs" / "verify_receipt.py")]
    files = ["one.txt", "receipt.json", "sealed.json"]

    def says(*words: Any) -> tuple[int, int]:
        done = subprocess.run(
            [*script, *words],
            cwd=desk.directory,
            env=dict(os.environ),
            capture_output=True,
            check=False,
            text=True,
        )
        return done.returncode, f"\n{done.stdout}".count("\nok ")

    assert says(*signed, "--key", desk.ada.public) == (0, 2)
    assert says("receipt.json", "--key", desk.ada.public) == (4, 0)
    assert says(*files) == (0, 3)
    assert says(*files, "--key", desk.bob.public) == (4, 0)
    assert says("missing.json") == (4, 0)


@pytest.mark.parametrize("words", [("attest", "nightly"), ("bundle", "nightly"), ("export", "nightly")])
@pytest.mark.parametrize("name", ["runs.db-wal", "runs.db-checkpoints", "runs.db-anchors"])
def test_nothing_is_written_over_what_a_store_keeps_beside_it(
    desk: Desk, words: tuple[str, ...], name: str
) -> None:
    desk.ok("checkpoint", "--key", "ada.pem")
    before = desk.read("runs.db-checkpoints")

    done = desk.shell.here(*words, "-o", name)

    assert (done.code, "kept beside it" in done.err) == (2, True)
    assert desk.read("runs.db-checkpoints") == before
    desk.ok("verify")


def test_nothing_is_written_over_the_key_that_signs(desk: Desk) -> None:
    key = desk.read("ada.pem")

    for word in ("attest", "bundle"):
        done = desk.shell.here(word, "nightly", "--sign", "ada.pem", "-o", "ada.pem")
        assert (done.code, "over the key" in done.err) == (2, True)

    assert desk.read("ada.pem") == key
