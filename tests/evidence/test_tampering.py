"""Any changed byte of a receipt, an envelope, a checkpoint or a proof is found out, by both verifiers."""

import json
import random
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from playhead.errors import BadValue
from playhead.log.checkpoints import of, parse, signed
from playhead.log.proofs import LogTree
from playhead.log.reader import LogReader
from playhead.sign import Keys, Signer, key_bytes
from playhead_projections.evidence import run_receipt
from playhead_projections.evidence.agents_protocol import receipt_hash
from playhead_projections.evidence.bundle import consistency_of
from playhead_projections.evidence.canonical import canonical, written
from playhead_projections.evidence.checking import check_alone, check_consistency, check_file
from playhead_projections.evidence.envelope import PAYLOAD_TYPE, authenticated, sealed
from tests.evidence.generated import WORDS, generated
from tests.evidence.making import attested, attested_shortly, checkpointed, script
from tests.projections import recorded as shared

Receipts = tuple[Path, list[str]]


def holds(data: bytes, signer: Signer | None) -> tuple[bool, bool]:
    """What playhead and what the script make of a file, with the key of `signer` or without keys."""
    if signer is None:
        return _ours(data, {}), _theirs(data, [])
    return _ours(data, {"ada": (signer.public,)}), _theirs(data, [key_bytes(signer.public)])


def _ours(data: bytes, keys: Keys) -> bool:
    try:
        if data.startswith(b"playhead.log/"):
            return not check_alone(parse(data.decode()), keys).faults
        return not check_file(data, keys).faults
    except (BadValue, UnicodeDecodeError):
        return False


def _theirs(data: bytes, keys: list[bytes]) -> bool:
    try:
        script().verify(data, keys)
    except Exception:  # noqa: BLE001  whatever it is, the script says FAULT
        return False
    return True


def changed(data: bytes, places: Iterable[int]) -> Iterable[bytes]:
    """`data` with another byte at each of these places, which one follows from the place."""
    for place in places:
        chance = random.Random(place)
        other = data[place] ^ (1 if chance.random() < 0.5 else chance.randrange(1, 256))
        yield data[:place] + bytes([other]) + data[place + 1 :]


def expect_all_found_out(data: bytes, signer: Signer | None, places: Iterable[int]) -> None:
    assert holds(data, signer) == (True, True)
    for wrong in changed(data, places):
        assert holds(wrong, signer) == (False, False), wrong


def sampled(data: bytes, step: int) -> list[int]:
    """Every `step`th place, beginning somewhere, and the last ones."""
    return [*range(len(data) % step, len(data), step), len(data) - 1]


def consistency(path: Path, signer: Signer) -> dict[str, Any]:
    with LogReader(path) as log:
        tree = LogTree.of(log)
        older, newer = (parse(signed(signer, of(log, tree, size))) for size in (77, 200))
        return consistency_of(LogTree.of(log, 200), older, newer)


def test_every_byte_of_a_receipt_counts(recorded: Receipts) -> None:
    data = written(attested(recorded[0], recorded[1][WORDS.index("nap")]))

    expect_all_found_out(data, None, sampled(data, 7))


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_every_byte_of_many_receipts_and_of_what_is_around_them_counts(ada: Signer, tmp_path: Path) -> None:
    path, runs = generated(tmp_path, 200, 3)
    checkpointed(path, ada)

    whole = written(attested(path, runs[WORDS.index("nap")]))
    expect_all_found_out(whole, None, range(len(whole)))
    expect_all_found_out(written(consistency(path, ada)), ada, range(len(written(consistency(path, ada)))))
    for number, run in enumerate(runs):
        bare = written(attested(path, run)), written(attested_shortly(path, run))
        told = [(data, None) for data in bare] + [(sealed(ada, attested(path, run)), ada)] * (number % 5 == 0)
        for data, signer in told:
            expect_all_found_out(data, signer, random.Random(number).sample(range(len(data)), 12))


def test_every_byte_of_the_other_receipt_counts(recorded: Receipts) -> None:
    data = written(attested_shortly(recorded[0], recorded[1][WORDS.index("again")]))

    expect_all_found_out(data, None, sampled(data, 7))


