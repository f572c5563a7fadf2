"""Signatures of people: what they cover, whose they are, and which keys are none."""

import asyncio
import base64
import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from hypothesis import given
from hypothesis import strategies as st

from playhead import Engine, persona, request_approval
from playhead.errors import BadValue
from playhead.sign import (
    KIND,
    Signed,
    Signer,
    fingerprint,
    is_signature,
    key_bytes,
    keyring,
    message,
    sign,
    verify,
    why_not,
)
from tests.checkout import ROOT, ROOTS
from tests.runtime.conftest import until


def signer_of(seed: bytes) -> Signer:
    return Signer(ed25519.Ed25519PrivateKey.from_private_bytes(seed))


ADA, BOB, OTHER = (signer_of(bytes([number]) * 32) for number in (1, 2, 3))
KEYS = keyring({"ada": [OTHER.public, ADA.public], "bob": [BOB.public]})
PARTS = (b"run", b"", b"a longer part")
SIGNED = sign(ADA, "test/1", *PARTS)


def in_base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


# RFC 8032, section 7.1: secret key, public key, message, signature.
VECTORS = [
    (
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        (
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46b"
            "d25bf5f0595bbe24655141438e7a100b"
        ),
    ),
    (
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        (
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c"
            "387b2eaeb4302aeeb00d291612bb0c00"
        ),
    ),
]


@pytest.mark.parametrize(("secret", "public", "said", "signature"), VECTORS)
def test_a_signature_is_that_of_rfc_8032(secret: str, public: str, said: str, signature: str) -> None:
    signer = signer_of(bytes.fromhex(secret))

    assert signer.public == KIND + in_base64(bytes.fromhex(public))
    assert signer.sign(bytes.fromhex(said)).hex() == signature


def test_bytes_of_other_formats_are_signed_as_they_are() -> None:
    signature = ADA.sign(b"as it is")

    assert is_signature(ADA.public, signature, b"as it is")
    assert not is_signature(ADA.public, signature, b"as it was")
    assert not is_signature(BOB.public, signature, b"as it is")
    assert not is_signature(ADA.public, signature[:-1], b"as it is")
    assert fingerprint(ADA.public) == ADA.key
    assert in_base64(key_bytes(ADA.public)) == ADA.public.removeprefix(KIND)
    for use in (fingerprint, key_bytes, lambda key: is_signature(key, signature, b"")):
        with pytest.raises(BadValue, match="public key"):
            use(KIND + in_base64(bytes(32)))


def test_what_is_signed_never_changes_from_version_to_version() -> None:
    signer = signer_of(bytes.fromhex(VECTORS[0][0]))

    assert message("playhead.test/1", b"a", b"", b"bc") == (
        b"\0\0\0\0\0\0\0\x0fplayhead.test/1" + b"\0\0\0\0\0\0\0\x01a" + bytes(8) + b"\0\0\0\0\0\0\0\x02bc"
    )
    assert sign(signer, "playhead.test/1", b"a", b"", b"bc") == Signed(
        "0tq4qWncjmseUld65p1VcgGbuUrAS9uJoq5+b2TEZN2ftLvrhjxVhamXscv7BGiDB3IYAiU36M4sIlO4kcy2CQ==",
        "key_9e94687c54aef449c2003907",
    )


def test_one_of_the_keys_of_a_person_is_enough() -> None:
    assert verify(KEYS, "ada", SIGNED, "test/1", *PARTS)
    assert verify(KEYS, "ada", sign(OTHER, "test/1", *PARTS), "test/1", *PARTS)


def test_a_signature_is_that_of_one_person_and_one_key() -> None:
    assert not verify(KEYS, "bob", SIGNED, "test/1", *PARTS)
    assert not verify(KEYS, "nobody", SIGNED, "test/1", *PARTS)
    assert not verify({"ada": KEYS["bob"]}, "ada", SIGNED, "test/1", *PARTS)
    for key in (OTHER.key, BOB.key, "", ADA.key[:-1]):
        assert not verify(KEYS, "ada", SIGNED._replace(key=key), "test/1", *PARTS)


