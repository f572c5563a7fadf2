"""Calls that are tried again, one test for each rule, and the waits in between."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from playhead.composition.failing import Cause, cause_in_words, retry_after_s
from playhead.composition.hashing import canonical_json
from playhead.composition.manifest import Entry, ManifestOptions, build_manifest
from playhead.composition.retrying import CallRetry, Trust, effect_of
from playhead.policy.effect import EffectClass

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


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("7", 7.0),
        (" 120 seconds", 120.0),
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


# Words of foreign hosts.


@pytest.mark.parametrize(
    ("message", "passes"),
    [
        ("HTTP 503", True),
        ("status=429.", True),
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
    assert cause_in_words("unknown", "429; retry-after=7; x", now=NOON).retry_after_s == 7.0
    assert (
        cause_in_words("network", "Retry-After: Sun, 01 Mar 2026 12:00:30 GMT", now=NOON).retry_after_s
        == 30.0
    )
    assert cause_in_words("network", "gone", now=NOON).retry_after_s is None