def test_who_asks_for_a_signature_is_not_content_with_a_receipt_that_has_none(
    recorded: Receipts, ada: Signer
) -> None:
    path, run = recorded[0], recorded[1][WORDS.index("again")]
    for document in (attested(path, run), attested_shortly(path, run)):
        assert holds(written(document), ada) == (False, False)
        assert holds(sealed(ada, document), ada) == (True, True)
        (fault,) = check_file(written(document), {"ada": (ada.public,)}).faults
        assert fault == "the receipt is unsigned."
        assert check_file(written(document), {}).said[-1].startswith("the receipt itself is unsigned")
        assert "it is unsigned" in script().verify(written(document), [])


def test_signatures_in_a_receipt_that_nobody_can_verify_are_none(recorded: Receipts, ada: Signer) -> None:
    document = attested(recorded[0], recorded[1][WORDS.index("again")])
    told = {"key_id": "ada", "algorithm": "ed25519", "signature": "AAAA", "signed_at": document["issued_at"]}
    document["signatures"] = [told]

    assert holds(written(document), None) == (False, False)
    assert holds(sealed(ada, document), ada) == (False, False)


def test_a_receipt_of_a_format_that_nobody_knows_is_none(recorded: Receipts) -> None:
    document = attested_shortly(recorded[0], recorded[1][WORDS.index("read")])
    document["schema"] = "another.receipt/9"
    document["metadata"]["playhead"]["receipt_hash"] = run_receipt.receipt_hash(document)

    assert holds(written(document), None) == (False, False)


def test_every_byte_of_an_envelope_counts(recorded: Receipts, ada: Signer) -> None:
    data = sealed(ada, attested(recorded[0], recorded[1][WORDS.index("again")]))

    expect_all_found_out(
        data, ada, [*range(0, 40, 3), *sampled(data, 61), *range(len(data) - 220, len(data), 4)]
    )


def test_every_byte_of_a_checkpoint_counts(recorded: Receipts, ada: Signer) -> None:
    with LogReader(recorded[0]) as log:
        data = signed(ada, of(log, LogTree.of(log))).encode()

    expect_all_found_out(data, ada, range(len(data)))


def test_every_byte_of_a_proof_of_consistency_counts(recorded: Receipts, ada: Signer) -> None:
    data = written(consistency(recorded[0], ada))

    expect_all_found_out(data, ada, sampled(data, 11))


def test_a_proof_of_consistency_takes_no_other_members(recorded: Receipts, ada: Signer) -> None:
    document = consistency(recorded[0], ada)

    assert holds(written({**document, "more": 1}), ada) == (False, False)


def test_checkpoints_of_two_logs_are_not_consistent(recorded: Receipts, ada: Signer, tmp_path: Path) -> None:
    shared.record(tmp_path / "runs.db", (shared.busy,))
    document = consistency(recorded[0], ada)
    with LogReader(tmp_path / "runs.db") as log:
        body = of(log, LogTree.of(log, 1))
    older = body.replace("\n1\n", "\n77\n").replace(body.splitlines()[2], document["older"].splitlines()[2])

    assert holds(written({**document, "older": signed(ada, older)}), ada) == (False, False)


def test_both_agree_about_all_pairs_of_sizes_up_to_64(recorded: Receipts, ada: Signer) -> None:
    with LogReader(recorded[0]) as log:
        tree = LogTree.of(log)
        for new in range(1, 65):
            for old in range(1, new + 1):
                older, newer = (parse(of(log, tree, size)) for size in (old, new))
                document = consistency_of(tree, older, newer)
                assert check_consistency(document, {}).faults == []
                assert script().consistency(document, []).endswith(f"from {old} to {new} events")
                wrong = {**document, "path": [*document["path"], "00" * 32]}
                assert check_consistency(wrong, {}).faults
                with pytest.raises(ValueError, match=r"proof|begin|digest"):
                    script().consistency(wrong, [])


# Changes that keep everything canonical, and every hash that can be made again is made again.


def rehashed(document: dict[str, Any]) -> bytes:
    document["chain"]["receipt_hash"] = receipt_hash(document)
    return written(document)


