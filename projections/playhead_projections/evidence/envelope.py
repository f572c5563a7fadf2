"""A signed receipt: an in-toto statement in a DSSE envelope, signed with Ed25519.

    data = sealed(signer, document)
    found = opened(data)                            # raises BadValue where it could be written differently
    found.signer({"ada": ("ed25519:…",)})           # 'ada', or None

What is signed is the type and the statement, each behind its length, as DSSE says.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from playhead.errors import BadValue
from playhead.sign import fingerprint, is_signature
from playhead_projections.evidence.canonical import canonical, read, written

if TYPE_CHECKING:
    from playhead.sign import Keys, Signer

PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"
STATEMENT: Final = "https://in-toto.io/Statement/v1"
PREDICATE: Final = "urn:playhead:receipt:1"


class Opened(NamedTuple):
    """An envelope as it was read: the receipt in it, what was signed, and by which key."""

    receipt: dict[str, Any]
    subjects: list[Any]
    signed: bytes
    key: str
    signature: bytes

    def signer(self, keys: Keys) -> str | None:
        """Whose key signed it, of those in `keys`. Raises `ProgramError` without the cryptography package."""
        for name, theirs in keys.items():
            if any(
                self.key == fingerprint(key) and is_signature(key, self.signature, self.signed)
                for key in theirs
            ):
                return name
        return None


def subjects_of(document: dict[str, Any]) -> list[Any]:
    """What a statement with this receipt is about: the receipt by its hash, the run by its last digest."""
    about = document["metadata"]["playhead"]
    hashed = document.get("chain", about)
    return [
        {
            "name": document.get("receipt_id", document.get("id")),
            "digest": {"sha256": str(hashed["receipt_hash"]).removeprefix("sha256:")},
        },
        {"name": about["inclusion"]["event"], "digest": {"playhead.event/1": about["inclusion"]["digest"]}},
    ]


def authenticated(kind: str, body: bytes) -> bytes:
    """What a DSSE signature is made over."""
    return b"DSSEv1 %d %s %d %s" % (len(kind.encode()), kind.encode(), len(body), body)


def sealed(signer: Signer, document: dict[str, Any]) -> bytes:
    """The envelope around a receipt, canonically written, signed by `signer`."""
    body = canonical(
        {
            "_type": STATEMENT,
            "subject": subjects_of(document),
            "predicateType": PREDICATE,
            "predicate": document,
        }
    )
    signature = b64encode(signer.sign(authenticated(PAYLOAD_TYPE, body))).decode()
    return written(
        {
            "payload": b64encode(body).decode(),
            "payloadType": PAYLOAD_TYPE,
            "signatures": [{"keyid": signer.key, "sig": signature}],
        }
    )


def opened(data: bytes) -> Opened:
    """What is in an envelope. Raises `BadValue` for anything but the one way to write it."""
    envelope = read(data)
    try:
        body, (signed,) = _exactly(envelope["payload"]), envelope["signatures"]
        key, signature = signed["keyid"], _exactly(signed["sig"])
        statement = read(body)
        subjects, receipt = statement["subject"], statement["predicate"]
        kinds = envelope["payloadType"], statement["_type"], statement["predicateType"]
        whole = (len(envelope), len(signed), len(statement)) == (3, 2, 4) and not body.endswith(b"\n")
    except (KeyError, TypeError, ValueError) as error:
        raise BadValue("this is no envelope with a receipt.") from error
    if not whole or kinds != (PAYLOAD_TYPE, STATEMENT, PREDICATE) or not isinstance(receipt, dict):
        raise BadValue("this envelope holds something else than a receipt.", expected=PREDICATE, found=kinds)
    return Opened(receipt, subjects, authenticated(PAYLOAD_TYPE, body), str(key), signature)


def _exactly(text: Any) -> bytes:
    """The bytes that a text is the one base64 form of. Raises `ValueError`."""
    raw = b64decode(text, validate=True)
    if b64encode(raw).decode() != text:
        raise ValueError("this base64 could be written differently")
    return raw
