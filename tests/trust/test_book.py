"""What records say of agents follows from the records alone, whatever order they come in."""

from itertools import permutations
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from playhead.errors import BadValue
from playhead.policy.level import LEVELS, rank
from playhead.policy.tier import TIERS, Tier
from playhead.trust.book import (
    Filters,
    by_trace,
    effective_tier,
    in_order,
    is_effect,
    policy_of,
    query,
    reason_against_move,
    score,
    summaries,
)
from playhead.trust.record import OUTCOMES, Outcome, TrustRecord
from tests.trust.made import trust_record


def at(second: int, **members: Any) -> TrustRecord:
    return trust_record(
        **({"record_id": f"r{second}", "timestamp": f"2026-04-19T18:00:{second:02}Z"} | members)
    )


def outcomes(*said: Outcome, **members: Any) -> list[TrustRecord]:
    return [at(second, outcome=outcome, **members) for second, outcome in enumerate(said)]


def moves(*said: tuple[str, Tier], **members: Any) -> list[TrustRecord]:
    return [
        at(second, action=f"trust.{action}", autonomy_tier=tier, **members)
        for second, (action, tier) in enumerate(said)
    ]


def ids(records: list[TrustRecord]) -> list[str]:
    return [record.record_id for record in records]


records = st.lists(
    st.builds(
        trust_record,
        record_id=st.sampled_from("abc"),
        agent=st.sampled_from(["triage", "deploy"]),
        action=st.sampled_from(["read", "trust.promote", "trust.demote"]),
        outcome=st.sampled_from(OUTCOMES),
        autonomy_tier=st.sampled_from(TIERS),
        trace_id=st.sampled_from("xyz"),
        timestamp=st.integers(0, 5).map(lambda second: f"2026-04-19T18:00:0{second}Z"),
        cost_usd=st.none() | st.floats(0, 1e6),
        chain_index=st.integers(1, 3),
    ),
    max_size=6,
)


# Finding.


def test_records_are_in_the_order_of_time_then_chain_then_agent_then_id() -> None:
    right = [
        at(1, timestamp="2026-04-19T20:00:00.5+02:00", record_id="a", chain_index=9),
        at(1, timestamp="2026-04-19T18:00:01Z", record_id="b", chain_index=1, agent="z"),
        at(1, timestamp="2026-04-19T18:00:01.0Z", record_id="c", chain_index=2, agent="a"),
        at(1, timestamp="2026-04-19T18:00:01Z", record_id="b", chain_index=2, agent="b"),
        at(1, timestamp="2026-04-19T17:00:01-01:00", record_id="d", chain_index=2, agent="b"),
    ]
    mixed = right[:]
    Random(1).shuffle(mixed)

    assert mixed != right
    assert in_order(mixed) == query(mixed, Filters()) == right


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        (Filters(), ["r0", "r1", "r2", "r3"]),
        (Filters(agent="triage"), ["r0", "r1", "r3"]),
        (Filters(agent="tri"), []),
        (Filters(action="read"), ["r0", "r2"]),
        (Filters(tier="suggest"), ["r1"]),
        (Filters(outcome="denied"), ["r1", "r3"]),
        (Filters(agent="triage", outcome="denied", action="write"), ["r1", "r3"]),
        (Filters(since="2026-04-19T18:00:01Z"), ["r1", "r2", "r3"]),
        (Filters(until="2026-04-19T20:00:01+02:00"), ["r0", "r1"]),
        (Filters(since="2026-04-19T18:00:01Z", until="2026-04-19T18:00:02Z"), ["r1", "r2"]),
        (Filters(since="2026-04-19T18:00:01.000000001Z"), ["r2", "r3"]),
        (Filters(limit=2), ["r2", "r3"]),
        (Filters(limit=0), []),
        (Filters(limit=9), ["r0", "r1", "r2", "r3"]),
        (Filters(agent="triage", limit=1), ["r3"]),
    ],
)
def test_a_query_finds_what_fits_and_of_too_many_the_newest(filters: Filters, found: list[str]) -> None:
    given_records = [
        at(2, agent="deploy", action="read"),
        at(0, action="read"),
        at(3, action="write", outcome="denied"),
        at(1, action="write", outcome="denied", autonomy_tier="suggest"),
    ]

    assert ids(query(given_records, filters)) == found


def test_a_time_that_is_none_is_refused() -> None:
    with pytest.raises(BadValue, match="'now' is no time"):
        query([], Filters(since="now"))
    with pytest.raises(BadValue, match="'now' is no time"):
        in_order([trust_record(timestamp="now")])