def test_every_changed_byte_of_what_was_signed_is_seen() -> None:
    for number, part in enumerate((b"test/1", *PARTS)):
        for place in range(len(part)):
            changed = bytearray(part)
            changed[place] ^= 1
            said = [b"test/1", *PARTS]
            said[number] = bytes(changed)
            assert not verify(KEYS, "ada", SIGNED, said[0].decode(), *said[1:]), (number, place)


def test_every_changed_bit_of_a_signature_is_seen() -> None:
    raw = base64.b64decode(SIGNED.signature)
    for bit in range(len(raw) * 8):
        changed = bytearray(raw)
        changed[bit // 8] ^= 1 << bit % 8
        assert not verify(
            KEYS, "ada", SIGNED._replace(signature=in_base64(bytes(changed))), "test/1", *PARTS
        ), bit


def test_a_signature_has_one_spelling() -> None:
    spelled = SIGNED.signature
    last = chr(ord(spelled[-3]) + 1)
    assert base64.b64decode(spelled[:-3] + last + "==") == base64.b64decode(spelled)
    wrong = ["", "\u00e9", spelled[:-2], spelled + "\n", f" {spelled}", spelled[:-3] + last + "==", "A" * 88]
    for other in [*wrong, spelled[:-4]]:
        assert not verify(KEYS, "ada", SIGNED._replace(signature=other), "test/1", *PARTS), other


@given(st.lists(st.binary(max_size=12), max_size=4), st.lists(st.binary(max_size=12), max_size=4))
def test_other_parts_are_other_messages(one: list[bytes], other: list[bytes]) -> None:
    assert (message("test/1", *one) == message("test/1", *other)) is (one == other)


@given(st.lists(st.binary(max_size=12), min_size=1, max_size=4), st.data())
def test_the_same_bytes_cut_into_other_parts_were_not_signed(parts: list[bytes], data: st.DataObject) -> None:
    joined = b"".join(parts)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(joined)), max_size=3)))
    again = [joined[a:b] for a, b in zip([0, *cuts], [*cuts, len(joined)], strict=True)]
    signed = sign(ADA, "test/1", *parts)

    assert verify(KEYS, "ada", signed, "test/1", *again) is (again == parts)


def test_who_says_two_things_says_the_second_one_later() -> None:
    signer = signer_of(bytes(32))

    assert [signer.moment(now) for now in (5, 5, 3, 9)] == [5, 6, 7, 9]


def test_why_somebody_could_not_count_is_said_before_it_is_sent() -> None:
    assert why_not(KEYS, "ada", ADA) == ""
    assert why_not(KEYS, "eve", ADA) == "eve has no key, and only what is signed counts here"
    assert why_not(KEYS, "ada", None) == "only what is signed counts here"
    assert why_not(KEYS, "ada", BOB) == f"{BOB.key} is no key of ada"


# Keyrings.


def test_a_keyring_is_a_mapping_or_a_file(tmp_path: Path) -> None:
    names = {"bob": [BOB.public], "ada": [ADA.public, OTHER.public, ADA.public]}
    file = tmp_path / "keys.json"
    file.write_text(json.dumps({"reviewers": names}))

    assert keyring(names) == keyring(file) == keyring(str(file))
    assert list(keyring(file).items()) == [("ada", (ADA.public, OTHER.public)), ("bob", (BOB.public,))]


