"""A bundle holds all that proves a run, is the same whenever it is made, and is not believed a word."""

import asyncio
import io
import json
import re
import struct
import zipfile
from collections.abc import Callable
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from playhead.errors import BadValue, ImportRefused
from playhead.log.reader import LogReader
from playhead.log.sqlite_store import SqliteStore
from playhead.log.transfer import export_lines, import_lines
from playhead.sign import Signer
from playhead_projections.evidence import bundle as bundles
from playhead_projections.evidence.agents_protocol import receipt_hash
from playhead_projections.evidence.bundle import bundle, packed
from playhead_projections.evidence.canonical import read, written
from playhead_projections.evidence.envelope import sealed
from playhead_projections.evidence.proof import first_over, inclusion_of, leaf_of, tree_at
from playhead_projections.evidence.unpacking import check_bundle, unpacked
from tests.evidence.generated import WORDS
from tests.evidence.making import attested, by_script, checkpointed, erase
from tests.evidence.test_receipts import copied
from tests.projections import recorded as shared

Recorded = tuple[Path, list[str]]


def bundled(path: Path, run: str, signer: Signer | None = None) -> bytes:
    with LogReader(path) as log:
        return bundle(log, run, signer=signer)


@pytest.fixture(scope="module")
def family(recorded: Recorded, ada: Signer) -> bytes:
    """The evidence of a run with a child, signed."""
    return bundled(recorded[0], recorded[1][WORDS.index("child")], ada)


def remade(data: bytes, change: Callable[[dict[str, bytes]], Any]) -> bytes:
    """A bundle with other members, and a manifest that fits them."""
    members = unpacked(data)
    change(members)
    manifest = read(members[bundles.MANIFEST])
    manifest["members"] = [
        {"name": name, "bytes": len(held), "sha256": sha256(held).hexdigest()}
        for name, held in members.items()
        if name != bundles.MANIFEST
    ]
    return packed({**members, bundles.MANIFEST: written(manifest)})


# What is in it.


def test_bundles_of_generated_runs_hold_and_are_made_again_the_same(recorded: Recorded, ada: Signer) -> None:
    path, runs = recorded
    for number, run in enumerate(runs):
        signer = ada if number % 2 else None
        data = bundled(path, run, signer)
        found = check_bundle(data, {"ada": (ada.public,)})
        assert found.faults == []
        assert found.said[-1] == ("the receipt is signed by ada" if signer else "the receipt is unsigned")
        assert bundled(path, run, signer) == data


def test_a_bundle_holds_the_run_its_mailbox_its_children_and_their_receipts(
    recorded: Recorded, family: bytes, ada: Signer, tmp_path: Path
) -> None:
    path, run = recorded[0], recorded[1][WORDS.index("child")]
    members = unpacked(family)
    child = attested(path, run)["side_effects"]["a2a_handoffs"][0]["task_id"]

    heads = [json.loads(line) for line in members["events.jsonl"].splitlines() if b'"anchor"' in line]
    assert {head["stream"] for head in heads} >= {f"run/{run}", f"mailbox/{run}", f"run/{child}"}
    assert members[f"receipts/{run}.json"] == written(attested(path, run))
    assert members[f"receipts/{child}.json"] == written(attested(path, child))
    assert members["attestation.json"] == sealed(ada, attested(path, run))
    manifest = read(members["manifest.json"])
    assert manifest["environment"]["python"]
    assert {"persona does", "tool read"} <= set(
        read(unpacked(bundled(path, recorded[1][0]))["manifest.json"])["code"]["digests"]
    )
    for name, words in (("attestation.json", ["--key", ada.public]), (f"receipts/{run}.json", [])):
        (tmp_path / Path(name).name).write_bytes(members[name])
        assert by_script(tmp_path / Path(name).name, *words).returncode == 0


