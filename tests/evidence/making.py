"""Receipts as tests make and check them: through the log, and through the script that needs none."""

import asyncio
import importlib.util
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec

from playhead.clock import SystemClock
from playhead.events.catalog import PayloadErased
from playhead.events.codec import CATALOG
from playhead.events.erasing import without
from playhead.log import checkpoints
from playhead.log.chain import commitment
from playhead.log.envelope import NewEvent
from playhead.log.proofs import LogTree
from playhead.log.reader import LogReader
from playhead.log.sqlite_store import SqliteStore
from playhead.sign import Signer
from playhead_projections.evidence import agents_protocol, run_receipt
from playhead_projections.evidence.gathered import gather_run
from playhead_projections.evidence.proof import first_over, proof_of
from playhead_projections.projector import state_at
from playhead_projections.receipts import Receipts
from tests.checkout import ROOT

SCRIPT_WAIT_S_MAX = 600
SCRIPT = ROOT / "docs" / "verify_receipt.py"


def attested(path: Path, run: str) -> dict[str, Any]:
    """The receipt of a run, made from its log."""
    with LogReader(path) as log:
        gathered = gather_run(log, run)
        assert gathered.last is not None
        proof = proof_of(log, gathered, first_over(log, gathered.last.position))
        return agents_protocol.receipt(gathered, issuer=checkpoints.origin_of(log), proof=proof)


def attested_shortly(path: Path, run: str) -> dict[str, Any]:
    """The same in the other format."""
    with LogReader(path) as log:
        gathered = gather_run(log, run)
        assert gathered.last is not None
        proof = proof_of(log, gathered, first_over(log, gathered.last.position))
        book = state_at(log, Receipts(), f"run/{run}").state
        return run_receipt.receipt(gathered, book, issuer=checkpoints.origin_of(log), proof=proof)


def checkpointed(path: Path, signer: Signer) -> str:
    """A signed checkpoint of now, kept beside the log."""
    with LogReader(path) as log:
        text = checkpoints.signed(signer, checkpoints.of(log, LogTree.of(log, shortcut=False)))
    checkpoints.keep(path, text)
    return text


def erase(path: Path, stream: str, seq: int | Sequence[int], reason: str, *parts: str) -> None:
    """Take payloads, or these parts of one, out of a log as the file format says."""
    with LogReader(path) as log:
        events = [log.read(stream, each, 1)[0] for each in ([seq] if isinstance(seq, int) else seq)]
    said: list[NewEvent] = []
    left: list[tuple[bytes, int]] = []
    for event in events:
        assert event.salt is not None
        assert event.payload is not None
        fact = PayloadErased(reason=reason)
        if parts:
            kept = msgspec.Raw(without(event.payload, parts))
            fact = PayloadErased(reason=reason, event=event.seq, parts=parts, kept=kept)
        said.append(CATALOG.new_event(fact, at=SystemClock().now(), cause=event.seq))
        left.append((commitment(event.salt, event.payload), event.position))

    async def append() -> None:
        async with SqliteStore.open(path) as store:
            head = await store.head(stream)
            await store.append(stream, head.seq, said, epoch=head.epoch)

    asyncio.run(append())
    db = sqlite3.connect(path)
    sql = "update payloads set salt = null, bytes = null, blob = null, commitment = ? where position = ?"
    db.executemany(sql, left)
    db.commit()
    db.close()


def by_script(*words: str | Path) -> subprocess.CompletedProcess[str]:
    """What the script says, in a process that sees nothing of playhead."""
    command = [sys.executable, "-I", "-S", str(SCRIPT), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=SCRIPT_WAIT_S_MAX)


@cache
def script() -> ModuleType:
    """The script as a module, where a test asks it thousands of times."""
    spec = importlib.util.spec_from_file_location("verify_receipt", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
