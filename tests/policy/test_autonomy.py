"""Who may do what alone: each rule by name, and over generated scopes, agents and actions."""

from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from playhead.policy.action import UNKNOWN, Action, action_of
from playhead.policy.annotations import Annotations, Kind
from playhead.policy.autonomy import VERDICTS, Autonomy, Judgement, Standing, autonomy_of, judge, rule
from playhead.policy.effect import EffectClass
from playhead.policy.level import Level
from playhead.policy.tier import TIERS, Tier, known_tier, strictest

WRITE = Action("save", "fs.write")
NOBODY_KNOWS = Action("mystery", UNKNOWN)
ALONE = Standing()


def judged(*scopes: Autonomy, agent: str = "a", action: Action = WRITE, standing: Any = ALONE) -> Judgement:
    found = judge(rule(scopes, agent, action), standing)
    assert found is not None
    return found


def said(judgement: Judgement | None) -> tuple[str, str] | None:
    return None if judgement is None else (judgement.verdict, judgement.tier)


def test_what_is_said_is_written_as_it_was_when_it_was_a_tuple() -> None:
    """So that a tape with one as an argument is read again."""
    ruling = rule([Autonomy(tier="suggest", per_hour=3)], "a", WRITE)
    for each in (WRITE, ALONE, ruling, Judgement("ask", "suggest", "so")):
        fields = msgspec.structs.astuple(each)
        assert msgspec.msgpack.decode(msgspec.msgpack.encode(fields), type=type(each)) == each
        assert msgspec.msgpack.encode(each) == msgspec.msgpack.encode(fields)


# Tiers.


def test_tiers_have_an_order_and_the_lowest_of_several_holds() -> None:
    assert TIERS == ("shadow", "suggest", "act_with_approval", "act_auto")
    assert strictest("act_auto", None, "suggest") == "suggest"
    assert strictest(None, None) is None
    with pytest.raises(ValueError, match="'auto' is not one of shadow, suggest"):
        known_tier("auto")


@pytest.mark.parametrize(
    ("tier", "verdict"), [("shadow", "shadow"), ("suggest", "suggest"), ("act_auto", "act")]
)
def test_a_tier_says_what_becomes_of_an_effect(tier: Tier, verdict: str) -> None:
    assert said(judged(Autonomy(tier=tier))) == (verdict, tier)
    assert said(judged(Autonomy(tier="act_with_approval"))) == ("ask", "act_with_approval")


# Classes.


@pytest.mark.parametrize(
    ("level", "kind", "found"),
    [
        ("none", "other", None),
        ("read_only", "edit", None),
        ("workspace_write", "edit", "fs.write"),
        ("workspace_write", "delete", "fs.delete"),
        ("workspace_write", "move", "fs.move"),
        ("workspace_write", "other", "workspace.write"),
        ("process_exec", "read", "process.exec"),
        ("network", "fetch", "network.call"),
        ("desktop_control", "other", "desktop.control"),
        (None, "read", UNKNOWN),
    ],
)
def test_every_side_effect_has_a_class_by_what_its_tool_declares(
    level: Level | None, kind: Kind, found: str | None
) -> None:
    action = action_of("t", Annotations(side_effect_level=level, kind=kind))

    assert (action and action.kind) == found


def test_what_says_only_that_it_may_be_repeated_is_harmless_if_that_is_because_it_changes_nothing() -> None:
    for effect in (EffectClass.PURE, EffectClass.READ_ONLY):
        assert action_of("t", Annotations(), effect=effect) is None
        written = action_of("t", Annotations(side_effect_level="network"), effect=effect)
        assert written == Action("t", "network.call")
    assert action_of("t", Annotations(), effect=EffectClass.IDEMPOTENT) == Action("t", UNKNOWN)


def test_a_tool_may_name_its_class_itself_and_says_what_an_approval_asks_for() -> None:
    action = action_of("t", Annotations(side_effect_level="read_only"), declared="secret.get")
    assert action == Action("t", "secret.get")
    assert (WRITE.capability, Action("x", "git.write").capability) == ("workspace.write_text", "git.write")
    for word in ("", "Fs.write", "fs.", "fs write", 3):
        with pytest.raises(ValueError, match="words with dots between"):
            action_of("t", Annotations(), declared=word)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kind", "needs"),
    [
        ("fs.write", "workspace.write_text"),
        ("fs.mkdir", "workspace.write_text"),
        ("fs.copy", "workspace.write_text"),
        ("fs.move", "workspace.write_text"),
        ("fs.delete", "workspace.delete"),
        ("process.exec", "process.exec"),
        ("host.call", "host.call"),
        ("store.write", "store.write"),
        ("metadata.write", "metadata.write"),
        ("checkpoint.write", "checkpoint.write"),
        ("network.sse.write", "network.sse"),
        ("agent_state.write", "agent_state.write"),
        ("mcp.release", "mcp.release"),
        ("git.write", "git.write"),
    ],
)
def test_an_approval_asks_for_the_capability_of_the_class(kind: str, needs: str) -> None:
    assert Action("t", kind).capability == needs


