"""Calls that are tried again, one test for each rule, and the waits in between."""

import itertools
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from playhead.composition.failing import CATEGORIES, Cause, cause_in_words, cause_of, retry_after_s
from playhead.composition.hashing import canonical_json
from playhead.composition.manifest import Entry, ManifestOptions, build_manifest
from playhead.composition.retrying import CallRetry, Trust, effect_of
from playhead.errors import CallFailed
from playhead.policy.effect import EffectClass
from playhead.policy.level import LEVELS

READS = {"readOnlyHint": True}
AGAIN = {"idempotentHint": True}
SERVER = {"_mcp_server": "s"}
QUERY = canonical_json({"query": "runtime"})
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC).timestamp()
UNCAPPED = CallRetry(max_delay_ms=10**9)


def entry(**tool: object) -> Entry:
    options = ManifestOptions(side_effect_ceiling="desktop_control")
    (found,) = build_manifest([{"name": "t", **tool}], options).entries
    return found


# What holds without a word.


def test_a_call_is_tried_three_times_and_waits_a_tenth_of_a_second_to_two_seconds() -> None:
    retry = CallRetry()

    assert (retry.max_attempts, retry.base_delay_ms, retry.max_delay_ms) == (3, 100, 2_000)
    assert retry.honor_retry_after


def test_nobody_is_trusted_without_a_word() -> None:
    assert (Trust().servers, Trust().annotations) == (frozenset(), False)
    assert not Trust().covers(entry(annotations=READS, **SERVER))


# Waits.


def test_the_wait_doubles_and_a_part_of_it_that_follows_from_the_call_is_added() -> None:
    assert [UNCAPPED.delay_ms("docs__search", QUERY, attempt) for attempt in (1, 2, 3)] == [127, 250, 574]


@given(
    tool=st.text(max_size=20),
    attempt=st.integers(1, 80),
    base=st.integers(0, 5_000),
    most=st.integers(0, 9_000),
)
def test_a_wait_is_never_longer_than_the_longest_nor_shorter_than_its_base(
    tool: str, attempt: int, base: int, most: int
) -> None:
    retry = CallRetry(base_delay_ms=base, max_delay_ms=most)
    wait = retry.delay_ms(tool.encode("utf-8", "replace").decode(), b"{}", attempt)
    assert min(base, most) <= wait <= most if base else wait == 0
    assert wait == retry.delay_ms(tool.encode("utf-8", "replace").decode(), b"{}", attempt)


def test_what_a_server_asks_for_is_the_wait_up_to_the_longest() -> None:
    asked = Cause("network", "later", retry_after_s=1.5)
    assert CallRetry().delay_ms("t", b"{}", 1, asked) == 1_500
    assert CallRetry(max_delay_ms=700).delay_ms("t", b"{}", 1, asked) == 700
    assert CallRetry(max_delay_ms=0).delay_ms("t", b"{}", 1, asked) == 0
    assert CallRetry(honor_retry_after=False).delay_ms("t", b"{}", 1, asked) < 200


def test_a_wait_stops_doubling_after_twenty_times_and_a_base_of_nought_is_no_wait() -> None:
    waits = {attempt: UNCAPPED.delay_ms("t", b"{}", attempt) for attempt in (21, 22, 500)}

    assert all(min(100 << 20, 10**9) <= wait <= 150 << 20 for wait in waits.values())
    assert CallRetry(base_delay_ms=0).delay_ms("t", b"{}", 9) == 0
    small = CallRetry(base_delay_ms=1)
    assert {small.delay_ms(tool, b"{}", 1) for tool in "abcdefgh"} == {1, 2}


@pytest.mark.parametrize(
    ("asked_s", "wait"), [(float("inf"), 2_000), (1e300, 2_000), (-5.0, 0), (0.0, 0), (0.0004, 0)]
)
def test_whatever_number_a_server_asks_for_the_wait_is_one(asked_s: float, wait: int) -> None:
    assert CallRetry().delay_ms("t", b"{}", 1, Cause("network", "later", retry_after_s=asked_s)) == wait