WRONG: list[tuple[Any, str]] = [
    ({}, "names nobody"),
    ({"": [ADA.public]}, "without spaces around"),
    ({" ada": [ADA.public]}, "without spaces around"),
    ({5: [ADA.public]}, "without spaces around"),
    ({"ada": []}, "at least one"),
    ({"ada": ADA.public}, "at least one"),
    ({"reviewers": {"ada": [ADA.public]}}, "at least one"),
    ({"ada": [None]}, "32 bytes in base64"),
    ({"ada": ["rsa:" + ADA.public]}, "32 bytes in base64"),
    ({"ada": [ADA.public.removeprefix(KIND)]}, "32 bytes in base64"),
    ({"ada": [ADA.public[:-1]]}, "32 bytes in base64"),
    ({"ada": [KIND + in_base64(bytes(31))]}, "32 bytes in base64"),
    ({"ada": [ADA.public + " "]}, "32 bytes in base64"),
    ({"ada": [ADA.public], "bob": [BOB.public, ADA.public]}, "is also one of ada"),
]


@pytest.mark.parametrize(("names", "said"), WRONG)
def test_what_is_no_keyring_is_refused(names: Any, said: str) -> None:
    with pytest.raises(BadValue, match=said):
        keyring(names)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is no keyring"),
        ("[]", "is no keyring"),
        ('{"ada": []}', "is no keyring"),
        ('{"reviewers": []}', "reviewers are no object"),
        ('{"reviewers": {}, "more": 1}', "is no keyring"),
        ('{"reviewers": {"ada": ["x"], "ada": ["y"]}}', "stands in it twice"),
        ("[" * 100_000, "is no keyring"),
        (" " * 1_000_001, "longer than"),
        ("\x80", "is no keyring"),
    ],
)
def test_a_file_that_is_no_keyring_is_refused(text: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    file.write_bytes(text.encode("latin-1"))

    with pytest.raises(BadValue, match=said):
        keyring(file)


PRIME = 2**255 - 19
ORDER_8 = bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05")


def weak_keys() -> list[bytes]:
    """The points of small order, with either sign, and other spellings of the first numbers."""
    eighth = int.from_bytes(ORDER_8, "little")
    numbers = [0, 1, PRIME - 1, eighth, PRIME - eighth, PRIME, PRIME + 1, PRIME + 18]
    return [(number | sign << 255).to_bytes(32, "little") for number in numbers for sign in (0, 1)]


def test_a_key_under_which_anybody_can_sign_is_refused() -> None:
    one = (1).to_bytes(32, "little")
    by_nobody = one + bytes(32)
    ed25519.Ed25519PublicKey.from_public_bytes(one).verify(by_nobody, b"whatever")  # it verifies all the same
    for raw in weak_keys():
        with pytest.raises(BadValue, match="none that anybody can have made"):
            keyring({"ada": [KIND + in_base64(raw)]})


# Key files.


def test_a_new_key_is_for_its_owner_alone_and_signs(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        made = Signer.new(tmp_path / "ada.pem")
    finally:
        os.umask(before)
    again = Signer.from_file(tmp_path / "ada.pem")

    assert stat.S_IMODE((tmp_path / "ada.pem").stat().st_mode) == 0o600
    assert (again.public, again.key) == (made.public, made.key)
    assert verify(keyring({"ada": [made.public]}), "ada", sign(again, "test/1", b"x"), "test/1", b"x")
    assert Signer.new(tmp_path / "bob.pem").public != made.public


def test_a_key_is_never_written_over(tmp_path: Path) -> None:
    file = tmp_path / "ada.pem"
    file.write_text("something else")

    with pytest.raises(BadValue, match="never written over"):
        Signer.new(file)
    (tmp_path / "link.pem").symlink_to(tmp_path / "nowhere.pem")
    with pytest.raises(BadValue, match="never written over"):
        Signer.new(tmp_path / "link.pem")
    assert file.read_text() == "something else"
    assert not (tmp_path / "nowhere.pem").exists()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o601, 0o666])
