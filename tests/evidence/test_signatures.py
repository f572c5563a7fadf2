"""The script checks Ed25519 by itself, and says of every signature what the cryptography package says."""

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.evidence.making import script

ORDER = 2**252 + 27742317777372353535851937790883648493
# RFC 8032, section 7.1.
VECTORS = [
    (
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    ),
    (
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    ),
    (
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
    ),
]


def theirs(key: bytes, signature: bytes, message: bytes) -> bool:
    try:
        return bool(script().is_signature(key, signature, message))
    except ValueError:
        return False


def ours(key: bytes, signature: bytes, message: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
    except InvalidSignature:
        return False
    return True


@pytest.mark.parametrize(("key", "message", "signature"), VECTORS)
def test_published_signatures_are_signatures(key: str, message: str, signature: str) -> None:
    assert theirs(bytes.fromhex(key), bytes.fromhex(signature), bytes.fromhex(message))
    assert not theirs(bytes.fromhex(key), bytes.fromhex(signature), bytes.fromhex(message) + b"!")


@settings(max_examples=40, deadline=None)
@given(st.binary(min_size=32, max_size=32), st.binary(max_size=200), st.integers(0, 511))
def test_any_signature_is_one_and_none_with_a_bit_turned(seed: bytes, message: bytes, bit: int) -> None:
    private = Ed25519PrivateKey.from_private_bytes(seed)
    key, signature = private.public_key().public_bytes_raw(), private.sign(message)
    turned = bytearray(signature)
    turned[bit // 8] ^= 1 << bit % 8

    assert theirs(key, signature, message)
    assert theirs(key, bytes(turned), message) is ours(key, bytes(turned), message) is False


def test_a_signature_that_was_moved_by_the_order_is_none() -> None:
    private = Ed25519PrivateKey.from_private_bytes(bytes(32))
    key, signature = private.public_key().public_bytes_raw(), private.sign(b"x")
    moved = signature[:32] + (int.from_bytes(signature[32:], "little") + ORDER).to_bytes(32, "little")

    assert theirs(key, moved, b"x") is ours(key, moved, b"x") is False


@pytest.mark.parametrize("y", [0, 1, 2**255 - 20])
def test_under_a_key_with_which_anybody_can_sign_nothing_is_signed(y: int) -> None:
    key, identity = y.to_bytes(32, "little"), b"\1" + bytes(31)

    assert not any(theirs(key, identity + bytes(32), bytes([n])) for n in range(16))
