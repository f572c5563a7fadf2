"""What looks like a secret is taken out of texts, and what does not stays."""

import json
from typing import Any

import pytest

from playhead.events.redaction import PREFIX
from playhead_projections.crystallization.redaction import (
    holds_mark,
    redacted,
    redacted_text,
)
from playhead_projections.crystallization.secrecy import is_mark, is_sensitive, suspicious
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
        ("https://x/?a=1&token=abc#top", "https://x/?a=1&token=[redacted:1]"),
        (
            "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----.",
            "[redacted:1].",
        ),
        ("-----BEGIN PRIVATE KEY-----\nMIIE", "[redacted:1]"),
        ("key wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "key [redacted:1]"),
        (
            "https://hooks.slack.com/services/T00000000/B00000000/XXXXXXXXXXXXXXXXXXXXXXXX",
            "https://hooks.slack.com/services/[redacted:1]",
        ),
        ("hf_Zq0123456789abcdef", "[redacted:1]"),
        ("npm_Zq0123456789abcdefghijklmnopqrstuvwx", "[redacted:1]"),
        ("ya29.Zq0123456789", "[redacted:1]"),
        ("SG.Zq01234567.89", "[redacted:1]"),
        ("pk_live_51Zqstripe", "[redacted:1]"),
        ("bot 123456789:Zq-AAaaBBbbCCccDDddEEffGGhhIIjjKK", "bot [redacted:1]"),
        ('{"password": "hun\\"ter", "a": 1}', '{"password": "[redacted:1]", "a": 1}'),
        ('{"said": "{\\"token\\": \\"x y\\"}"}', '{"said": "{\\"token\\": \\"[redacted:1]\\"}"}'),
        ("{'db_password2': 'hunter2'}", "{'db_password2': '[redacted:1]'}"),
        ('{"password": "cut he', '{"password": "[redacted:1]'),
        ("host: x\n  password: hunter\nport: 1", "host: x\n  password: [redacted:1]\nport: 1"),
        ("the password: hunter2, they say", "the password: [redacted:1], they say"),
        ("https://x/?token=abc&a=1", "https://x/?token=[redacted:1]&a=1"),
        ("PASSWORD=HUNTERHUNTER", "PASSWORD=[redacted:1]"),
        ("PASSWORD=hunter make", "PASSWORD=[redacted:1] make"),
        ("login --password hunter --user x", "login --password [redacted:1] --user x"),
        ("login --api-key=hunter", "login --api-key=[redacted:1]"),
        ("curl -s -u ada:hunter http://x", "curl -s -u [redacted:1] http://x"),
        ("Server=x;Password=hunter;", "Server=x;Password=[redacted:1];"),
        ("a=1&password=hunter&b=2", "a=1&password=[redacted:1]&b=2"),
        ("login(password=hunter2)", "login(password=[redacted:1])"),
        ("login(password='hunter')", "login(password='[redacted:1]')"),
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
        "login(token=step_1['token'], secret=find(key), password=token_2, api_key=config.key)",
        "token = read_token()\nsecret = other_secret\ntoken == last",
        "    token: str\n    password: Optional[str]",
        "max_tokens=100, input_tokens: 12",
        "password=$PASSWORD token=${TOKEN} secret=<secret> password=***",
        "PASSWORD=[redacted:1] {'token': '[redacted:2]'}",
        "login --password PASSWORD --token MY_TOKEN",
        "docker run -u 1000:1000 image",
        "the password: see below",
        "make --token-file x, git --secret --force",
        "2c1b1e7e-1111-4222-8333-444455556666",
        "5f4dcc3b5aa765d61d8327deb882cf995f4dcc3b",
        "hf_model_name npm_config_cache",
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
            for name in (
                *("password", "API-Key", "accessToken", "db_secret", "Set-Cookie", "PIN", "auth"),
                *("passwords", "api_keys", "passphrases", "password2", "passcode", "auth_header"),
                *("private_key_pem", "jwt", "pat", "token_value", "passwordHash", "github_pat", "userPin"),
                *("account_key", "client_secret_json", "X-Api-Key", "sessionToken"),
            )
        ],
        *[
            (name, False)
            for name in (
                *("author", "tokens", "max_tokens", "spin", "keyboard", "tokenizer", "path"),
                *("string", "value", "password_file", "compass", "patch", "token_count"),
            )
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


def cleaned(**inputs: Any) -> dict[str, Any]:
    (clean,) = redacted(
        [Trace(id="t", actions=(Action(id="a", kind="k", name="n", inputs=inputs, at=918273645),))]
    )
    return clean.actions[0].inputs


@pytest.mark.parametrize(
    ("name", "value", "goes"),
    [
        ("tokens", ["a", "b"], True),
        ("refresh_tokens", "x", True),
        ("db_pass", "x", True),
        ("basic_auth", "x", True),
        ("tokens", 5, False),
        ("max_tokens", 100, False),
        ("tokens", {"input": 5}, False),
        ("tests_pass", True, False),
        ("needs_auth", False, False),
    ],
)
def test_what_only_some_call_a_secret_goes_where_it_is_a_text(name: str, value: Any, goes: bool) -> None:
    found = cleaned(**{name: value})

    assert is_mark(found[name]) is goes
    assert goes or found == {name: value}


@pytest.mark.parametrize(
    ("secret", "elsewhere", "left"),
    [
        (918273645, [918273645, "code 918273645.", "9182736450"], [1, "code [redacted:1].", "9182736450"]),
        (918273645, "918273645", 1),
        ("918273645", 918273645, 1),
        ("1234", ["1234", "1234 is it", "12345", 1234], [1, "[redacted:1] is it", "12345", 1]),
        ("12", ["12", 12], ["12", 12]),
        ('a"b\nc/d', json.dumps({"a": 'a"b\nc/d'}), '{"a": "[redacted:1]"}'),
        ("p\u00e4ssw\u00f6rt 1", json.dumps(["p\u00e4ssw\u00f6rt 1"]), '["[redacted:1]"]'),
        ("search", ["search for it", "researcher"], ["[redacted:1] for it", "researcher"]),
        ("none", "none of them", "none of them"),
    ],
)
def test_what_is_a_secret_in_one_place_goes_elsewhere_too(secret: Any, elsewhere: Any, left: Any) -> None:
    found = cleaned(a={"password": secret}, b=elsewhere)["b"]

    def marked(value: Any) -> Any:
        if isinstance(value, list):
            return [marked(each) for each in value]
        return "[redacted:1]" if isinstance(value, int) and value == 1 else value

    assert found == marked(left)


def test_what_an_option_of_a_command_is_given_goes() -> None:
    found = cleaned(argv=["login", "--password", "hunter", "--verbose", "hunter"])

    assert found == {"argv": ["login", "--password", "[redacted:1]", "--verbose", "[redacted:1]"]}
