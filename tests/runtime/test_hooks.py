"""Hooks, one test for each rule: when they are asked, what they may say, and that nobody is asked twice."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from playhead import Reply, Request, Retry, RunFailed, Usage, model_call, persona, state, step, tool
from playhead.errors import BudgetExceeded, HookDenied, HookMissing, ProgramError, ToolRejected
from playhead.events.catalog import RunStarted, StepStarted, ToolRequested
from playhead.events.codec import CATALOG
from playhead.events.rules import BudgetThresholdCrossed, HookDecided, HookFired, StepDenied, ToolDenied
from playhead.policy.budget import Budget
from playhead.policy.capability import Policy
from playhead.runtime.approving import ask_user
from playhead.runtime.binding import Binding
from playhead.runtime.dispatcher import Dispatcher
from playhead.runtime.hook import EVENTS, Deny, Hook, Moment, ReplaceArgs, ReplaceOutput, hook
from playhead.testing import ScriptedModel
from playhead_projections.projection import fold
from playhead_projections.receipts import Receipts
from playhead_projections.run_report import RunReport
from tests.runtime.conftest import Home

shown: list[Moment] = []


@pytest.fixture(autouse=True)
def nothing_shown() -> None:
    shown.clear()


def made(event: str, answer: Any = None, *, name: str = "asked", **options: Any) -> Hook:
    """A hook that remembers what it was shown and says `answer`, or raises it."""

    async def asked(moment: Moment) -> Any:
        shown.append(moment)
        if isinstance(answer, Exception):
            raise answer
        return answer(moment) if callable(answer) else answer

    return hook(event, name=name, **options)(asked)


@tool(side_effect_level="none")
async def double(n: int) -> int:
    return 2 * n


@step
async def work(n: int, by: int = 1) -> int:
    return await double(n) * by


@persona
async def program(n: int) -> int:
    return await work(n)


class Lived:
    """One run and its facts."""

    def __init__(self, result: Any, error: str, run: str, events: list[Any]) -> None:
        self.result = result
        self.error = error
        self.run = run
        self.events = events
        self.facts = [CATALOG.decode(event) for event in events]

    def of(self, kind: type[Any]) -> list[Any]:
        return [fact for fact in self.facts if isinstance(fact, kind)]


async def live(home: Home, started: Any, *args: Any, hooks: list[Hook], model: Any = None) -> Lived:
    """Run it; replay it without any hook, as somebody does who only has the log."""
    result, error = None, ""
    async with home.engine(started, hooks=hooks, model=model) as engine:
        run = await engine.start(started, *args)
        try:
            async with asyncio.timeout(30):
                result = await run.result()
        except RunFailed as failed:
            error = str(failed)
    asked = len(shown)
    async with home.engine(started, model=model) as engine:
        outcome = await engine.replay(run.id)
    assert outcome.identical, str(outcome.divergence)
    assert len(shown) == asked
    return Lived(result, error, run.id, await home.events(run.id))


# Registering.


def test_an_unknown_event_and_a_percentage_that_is_none_are_refused() -> None:
    with pytest.raises(ProgramError, match="no hook event 'PreCompact'"):
        made("PreCompact")
    for text in ("OnBudgetThreshold(much)", "OnBudgetThreshold(-1)", "OnBudgetThreshold(nan)", "PreStep(80)"):
        with pytest.raises(ProgramError):
            made(text)


def test_a_handler_is_a_function_and_a_name_belongs_to_one_hook() -> None:
    with pytest.raises(ProgramError, match="no function"):
        hook("PreStep")("plan")  # type: ignore[arg-type]


async def test_two_hooks_of_one_name_and_what_is_no_hook_are_refused(home: Home) -> None:
    with pytest.raises(ProgramError, match="two hooks are called 'asked'"):
        async with home.engine(program, hooks=[made("PreStep"), made("PostStep")]):
            pass
    with pytest.raises(ProgramError, match="is no hook"):
        async with home.engine(program, hooks=[len]):
            pass


def test_a_percentage_is_read_and_none_is_all_of_it() -> None:
    assert made("OnBudgetThreshold(80)").words.percent == 80
    assert made("OnBudgetThreshold").words.percent == 100
    assert made("PreStep").words.percent is None


# Which hooks are asked.


async def test_a_hook_is_asked_where_event_persona_and_step_match_in_the_order_of_registering(
    home: Home,
) -> None:
    hooks = [
        made("PreStep", name="exact", persona="program", step="work"),
        made("PreStep", name="prefix", persona="prog*"),
        made("PreStep", name="other-persona", persona="audit*"),
        made("PreStep", name="other-step", step="rest"),
        made("PostStep", name="post"),
        made("PreStep", name="all"),
    ]

    lived = await live(home, program, 2, hooks=hooks)

    assert lived.result == 4
    assert [fact.hook for fact in lived.of(HookFired)] == ["exact", "prefix", "all", "post"]
    assert [words.name for words in lived.of(RunStarted)[0].hooks] == [each.name for each in hooks]


async def test_a_hook_is_shown_target_persona_step_and_arguments_and_afterwards_the_output(
    home: Home,
) -> None:
    lived = await live(home, program, 2, hooks=[made("PreStep", name="pre"), made("PostStep", name="post")])

    pre, post = shown
    assert (pre.event, pre.target, pre.persona, pre.step, pre.function) == (
        "PreStep",
        "program.work",
        "program",
        "work",
        "work",
    )
    assert (pre.args, pre.output) == ({"n": 2, "by": 1}, None)
    assert (post.event, post.args, post.output) == ("PostStep", {"n": 2, "by": 1}, 4)
    assert [fact.decision for fact in lived.of(HookDecided)] == ["allow", "allow"]


# Before a step.


async def test_a_denial_is_raised_before_the_step_begins_and_is_recorded(home: Home) -> None:
    @persona
    async def catches(n: int) -> list[str]:
        try:
            return [str(await work(n))]
        except HookDenied as error:
            return [error.category, error.event, error.reason, error.step]

    lived = await live(home, catches, 2, hooks=[made("PreStep", Deny("not now"))])

    assert lived.result == ["hook_denied", "PreStep", "not now", "work"]
    assert not lived.of(StepStarted)
    assert [(fact.step, fact.hook, fact.reason) for fact in lived.of(StepDenied)] == [
        ("work", "asked", "not now")
    ]
    (receipt,) = fold(Receipts(), lived.run, lived.events).state.finished
    assert (receipt.name, receipt.status) == ("work", "denied")
    (denial,) = fold(RunReport(), lived.run, lived.events).state.denied
    assert (denial.of, denial.name, denial.by) == ("step", "work", "asked")


async def test_each_hook_sees_the_arguments_that_the_one_before_put_in(home: Home) -> None:
    hooks = [
        made("PreStep", lambda moment: ReplaceArgs(moment.args["n"] + 1, by=10), name="more"),
        made("PreStep", lambda moment: ReplaceArgs(moment.args["n"] * 5, moment.args["by"]), name="times"),
        made("PreStep", name="sees"),
    ]

    lived = await live(home, program, 2, hooks=hooks)

    assert lived.result == 300
    assert [moment.args for moment in shown] == [
        {"n": 2, "by": 1},
        {"n": 3, "by": 10},
        {"n": 15, "by": 10},
    ]


# After a step.


async def test_the_output_of_a_step_can_be_replaced_and_the_hooks_come_in_the_same_order(home: Home) -> None:
    hooks = [
        made("PostStep", lambda moment: ReplaceOutput(moment.output + 1), name="one"),
        made("PostStep", lambda moment: ReplaceOutput(moment.output * 10), name="two"),
    ]

    assert (await live(home, program, 2, hooks=hooks)).result == 50


async def test_a_hook_that_fails_after_a_step_fails_the_step(home: Home) -> None:
    lived = await live(home, program, 2, hooks=[made("PostStep", ValueError("broken"))])

    assert "hook asked failed: ValueError: broken" in lived.error
    (receipt,) = fold(Receipts(), lived.run, lived.events).state.finished
    assert receipt.status == "failed"


@pytest.mark.parametrize(
    ("event", "answer", "text"),
    [
        ("PreStep", "Allow", "PreStep hook asked must return None or Deny or ReplaceArgs, got str"),
        ("PreStep", {"deny": True}, "got dict"),
        ("PreStep", ReplaceOutput(3), "got ReplaceOutput"),
        ("PostStep", Deny("no"), "PostStep hook asked must return None or ReplaceOutput, got Deny"),
        ("PreStep", ReplaceArgs(), "missing a required argument"),
        ("PreStep", ReplaceArgs("two"), "arguments of step work"),
        ("PostStep", ReplaceOutput("four"), "does not fit"),
        ("SessionStart", Deny("no"), "SessionStart hook asked must return None, got Deny"),
    ],
)
async def test_whatever_else_a_hook_says_fails_what_it_was_asked_about(
    home: Home, event: str, answer: Any, text: str
) -> None:
    lived = await live(home, program, 2, hooks=[made(event, answer)])

    assert text in lived.error
    assert "hook asked failed" in lived.error


# Tools.


async def test_before_a_tool_a_hook_may_deny_it_or_change_its_arguments(home: Home) -> None:
    @persona
    async def calls() -> list[Any]:
        found: list[Any] = []
        for n in (1, 2, 3):
            try:
                found.append(await double(n))
            except HookDenied as error:
                found.append(error.reason)
        return found

    def answer(moment: Moment) -> Any:
        n = moment.args["n"]
        return Deny("two is unlucky") if n == 2 else ReplaceArgs(n=30) if n == 3 else None

    lived = await live(home, calls, hooks=[made("PreToolUse", answer)])

    assert lived.result == [2, "two is unlucky", 60]
    assert [fact.by for fact in lived.of(ToolDenied)] == ["asked"]
    assert len(lived.of(ToolRequested)) == 2
    assert [moment.tool for moment in shown] == ["double"] * 3


async def test_after_a_tool_a_hook_may_change_what_came_back(home: Home) -> None:
    lived = await live(
        home, program, 2, hooks=[made("PostToolUse", lambda moment: ReplaceOutput(moment.output + 1))]
    )

    assert lived.result == 5


async def test_a_hook_lifts_no_policy_and_is_not_asked_about_what_a_policy_denies(home: Home) -> None:
    @tool(side_effect_level="none", path_params=["path"])
    async def read(path: str) -> str:
        return path

    @persona(policy=Policy(workspace_roots=["src"]))
    async def guarded() -> list[str]:
        found = []
        for path in ("lib/a", "src/a"):
            try:
                found.append(await read(path))
            except ToolRejected as error:
                found.append(str(error.message))
        return found

    lived = await live(home, guarded, hooks=[made("PreToolUse", ReplaceArgs("/etc/passwd"))])

    assert lived.result == [
        "tool 'read' exceeds workspace roots: path = 'lib/a'",
        "tool 'read' exceeds workspace roots: path = '/etc/passwd'",
    ]
    assert len(shown) == 1


# Budgets.


def use(tokens: int) -> Reply:
    return Reply(text="fine", usage=Usage(input_tokens=tokens, output_tokens=0), cost_micros=7, model="m")


async def test_a_threshold_is_told_once_for_each_hook_and_step(home: Home) -> None:
    @step(budget=Budget(max_tokens=100), error_boundary="continue")
    async def spends() -> None:
        for _ in range(5):
            await model_call(Request(prompt="?"))

    @persona
    async def twice() -> None:
        await spends()
        await spends()

    hooks = [made("OnBudgetThreshold(50)", name="half"), made("OnBudgetThreshold", name="all")]
    lived = await live(home, twice, hooks=hooks, model=ScriptedModel([use(30)] * 8))

    crossed = [(fact.percent, fact.spent) for fact in lived.of(BudgetThresholdCrossed)]
    assert crossed == [(50, 60), (100, 120)] * 2
    assert [moment.details["percent"] for moment in shown] == [50, 100, 50, 100]
    assert shown[0].step == "spends"


async def test_a_threshold_of_a_persona_is_told_too_and_a_hook_for_a_step_is_not(home: Home) -> None:
    @persona(budget=Budget(max_usd="0.00001"))
    async def spends() -> str:
        try:
            await model_call(Request(prompt="?"))
            await model_call(Request(prompt="?"))
        except BudgetExceeded as error:
            return error.of
        return "never"

    hooks = [made("OnBudgetThreshold(60)", name="any"), made("OnBudgetThreshold(60)", name="step", step="s")]
    lived = await live(home, spends, hooks=hooks, model=ScriptedModel([use(1), use(1)]))

    assert lived.result == "persona"
    assert [(fact.hook, fact.step) for fact in lived.of(HookFired)] == [("any", None)]
    assert shown[0].details == {"limit": "max_usd", "limit_value": 10, "spent": 7, "percent": 60.0}


# Sessions, and how a run ends.


async def test_a_session_begins_and_ends_once_and_its_hooks_are_told_how(home: Home) -> None:
    hooks = [made(event, name=event) for event in ("SessionStart", "PreFinish", "PostFinish", "SessionEnd")]

    await live(home, program, 1, hooks=hooks)
    assert [(moment.event, moment.details) for moment in shown] == [
        ("SessionStart", {}),
        ("PreFinish", {}),
        ("PostFinish", {}),
        ("SessionEnd", {"status": "completed"}),
    ]
    shown.clear()

    @persona
    async def breaks() -> None:
        raise ValueError("no")

    lived = await live(home, breaks, hooks=hooks)
    assert "ValueError: no" in lived.error
    assert [(moment.event, moment.details) for moment in shown] == [
        ("SessionStart", {}),
        ("SessionEnd", {"status": "failed", "error": "ValueError"}),
    ]


async def test_unsettled_work_is_told_only_where_there_is_some_and_may_keep_a_run_from_completing(
    home: Home,
) -> None:
    @tool(side_effect_level="none")
    async def slow() -> None:
        await asyncio.sleep(30)

    @persona
    async def leaves_work(undone: bool) -> str:
        if undone:
            task = asyncio.create_task(slow())
            await double(1)
            assert not task.done()
        return "done"

    blocks = made("OnUnsettledDetected", Deny("there is work left"))
    assert (await live(home, leaves_work, False, hooks=[blocks])).result == "done"
    assert shown == []

    lived = await live(home, leaves_work, True, hooks=[blocks])
    assert "there is work left" in lived.error
    assert shown[0].details == {"operations": ["0.1/slow#0"]}
    assert lived.events[-1].type == "run.failed"


# Models inside hooks.


async def test_what_a_hook_asks_a_model_is_charged_to_the_hook_and_to_no_step(home: Home) -> None:
    async def critic(moment: Moment) -> Any:
        reply = await model_call(Request(prompt="is that wise?"))
        return ReplaceOutput(moment.output + len(reply.text))

    @step(budget=Budget(max_tokens=5))
    async def frugal(n: int) -> int:
        await model_call(Request(prompt="?"))
        return n

    @persona
    async def asks() -> int:
        return await frugal(1)

    hooks = [hook("PostStep")(critic)]
    lived = await live(home, asks, hooks=hooks, model=ScriptedModel([use(5), use(900)]))

    assert lived.result == 5
    (decided,) = lived.of(HookDecided)
    (call,) = decided.model_calls
    assert (call.client, call.model, call.usage.input_tokens, call.cost_micros) == ("scripted", "m", 900, 7)
    report = fold(RunReport(), lived.run, lived.events).state
    assert (report.used.input_tokens.total, report.hooks.input_tokens.total) == (5, 900)
    (receipt,) = fold(Receipts(), lived.run, lived.events).state.finished
    assert receipt.inclusive.used.input_tokens.total == 5


async def test_a_blocking_hook_runs_in_a_thread(home: Home) -> None:
    def blocking(moment: Moment) -> None:
        shown.append(moment)

    assert (await live(home, program, 1, hooks=[hook("PreStep")(blocking)])).result == 2
    assert len(shown) == 1


# Crashes and missing hooks.


async def test_a_run_does_not_go_on_without_its_hooks(home: Home) -> None:
    begun = asyncio.Event()

    @tool(side_effect_level="none")
    async def waits() -> str:
        begun.set()
        await asyncio.sleep(0.05 if len(shown) > 1 else 30)
        return "done"

    @step
    async def guarded() -> str:
        return await waits()

    @persona
    async def long() -> str:
        return await guarded()

    guard = made("PreStep")
    async with home.engine(long, hooks=[guard]) as engine:
        run = await engine.start(long)
        await begun.wait()
    assert len(shown) == 1

    async with home.engine(long) as engine:
        before = await home.events(run.id)
        with pytest.raises(HookMissing, match="asked"):
            await engine.resume(run.id)
        assert await home.events(run.id) == before

    shown.append(shown[0])  # so that the tool is quick now
    async with home.engine(long, hooks=[guard]) as engine:
        await engine.resume(run.id)
        assert await engine.result(run.id) == "done"
    assert len(shown) == 2  # and the hook was not asked again


def test_every_event_that_exists_is_tried_here() -> None:
    text = Path(__file__).read_text()

    assert all(f'"{event}' in text for event in EVENTS)


async def test_whoever_wants_to_know_is_told_when_a_persona_is_paused_and_resumed(home: Home) -> None:
    hooks = [
        made("OnPersonaPaused", name="paused", persona="prog*"),
        made("OnPersonaResumed", ValueError("broken"), name="resumed"),
        made("OnPersonaPaused", Deny("no"), name="wants-a-say"),
        made("OnPersonaPaused", name="other", persona="audit"),
    ]
    async with home.engine(program, hooks=hooks) as engine:
        desk = Dispatcher(engine, [Binding(program)])
        await desk.pause("program", "deploying", sender="ada")
        await desk.resume("program", sender="ada")
        events = await engine.store.read("persona/program", 0, 100)

    assert [(moment.event, moment.persona, moment.details) for moment in shown] == [
        ("OnPersonaPaused", "program", {"reason": "deploying", "sender": "ada"}),
        ("OnPersonaPaused", "program", {"reason": "deploying", "sender": "ada"}),
        ("OnPersonaResumed", "program", {"sender": "ada"}),
    ]
    assert [event.type for event in events] == [
        "persona.paused",
        "hook.fired",
        "hook.decided",
        "hook.fired",
        "hook.failed",
        "persona.resumed",
        "hook.fired",
        "hook.failed",
    ]


async def test_whoever_wants_to_know_is_told_of_every_handoff_and_has_no_say(home: Home) -> None:
    said = {"source_persona": "triage", "target": "legal", "task": "judge it", "reason": "asked to"}

    @step
    async def decides() -> int:
        notes = await state("notes", "s1")
        await notes.write("plan.md", "no handoff")
        return (await notes.handoff(said)).version

    @persona
    async def hands_over(again: bool = False) -> int:
        if again:
            await (await state("notes", "s1", writer_id="other")).handoff({"done": True})
        return await decides()

    hooks = [
        made("OnHandoffEmitted", persona="hands*", step="decides"),
        made("OnHandoffEmitted", name="other", persona="audit"),
    ]
    lived = await live(home, hands_over, hooks=hooks)

    assert (lived.result, len(lived.of(HookFired))) == (1, 1)
    (moment,) = shown
    assert (moment.target, moment.step) == ("hands_over.decides", "decides")
    told = {name: moment.details[name] for name in ("root", "session", "key", "version", "conflict")}
    assert told == {
        "root": "notes",
        "session": "s1",
        "key": "__handoff.json",
        "version": 1,
        "conflict": False,
    }
    assert moment.details["summary"] == said
    assert moment.details["handoff"]["target_persona_or_human"]["label"] == "legal"

    shown.clear()
    lived = await live(home, hands_over, True, hooks=[made("OnHandoffEmitted", Deny("no"))])
    assert "OnHandoffEmitted hook asked must return None, got Deny" in lived.error
    assert (shown[0].details["handoff"], shown[0].details["conflict"]) == (None, True)


async def test_whoever_wants_to_know_is_told_what_people_are_asked(home: Home) -> None:
    @persona
    async def asks() -> Any:
        return await ask_user("which?", reviewers=["ada"], deadline_s=0.01, default="none")

    lived = await live(home, asks, hooks=[made("OnApprovalRequested")])
    assert lived.result == "none"
    (moment,) = shown
    told = {name: moment.details[name] for name in ("kind", "action", "reviewers", "quorum")}
    assert told == {"kind": "question", "action": "which?", "reviewers": ["ada"], "quorum": 1}
    assert moment.details["request"].startswith("question_")

    lived = await live(home, asks, hooks=[made("OnApprovalRequested", ValueError("no mail today"))])
    assert "hook asked failed: ValueError: no mail today" in lived.error


async def test_a_hook_that_takes_too_long_fails_what_it_was_asked_about(home: Home) -> None:
    async def slow(moment: Moment) -> None:
        await asyncio.sleep(30)

    lived = await live(home, program, 2, hooks=[hook("PreStep", timeout_s=0.02)(slow)])

    assert "hook slow failed: ToolTimedOut: slow took longer than 0.02 s." in lived.error


@pytest.mark.parametrize(
    ("options", "text"),
    [({"retry": Retry(max_attempts=2)}, "it takes no retry"), ({"timeout_s": 0.02}, "TimeoutError")],
)
async def test_a_hook_asks_a_model_once_and_no_longer_than_it_says(
    home: Home, options: dict[str, Any], text: str
) -> None:
    class Slow(ScriptedModel):
        async def complete(self, request: Any) -> Reply:
            await asyncio.sleep(30)
            return await super().complete(request)

    async def asks(moment: Moment) -> None:
        await model_call(Request(prompt="?"), **options)

    assert text in (await live(home, program, 2, hooks=[hook("PreStep")(asks)], model=Slow([]))).error