def test_a_bundle_is_an_ordinary_zip_and_its_events_an_ordinary_export(family: bytes, tmp_path: Path) -> None:
    with zipfile.ZipFile(io.BytesIO(family)) as file:
        assert file.testzip() is None
        assert file.namelist()[0] == "manifest.json"
        assert {entry.date_time for entry in file.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_receipts_under_older_checkpoints_are_proven_to_be_of_the_same_log(
    tmp_path: Path, ada: Signer
) -> None:
    path = tmp_path / "runs.db"
    (run,) = shared.record(path, (shared.parent,))
    with LogReader(path) as log:
        (child,) = [each[4:] for each in log.streams("run") if each != f"run/{run}"]
    unsigned = bundled(path, run)
    assert read(unpacked(unsigned)["proofs.json"])["consistency"]
    assert check_bundle(unsigned, {}).faults == []
    assert check_bundle(unsigned, {"ada": (ada.public,)}).faults  # nobody signed anything
    sealed_ = bundled(path, run, ada)
    (fault,) = check_bundle(sealed_, {"ada": (ada.public,)}).faults  # of the child nobody signed anything
    assert fault.endswith("is signed with none of the keys.")
    assert f"receipts/{child}.json" in unpacked(sealed_)
    checkpointed(path, ada)
    assert check_bundle(bundled(path, run, ada), {"ada": (ada.public,)}).faults == []


def test_where_a_bundle_is_one_run_only_its_signed_receipt_is_enough(tmp_path: Path, ada: Signer) -> None:
    (run,) = shared.record(tmp_path / "runs.db", (shared.busy,))

    assert check_bundle(bundled(tmp_path / "runs.db", run, ada), {"ada": (ada.public,)}).faults == []


def test_a_bundle_of_a_run_with_gaps_holds(recorded: Recorded, ada: Signer, tmp_path: Path) -> None:
    path, run = copied(recorded, tmp_path), recorded[1][WORDS.index("publish")]
    for seq in (0, 3, 4):
        erase(path, f"run/{run}", seq, "asked for")
    checkpointed(path, ada)
    data = bundled(path, run)

    assert check_bundle(data, {"ada": (ada.public,)}).faults == []
    assert read(unpacked(data)["manifest.json"])["environment"]["python"] is None


def test_of_a_run_whose_mailbox_is_elsewhere_there_is_no_bundle(recorded: Recorded, tmp_path: Path) -> None:
    path, run = recorded[0], recorded[1][WORDS.index("child")]
    with LogReader(path) as log:
        streams = [
            f"run/{one}" for one in (run, attested(path, run)["side_effects"]["a2a_handoffs"][0]["task_id"])
        ]
        lines = list(export_lines(log, streams))

    async def graft() -> None:
        async with SqliteStore.open(tmp_path / "runs.db") as store:
            await store.graft(import_lines(lines))

    asyncio.run(graft())
    with pytest.raises(BadValue, match="took message 1 of its mailbox, which is not in this log"):
        bundled(tmp_path / "runs.db", run)


def test_of_a_run_that_is_not_over_there_is_no_bundle(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    shared.write(path, "aaaaaaaaaaaa", shared.started())

    with pytest.raises(BadValue, match="not over"):
        bundled(path, "aaaaaaaaaaaa")


# What was changed.


def test_any_changed_byte_of_a_bundle_is_found_out(family: bytes) -> None:
    for place in [*range(0, len(family), max(len(family) // 700, 1)), *range(len(family) - 120, len(family))]:
        wrong = family[:place] + bytes([family[place] ^ 1]) + family[place + 1 :]
        with pytest.raises(ImportRefused):
            check_bundle(wrong, {})


@pytest.mark.parametrize("cut", [0, 1, 4, 30, 1_000, -1, -22])
def test_a_bundle_that_was_cut_is_refused(family: bytes, cut: int) -> None:
    with pytest.raises(ImportRefused):
        check_bundle(family[:cut], {})


@pytest.mark.parametrize("more", [b"\0", b"PK\5\6" + bytes(18)])
def test_something_before_or_behind_a_bundle_is_refused(family: bytes, more: bytes) -> None:
    for wrong in (family + more, more + family):
        with pytest.raises(ImportRefused):
            check_bundle(wrong, {})


def forge_event(members: dict[str, bytes]) -> None:
    lines = members["events.jsonl"].splitlines(keepends=True)
    members["events.jsonl"] = b"".join(
        [*lines[:2], lines[2].replace(b'"version":1', b'"version":2'), *lines[3:]]
    )


def leave_out_a_stream(members: dict[str, bytes]) -> None:
    lines = members["events.jsonl"].splitlines(keepends=True)
    starts = [n for n, line in enumerate(lines) if b'"anchor"' in line]
    members["events.jsonl"] = b"".join(lines[: starts[-1]])


def forge_receipt(members: dict[str, bytes]) -> None:
    name = next(name for name in members if name.startswith("receipts/"))
    members[name] = members[name].replace(b'"usd":0', b'"usd":1')


def honestly_hashed(members: dict[str, bytes]) -> None:
    """A receipt whose own hash fits, and that the events do not make."""
    name = next(name for name in members if name.startswith("receipts/"))
    document = read(members[name])
    document["cost"]["total"] = 0.125
    document["chain"]["receipt_hash"] = receipt_hash(document)
    members[name] = written(document)


def other_evidence(members: dict[str, bytes]) -> None:
    name = next(name for name in members if name.startswith("receipts/"))
    document = read(members[name])
    about = document["metadata"]["playhead"]
    about["evidence"] = [about["inclusion"]]
    document["chain"]["receipt_hash"] = receipt_hash(document)
    members[name] = written(document)


def change_proofs(members: dict[str, bytes], **changes: Any) -> None:
    members["proofs.json"] = written({**read(members["proofs.json"]), **changes})


def change_receipt(members: dict[str, bytes], change: Callable[[dict[str, Any]], Any]) -> None:
    """Change what stands in `metadata.playhead` of the receipt of the run, and hash it again."""
    name = next(name for name in members if name.startswith("receipts/"))
    document = read(members[name])
    change(document["metadata"]["playhead"])
    document["chain"]["receipt_hash"] = receipt_hash(document)
    members[name] = written(document)


def change_streams(members: dict[str, bytes], change: Callable[[dict[str, Any]], Any]) -> None:
    proofs = read(members["proofs.json"])
    change(proofs["streams"][0])
    members["proofs.json"] = written(proofs)


def only_the_run(members: dict[str, bytes]) -> None:
    """The events of the child run are gone, and all that was said of them."""
    run = read(members["manifest.json"])["run"]
    lines = members["events.jsonl"].splitlines(keepends=True)
    count = json.loads(lines[0])["events"]
    members["events.jsonl"] = b"".join(lines[: count + 1])
    proofs = read(members["proofs.json"])
    change_proofs(members, streams=proofs["streams"][:1])
    for name in [name for name in members if name.startswith("receipts/") and run not in name]:
        del members[name]


def without_the_mailbox(members: dict[str, bytes]) -> None:
    """Nothing is left of what was sent to the run, nor of the proof for it."""
    kept: list[bytes] = []
    stream = ""
    for line in members["events.jsonl"].splitlines(keepends=True):
        stream = json.loads(line).get("stream", stream)
        kept += [] if stream.startswith("mailbox/") else [line]
    members["events.jsonl"] = b"".join(kept)
    streams = read(members["proofs.json"])["streams"]
    change_proofs(members, streams=[one for one in streams if not one["event"].startswith("mailbox/")])


FORGERIES: dict[str, tuple[Callable[[dict[str, bytes]], Any], str]] = {
    "another builder": (
        lambda held: change_receipt(held, lambda about: about.update(builder=0)),
        "made by rules 0",
    ),
    "more in the metadata": (
        lambda held: change_receipt(held, lambda about: about.update(reviewed_by="cfo")),
        "make another receipt",
    ),
    "more in a proof": (
        lambda held: change_receipt(held, lambda about: about["inclusion"].update(note="x")),
        "make another receipt",
    ),
    "another type in a proof": (
        lambda held: change_receipt(held, lambda about: about["inclusion"].update(type="run.approved")),
        "make another receipt",
    ),
    "more in the proof of a stream": (
        lambda held: change_streams(held, lambda one: one.update(note="x")),
        "make other proofs",
    ),
    "a step in upper case": (
        lambda held: change_streams(held, lambda one: one.update(path=[p.upper() for p in one["path"]])),
        "no bundle",
    ),
    "a proof that nothing asks for": (
        lambda held: change_proofs(
            held,
            consistency=[
                {"schema": "playhead.consistency/1", "older": text, "newer": text, "path": []}
                for text in [read(held["proofs.json"])["checkpoint"]]
            ],
        ),
        "make other proofs",
    ),
    "no mailbox": (without_the_mailbox, "took message 1 of its mailbox, which is not in it"),
    "no child run": (only_the_run, "there are no events of it"),
    "no receipt of the child run": (
        lambda held: held.pop([name for name in held if name.startswith("receipts/")][-1]),
        "other receipts than",
    ),
    "events with spaces between": (
        lambda held: held.update({"events.jsonl": held["events.jsonl"].replace(b'"seq":0,', b'"seq": 0,')}),
        "not written as an export is",
    ),
    "another playhead that wrote it": (
        lambda held: held.update(
            {
                "events.jsonl": re.sub(
                    rb'^{"playhead":"[^"]*"', b'{"playhead":"9"', held["events.jsonl"], flags=re.MULTILINE
                )
            }
        ),
        "not written as an export is",
    ),
    "an event": (forge_event, "line 3"),
    "a stream": (leave_out_a_stream, "other streams|another run"),
    "a receipt": (forge_receipt, "hash of the receipt"),
    "a receipt that fits itself": (honestly_hashed, "make another receipt"),
    "evidence": (other_evidence, "rests on other events"),
    "no receipt": (lambda held: held.pop(next(n for n in held if n.startswith("receipts/"))), "no receipt"),
    "no events": (lambda held: held.pop("events.jsonl"), "no bundle"),
    "no proofs": (lambda held: held.pop("proofs.json"), "no bundle"),
    "no streams proven": (lambda held: change_proofs(held, streams=[]), "other streams"),
    "proofs of another version": (lambda held: change_proofs(held, schema="x"), "another version"),
    "proofs that are none": (lambda held: change_proofs(held, streams=[1]), "no bundle"),
    "no attestation": (lambda held: held.pop("attestation.json"), ""),
}


@pytest.mark.parametrize(("forge", "says"), FORGERIES.values(), ids=list(FORGERIES))
def test_a_forgery_with_a_manifest_that_fits_is_found_out(
    forge: Callable[[dict[str, bytes]], Any], says: str, family: bytes, ada: Signer
) -> None:
    data = remade(family, forge)
    try:
        faults = check_bundle(data, {"ada": (ada.public,)}).faults
    except ImportRefused as refused:
        faults = [str(refused)]

    if not says:  # what nobody attested is not forged: it says that it is unsigned
        assert check_bundle(data, {"ada": (ada.public,)}).said[-1] == "the receipt is unsigned"
        return
    assert faults
    assert any(part in " ".join(faults) for part in says.split("|")), faults


def test_a_manifest_that_says_something_else_of_the_program_is_found_out(family: bytes) -> None:
    members = unpacked(family)
    manifest = read(members["manifest.json"])
    manifest["environment"]["python"] = "2.7"
    found = check_bundle(packed({**members, "manifest.json": written(manifest)}), {})

    assert found.faults == ["manifest.json: the events say something else of the program."]


def with_inclusion(data: bytes, run: str, inclusion: dict[str, Any]) -> bytes:
    """A bundle whose receipt proves something else, with a hash and a manifest that fit."""

    def change(members: dict[str, bytes]) -> None:
        document = read(members[f"receipts/{run}.json"])
        document["metadata"]["playhead"]["inclusion"] = inclusion
        document["chain"]["receipt_hash"] = receipt_hash(document)
        members[f"receipts/{run}.json"] = written(document)

    return remade(data, change)


def test_a_proof_of_an_earlier_event_or_of_another_run_is_found_out(recorded: Recorded) -> None:
    path, (run, other) = recorded[0], recorded[1][:2]
    data = bundled(path, run)
    own = read(unpacked(data)[f"receipts/{run}.json"])["metadata"]["playhead"]["inclusion"]
    with LogReader(path) as log:
        tree = tree_at(log, first_over(log, log.position()))
        earlier = inclusion_of(tree, leaf_of(log, log.read(f"run/{run}", 1, 1)[0]))
        stranger = inclusion_of(tree, leaf_of(log, log.read(f"run/{other}", 1, 1)[0]))

    assert check_bundle(with_inclusion(data, run, own), {}).faults == []
    found = check_bundle(with_inclusion(data, run, earlier), {}).faults
    assert any("make another receipt" in fault for fault in found)
    found = check_bundle(with_inclusion(data, run, {**stranger, "event": own["event"]}), {}).faults
    assert any("make another receipt" in fault for fault in found)


def test_an_end_that_is_proven_by_another_digest_is_found_out(family: bytes) -> None:
    first, *rest = read(unpacked(family)["proofs.json"])["streams"]
    wrong = [{**first, "digest": "00" * 32}, *rest]

    assert check_bundle(remade(family, lambda held: change_proofs(held, streams=wrong)), {}).faults


def test_a_receipt_under_another_name_and_another_attestation_are_found_out(
    family: bytes, recorded: Recorded, ada: Signer
) -> None:
    path, runs = recorded
    run = read(unpacked(family)["manifest.json"])["run"]

    def twice(members: dict[str, bytes]) -> None:
        members["receipts/other.json"] = members[f"receipts/{run}.json"]

    def another(members: dict[str, bytes]) -> None:
        members["attestation.json"] = sealed(ada, attested(path, runs[0]))

    for change, says in ((twice, "the receipt of another run"), (another, "another receipt was signed")):
        found = check_bundle(remade(family, change), {"ada": (ada.public,)}).faults
        assert [fault for fault in found if says in fault]


def test_a_checkpoint_that_is_not_proven_to_be_of_the_same_log_is_found_out(tmp_path: Path) -> None:
    (run,) = shared.record(tmp_path / "runs.db", (shared.parent,))
    data = bundled(tmp_path / "runs.db", run)
    (one,) = read(unpacked(data)["proofs.json"])["consistency"]
    wrong = {**one, "path": ["00" * 32 for _ in one["path"]]}

    for proofs in ([], [wrong], [{**one, "newer": one["older"], "path": []}]):
        found = check_bundle(remade(data, partial(change_proofs, consistency=proofs)), {}).faults
        assert found


def test_before_anything_is_parsed_every_member_is_what_the_manifest_says(family: bytes) -> None:
    members = unpacked(family)
    for wrong, says in (
        ({**members, "proofs.json": b"{"}, "proofs.json is not what the manifest says"),
        ({**members, "receipts/more.json": b"{"}, "other members than there are"),
        ({"events.jsonl": b"", **members}, "other members than there are"),
    ):
        with pytest.raises(ImportRefused, match=says):
            check_bundle(packed(wrong), {})


def test_another_signature_than_the_one_that_was_asked_for_is_none(family: bytes, bob: Signer) -> None:
    assert len(check_bundle(family, {"bob": (bob.public,)}).faults) >= 2


# What strangers send.


def zipped(*entries: tuple[str, bytes], kind: int = zipfile.ZIP_STORED) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as file:
        for name, data in entries:
            file.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), data, kind)
    return held.getvalue()


@pytest.mark.parametrize(
    "name",
    [
        "../manifest.json", "/etc/passwd", "receipts/../../x.json", "receipts\\x.json", "C:\\x.json",
        "x.json", "receipts/" + "a" * 65 + ".json", "receipts/\u00fc.json", "manifest.json\n", "",
    ],
)  # fmt: skip
def test_a_name_that_no_bundle_has_is_refused(name: str) -> None:
    with pytest.raises(ImportRefused, match="is no member of a bundle"):
        unpacked(zipped((name, b"x")))


def test_a_packed_member_is_refused_before_it_is_unpacked() -> None:
    bomb = zipped(("events.jsonl", b"\0" * 50_000_000), kind=zipfile.ZIP_DEFLATED)
    assert len(bomb) < 100_000

    with pytest.raises(ImportRefused, match="is packed or encrypted"):
        unpacked(bomb)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_member_that_stands_there_twice_is_refused() -> None:
    with pytest.raises(ImportRefused, match="twice"):
        unpacked(zipped(("manifest.json", b"{}"), ("manifest.json", b"{}")))


def test_more_members_than_any_bundle_has_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundles, "MEMBERS_MAX", 3)
    many = [(f"receipts/{n}.json", b"") for n in range(4)]

    with pytest.raises(ImportRefused, match="at most 3 members"):
        unpacked(zipped(*many))


def test_members_that_overlap_or_say_that_they_are_huge_are_refused(family: bytes) -> None:
    # The sizes in the directory at the end, of the second member, which are what a reader believes.
    place = family.rindex(b"PK\1\2", 0, family.rindex(b"PK\1\2"))
    for size in (2**31 - 1, len(family)):
        told = struct.pack("<II", size, size)
        wrong = family[: place + 20] + told + family[place + 28 :]
        with pytest.raises(ImportRefused, match="larger than the file"):
            unpacked(wrong)


def test_a_file_larger_than_any_bundle_is_refused(monkeypatch: pytest.MonkeyPatch, family: bytes) -> None:
    monkeypatch.setattr(bundles, "BUNDLE_BYTES_MAX", 1_000)

    with pytest.raises(ImportRefused, match="at most 1,000 bytes"):
        unpacked(family)


@pytest.mark.parametrize(
    "manifest",
    [
        b"", b"{}", b"[]", b"null", b'{"members":[],"schema":"playhead.bundle/2"}\n',
        b'{"members":[1],"schema":"playhead.bundle/1"}\n', b'{"members":{},"schema":"playhead.bundle/1"}\n',
        b'{"members":[],"schema":"playhead.bundle/1"}\n',
    ],
)  # fmt: skip
def test_a_manifest_that_is_none_is_refused(manifest: bytes) -> None:
    with pytest.raises(ImportRefused):
        check_bundle(packed({"manifest.json": manifest}), {})


def test_no_bytes_whatever_bring_anything_but_a_refusal(family: bytes) -> None:
    for wrong in (b"", b"PK", b"PK\3\4", b"PK\5\6" + bytes(18), bytes(100), family[::-1], family[:500] * 3):
        with pytest.raises(ImportRefused):
            check_bundle(wrong, {})