# Which word counts.


BLANKET: dict[str, Any] = {"tier": "suggest"}
BY_CLASS: dict[str, Any] = {"actions": {"fs.write": "shadow"}} | BLANKET
BY_TOOL: dict[str, Any] = {"actions": {"fs.write": "shadow", "save": "act_auto"}} | BLANKET
BY_AGENT: dict[str, Any] = {"agents": {"a": "act_with_approval"}} | BY_TOOL


@pytest.mark.parametrize(
    ("said", "tier", "why"),
    [
        ({}, None, ""),
        (BLANKET, "suggest", "tier"),
        (BY_CLASS, "shadow", "actions[fs.write]"),
        (BY_TOOL, "act_auto", "actions[save]"),
        (BY_AGENT, "act_with_approval", "agents[a]"),
        (
            BY_AGENT | {"agent_actions": {"a": {"fs.write": "suggest"}}},
            *("suggest", "agent_actions[a][fs.write]"),
        ),
        (
            BY_AGENT | {"agent_actions": {"a": {"fs.write": "suggest", "save": "shadow"}}},
            *("shadow", "agent_actions[a][save]"),
        ),
        (BY_AGENT | {"agent_actions": {"b": {"save": "shadow"}}}, "act_with_approval", "agents[a]"),
    ],
)
def test_the_most_specific_word_counts_and_the_name_of_a_tool_before_its_class(
    said: dict[str, Any], tier: Tier | None, why: str
) -> None:
    assert Autonomy(**said).tier_for("a", WRITE) == (tier, why)


def test_without_a_word_of_any_scope_nothing_is_decided() -> None:
    for scopes in ([], [Autonomy()], [Autonomy(actions={"fs.delete": "shadow"}, reviewers=["ada"])]):
        assert judge(rule(scopes, "a", WRITE), ALONE) is None
    assert judge(rule([Autonomy(agents={"b": "shadow"})], "a", WRITE), ALONE) is None


def test_who_is_trusted_with_less_is_held_to_it_without_a_word_of_any_scope() -> None:
    assert judge(rule([], "a", WRITE), Standing(tier="shadow")) == Judgement(
        "shadow", "shadow", "the agent is trusted with shadow", "trust"
    )


def test_a_failed_look_up_denies_also_where_no_scope_says_a_word() -> None:
    for scopes in ([], [Autonomy(tier="act_auto")]):
        judgement = judge(rule(scopes, "a", WRITE), None)
        assert judgement is not None
        assert (judgement.verdict, judgement.cause) == ("denied", "look_up")


def test_of_an_effect_of_unknown_class_the_strictest_word_counts_unless_its_tool_is_named() -> None:
    scope = Autonomy(tier="act_auto", actions={"fs.delete": "shadow", "fs.write": "suggest"})
    assert judged(scope, action=NOBODY_KNOWS).verdict == "shadow"
    assert "of unknown class" in judged(scope, action=NOBODY_KNOWS).reason
    named = Autonomy(tier="act_auto", actions={"fs.delete": "shadow", "mystery": "suggest"})
    assert judged(named, action=NOBODY_KNOWS).verdict == "suggest"
    mine = Autonomy(tier="act_auto", agent_actions={"a": {"fs.delete": "shadow"}})
    assert judged(mine, action=NOBODY_KNOWS).verdict == "shadow"
    assert judged(mine, agent="b", action=NOBODY_KNOWS).verdict == "act"


def test_thinking_and_secrets_are_ruled_by_name_and_not_by_a_word_for_everything() -> None:
    scope = Autonomy(tier="shadow", agents={"a": "shadow"})
    assert judge(rule([scope], "a", Action("model", "model.call")), ALONE) is None
    human = Autonomy(requires_human=True, requires_human_agents=["a"])
    assert judge(rule([human], "a", Action("model", "model.call")), ALONE) is None
    named = Autonomy(tier="shadow", actions={"model.call": "act_with_approval"})
    assert judged(named, action=Action("model", "model.call")).verdict == "ask"


def test_the_strictest_scope_counts_whichever_is_inside() -> None:
    outer, inner = Autonomy(tier="shadow"), Autonomy(tier="act_auto")
    assert judged(outer, inner).verdict == judged(inner, outer).verdict == "shadow"
    assert judged(outer, inner).reason == "scope 0: tier = shadow; scope 1: tier = act_auto"


# People.