FORGERIES: dict[str, Callable[[dict[str, Any], dict[str, Any]], Any]] = {
    "another digest": lambda doc, about: about["inclusion"].update(digest="00" * 32),
    "another place": lambda doc, about: about["inclusion"].update(index=about["inclusion"]["index"] - 1),
    "a place below nothing": lambda doc, about: about["inclusion"].update(index=-1),
    "a place that is no number": lambda doc, about: about["inclusion"].update(index=True),
    "an upper-case digest": lambda doc, about: about["inclusion"].update(
        digest=about["inclusion"]["digest"].upper()
    ),
    "another type": lambda doc, about: about["inclusion"].update(type="run.approved"),
    "another subject": lambda doc, about: doc["subject"].update(id="zzzzzzzzzzzz"),
    "another id": lambda doc, about: doc.update(receipt_id="receipt_zzzzzzzzzzzz"),
    "another event before it": lambda doc, about: about["inclusion"].update(previous="00" * 32),
    "another payload": lambda doc, about: about["inclusion"].update(commitment="00" * 32),
    "half a header": lambda doc, about: about["inclusion"].update(header=about["inclusion"]["header"][:40]),
    "a longer path": lambda doc, about: about["inclusion"]["path"].append("00" * 32),
    "a shorter path": lambda doc, about: about["inclusion"]["path"].pop(),
    "an event of another run": lambda doc, about: about["inclusion"].update(event="run/zzzzzzzzzzzz@1"),
    "another task": lambda doc, about: (
        doc["identifiers"].update(task_id="zzzzzzzzzzzz"),
        doc.update(receipt_id="receipt_zzzzzzzzzzzz"),
    ),
    "another root": lambda doc, about: doc["chain"].update(merkle_root=f"sha256:{'00' * 32}"),
    "another issuer": lambda doc, about: doc["issuer"].update(id=f"playhead.log/{'0' * 32}"),
    "an event with a nought before its number": lambda doc, about: about["inclusion"].update(
        event=about["inclusion"]["event"].replace("@", "@0")
    ),
    "an upper-case header": lambda doc, about: about["inclusion"].update(
        header=about["inclusion"]["header"].upper()
    ),
    "a header with blanks": lambda doc, about: about["inclusion"].update(
        header=bytes.fromhex(about["inclusion"]["header"]).hex(" ")
    ),
    "signatures that are none": lambda doc, about: doc.update(signatures=None),
    "no checkpoint": lambda doc, about: about.update(checkpoint="7"),
    "no proof": lambda doc, about: about.pop("inclusion"),
    "no path": lambda doc, about: about["inclusion"].update(path=None),
    "no metadata": lambda doc, about: doc.pop("metadata"),
}


@pytest.mark.parametrize("forge", FORGERIES.values(), ids=list(FORGERIES))
def test_a_forged_receipt_whose_hash_fits_is_found_out(
    forge: Callable[[dict[str, Any], dict[str, Any]], Any], recorded: Receipts
) -> None:
    document = json.loads(json.dumps(attested(recorded[0], recorded[1][WORDS.index("again")])))
    assert holds(rehashed(document), None) == (True, True)
    forge(document, document["metadata"]["playhead"])

    assert holds(rehashed(document), None) == (False, False)


@pytest.mark.parametrize("shape", [attested, attested_shortly])
def test_the_proof_of_another_run_is_none_whatever_it_is_called(
    shape: Callable[[Path, str], dict[str, Any]], recorded: Receipts
) -> None:
    path, (mine, theirs) = recorded[0], recorded[1][:2]
    document, about = shape(path, mine), shape(path, theirs)["metadata"]["playhead"]["inclusion"]
    document["metadata"]["playhead"]["inclusion"] = {**about, "event": f"run/{mine}@{about['event'][17:]}"}
    if shape is attested:
        document["chain"]["receipt_hash"] = receipt_hash(document)
    else:
        document["metadata"]["playhead"]["receipt_hash"] = run_receipt.receipt_hash(document)

    assert holds(written(shape(path, mine)), None) == (True, True)
    assert holds(written(document), None) == (False, False)
    with pytest.raises(ValueError, match="of another run"):
        script().verify(written(document), [])


