"""Every attack on snippets once more, as strangers make them: through compose(), in the worker."""

import asyncio
import json
from typing import Any

import pytest

from playhead import CompositionLimits, Engine, ManifestOptions, build_manifest, compose, persona
from playhead.runtime.composition import Composed
from playhead.snippet.check import TAKEN
from playhead.testing import MemoryStore
from tests.runtime.compositions import READS, schema
from tests.snippet.test_attacks import ATTACKS

CANARY = "canary-5c1f"
KINDS = sorted({each["kind"] for each in ATTACKS})
SERVER = {"_mcp_server": "one"}
LEVEL = READS | {"readOnlyHint": True}
OPTION = {"default": None}
SHAPES: dict[str, dict[str, Any]] = {
    "read_file": {"path": {"type": "string"}, "limit": OPTION},
    "search": {"query": {"type": "string"}, "limit": OPTION},
    "echo": {"value": {}},
    "slow": {"ms": {"type": "integer"}},
    "fail": {"message": {}},
    "send_mail": {"to": {}, "body": {}},
    "delete_file": {"path": {}},
}
MANIFEST = build_manifest(
    [
        {"name": name, "inputSchema": schema(**shape), "annotations": LEVEL, **SERVER}
        for name, shape in SHAPES.items()
    ]
    + [
        {
            "name": "write_file",
            "inputSchema": schema(path={}, text={}),
            "annotations": {"kind": "edit", "side_effect_level": "workspace_write"},
            **SERVER,
        }
    ],
    ManifestOptions(
        side_effect_ceiling="workspace_write",
        gated_tools=["send_mail"],
        denied_tools=["delete_file"],
        include_denied=True,
    ),
    taken=TAKEN,
)
ENDS: dict[str, set[str | None]] = {
    "refuse": {"refused"},
    "refuse_or_error": {"refused", "error", "tool_failed", "limit", "deadline"},
    "limit": {"limit", "deadline"},
    "limit_or_error": {"refused", "limit", "deadline", "error", "tool_failed"},
    "ok": {None},
}


class Tools:
    """The host that the attacks assume."""

    def __init__(self) -> None:
        self.busy = self.most = 0

    async def call(self, entry: Any, arguments: dict[str, Any]) -> Any:
        given = arguments
        self.busy += 1
        self.most = max(self.most, self.busy)
        try:
            match entry.binding:
                case "read_file":
                    return {"path": given["path"], "text": f"text of {given['path']}"}
                case "search":
                    return [{"path": f"f{n}", "line": n} for n in range(given.get("limit") or 3)]
                case "slow":
                    await asyncio.sleep(given["ms"] / 1000)
                    return {"ms": given["ms"]}
                case "fail":
                    raise ValueError(given["message"])
                case _:
                    return given["value"]
        finally:
            self.busy -= 1


def limits_of(attack: dict[str, Any]) -> CompositionLimits:
    said = attack.get("limits", {})
    return CompositionLimits(
        max_operations=said.get("max_operations", 100),
        timeout_ms=said.get("timeout_ms", 5_000),
        max_output_bytes=said.get("max_output_bytes", 100_000),
        max_concurrent_operations=said.get("max_concurrent_operations", 8),
        max_concurrent_per_server=said.get("max_concurrent_per_server", 8),
    )


def wrong(attack: dict[str, Any], composed: Composed, tools: Tools) -> list[str]:
    """What is not as the attack expects."""
    expected = attack["expected"]
    shown = json.dumps([composed.result, composed.stdout, composed.message], ensure_ascii=False)
    bad: list[str] = []
    if composed.cause == "engine_error" or composed.cause not in ENDS.get(expected, {composed.cause}):
        bad.append(f"{expected} expected, and it is {composed.cause}: {composed.message}")
    if expected == "ok" and composed.result != attack["value"]:
        bad.append(f"{composed.result!r} where {attack['value']!r} belongs")
    if expected == "refuse" and composed.calls:
        bad.append("something ran")
    for name, found in (("ops", composed.calls), ("stdout", composed.stdout)):
        if name in attack and attack[name] != found:
            bad.append(f"{name}: {found!r} where {attack[name]!r} belongs")
    if "line" in attack and (composed.error is None or composed.error.line != attack["line"]):
        bad.append(f"the error is not on line {attack['line']}")
    if tools.most > attack.get("max_in_flight", tools.most):
        bad.append(f"{tools.most} were in flight")
    bad += [f"{word!r} got out" for word in [*attack.get("forbidden", ()), CANARY] if word in shown]
    return bad


@pytest.mark.timeout(300)
@pytest.mark.parametrize("kind", KINDS)
async def test_in_the_worker_every_attack_ends_as_expected(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CANARY", CANARY)
    kept: dict[str, Composed] = {}
    hosts: dict[str, Tools] = {}
    by_id = {each["id"]: each for each in ATTACKS if each["kind"] == kind}

    @persona
    async def attacked(name: str) -> None:
        attack = by_id[name]
        kept[name] = await compose(attack["code"], MANIFEST, hosts[name], limits=limits_of(attack))

    faults: dict[str, list[str]] = {}
    async with Engine.open(MemoryStore()) as engine:
        for name, attack in by_id.items():
            tools = hosts[name] = Tools()
            await (await engine.start(attacked, name)).result()
            bad = wrong(attack, kept[name], tools)
            if bad:
                faults[name] = bad
    assert not faults