def test_traces_stand_in_the_order_in_which_they_appear() -> None:
    groups = by_trace([at(0, trace_id="b"), at(1, trace_id="a"), at(2, trace_id="b")])

    assert [(group.trace_id, ids(list(group.records))) for group in groups] == [
        ("b", ["r0", "r2"]),
        ("a", ["r1"]),
    ]


# Counting.


def test_a_summary_counts_all_records_of_each_agent() -> None:
    deploy, triage = summaries(
        [
            *outcomes("success", "failure", agent="triage", cost_usd=0.5),
            at(3, agent="triage", outcome="success", autonomy_tier="shadow"),
            at(4, agent="deploy", outcome="denied"),
        ]
    )

    assert (triage.agent, triage.total, triage.success_rate, triage.mean_cost_usd) == (
        "triage",
        3,
        2 / 3,
        0.5,
    )
    assert triage.tier_distribution == {"act_auto": 2, "shadow": 1}
    assert triage.outcome_distribution == {"failure": 1, "success": 2}
    assert (deploy.agent, deploy.total, deploy.success_rate, deploy.mean_cost_usd) == ("deploy", 1, 0.0, None)


@given(records, st.randoms(use_true_random=False))
def test_what_is_counted_and_scored_does_not_depend_on_the_order_that_records_come_in(
    found: list[TrustRecord], random: Random
) -> None:
    # Records that differ in nothing that orders them have no order among each other.
    each = list({(r.timestamp, r.chain_index, r.agent, r.record_id): r for r in found}.values())
    mixed = each[:]
    random.shuffle(mixed)

    assert repr(summaries(mixed)) == repr(summaries(each))
    assert repr(score(mixed, "triage")) == repr(score(each, "triage"))
    assert effective_tier(mixed, "deploy") == effective_tier(each, "deploy")


def test_a_mean_cost_is_the_same_in_any_order() -> None:
    costs = [0.1, 0.2, 0.3]

    means = {
        summaries([at(n, cost_usd=cost) for n, cost in enumerate(order)])[0].mean_cost_usd
        for order in permutations(costs)
    }

    assert len({sum(order) for order in permutations(costs)}) > 1
    assert len(means) == 1


# Tiers.


@pytest.mark.parametrize(
    ("tier", "level", "recursion_limit"),
    [
        ("shadow", "none", 0),
        ("suggest", "read_only", None),
        ("act_with_approval", "read_only", None),
        ("act_auto", LEVELS[-1], None),
    ],
)
def test_a_tier_is_a_policy(tier: Tier, level: str, recursion_limit: int | None) -> None:
    policy = policy_of(tier)

    assert (policy.side_effect_level, policy.recursion_limit) == (level, recursion_limit)


@pytest.mark.parametrize("before", TIERS)
@pytest.mark.parametrize("after", TIERS)
def test_promotions_lead_up_and_demotions_lead_down(before: Tier, after: Tier) -> None:
    up, down = TIERS.index(after) > TIERS.index(before), TIERS.index(after) < TIERS.index(before)

    assert (reason_against_move("trust.promote", before, after) is None) == up
    assert (reason_against_move("trust.demote", before, after) is None) == down


@pytest.mark.parametrize(
    ("move", "reason"),
    [
        (
            ("trust.promote", "act_auto", "suggest"),
            "trust.promote does not lead down from act_auto to suggest",
        ),
        (("trust.demote", "shadow", "suggest"), "trust.demote does not lead up from shadow to suggest"),
        (("trust.demote", "shadow", "shadow"), "the tier is shadow already"),
        (("read", "shadow", "suggest"), "'read' moves nobody: it is trust.promote or trust.demote"),
    ],
)
def test_a_move_that_is_none_is_told_why(move: tuple[str, Tier, Tier], reason: str) -> None:
    assert reason_against_move(*move) == reason


@pytest.mark.parametrize(
    ("said", "tier"),
    [
        ([], "act_auto"),
        ([("promote", "suggest")], "suggest"),
        ([("demote", "act_with_approval")], "act_with_approval"),
        ([("promote", "suggest"), ("promote", "act_auto")], "act_auto"),
        ([("promote", "act_auto"), ("demote", "shadow")], "shadow"),
        # A move in the wrong direction takes away, and gives nothing.
        ([("promote", "act_auto"), ("promote", "suggest")], "suggest"),
        ([("demote", "shadow"), ("demote", "act_auto")], "shadow"),
        ([("demote", "shadow"), ("demote", "act_auto"), ("promote", "suggest")], "suggest"),
    ],
)
def test_the_tier_is_the_one_of_the_last_move(said: list[tuple[str, Tier]], tier: Tier) -> None:
    assert effective_tier(moves(*said), "triage") == tier
    assert effective_tier(reversed(moves(*said)), "triage") == tier


