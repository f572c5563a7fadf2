"""One store with runs of every kind, made once for all tests that only read it."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519

from playhead.sign import Signer
from tests.evidence.generated import WORDS, generated
from tests.evidence.making import checkpointed

RUNS = len(WORDS) + 19


@pytest.fixture(scope="session")
def ada() -> Signer:
    return Signer(ed25519.Ed25519PrivateKey.from_private_bytes(b"\1" * 32))


@pytest.fixture(scope="session")
def bob() -> Signer:
    return Signer(ed25519.Ed25519PrivateKey.from_private_bytes(b"\2" * 32))


@pytest.fixture(scope="session")
def recorded(tmp_path_factory: pytest.TempPathFactory, ada: Signer) -> tuple[Path, list[str]]:
    """The store and its runs, under a checkpoint that Ada signed. Nobody may write here."""
    path, runs = generated(tmp_path_factory.mktemp("recorded"), RUNS)
    checkpointed(path, ada)
    return path, runs