def test_a_server_that_asks_for_no_number_is_not_heard() -> None:
    asked = Cause("network", "later", retry_after_s=float("nan"))

    assert CallRetry().delay_ms("t", b"{}", 1, asked) == CallRetry().delay_ms("t", b"{}", 1)


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("7", 7.0),
        ("'7'", 7.0),
        ("Sunday, 01-Mar-26 12:00:30 GMT", 30.0),
        ("Sun Mar  1 12:00:30 2026", 30.0),
        ("Fri, 01 Mar 2126 12:00:00 GMT", 86_400.0),
        (" 120 seconds", 120.0),
        ("30 seconds", 30.0),
        ("5s", 5.0),
        ("01 Mar 2026 12:00:30 GMT", 30.0),
        ("Sun, 01 Mar 2026 12:00:30 GMT", 30.0),
        ("Sun, 01 Mar 2026 11:00:00 GMT", 0.0),
        ("999999999", 86_400.0),
        ("soon", None),
        ("-3", None),
        ("", None),
    ],
)
def test_a_retry_after_is_a_count_of_seconds_or_an_http_date(said: str, seconds: float | None) -> None:
    assert retry_after_s(said, now=NOON) == seconds


# Whether at all.


@pytest.mark.parametrize(
    ("tool", "trust", "effect"),
    [
        ({"annotations": {"kind": "read", "side_effect_level": "read_only"}}, Trust(), "read_only"),
        ({"annotations": {"kind": "other", "side_effect_level": "read_only"}}, Trust(), "effect"),
        ({"annotations": {"kind": "edit", "side_effect_level": "workspace_write"}}, Trust(), "effect"),
        ({}, Trust(annotations=True), "effect"),
        ({"annotations": AGAIN}, Trust(), "idempotent"),
        ({"annotations": READS, **SERVER}, Trust(), "effect"),
        ({"annotations": READS, **SERVER}, Trust(servers={"s"}), "read_only"),
        ({"annotations": READS, **SERVER}, Trust(servers={"other"}), "effect"),
        ({"annotations": AGAIN, **SERVER}, Trust(annotations=True), "idempotent"),
        ({"annotations": AGAIN | {"destructiveHint": True}, **SERVER}, Trust(annotations=True), "effect"),
        ({"annotations": {}, **SERVER}, Trust(servers={"s"}), "effect"),
    ],
)
def test_a_call_may_be_repeated_where_its_tool_declares_that_and_is_believed(
    tool: dict[str, object], trust: Trust, effect: str
) -> None:
    assert effect_of(entry(**tool), trust) == EffectClass(effect)


def believed(source: str, declared: dict[str, Any], trust: Trust) -> str:
    """The effect by the rules, written down once more as a table of what speaks for repeating a call."""
    annotations = declared["annotations"]
    destroys, repeats, reads = (
        annotations.get(hint) for hint in ("destructiveHint", "idempotentHint", "readOnlyHint")
    )
    if source == "mcp":
        trusted = trust.annotations or "s" in trust.servers
        return (
            "effect"
            if not trusted or destroys
            else "read_only"
            if reads
            else "idempotent"
            if repeats
            else "effect"
        )
    writes = destroys or reads is False
    low = annotations.get("side_effect_level") in ("none", "read_only")
    hinted = reads and annotations.get("side_effect_level") is None
    looks = annotations.get("kind") in ("read", "search", "think", "fetch")
    if (low or hinted) and looks and not writes:
        return "read_only"
    return "idempotent" if repeats and not destroys else "effect"


HINTS: list[bool | None] = [None, True, False]


@pytest.mark.parametrize("source", ["own", "mcp"])
@pytest.mark.parametrize(
    "trust", [Trust(), Trust(servers={"s"}), Trust(servers={"z"}), Trust(annotations=True)]
)
def test_source_trust_hints_level_and_kind_together_decide_what_may_be_repeated(
    source: str, trust: Trust
) -> None:
    kinds = ["read", "search", "think", "fetch", "edit", "delete", "move", "execute", "other"]
    for level, kind, destroys, repeats, reads in itertools.product(
        [None, *LEVELS], kinds, HINTS, HINTS, HINTS
    ):
        said = {
            "side_effect_level": level,
            "kind": kind,
            "destructiveHint": destroys,
            "idempotentHint": repeats,
            "readOnlyHint": reads,
        }
        tool: dict[str, Any] = {
            "annotations": {word: value for word, value in said.items() if value is not None}
        }
        found = effect_of(entry(**tool, **(SERVER if source == "mcp" else {})), trust)
        assert found.value == believed(source, tool, trust), said


def test_only_what_may_be_repeated_and_may_pass_is_tried_again_until_the_last_attempt() -> None:
    retry = CallRetry(max_attempts=3)
    for category, passes in (
        ("network", True),
        ("timeout", True),
        ("mcp_server_error", True),
        ("tool_error", False),
    ):
        cause = Cause(category, "")  # type: ignore[arg-type]
        assert [retry.another(EffectClass.READ_ONLY, cause, n) for n in (1, 2, 3)] == [passes, passes, False]
        assert not retry.another(EffectClass.EFFECT, cause, 1)
    assert not retry.another(EffectClass.READ_ONLY, Cause("network", "", transient=False), 1)
    assert retry.another(EffectClass.IDEMPOTENT, Cause("tool_error", "", transient=True), 1)


