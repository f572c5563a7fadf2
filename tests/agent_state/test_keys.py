"""What may name a root, a session or a key of state, and what may not."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from playhead.agent_state.keys import (
    COMPONENT_BYTES_MAX,
    KEY_BYTES_MAX,
    ROOT_BYTES_MAX,
    SESSION_BYTES_MAX,
    Place,
    folded,
    folders,
)
from playhead.errors import BadValue
from playhead.log.envelope import STREAM_NAME_BYTES_MAX

PLACE = Place.of("notes", "s1")


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("plan.md", "plan.md"),
        ("  plan.md\n", "plan.md"),
        ("evidence/a.json", "evidence/a.json"),
        ("./evidence//./a.json/", "evidence/a.json"),
        ("a b/c d.txt", "a b/c d.txt"),
        ("Übersicht.md", "Übersicht.md"),
        ("报告/一.md", "报告/一.md"),
        ("__handoff.json", "__handoff.json"),
        (".hidden", ".hidden"),
        ("отчёт_v2.md", "отчёт_v2.md"),
        ("Δt.csv", "Δt.csv"),
        ("5µm", "5µm"),
        ("\u0440\u043e\u0441", "\u0440\u043e\u0441"),  # a word wholly in another alphabet is its own
        ("...a", "...a"),
    ],
)
def test_a_key_is_a_relative_path_without_what_means_nothing(said: str, kept: str) -> None:
    assert Place.key(said) == kept


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("", "key must be a non-empty relative path"),
        ("   ", "key must be a non-empty relative path"),
        ("/etc/passwd", "must be relative"),
        ("\\\\server\\share", "must be relative"),
        ("C:\\windows", "must be relative"),
        ("c:notes", "must be relative"),
        ("..", "must not escape the session root"),
        ("a/../../b", "must not escape the session root"),
        ("a/..", "must not escape the session root"),
        (".", "must contain at least one path component"),
        ("././", "must contain at least one path component"),
        (".agent_state_meta", "reserved internal path"),
        ("a/.agent_state_meta/b", "reserved internal path"),
        (".Agent_State_Meta/b", "reserved internal path"),
        ("x.agent_state_tmp.1", "reserved internal path"),
    ],
)
def test_what_leads_out_of_the_session_or_into_its_own_files_is_no_key(said: str, why: str) -> None:
    with pytest.raises(BadValue, match=why):
        Place.key(said)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("", "key must be a non-empty relative path."),
        ("/k", "key '/k' must be relative."),
        ("../k", "key '../k' must not escape the session root."),
        ("a/../../k", "key 'a/../../k' must not escape the session root."),
        ("./.", "key must contain at least one path component."),
        (".agent_state_meta/k", "key '.agent_state_meta/k' uses a reserved internal path."),
        ("k.agent_state_tmp-1", "key 'k.agent_state_tmp-1' uses a reserved internal path."),
    ],
)
def test_a_key_that_is_refused_is_named_with_the_reason(said: str, message: str) -> None:
    with pytest.raises(BadValue) as caught:
        Place.key(said)
    assert caught.value.message == message


@pytest.mark.parametrize(
    "said",
    [
        "a\x00b",
        "a\nb",
        "a\u200bb",  # a space that nobody sees
        "a\u202egnp.exe",  # what follows is shown the other way round
        "\ud800",
        "a\ue000",
        "a\ufe0f",  # a variation of nothing
        "a\u3164b",
        "a\u115f",
        "a\u2800b",
        "a/p\u0430ypal.md",  # a Cyrillic letter in a Latin word
        "n\u03bftes",  # a Greek one
        "\u13dfat",  # Cherokee
        "\ua4eepple",  # Lisu
        "\u15c5b",  # Canadian syllabics
        "__handoff.json/x",
        "a\u2024",  # a dot as soon as it is normalised
        "a\u2026",
        "\u00a8a",
        "a\u2215b",  # what looks like a slash
        "a\u2044b",
        "__HANDOFF.json",
        "what?.md",
        "a*",
        "a|b",
        "\uff1ca\uff1e",
        "\u2028",
        "a/\uff0e\uff0e/b",  # full-width dots
        "a\uff0f..\uff0fb",  # full-width slashes
        "a\uff3cb",
        "\u2024\u2024/b",  # one-dot leaders
        "a\\b",
        "a:b",
        "\uff43\uff1a",
        "con",
        "a/NUL.txt",
        "com1",
        "LPT\u00b9.log",
        "AUX .md",
        "a./b",
        "a /b",
        "a/ b",
        "a/" + "x" * (COMPONENT_BYTES_MAX + 1),
        "/".join(["x" * 50] * 7),
        "\ufb03" * 100,  # ligatures, each three letters on some systems
    ],
)
def test_what_some_system_or_reader_takes_for_something_else_is_no_key(said: str) -> None:
    with pytest.raises(BadValue) as caught:
        Place.key(said)
    assert "key" in caught.value.message
    assert caught.value.next


@pytest.mark.parametrize("said", [None, 1, b"a", ["a"], {"a": 1}])
def test_what_is_no_text_names_nothing(said: object) -> None:
    with pytest.raises(BadValue, match="a key is a text"):
        Place.key(said)  # type: ignore[arg-type]
    with pytest.raises(BadValue, match="a session is a text"):
        Place.of("notes", said)  # type: ignore[arg-type]
    with pytest.raises(BadValue, match="a root is a text"):
        Place.of(said, "s1")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "session",
    ["", " ", "../x", "/abs", "a/b", "..", ".", "a\x00", "con", "a.", "x" * (SESSION_BYTES_MAX + 1)],
)
def test_a_session_is_one_name_that_stays_under_its_root(session: str) -> None:
    with pytest.raises(BadValue, match="session"):
        Place.of("notes", session)


@pytest.mark.parametrize("root", ["", "/abs", "../up", "a/../..", "a\x00", "x/" * ROOT_BYTES_MAX])
def test_a_root_is_a_relative_path(root: str) -> None:
    with pytest.raises(BadValue, match="root"):
        Place.of(root, "s1")
    assert Place.of(".agents/./state/", "s1").root == ".agents/state"


def test_roots_sessions_and_keys_cannot_be_mistaken_for_one_another() -> None:
    places = [Place.of("a", "b"), Place.of("a/b", "c"), Place.of("a%2Fb", "c"), Place.of("a", "b%2Fc")]
    streams = {place.stream_of("d") for place in places} | {Place.of("a", "b").stream_of("c/d")}
    assert len(streams) == 5


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Plan.md", "plan.MD"),
        ("Stra\u00dfe", "STRASSE"),
        ("\u00e9", "e\u0301"),
        ("\ufb01le", "file"),
        ("\u2460", "1"),
    ],
)
def test_spellings_that_some_file_system_takes_for_one_share_a_stream(one: str, other: str) -> None:
    assert PLACE.stream_of(one) == PLACE.stream_of(other)


def test_the_folders_of_a_key_are_the_paths_above_it() -> None:
    assert folders("a") == []
    assert folders("a/b/c") == ["a", "a/b"]


@given(st.text(max_size=120), st.text(max_size=60), st.text(max_size=60))
def test_whatever_is_let_in_stays_inside_and_can_name_a_stream(key: str, root: str, session: str) -> None:
    try:
        place = Place.of(root, session)
        kept = place.key(key)
    except BadValue:
        return
    parts = unicodedata.normalize("NFKC", kept).split("/")
    assert not {"", ".", ".."} & set(parts)
    assert "\\" not in kept
    assert Place.key(kept) == kept
    assert Place.of(place.root, place.session) == place
    stream = place.stream_of(kept)
    assert len(stream.encode()) <= STREAM_NAME_BYTES_MAX
    assert folded(stream) == stream or "%2F" in stream or "%25" in stream


@given(st.text(max_size=40))
def test_folding_is_the_same_the_second_time(text: str) -> None:
    assert folded(folded(text)) == folded(text)


def test_the_longest_names_together_still_name_a_stream() -> None:
    longest = "/".join(["k" * 150] * 2)[:KEY_BYTES_MAX]
    place = Place.of("r" * ROOT_BYTES_MAX, "s" * SESSION_BYTES_MAX)
    assert len(place.stream_of(place.key(longest)).encode()) <= STREAM_NAME_BYTES_MAX
