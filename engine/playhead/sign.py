"""Signatures of people: which keys are whose, and whether something was signed with one of them.

    signer = Signer.from_file("ada.pem")
    keys = keyring({"ada": [signer.public]})
    signed = sign(signer, "example/1", b"yes", b"to this")
    verify(keys, "ada", signed, "example/1", b"yes", b"to this")       # True

What is signed, with Ed25519, is the tag and the parts, each behind its length: what was
signed for one purpose, or cut into other parts, is never taken for anything else. Needs
the cryptography package, `pip install 'playhead[sign]'`, which is imported on first use.
"""

from __future__ import annotations

import base64
import binascii
import functools
import hashlib
import json
import os
import stat
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self, cast

from playhead.errors import BadValue, ProgramError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

Keys = Mapping[str, tuple[str, ...]]
"""The public keys of each person, as `ed25519:` and base64."""

KIND: Final = "ed25519:"
KEY_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64
FINGERPRINT_HEX: Final = 24
FILE_BYTES_MAX: Final = 1_000_000

_PRIME: Final = 2**255 - 19
_ORDER_8: Final = 0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826
_Y_OF_SMALL_ORDER: Final = frozenset({0, 1, _PRIME - 1, _ORDER_8, _PRIME - _ORDER_8})
"""The eight points of small order, by what their encodings hold: under these as keys anybody can sign."""


class Signed(NamedTuple):
    """A signature in base64, and the fingerprint of the key that it was made with."""

    signature: str
    key: str


class Signer:
    """Somebody's private key. Shows its `public` key, and the fingerprint `key`, and nothing else."""

    __slots__ = ("_at", "_private", "key", "public")

    def __init__(self, private: Ed25519PrivateKey) -> None:
        raw = private.public_key().public_bytes_raw()
        self.public: Final = KIND + base64.b64encode(raw).decode()
        self.key: Final = _fingerprint(raw)
        self._private = private
        self._at = 0

    def __repr__(self) -> str:
        return f"<signer {self.key}>"

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> Self:
        """The private key in a PEM file, as `playhead key new` writes it.

        Raises `BadValue` for what is none, and for a file that others than its owner can read or write;
        `ProgramError` without the cryptography package; and `OSError`.
        """
        usable()
        from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415  an extra, needed only here
        from cryptography.hazmat.primitives.asymmetric import ed25519  # noqa: PLC0415
        from cryptography.hazmat.primitives.serialization import load_pem_private_key  # noqa: PLC0415

        try:
            private = load_pem_private_key(_read_private(path), password=None)
        except TypeError as error:
            raise BadValue(f"the key in {path} is encrypted.", expected="one without a password") from error
        except (ValueError, UnsupportedAlgorithm) as error:
            raise BadValue(f"{path} holds no private key in PEM.") from error
        if not isinstance(private, ed25519.Ed25519PrivateKey):
            raise BadValue(f"the key in {path} is of another kind.", expected="an Ed25519 key")
        return cls(private)

    @classmethod
    def new(cls, path: str | os.PathLike[str]) -> Self:
        """A new key, in a new file that only its owner can read. Raises `BadValue` where one stands."""
        usable()
        from cryptography.hazmat.primitives import serialization  # noqa: PLC0415  an extra, needed only here
        from cryptography.hazmat.primitives.asymmetric import ed25519  # noqa: PLC0415

        private = ed25519.Ed25519PrivateKey.generate()
        written = private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        _write_private(Path(path), written)
        return cls(private)

    def moment(self, now: int) -> int:
        """`now`, or a little later: whoever says two things says the second one after the first."""
        self._at = max(now, self._at + 1)
        return self._at

    def sign(self, message: bytes) -> bytes:
        """The signature of exactly these bytes."""
        return self._private.sign(message)


def sign(signer: Signer, tag: str, *parts: bytes) -> Signed:
    """Sign `parts` for the purpose that `tag` names."""
    raw = signer.sign(message(tag, *parts))
    return Signed(base64.b64encode(raw).decode(), signer.key)


def verify(keys: Keys, name: str, signed: Signed, tag: str, *parts: bytes) -> bool:
    """Whether one of the keys of `name` signed exactly these parts for this purpose.

    Raises `ProgramError` without the cryptography package.
    """
    usable()
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415  an extra, needed only here
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey  # noqa: PLC0415

    raw = next((raw for raw in map(_raw, keys.get(name, ())) if _fingerprint(raw) == signed.key), None)
    signature = _from_base64(signed.signature, SIGNATURE_BYTES)
    if raw is None or signature is None:
        return False
    try:
        Ed25519PublicKey.from_public_bytes(raw).verify(signature, message(tag, *parts))
    except InvalidSignature:
        return False
    return True


def is_signature(key: str, signature: bytes, signed: bytes) -> bool:
    """Whether `signature` is that of exactly these bytes with the public `key`, for formats of others.

    Raises `BadValue` for what is no key, and `ProgramError` without the cryptography package.
    """
    usable()
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415  an extra, needed only here
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey  # noqa: PLC0415

    try:
        Ed25519PublicKey.from_public_bytes(key_bytes(key)).verify(signature, signed)
    except InvalidSignature:
        return False
    return True


def key_bytes(key: str) -> bytes:
    """The 32 bytes of a public key. Raises `BadValue` for what is none, or none that anybody should use."""
    return _raw(key)


def fingerprint(key: str) -> str:
    """What a public key is called where one signs: `key_` and 24 hex digits. Raises `BadValue`."""
    return _fingerprint(_raw(key))


