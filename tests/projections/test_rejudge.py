"""What another policy would have said of past effects, with the standing of agents taken from the log."""

from collections import Counter
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw, msgpack, structs

from playhead.events.approval import ApprovalGranted
from playhead.events.autonomy import AutonomyProposed as Proposed
from playhead.events.autonomy import StandingFailed, StandingFound
from playhead.events.catalog import ToolRequested
from playhead.events.fact import Failure
from playhead.events.rules import PersonaEntered
from playhead.policy.action import Action
from playhead.policy.annotations import Annotations
from playhead.policy.approval import ApprovalRules
from playhead.policy.autonomy import Autonomy, Standing, judge, rule
from playhead.policy.capability import Policy
from playhead.policy.span import HOUR_NS
from playhead.policy.tier import TIERS
from playhead_projections.trust_graph.rejudge import PastEffect, Rejudged, effects_of, rejudge
from tests.projections.trusted import (
    EMPTY,
    GRANTED,
    NOON_NS,
    SECOND_NS,
    Effect,
    Told,
    as_events,
    moved,
    story,
)

OP = "0/save#0"
ANYTHING = Policy()


def past(*told: Told) -> list[PastEffect]:
    return effects_of(as_events(told))


def again(effects: list[PastEffect], *scopes: Autonomy, policy: Policy = ANYTHING) -> list[Rejudged]:
    return list(rejudge(effects, scopes, policy))


def verdicts(effects: list[PastEffect], *scopes: Autonomy, policy: Policy = ANYTHING) -> list[str]:
    return [each.verdict for each in again(effects, *scopes, policy=policy)]


def test_an_effect_that_happened_by_itself_would_have_waited() -> None:
    (found,) = again(past(*story(Effect("one", OP))), Autonomy(actions={"fs.write": "act_with_approval"}))

    assert (found.effect.run, found.effect.seq, found.effect.verdict) == ("one", 3, "act")
    assert (found.verdict, found.differs) == ("ask", True)
    assert found.because == ("scope 0: actions[fs.write] = act_with_approval",)


def test_an_effect_that_nothing_decided_about_happened_and_is_judged_too() -> None:
    effects = past(*story(Effect("one", OP, verdict=None)))

    assert [(effect.agent, effect.verdict, effect.decided) for effect in effects] == [("audit", "act", False)]
    assert verdicts(effects, Autonomy(agents={"audit": "shadow"})) == ["shadow"]
    assert not again(effects)[0].differs


def test_an_effect_that_a_policy_had_approved_by_people_was_asked_for() -> None:
    yes = ApprovalGranted(request="r", digest="d", args=EMPTY, granted=GRANTED)
    told = story(Effect("one", OP, verdict=None))
    told.insert(1, Told("run/one", NOON_NS, f"{OP}/approval", yes))

    effects = past(*told)

    assert [effect.verdict for effect in effects] == ["ask"]
    assert verdicts(effects) == ["act"]


def test_what_was_asked_for_and_happened_is_one_effect() -> None:
    effects = past(*story(Effect("one", OP, verdict="ask", tier="act_with_approval")))

    assert [(effect.verdict, effect.decided) for effect in effects] == [("ask", True)]


def test_the_tier_of_an_agent_is_the_one_that_was_looked_up() -> None:
    effects = past(*story(Effect("one", OP, trusted="suggest", verdict="suggest", tier="suggest")))

    assert effects[0].standing == Standing("suggest")
    assert verdicts(effects, Autonomy(tier="act_auto")) == ["suggest"]


def test_where_nothing_was_looked_up_the_tier_is_the_last_one_that_the_log_tells() -> None:
    told = [
        *story(Effect("one", OP, verdict=None)),
        Told("trust/audit", NOON_NS, "", moved("audit", "act_auto", "shadow")),
        Told("trust/other", NOON_NS, "", moved("other", "shadow", "suggest")),
        *story(Effect("two", OP, verdict=None)),
    ]

    assert verdicts(past(*told), Autonomy(tier="act_auto")) == ["act", "shadow"]


def test_an_agent_of_which_nobody_knew_how_it_stands_is_denied_again() -> None:
    told = story(Effect("one", OP, verdict="denied", tier="shadow"))
    failed = StandingFailed(failure=Failure(type="OSError"))
    told = [one._replace(fact=failed) if isinstance(one.fact, StandingFound) else one for one in told]

    effects = past(*told)

    assert effects[0].standing is None
    assert [(each.verdict, each.differs) for each in again(effects, Autonomy(tier="act_auto"))] == [
        ("denied", False)
    ]


def test_a_bound_counts_what_was_looked_up_where_it_was() -> None:
    effects = past(*story(Effect("one", OP, per_hour=9, hour=7)))

    assert verdicts(effects, Autonomy(tier="act_auto", per_hour=7)) == ["ask"]
    assert verdicts(effects, Autonomy(tier="act_auto", per_hour=8)) == ["act"]


def test_a_bound_counts_in_the_log_where_the_look_up_asked_for_no_count() -> None:
    effects = past(*story(*(Effect("one", f"0/save#{n}") for n in range(3))))

    assert verdicts(effects, Autonomy(tier="act_auto", per_hour=2)) == ["act", "act", "ask"]


