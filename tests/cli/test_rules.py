"""What budgets, policies, stages and hooks did is told in words, by `show`, `log` and `receipts`."""

from pathlib import Path

from playhead.log.reader import LogReader
from playhead_projections.cli.wording import decoded, said
from tests.cli.shell import Shell

PROGRAM = """
from playhead import (
    Budget, Deny, Policy, ReplaceOutput, Reply, Retry, Stage, ToolRejected, Usage, HookDenied,
    hook, model_call, persona, step, tool, Request,
)

class Tiny:
    name = "tiny"
    async def complete(self, request):
        usage = Usage(input_tokens=8, output_tokens=4)
        return Reply(text="fine", model="tiny-1", usage=usage, cost_micros=700)

@tool(side_effect_level="workspace_write")
async def write(text: str) -> str:
    return text

@step(budget=Budget(max_tokens=20), error_boundary="continue")
async def plan(topic: str) -> str:
    for _ in range(3):
        await model_call(Request(prompt=topic))
    return "never"

@step(retry=Retry(max_attempts=2, first_wait_s=0))
async def act(n: int) -> str:
    try:
        return await write("x")
    except ToolRejected:
        raise ValueError("may not write")

@step
async def stop() -> None: ...

@persona
async def helper() -> None: ...

@hook("OnBudgetThreshold(50)")
async def half(moment):
    await model_call(Request(prompt="half"))

@hook("PreStep", step="stop")
async def never(moment):
    return Deny("not on a friday")

@hook("PostToolUse")
async def shout(moment):
    return ReplaceOutput(moment.output.upper())

@persona(
    policy=Policy(side_effect_level="workspace_write"),
    stages=[Stage("act", allowed_tools=[], max_iterations=1)],
)
async def agent() -> str:
    await plan("tea")
    await helper()
    for program in (lambda: act(1), stop):
        try:
            await program()
        except (ValueError, HookDenied):
            pass
    return await write("done")

PLAYHEAD = {"model": Tiny(), "hooks": [half, never, shout]}
"""

SAID = (
    "at most 20 tokens",
    "12 tokens and $0.0007, answered",
    "step plan: 50 % of max_tokens, 12 tokens of 20 tokens",
    "step plan: max_tokens of 20 tokens, spent 24 tokens and $0.0014",
    'act, entry 1: {"tools": [], "side_effect_level": "workspace_write"}',
    "act, entry 1: failed",
    'agent: {"side_effect_level": "workspace_write"}',
    "tool 'write' exceeds tool ceiling: no tool at all",
    "hook never: not on a friday",
    "attempt 1, again in 0 ms: ValueError: may not write",
    "agent.stop",
    "deny: not on a friday",
    'replace "DONE"',
    'helper: {"side_effect_level": "workspace_write"}',
    "helper: completed",
    "denied by hook never: step stop at event",
    "hooks made 1 model call of their own, $0.0007",
)


def test_every_rule_that_was_applied_is_told_in_words(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "ruled.py").write_text(PROGRAM)

    ran = shell("run", "ruled.py:agent")
    assert ran.code == 0, ran.err
    with LogReader(tmp_path / "runs.db") as log:
        (stream,) = log.streams("run")
        told = "\n".join(said(decoded(event)) for event in log.scan(stream))
    told += shell("show", "@").out

    for words in SAID:
        assert words in told, told
    assert shell("replay", "@", "--program", "ruled.py").code == 0
    timeline = shell("timeline", "@").out
    assert "plan (skipped)" in timeline
    assert timeline.index("plan") < timeline.index("  tiny") < timeline.index("helper")
    receipts = shell("receipts", "@").out
    assert "skipped" in receipts
    assert "denied" in receipts


def test_a_run_is_not_taken_up_without_its_hooks(shell: Shell, tmp_path: Path) -> None:
    text = PROGRAM.replace(
        "async def agent() -> str:\n", "async def agent() -> str:\n    await signal('go')\n"
    )
    (tmp_path / "ruled.py").write_text(text.replace("hook, model_call", "hook, signal, model_call"))
    assert shell("run", "ruled.py:agent").code == 7
    without = text.replace('"hooks": [half, never, shout]', '"hooks": [half]')
    (tmp_path / "ruled.py").write_text(without.replace("hook, model_call", "hook, signal, model_call"))
    assert shell("signal", "@", "go").code == 0

    refused = shell("resume", "@", "--program", "ruled.py", "--json")

    assert refused.code == 2
    assert "never, shout" in refused.out