@pytest.mark.parametrize("attempts", [0, -3, 1])
def test_there_is_always_a_first_attempt(attempts: int) -> None:
    assert CallRetry(max_attempts=attempts).max_attempts == 1


def test_waits_are_not_negative() -> None:
    with pytest.raises(ValueError, match="not negative"):
        CallRetry(base_delay_ms=-1)
    with pytest.raises(ValueError, match="not negative"):
        CallRetry(max_delay_ms=-1)


@pytest.mark.parametrize("name", ["max_attempts", "base_delay_ms", "max_delay_ms"])
@pytest.mark.parametrize("value", [0.5, float("nan"), None, True, "3"])
def test_how_often_and_how_long_are_whole_numbers(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"{name} is a whole number"):
        CallRetry(**{name: value})


# Errors of hosts.


@pytest.mark.parametrize(
    ("error", "category", "passes"),
    [
        (TimeoutError("t"), "timeout", True),
        (ConnectionResetError("c"), "network", True),
        (PermissionError("p"), "permission_denied", False),
        (ValueError("HTTP 503, retry-after: 1"), "tool_error", False),
        (CallFailed("m"), "tool_error", False),
        (CallFailed("m", category="mcp_server_error"), "mcp_server_error", True),
        (CallFailed("timeout", category="tool_error"), "tool_error", False),
        (CallFailed("m", category="network", transient=False), "network", False),
        (CallFailed("m", category="schema_validation", transient=True), "schema_validation", True),
    ],
)
def test_why_a_call_failed_is_the_kind_of_its_error_and_never_read_out_of_a_message(
    error: Exception, category: str, *, passes: bool
) -> None:
    cause = cause_of(error)

    assert (cause.category, cause.may_pass) == (category, passes)


def test_a_category_that_nobody_knows_is_unknown_and_only_then_the_words_count() -> None:
    foreign = cause_of(CallFailed("HTTP 429. Retry-After: 7", category="quota"))
    assert (foreign.category, foreign.may_pass, foreign.retry_after_s) == ("unknown", True, 7.0)
    assert not cause_of(CallFailed("no such file", category="quota")).may_pass
    assert not cause_of(CallFailed("HTTP 429", category="quota", transient=False)).may_pass
    assert cause_of(CallFailed("Retry-After: 7", category="quota", retry_after_s=1.0)).retry_after_s == 1.0
    for category in set(CATEGORIES) - {"unknown"}:
        assert cause_of(CallFailed("Retry-After: 7", category=category)).retry_after_s is None


def test_an_error_whose_text_raises_has_a_cause_too() -> None:
    class Unspeakable(Exception):
        def __str__(self) -> str:
            raise KeyError

    assert cause_of(Unspeakable()) == Cause("tool_error", "(KeyError in its own text)")


# Words of foreign hosts.


@pytest.mark.parametrize(
    ("message", "passes"),
    [
        ("HTTP 503", True),
        ("status=429.", True),
        ("rate-limit", True),
        ("a timeout", True),
        ("a transient fault", True),
        ("OVERLOADED", True),
        ("server closed connection", True),
        ("disconnected", True),
        ("MCP read error", True),
        ("MCP write error", True),
        ("Rate limit reached", True),
        ("the server timed out", True),
        ("Connection reset by peer", True),
        ("Retry-After: 3", True),
        ("found 1503 rows", False),
        ("row 4290", False),
        ("no such file", False),
    ],
)
def test_where_a_host_says_nothing_but_words_they_tell_whether_it_may_pass(
    message: str, passes: bool
) -> None:
    assert cause_in_words("unknown", message, now=NOON).may_pass is passes


def test_the_wait_in_a_message_is_read_as_a_header_is() -> None:
    for said in ("429; retry-after=7; x", "Retry-After: 7", "RETRY-AFTER   7", "retry-after := 7 s"):
        assert cause_in_words("unknown", said, now=NOON).retry_after_s == 7.0
    assert (
        cause_in_words("network", "Retry-After: Sun, 01 Mar 2026 12:00:30 GMT", now=NOON).retry_after_s
        == 30.0
    )
    assert cause_in_words("network", "gone", now=NOON).retry_after_s is None