def test_what_needs_a_human_waits_also_where_it_would_happen_by_itself() -> None:
    for scope in (
        Autonomy(tier="act_auto", requires_human=True),
        Autonomy(tier="act_auto", requires_human_actions=["fs.write"]),
        Autonomy(tier="act_auto", requires_human_actions=["save"]),
        Autonomy(tier="act_auto", requires_human_agents=["a"]),
        Autonomy(requires_human=True),
    ):
        assert said(judged(scope)) == ("ask", "act_auto")
        assert "requires_human" in judged(scope).reason
    assert judged(Autonomy(tier="act_auto", requires_human_agents=["b"])).verdict == "act"
    assert judged(Autonomy(tier="shadow", requires_human=True)).verdict == "shadow"


def test_reviewers_are_those_whom_every_scope_allows_and_the_highest_quorum_counts() -> None:
    outer = Autonomy(tier="act_with_approval", reviewers=["ada", "bob", "cy"], quorum=1)
    inner = Autonomy(reviewers=["bob", "cy", "dan"], quorum=2)
    found = rule([outer, inner], "a", WRITE)
    assert (found.reviewers, found.quorum) == (("bob", "cy"), 2)
    assert judged(outer, inner).verdict == "ask"
    assert rule([Autonomy(tier="shadow")], "a", WRITE).reviewers is None  # anybody


def test_where_nobody_could_say_yes_nobody_is_asked() -> None:
    outer = Autonomy(tier="act_with_approval", reviewers=["ada"])
    inner = Autonomy(reviewers=["bob"])
    assert judged(outer, inner).verdict == "denied"
    assert "all scopes allow only nobody" in judged(outer, inner).reason
    with pytest.raises(ValueError, match="a quorum of 2 cannot be reached by 1 reviewers"):
        Autonomy(reviewers=["ada"], quorum=2)
    with pytest.raises(ValueError, match="quorum must be positive"):
        Autonomy(quorum=0)


# How the agent stands.


def test_how_an_agent_stands_lowers_its_tier_and_never_raises_it() -> None:
    scope = Autonomy(tier="act_with_approval")
    assert judged(scope, standing=Standing(tier="act_auto")).verdict == "ask"
    down = judged(scope, standing=Standing(tier="suggest"))
    assert down == Judgement("suggest", "suggest", "the agent is trusted with suggest", "trust")


def test_an_agent_of_which_nothing_can_be_looked_up_does_nothing() -> None:
    for scope in (Autonomy(tier="act_auto"), Autonomy(tier="shadow"), Autonomy(requires_human=True)):
        assert judged(scope, standing=None).verdict == "denied"


@pytest.mark.parametrize(("per_hour", "per_day"), [(3, None), (None, 5), (3, 9)])
def test_beyond_its_budget_an_agent_asks(per_hour: int | None, per_day: int | None) -> None:
    scope = Autonomy(tier="act_auto", per_hour=per_hour, per_day=per_day)
    assert judged(scope, standing=Standing(hour=2, day=4)).verdict == "act"
    asked = judged(scope, standing=Standing(hour=3, day=5))
    assert asked.verdict == "ask"
    assert "automatic decisions this" in asked.reason


@pytest.mark.parametrize("bound", ["per_hour", "per_day"])
def test_a_bound_holds_also_where_no_scope_says_a_tier(bound: str) -> None:
    scope = Autonomy(**{bound: 3})  # type: ignore[arg-type]
    assert judged(scope, standing=Standing(hour=2, day=2)) == Judgement(
        "act", "act_auto", f"scope 0: {bound} = 3"
    )
    assert said(judged(scope, standing=Standing(hour=3, day=3))) == ("ask", "act_auto")
    assert judge(rule([scope], "a", Action("model", "model.call")), ALONE) is None  # thinking is not named


def test_a_newcomer_has_the_strictest_tier_that_a_scope_gives_newcomers_until_it_is_promoted() -> None:
    scopes = [Autonomy(tier="act_auto", newcomers="suggest"), Autonomy(newcomers="act_with_approval")]
    ruling = rule(scopes, "a", WRITE)
    told = "nobody has promoted the agent, and newcomers have suggest"
    assert judge(ruling, ALONE) == Judgement("suggest", "suggest", told, "trust")
    demoted = judge(ruling, Standing(tier="act_auto"))
    assert demoted is not None
    assert demoted.tier == "suggest"  # a demotion to a higher tier lifts nothing
    promoted = judge(ruling, Standing(tier="act_auto", promoted=True))
    assert promoted is not None
    assert promoted.verdict == "act"
    assert judge(rule(scopes[1:], "a", Action("model", "model.call")), ALONE) is None


def test_people_have_the_shortest_time_that_any_scope_gives_them() -> None:
    scopes = [Autonomy(deadline_s=60), Autonomy(), Autonomy(deadline_s=3600)]
    assert rule(scopes, "a", WRITE).deadline_s == 60