def test_a_key_that_others_can_use_is_refused(mode: int, tmp_path: Path) -> None:
    Signer.new(tmp_path / "ada.pem")
    (tmp_path / "ada.pem").chmod(mode)

    with pytest.raises(BadValue, match="others can use the private key") as refused:
        Signer.from_file(tmp_path / "ada.pem")
    assert refused.value.found == f"mode {mode:o}"


def pem(private: Any, encryption: serialization.KeySerializationEncryption | None = None) -> bytes:
    written: bytes = private.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        encryption or serialization.NoEncryption(),
    )
    return written


NO_KEYS = [
    (b"", "no private key"),
    (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "no private key"),
    (pem(ec.generate_private_key(ec.SECP256R1())), "of another kind"),
    (
        pem(ed25519.Ed25519PrivateKey.generate(), serialization.BestAvailableEncryption(b"pass")),
        "is encrypted",
    ),
]


@pytest.mark.parametrize(("written", "said"), NO_KEYS, ids=["empty", "odd", "another kind", "encrypted"])
def test_what_is_no_key_is_refused(written: bytes, said: str, tmp_path: Path) -> None:
    file = tmp_path / "ada.pem"
    file.touch(0o600)
    file.write_bytes(written)

    with pytest.raises(BadValue, match=said):
        Signer.from_file(file)


def test_what_is_no_file_is_refused_and_nobody_waits_for_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)

    with pytest.raises(BadValue, match="is no file"):
        Signer.from_file(tmp_path / "pipe")
    with pytest.raises(FileNotFoundError):
        Signer.from_file(tmp_path / "nowhere.pem")


def test_a_signer_shows_no_secret(tmp_path: Path) -> None:
    signer = Signer.new(tmp_path / "ada.pem")

    assert repr(signer) == f"<signer {signer.key}>"
    assert not hasattr(signer, "__dict__")


# Without the package.

WITHOUT = """
import asyncio, importlib.abc, sys


class Missing(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "cryptography":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


sys.meta_path.insert(0, Missing())

from playhead import Engine, persona, request_approval
from playhead.errors import PlayheadError
from playhead.sign import KIND, Signer, keyring


@persona
async def asks():
    return (await request_approval("publish")).reviewers


async def tried(what):
    try:
        return repr(await what)
    except PlayheadError as error:
        return f"{error.code}: {error.next}"


async def opened(**keys):
    async with Engine.open("other.db", **keys) as engine:
        return "open"


async def main(run):
    print(await tried(opened(reviewer_keys={"ada": [KIND + "x"]})))
    async with Engine.open("runs.db", personas=[asks]) as engine:
        before = await engine.facts_of(run)
        print(await tried(engine.replay(run)))
        print(await tried(engine.resume(run)))
        print(await engine.status(run), await engine.facts_of(run) == before)
        plain = await engine.start(asks)
        while not (found := await plain.requests()):
            await asyncio.sleep(0.01)
        await plain.answer(found[0].request, "approve", reviewer="ada")
        print(await plain.result())


asyncio.run(main(sys.argv[1]))
"""


def test_without_the_package_it_is_said_what_to_install_and_everything_else_works(tmp_path: Path) -> None:
    @persona
    async def asks() -> Any:
        return (await request_approval("publish")).reviewers

    async def begun() -> str:
        async with Engine.open(tmp_path / "runs.db", personas=[asks], reviewer_keys=KEYS) as engine:
            run = await engine.start(asks)
            await until(lambda: waits(engine, run.id))
            return run.id

    words = [sys.executable, "-c", WITHOUT, asyncio.run(begun())]
    paths = os.pathsep.join(str(ROOT / name) for name in ROOTS)
    done = subprocess.run(
        words,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": paths},
        check=False,
        capture_output=True,
        text=True,
    )

    missing = "program: pip install 'playhead[sign]'"
    assert done.stderr == ""
    assert done.stdout.splitlines() == [missing, missing, missing, "released True", "['ada']"]


async def waits(engine: Engine, run: str) -> bool:
    return bool(await engine.requests(run))