def message(tag: str, *parts: bytes) -> bytes:
    """What is signed: the tag and the parts, each behind its length in eight bytes."""
    return b"".join(len(part).to_bytes(8, "big") + part for part in (tag.encode(), *parts))


def usable() -> None:
    """Raise `ProgramError` where the cryptography package is not installed."""
    if (missing := _missing()) is not None:
        raise ProgramError(
            "signatures are made and verified with the cryptography package, which is not installed.",
            found=missing,
            next_step="pip install 'playhead[sign]'",
        )


@functools.cache
def _missing() -> str | None:
    try:
        import_module("cryptography.hazmat.primitives.asymmetric.ed25519")
    except ImportError as error:
        return str(error)
    return None


def why_not(keys: Keys, name: str, signer: Signer | None) -> str:
    """Why what `name` signs with `signer` could never count; "" where it can."""
    if name not in keys:
        return f"{name} has no key, and only what is signed counts here"
    if signer is None:
        return "only what is signed counts here"
    if signer.public not in keys[name]:
        return f"{signer.key} is no key of {name}"
    return ""


# ---------------------------------------------------------------- keyrings


def keyring(given: str | os.PathLike[str] | Mapping[str, Any]) -> Keys:
    """Whose keys are whose: from a mapping of names to keys, or from a file that holds it as `reviewers`.

    Raises `BadValue` for what is no keyring, also for a key that stands there for two people, and `OSError`.
    """
    named: Any = given if isinstance(given, Mapping) else _read_keyring(given)
    if not named:
        raise BadValue("the keyring names nobody.", expected='{"reviewers": {"ada": ["ed25519:…"]}}')
    found: dict[str, tuple[str, ...]] = {}
    owner: dict[str, str] = {}
    for name in sorted(named, key=str):
        if not isinstance(name, str) or not name or name != name.strip():
            raise BadValue("a name in the keyring is a text without spaces around it.", found=ascii(name))
        if not isinstance(named[name], (list, tuple)) or not named[name]:
            raise BadValue(f"the keys of {name} are a list of at least one.", expected=f'["{KIND}…"]')
        for key in named[name]:
            _raw(key)
            if owner.setdefault(key, name) != name:
                raise BadValue(f"a key of {name} is also one of {owner[key]}.", found=key)
        found[name] = tuple(dict.fromkeys(named[name]))
    return found


def _read_keyring(path: str | os.PathLike[str]) -> Mapping[str, Any]:
    with Path(path).open("rb") as file:
        data = file.read(FILE_BYTES_MAX + 1)
    try:
        if len(data) > FILE_BYTES_MAX:
            raise ValueError(f"it is longer than {FILE_BYTES_MAX} bytes")
        document: Any = json.loads(data.decode(), object_pairs_hook=_object)
    except (ValueError, RecursionError) as error:
        raise BadValue(f"{path} is no keyring: {error}.", expected="JSON") from error
    found = cast("dict[str, Any]", document) if isinstance(document, dict) else {}
    if set(found) != {"reviewers"}:
        raise BadValue(f"{path} is no keyring.", expected='{"reviewers": {"ada": ["ed25519:…"]}}')
    if not isinstance(found["reviewers"], dict):
        raise BadValue(f"{path} is no keyring: its reviewers are no object.")
    return cast("dict[str, Any]", found["reviewers"])


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name stands in it twice")
    return found


def _raw(key: object) -> bytes:
    """The 32 bytes of a public key. Raises `BadValue` for what is none, or none that anybody should use."""
    raw = None
    if isinstance(key, str) and key.startswith(KIND):
        raw = _from_base64(key.removeprefix(KIND), KEY_BYTES)
    if raw is None:
        raise BadValue("a public key is its kind and 32 bytes in base64.", expected=f"{KIND}…", found=key)
    y = int.from_bytes(raw, "little") & (2**255 - 1)
    if y >= _PRIME or y in _Y_OF_SMALL_ORDER:
        raise BadValue("this public key is none that anybody can have made.", found=key)
    return raw


def _from_base64(text: str, size: int) -> bytes | None:
    """The bytes that `text` is the one base64 form of, where they are so many."""
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return raw if len(raw) == size and base64.b64encode(raw).decode() == text else None


def _fingerprint(raw: bytes) -> str:
    return f"key_{hashlib.sha256(b'playhead.key/1' + raw).hexdigest()[:FINGERPRINT_HEX]}"


# --------------------------------------------------------------- key files


def _read_private(path: str | os.PathLike[str]) -> bytes:
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    with os.fdopen(handle, "rb") as file:
        mode = os.fstat(handle).st_mode
        if not stat.S_ISREG(mode):
            raise BadValue(f"{path} is no file.", expected="a private key in PEM")
        if stat.S_IMODE(mode) & (stat.S_IRWXG | stat.S_IRWXO):
            raise BadValue(
                f"others can use the private key in {path}, so it says nothing about who signed.",
                expected="mode 600",
                found=f"mode {stat.S_IMODE(mode):03o}",
                next_step=f"Make a new one, or where nobody saw it: chmod 600 {path}",
            )
        return file.read(FILE_BYTES_MAX)


def _write_private(path: Path, written: bytes) -> None:
    owner_only = stat.S_IRUSR | stat.S_IWUSR
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, owner_only)
    except FileExistsError as error:
        raise BadValue(
            f"{path} exists, and a key is never written over.", next_step="Name another file."
        ) from error
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(written)
            file.flush()
            os.fsync(handle)
    except BaseException:
        path.unlink()
        raise