@pytest.mark.parametrize(
    "members", [{"agent": "deploy"}, {"outcome": "denied"}, {"outcome": "failure"}], ids=str
)
def test_a_move_of_somebody_else_or_one_that_was_not_made_changes_no_tier(members: dict[str, Any]) -> None:
    assert effective_tier(moves(("demote", "shadow"), **members), "triage", default="suggest") == "suggest"


def test_the_first_move_leads_where_it_says_it_leads_from() -> None:
    def first(action: str, before: Any, after: Tier) -> Tier:
        return effective_tier(moves((action, after), metadata={"from_tier": before}), "triage")

    assert first("promote", "suggest", "act_with_approval") == "act_with_approval"
    assert first("demote", "act_auto", "suggest") == "suggest"
    assert first("demote", "shadow", "act_auto") == "shadow"
    assert first("promote", "act_auto", "shadow") == "shadow"
    assert first("demote", ["act_auto"], "suggest") == "suggest"


# Scores.


def test_a_score_counts_what_came_of_effects() -> None:
    found = score(outcomes("success", "denied", "timeout", "failure", "success"), "triage")

    assert (found.total, found.successes, found.denied, found.timeouts, found.failures) == (5, 2, 1, 1, 1)
    assert (found.success_rate, found.latest_outcome) == (0.4, "success")
    assert (found.latest_timestamp, found.effective_tier) == ("2026-04-19T18:00:04Z", "act_auto")


def test_an_agent_without_effects_has_the_policy_of_its_tier() -> None:
    found = score(moves(("demote", "act_with_approval")), "triage")

    assert (found.total, found.success_rate, found.latest_outcome, found.latest_timestamp) == (
        0,
        0,
        None,
        None,
    )
    assert found.policy == policy_of("act_with_approval")


def test_a_score_is_of_one_agent_and_if_asked_of_one_action() -> None:
    some = [at(0, action="read"), at(1, action="write"), at(2, agent="deploy", outcome="failure")]

    assert score(some, "triage").total == 2
    assert score(some, "triage", "read").total == 1
    assert score(some, "deploy").latest_outcome == "failure"


@pytest.mark.parametrize(
    ("said", "level"),
    [
        (["success"], LEVELS[-1]),
        (["failure", "success"], LEVELS[-1]),
        (["success", "failure"], "read_only"),
        (["success", "denied"], "read_only"),
        (["success", "timeout"], "read_only"),
        (["failure", "failure", "success"], "read_only"),
        (["failure", "success", "success"], LEVELS[-1]),
        (["failure", "failure", "success", "success"], LEVELS[-1]),
    ],
)
def test_an_agent_that_does_badly_may_only_read(said: list[Outcome], level: str) -> None:
    assert score(outcomes(*said), "triage").policy.side_effect_level == level


@given(records)
def test_a_score_never_raises_what_the_tier_allows(found: list[TrustRecord]) -> None:
    said = score(found, "triage")

    assert rank(said.policy.side_effect_level) <= rank(policy_of(said.effective_tier).side_effect_level)
    assert said.policy.recursion_limit == policy_of(said.effective_tier).recursion_limit


def test_a_shadow_agent_that_does_badly_is_left_with_nothing() -> None:
    some = [*moves(("demote", "shadow")), at(5, outcome="failure", autonomy_tier="shadow")]

    assert score(some, "triage").policy.side_effect_level == "none"


@pytest.mark.parametrize(
    "members",
    [
        {"action": "trust.promote"},
        {"action": "trust.demote", "outcome": "denied"},
        {"action": "autonomy.tier_transition", "outcome": "denied"},
        {"metadata": {"control": True}},
        {"outcome": "denied", "metadata": {"autonomy.enforcement": "shadow_noop"}},
        {"outcome": "denied", "metadata": {"autonomy.enforcement": "suggest_approval_request"}},
        {"outcome": "denied", "autonomy_tier": "shadow"},
        {"outcome": "denied", "autonomy_tier": "suggest"},
    ],
    ids=str,
)
def test_control_records_and_calls_that_a_tier_never_makes_are_no_effects(members: dict[str, Any]) -> None:
    assert not is_effect(trust_record(**members))
    assert score([at(0), trust_record(**members)], "triage").total == 1


@pytest.mark.parametrize(
    "members",
    [
        {},
        {"outcome": "denied"},
        {"outcome": "denied", "autonomy_tier": "act_with_approval"},
        {"outcome": "failure", "autonomy_tier": "shadow"},
        {"metadata": {"control": "yes"}},
        {"metadata": {"autonomy.enforcement": "approval_granted"}},
        {"metadata": {"autonomy.enforcement": ["shadow_noop"]}},
    ],
    ids=str,
)
def test_everything_else_is_an_effect(members: dict[str, Any]) -> None:
    assert is_effect(trust_record(**members))
