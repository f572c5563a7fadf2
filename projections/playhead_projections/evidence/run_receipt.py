"""The other receipt of a run, `harn.receipt.v1`: flat, with a line for each step that asked a model.

    document = receipt(gather_run(log, "4wq2mzkq7xha"), book, issuer="playhead.log/…", proof={})

A line without a step is about all calls that no step answers for, so the lines add up to the run.
The format has no place for a hash of its own, so that stands in `metadata.playhead.receipt_hash`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from playhead.errors import BadValue
from playhead.trust.timestamp import written
from playhead_projections.accounts import Used
from playhead_projections.evidence import agents_protocol as longer
from playhead_projections.evidence.canonical import hash_of

if TYPE_CHECKING:
    from playhead_projections.evidence.gathered import Gathered
    from playhead_projections.receipts import Book, Receipt

SCHEMA: Final = "harn.receipt.v1"
KEYS: Final = frozenset(
    {
        "schema", "id", "parent_run_id", "persona", "step", "trace_id", "started_at", "completed_at",
        "status", "inputs_digest", "outputs_digest", "model_calls", "tool_calls", "cost_usd",
        "approvals", "handoffs", "side_effects", "error", "redaction_class", "metadata",
    }
)  # fmt: skip
STATES: Final = {"completed": "success", "failed": "failure", "cancelled": "cancelled"}


def receipt(run: Gathered, book: Book, *, issuer: str, proof: dict[str, Any]) -> dict[str, Any]:
    """The receipt of a run that is over, whose steps stand in `book`. Raises `BadValue` for another."""
    if not run.over or run.first is None or run.last is None:
        raise BadValue(f"run {run.run} is not over, so there is no receipt of it.", found=run.life.status)
    whole = longer.unhashed(run, issuer=issuer, proof=proof)
    effects = whole["side_effects"]
    document: dict[str, Any] = {
        "schema": SCHEMA,
        "id": longer.id_of(run.run),
        "parent_run_id": run.life.parent,
        "persona": run.life.persona,
        "step": None,
        "trace_id": None,
        "started_at": whole["lifecycle"]["started_at"],
        "completed_at": whole["lifecycle"]["completed_at"],
        "status": STATES[run.life.status],
        "inputs_digest": run.input_hash,
        "outputs_digest": run.result_hash,
        "model_calls": _model_calls(book, run.hooks),
        "tool_calls": effects["tool_calls"],
        "cost_usd": whole["cost"]["total"],
        "approvals": whole["approvals"],
        "handoffs": effects["a2a_handoffs"],
        "side_effects": [
            *({"kind": "fs_write", **each} for each in effects["fs_writes"]),
            *({"kind": "network_egress", **each} for each in effects["network_egress"]),
        ],
        "error": whole["lifecycle"]["failure"],
        "redaction_class": "receipt_only" if whole["redactions"] else "internal",
        "metadata": {
            "playhead": {
                **whole["metadata"]["playhead"],
                "issued_at": written(run.last.at),
                "redactions": whole["redactions"],
            }
        },
    }
    document["metadata"]["playhead"]["receipt_hash"] = receipt_hash(document)
    return document


def receipt_hash(document: dict[str, Any]) -> str:
    """The hash of a receipt: over all of it but the hash itself."""
    about = {key: value for key, value in document["metadata"]["playhead"].items() if key != "receipt_hash"}
    return hash_of({**document, "metadata": {**document["metadata"], "playhead": about}})


def _model_calls(book: Book, hooks: Used) -> list[dict[str, Any]]:
    """What the calls of models took: a line for each step that made some, and one for all others."""
    steps = [each for each in (*book.finished, *book.open.values()) if each.own.used.model_calls]
    besides = Used()
    besides.merge(book.besides)
    besides.merge(hooks)
    others = {
        "step": None,
        "function": None,
        "model": None,
        **_took(besides),
        "status": None,
        "error": None,
    }
    return [*map(_step, steps), *([others] if besides.model_calls else ())]


def _step(step: Receipt) -> dict[str, Any]:
    """What a step took: its own calls of models, and not those of the steps inside it."""
    return {
        "step": step.name,
        "function": step.function,
        "model": step.model,
        **_took(step.own.used),
        "status": step.status,
        "error": f"{step.error.type}: {step.error.message}" if step.error else None,
    }


def _took(used: Used) -> dict[str, Any]:
    cost = used.cost_micros.value
    return {
        "input_tokens": longer.whole(used.input_tokens.value),
        "output_tokens": longer.whole(used.output_tokens.value),
        "llm_calls": used.model_calls,
        "cost_usd": None if cost is None else longer.usd(cost),
    }
