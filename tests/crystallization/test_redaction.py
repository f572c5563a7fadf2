"""What looks like a secret is taken out of texts, and what does not stays."""

from typing import Any

import pytest

from playhead.events.redaction import PREFIX
from playhead_projections.crystallization.redaction import (
    holds_mark,
    is_mark,
    is_sensitive,
    redacted,
    redacted_text,
    suspicious,
)
from playhead_projections.trace import Action, Trace

LOGGED = f"{PREFIX}{'0a' * 32}"


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("key sk-live-abc123 here", "key [redacted:1] here"),
        ("(ghp_abcdef)", "([redacted:1])"),
        ("AKIA1234567890AB", "[redacted:1]"),
        ("a" * 49, "[redacted:1]"),
        ("search_" + "a" * 49, "[redacted:1]"),
        ("Zm9v-YmFyYmF6_cXV4cXV1eGNvcmdlZ3JhdWx0Z2FycGx5d2FsZG8", "[redacted:1]"),
        ("postgres://ada:hunter2@db/x", "postgres://[redacted:1]@db/x"),
        ("Authorization: Bearer abc.def-1", "Authorization: Bearer [redacted:1]"),
        ("Authorization: Basic YWRhOmh1bnRlcjI=", "Authorization: Basic [redacted:1]"),
        ("jwt eyJhbGciOi.eyJzdWIi.c2ln!", "jwt [redacted:1]!"),
        ("https://x/?a=1&token=abc#top", "https://x/?a=1&[redacted:1]#top"),
        (
            "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----.",
            "[redacted:1].",
        ),
        ("-----BEGIN PRIVATE KEY-----\nMIIE", "[redacted:1]"),
        ("sk-one and sk-two and sk-one", "[redacted:1] and [redacted:2] and [redacted:1]"),
    ],
)
def test_what_looks_like_a_secret_goes(text: str, left: str) -> None:
    assert redacted_text(text) == left
    assert suspicious(text)
    assert not suspicious(left)


@pytest.mark.parametrize(
    "text",
    [
        "risk-free",
        "mcp__google_drive_v2__search_files_and_folders_by_owner",
        "a" * 48,
        "a/" * 100,
        "login(token=token)",
        "basic",
        "Bearer of news",
        f"sha256:{'0a' * 32}",
        LOGGED,
        "[redacted:12]",
        "http://host/path",
        "tasks-1 desk-lamp",
    ],
)
def test_what_does_not_stays(text: str) -> None:
    assert redacted_text(text) == text
    assert suspicious(text) == []


@pytest.mark.parametrize(
    ("name", "yes"),
    [
        *[
            (name, True)
            for name in ("password", "API-Key", "accessToken", "db_secret", "Set-Cookie", "PIN", "auth")
        ],
        *[
            (name, False)
            for name in ("author", "tokens", "max_tokens", "spin", "keyboard", "tokenizer", "path")
        ],
    ],
)
def test_names_say_what_is_sensitive(name: str, yes: bool) -> None:
    assert is_sensitive(name) is yes


@pytest.mark.parametrize("value", [3, True, [1], {"a": 1}, "short", ""])
def test_whatever_stands_under_a_sensitive_name_goes_and_nothing_else(value: Any) -> None:
    (clean,) = redacted(
        [Trace(id="t", actions=(Action(id="a", kind="k", name="n", inputs={"token": value}),))]
    )

    assert is_mark(clean.actions[0].inputs["token"])
    assert holds_mark([{"a": clean.actions[0].inputs}])


@pytest.mark.parametrize("value", [None, LOGGED, "[redacted:7]"])
def test_nothing_and_what_was_redacted_before_stays_as_it_is(value: Any) -> None:
    (clean,) = redacted(
        [Trace(id="t", actions=(Action(id="a", kind="k", name="n", inputs={"token": value}),))]
    )

    assert clean.actions[0].inputs == {"token": value}


def test_what_only_begins_like_a_redaction_of_the_log_is_none() -> None:
    assert not is_mark(f"{PREFIX}hunter2")
    assert "hunter2" not in str(redacted([Trace(id="t", metadata={"token": f"{PREFIX}hunter2"})]))


def test_a_secret_of_one_trace_goes_in_all_of_them() -> None:
    one = Trace(id="one", metadata={"password": "correct horse"})
    other = Trace(id="other", actions=(Action(id="a", kind="k", name="say", output="the correct horse won"),))

    _, clean = redacted([one, other])

    assert clean.actions[0].output == "the [redacted:1] won"
