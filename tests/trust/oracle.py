"""The rules of trust records once more, written from the rules alone: nothing here is shared with playhead.

A record is a dictionary as `json` reads it. `sealed` makes a chain of such records, and `hash_of` says what
each has to be sealed with.
"""

import hashlib
import json
from calendar import monthrange
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

MEMBERS = {
    *("schema", "record_id", "agent", "action", "approver", "outcome", "trace_id", "autonomy_tier"),
    *("timestamp", "cost_usd", "chain_index", "previous_hash", "metadata"),
}


def hash_of(record: dict[str, Any]) -> str:
    members: dict[str, Any] = {name: record.get(name) for name in MEMBERS}
    if members["cost_usd"] is not None:
        members["cost_usd"] = float(members["cost_usd"])
    members["timestamp"] = time(members["timestamp"])
    return "sha256:" + hashlib.sha256(text(members).encode("utf-8")).hexdigest()


def sealed(records: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    chain: list[dict[str, Any]] = []
    for index, record in enumerate(records):
        linked = {
            **record,
            "chain_index": index + 1,
            "previous_hash": chain[-1]["entry_hash"] if chain else None,
        }
        chain.append({**linked, "entry_hash": hash_of(linked)})
    return chain


def file_of(records: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "schema": "opentrustgraph-chain/v0",
        "chain": {
            "topic": "trust_graph",
            "total": len(records),
            "root_hash": records[-1]["entry_hash"] if records else None,
            "verified": True,
            "generated_at": "2026-04-19T18:45:00Z",
            "producer": {"name": "oracle", "version": "1"},
        },
        "records": records,
    }


def text(value: Any) -> str:
    if isinstance(value, dict):
        keys = sorted(value, key=lambda key: key.encode("utf-8"))
        return "{" + ",".join(f"{text(key)}:{text(value[key])}" for key in keys) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(text, value)) + "]"
    if isinstance(value, float):
        return number(value)
    return json.dumps(value, ensure_ascii=False)


def number(value: float) -> str:
    """Plain while the first digit is worth from 1e-5 to 1e15, else with an exponent."""
    sign, digits, exponent = Decimal(repr(value)).normalize().as_tuple()
    assert isinstance(exponent, int)
    minus = "-" if sign else ""
    if digits == (0,):
        return f"{minus}0.0"
    first = len(digits) + exponent - 1
    said = "".join(map(str, digits))
    if not -5 <= first <= 15:
        rest = f".{said[1:]}" if said[1:] else ""
        return f"{minus}{said[0]}{rest}e{first}"
    if exponent >= 0:
        return f"{minus}{said}{'0' * exponent}.0"
    said = said.rjust(1 - exponent, "0")
    return f"{minus}{said[:exponent]}.{said[exponent:]}"


def time(said: str) -> str:
    """Nine digits of a second at most, no zeros at the end, a leap second as the end of the one before."""
    clock, zone = (said[:-1], "+00:00") if said[-1] in "zZ" else (said[:-6], said[-6:])
    clock, _, fraction = clock.partition(".")
    fraction = fraction[:9].rstrip("0")
    is_leap = clock.endswith(":60")
    if is_leap:
        clock, fraction = f"{clock[:-2]}59", "999999999"
    hours, minutes = int(zone[1:3]), int(zone[4:])
    offset = timedelta(hours=hours, minutes=minutes) * (-1 if zone[0] == "-" else 1)
    when = datetime.strptime(clock.replace("t", "T").replace(" ", "T"), "%Y-%m-%dT%H:%M:%S").replace(
        tzinfo=timezone(offset)
    )
    if is_leap:
        utc = when.astimezone(UTC)
        assert utc.day == monthrange(utc.year, utc.month)[1], said
        assert (utc.hour, utc.minute) == (23, 59), said
    end = f".{fraction}" if fraction else ""
    text = when.replace(tzinfo=None).isoformat(timespec="seconds")
    return f"{text}{end}{zone if offset else 'Z'}"
