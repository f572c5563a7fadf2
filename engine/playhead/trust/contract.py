"""What a record and a file of records have to be, by the public schemas, and the rule about approvals.

    problems = Problems()
    check_record(plain_values, "/records/0", problems)

The schemas stand in `schemas/`, as they were published. A time is checked as well: there a schema only says
what it is for. Where an approval was required, a successful record says who gave it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files
from typing import Any, Final, cast

import jsonschema_rs

from playhead.errors import BadValue
from playhead.trust.problem import Problems, step
from playhead.trust.timestamp import canonical

_APPROVED: Final = {"outcome": "success", "autonomy_tier": "act_with_approval"}
_RECEIPT: Final = ("reviewer", "signed_at", "signature")


def schema(name: str) -> dict[str, Any]:
    """A public schema, by what it is of: `record` or `chain`."""
    text = files("playhead.trust").joinpath("schemas", f"trust-{name}.v0.schema.json").read_text("utf-8")
    return cast("dict[str, Any]", json.loads(text))


@cache
def _record_validator() -> jsonschema_rs.Draft202012Validator:
    # The rule about approvals is left to `_check_approval`, which also says it in words.
    contract = {key: value for key, value in schema("record").items() if key != "allOf"}
    return jsonschema_rs.Draft202012Validator(contract, offline=True)


@cache
def _envelope_validator() -> jsonschema_rs.Draft202012Validator:
    contract = schema("chain")
    contract["properties"]["records"] = {"type": "array"}
    return jsonschema_rs.Draft202012Validator(contract, offline=True)


def check_record(record: Any, where: str, problems: Problems) -> None:
    """Add what is wrong with a record of version 0, as plain values, apart from its chain."""
    _check(_record_validator(), record, where, problems)
    if isinstance(record, dict):
        members = cast("dict[str, Any]", record)
        _check_time(members.get("timestamp"), f"{where}/timestamp", problems)
        if all(members.get(key) == value for key, value in _APPROVED.items()):
            _check_approval(members, where, problems)


def check_envelope(document: Mapping[str, Any], problems: Problems) -> None:
    """Add what is wrong with a file as plain values, whatever its records are."""
    _check(_envelope_validator(), document, "", problems)
    chain = document.get("chain")
    if isinstance(chain, dict):
        _check_time(cast("dict[str, Any]", chain).get("generated_at"), "/chain/generated_at", problems)


def _check(validator: jsonschema_rs.Draft202012Validator, value: Any, where: str, problems: Problems) -> None:
    if validator.is_valid(value):
        return
    for error in validator.iter_errors(value):
        problems.add(where + "".join(step(str(part)) for part in error.instance_path), error.message)


def _check_time(text: Any, where: str, problems: Problems) -> None:
    if isinstance(text, str):
        try:
            canonical(text)
        except BadValue as error:
            problems.add(where, f"{error.message} It is written as {error.expected}.")


def _check_approval(record: Mapping[str, Any], where: str, problems: Problems) -> None:
    """Where an approval was required: who approved, with how many others, and what each of them signed."""
    metadata = record.get("metadata")
    approval = cast("dict[str, Any]", metadata).get("approval") if isinstance(metadata, dict) else None
    if not isinstance(approval, dict):
        return
    said = cast("dict[str, Any]", approval)
    if said.get("required") is not True:
        return
    if not _is_said(record.get("approver")):
        problems.add(f"{where}/approver", "approval required, and nobody is named who gave it")
    at, quorum = f"{where}/metadata/approval", said.get("quorum")
    if isinstance(quorum, bool) or not isinstance(quorum, int | float) or quorum < 1 or quorum % 1:
        problems.add(f"{at}/quorum", "approval required, and the quorum is no number from 1 on")
    signatures = said.get("signatures")
    if not isinstance(signatures, list) or not signatures:
        problems.add(f"{at}/signatures", "approval required, and there are no signatures")
        return
    for index, signature in enumerate(cast("Iterable[Any]", signatures)):
        _check_signature(signature, f"{at}/signatures/{index}", problems)


def _check_signature(signature: Any, where: str, problems: Problems) -> None:
    said = cast("dict[str, Any]", signature) if isinstance(signature, dict) else {}
    for name in _RECEIPT:
        if not _is_said(said.get(name)):
            problems.add(f"{where}/{name}", f"approval required, and a signature has no {name}")
    if _is_said(said.get("signed_at")):
        _check_time(said["signed_at"], f"{where}/signed_at", problems)


def _is_said(text: Any) -> bool:
    return isinstance(text, str) and bool(text.strip())