def test_the_flat_receipt_takes_no_other_members(recorded: Receipts) -> None:
    document = attested_shortly(recorded[0], recorded[1][WORDS.index("read")])
    less = {key: value for key, value in document.items() if key != "step"}
    every: list[dict[str, Any]] = [{**document, "more": 1}, less]
    for wrong in every:
        wrong["metadata"]["playhead"]["receipt_hash"] = run_receipt.receipt_hash(wrong)
        assert not _ours(written(wrong), {})


def test_who_has_another_key_can_sign_nothing(recorded: Receipts, ada: Signer, bob: Signer) -> None:
    path, runs = recorded
    document = attested(path, runs[WORDS.index("read")])

    assert holds(sealed(bob, document), ada) == (False, False)
    assert holds(written(consistency(path, bob)), ada) == (False, False)
    with LogReader(path) as log:
        assert holds(signed(bob, of(log, LogTree.of(log))).encode(), ada) == (False, False)


def test_an_envelope_around_another_receipt_than_the_signed_one_is_found_out(
    recorded: Receipts, ada: Signer
) -> None:
    path, runs = recorded
    one, other = (
        json.loads(sealed(ada, attested(path, runs[WORDS.index(word)]))) for word in ("read", "again")
    )
    one["payload"] = other["payload"]

    assert holds(written(one), ada) == (False, False)


def resigned(signer: Signer, data: bytes, **changes: Any) -> bytes:
    """An envelope whose statement says something else, signed again."""
    statement = {**json.loads(b64decode(json.loads(data)["payload"])), **changes}
    body = canonical(statement)
    signature = b64encode(signer.sign(authenticated(PAYLOAD_TYPE, body))).decode()
    signatures = [{"keyid": signer.key, "sig": signature}]
    return written(
        {"payload": b64encode(body).decode(), "payloadType": PAYLOAD_TYPE, "signatures": signatures}
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"subject": [{"name": "x", "digest": {"sha256": "00" * 32}}]},
        {"subject": []},
        {"predicateType": "urn:other"},
        {"_type": "https://in-toto.io/Statement/v0.1"},
        {"predicate": {}},
        {"predicate": []},
    ],
)
def test_a_signed_statement_about_something_else_is_none(
    recorded: Receipts, ada: Signer, changes: dict[str, Any]
) -> None:
    data = sealed(ada, attested(recorded[0], recorded[1][WORDS.index("read")]))

    assert resigned(ada, data) == data
    assert holds(resigned(ada, data, **changes), ada) == (False, False)


def test_an_envelope_takes_no_other_members(recorded: Receipts, ada: Signer) -> None:
    data = sealed(ada, attested(recorded[0], recorded[1][WORDS.index("read")]))
    envelope = json.loads(data)
    more = {"keyid": ada.key, "sig": envelope["signatures"][0]["sig"], "more": 1}

    for wrong in (
        written({**envelope, "more": 1}),
        written({**envelope, "signatures": [more]}),
        written({**envelope, "signatures": envelope["signatures"] * 2}),
        written({**envelope, "schema": None}),
        resigned(ada, data, more=1),
    ):
        assert holds(wrong, ada) == (False, False)
        assert holds(wrong, None) == (False, False)


def test_base64_that_could_be_written_differently_is_none(recorded: Receipts, ada: Signer) -> None:
    envelope = json.loads(sealed(ada, attested(recorded[0], recorded[1][WORDS.index("read")])))
    signature = envelope["signatures"][0]["sig"]
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    loose = letters[letters.index(signature[-3]) | 1]  # of this letter four bits say nothing
    envelope["signatures"][0]["sig"] = f"{signature[:-3]}{loose}=="

    assert loose != signature[-3]
    assert b64decode(envelope["signatures"][0]["sig"]) == b64decode(signature)
    assert holds(written(envelope), ada) == (False, False)


def test_without_keys_everything_but_signatures_is_checked(recorded: Receipts, bob: Signer) -> None:
    document = attested(recorded[0], recorded[1][WORDS.index("read")])
    data = sealed(bob, document)

    assert _ours(data, {})
    assert _theirs(data, [])
    document["cost"]["total"] = 0.5
    assert not _ours(sealed(bob, document), {})
    assert not _theirs(sealed(bob, document), [])