def test_who_asks_is_none_of_the_reviewers() -> None:
    scope = Autonomy(tier="act_with_approval", reviewers=["a", "bob"])
    assert rule([scope], "a", WRITE).reviewers == ("bob",)
    assert judged(replace(scope, quorum=2)).verdict == "denied"


# Over generated scopes.

NAMES = st.sampled_from(["save", "fs.write", "fs.delete", UNKNOWN, "mystery", "model.call"])
AGENTS = st.sampled_from(["a", "b"])
TIER = st.sampled_from(TIERS)
PEOPLE = st.lists(st.sampled_from(["ada", "bob", "cy", "a"]), unique=True)
NUMBERS = st.none() | st.integers(0, 4)
ACTIONS = st.sampled_from([WRITE, NOBODY_KNOWS, Action("rm", "fs.delete"), Action("model", "model.call")])


@st.composite
def scopes(draw: st.DrawFn) -> Autonomy:
    reviewers = draw(st.none() | PEOPLE)
    most = 3 if reviewers is None else max(len(reviewers), 1)
    quorum = draw(st.integers(1, most)) if reviewers != [] else 1
    return Autonomy(
        tier=draw(st.none() | TIER),
        actions=draw(st.none() | st.dictionaries(NAMES, TIER, max_size=3)),
        agents=draw(st.none() | st.dictionaries(AGENTS, TIER)),
        agent_actions=draw(st.none() | st.dictionaries(AGENTS, st.dictionaries(NAMES, TIER, max_size=2))),
        requires_human=draw(st.booleans()),
        requires_human_actions=draw(st.lists(NAMES, max_size=2)),
        requires_human_agents=draw(st.lists(AGENTS, max_size=1)),
        reviewers=reviewers or None,
        quorum=quorum,
        per_hour=draw(NUMBERS),
        per_day=draw(NUMBERS),
        deadline_s=draw(st.none() | st.sampled_from([5, 60.5])),
        newcomers=draw(st.none() | TIER),
    )


STANDINGS = st.none() | st.builds(
    Standing, tier=st.none() | TIER, hour=st.integers(0, 5), day=st.integers(0, 5), promoted=st.booleans()
)
# What may come of a verdict: it happens, it happens if somebody agrees, or nothing happens.
LEEWAY = {"act": 2, "ask": 1, "suggest": 0, "shadow": 0, "denied": 0}


@given(st.lists(scopes(), max_size=4), scopes(), AGENTS, ACTIONS, STANDINGS)
def test_no_nested_scope_ever_allows_what_its_parent_denies(
    outer: list[Autonomy], inner: Autonomy, agent: str, action: Action, standing: Standing | None
) -> None:
    around, both = rule(outer, agent, action), rule([*outer, inner], agent, action)
    before, after = judge(around, standing), judge(both, standing)
    if before is not None:
        assert after is not None
        assert LEEWAY[after.verdict] <= LEEWAY[before.verdict]
        assert TIERS.index(after.tier) <= TIERS.index(before.tier)
    assert both.quorum >= around.quorum
    assert around.reviewers is None or set(both.reviewers or ()) <= set(around.reviewers)
    for name in ("per_hour", "per_day", "deadline_s"):
        most = getattr(around, name)
        assert most is None or getattr(both, name) <= most


@given(st.lists(scopes(), max_size=4), st.randoms(), AGENTS, ACTIONS, STANDINGS)
def test_the_order_of_scopes_changes_nothing_but_the_words(
    given_: list[Autonomy], random: Any, agent: str, action: Action, standing: Standing | None
) -> None:
    shuffled = random.sample(given_, len(given_))
    one, other = (judge(rule(each, agent, action), standing) for each in (given_, shuffled))
    assert said(one) == said(other)
    assert judge(rule(given_ + given_, agent, action), standing) == one or one is not None


@given(scopes())
def test_a_scope_comes_back_from_its_document(scope: Autonomy) -> None:
    assert autonomy_of(scope.document()) == scope
    with pytest.raises(ValueError, match="autonomy has no teir"):
        autonomy_of({**scope.document(), "teir": "shadow"})


def test_words_that_are_none_are_refused() -> None:
    wrong: list[dict[str, Any]] = [
        {"tier": "auto"},
        {"actions": {"fs.write": "yes"}},
        {"agents": {"": "shadow"}},
        {"agent_actions": {"a": {"x": None}}},
        {"agent_actions": {"a": "shadow"}},
        {"agents": ["a"]},
        {"actions": {3: "shadow"}},
        {"requires_human_actions": "fs.write"},
        {"per_hour": -1},
        {"per_day": True},
        {"deadline_s": 0},
        {"deadline_s": "a day"},
        {"newcomers": "nobody"},
    ]
    for said in wrong:
        with pytest.raises(ValueError):  # noqa: PT011  each says its own
            Autonomy(**said)
    assert VERDICTS == ("act", "ask", "suggest", "shadow", "denied")