def test_a_bound_counts_what_the_agent_did_by_itself_in_the_hour_where_nothing_was_looked_up() -> None:
    told = story(
        Effect("one", "0/save#0", verdict=None),
        Effect("one", "0/save#1", verdict="ask", tier="act_with_approval"),
        Effect("one", "0/save#2", verdict=None),
        Effect("two", "0/save#0", agent="other"),
        Effect("three", "0/save#0", verdict=None),
    )
    told += story(Effect("four", "0/save#0", verdict=None), at=NOON_NS + HOUR_NS)
    effects = past(*told)

    first = ["act", "act", "act", "act", "ask"]
    assert verdicts(effects, Autonomy(tier="act_auto", per_hour=2)) == [*first, "act"]
    assert verdicts(effects, Autonomy(tier="act_auto", per_day=2)) == [*first, "ask"]


def test_what_a_capability_policy_forbids_would_have_been_denied() -> None:
    effects = past(*story(Effect("one", OP), Effect("one", "0/fetch#0", tool="fetch", action="network.call")))

    found = again(effects, policy=Policy(side_effect_level="workspace_write"))

    assert [each.verdict for each in found] == ["act", "denied"]
    assert "exceeds side-effect ceiling: network" in found[1].reason


def test_what_a_policy_wants_approved_would_have_waited_where_autonomy_lets_it_happen() -> None:
    effects = past(*story(Effect("one", OP)))
    careful = Policy(approval=ApprovalRules(require_approval=["save"]))

    assert verdicts(effects, Autonomy(tier="act_auto"), policy=careful) == ["ask"]
    assert verdicts(effects, Autonomy(tier="shadow"), policy=careful) == ["shadow"]
    assert "needs approval" in again(effects, Autonomy(tier="act_auto"), policy=careful)[0].reason


def test_arguments_are_looked_at_as_they_stand_in_the_log() -> None:
    args = Raw(msgpack.encode({"path": "notes/a"}))
    told = [
        one._replace(fact=ToolRequested(tool="save", args=args, effect="effect", side_effect="fs.write"))
        if isinstance(one.fact, ToolRequested)
        else one
        for one in story(Effect("one", OP))
    ]
    paths = {"save": Annotations(kind="edit", side_effect_level="workspace_write", path_params=["path"])}

    effects = past(*told)

    assert effects[0].args == {"path": "notes/a"}
    inside, outside = (Policy(workspace_roots=[root], tool_annotations=paths) for root in ("notes", "other"))
    assert verdicts(effects, policy=inside) == ["act"]
    assert verdicts(effects, policy=outside) == ["denied"]


def test_what_was_only_proposed_is_judged_by_the_arguments_of_the_proposal() -> None:
    args = Raw(msgpack.encode({"path": "notes/a"}))
    told = [
        one._replace(fact=structs.replace(one.fact, args=args)) if isinstance(one.fact, Proposed) else one
        for one in story(Effect("one", OP, verdict="shadow", tier="shadow"))
    ]

    assert [effect.args for effect in past(*told)] == [{"path": "notes/a"}]


def test_the_agent_of_an_undecided_effect_is_the_innermost_persona() -> None:
    told = story(Effect("one", "0/helper#0/save#0", verdict=None))
    told.insert(1, Told("run/one", NOON_NS, "0/helper#0", PersonaEntered(persona="helper")))

    assert [effect.agent for effect in past(*told)] == ["helper"]


scopes = st.builds(
    Autonomy,
    tier=st.none() | st.sampled_from(TIERS),
    actions=st.dictionaries(st.sampled_from(["fs.write", "remove"]), st.sampled_from(TIERS), max_size=2),
    agents=st.dictionaries(st.sampled_from(["audit", "other"]), st.sampled_from(TIERS), max_size=2),
    requires_human=st.booleans(),
    per_hour=st.none() | st.integers(0, 3),
    per_day=st.none() | st.integers(0, 4),
)
wanted = st.tuples(
    st.sampled_from(["audit", "other"]),
    st.sampled_from([("save", "fs.write"), ("remove", "fs.delete")]),
    st.none() | st.sampled_from(TIERS),
    st.integers(0, 4),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(scopes, min_size=1, max_size=3), st.lists(wanted, max_size=8))
def test_the_policy_of_the_time_says_again_what_it_said(around: list[Autonomy], asked: list[Any]) -> None:
    told: list[Told] = []
    acted: Counter[tuple[str, int]] = Counter()
    for n, (agent, (tool, kind), trusted, hours) in enumerate(asked):
        at = NOON_NS + hours * HOUR_NS
        hour, day = at // HOUR_NS, -(at // (24 * HOUR_NS))
        ruling = rule(around, agent, Action(tool, kind))
        standing = Standing(trusted, acted[agent, hour], acted[agent, day])
        judgement = judge(ruling, standing)
        verdict = None if judgement is None else judgement.verdict
        if verdict in (None, "act"):
            acted.update([(agent, hour), (agent, day)])
        effect = Effect(f"r{n}", OP, tool, kind, agent, verdict, trusted=trusted)
        told += [one._replace(at=at) for one in story(effect, step_ns=SECOND_NS)]

    effects = past(*told)

    assert len(effects) == len(asked)
    assert [each.effect.seq for each in again(effects, *around) if each.differs] == []
