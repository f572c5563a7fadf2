"""Who writes, and what becomes of a write over somebody else's."""

import pytest

from playhead.agent_state.writers import conflict_policy, conflicts, name_of, writer
from playhead.errors import BadValue
from playhead.events.words import WriterWords


def test_a_writer_is_told_apart_by_its_name_else_its_worker_else_its_stage_else_its_session() -> None:
    assert writer("w", "st", "se", "wo").writer_id == "w"
    assert writer(None, "st", "se", "wo").writer_id == "wo"
    assert writer(None, "st", "se", None).writer_id == "st"
    assert writer(None, None, "se", None).writer_id == "se"
    assert writer().writer_id is None


def test_a_stage_that_is_not_told_is_the_worker() -> None:
    assert writer(None, None, "se", "wo").stage_id == "wo"
    assert writer(None, "st", "se", "wo").stage_id == "st"


@pytest.mark.parametrize("blank", [None, "", "  ", "\t\n"])
def test_a_blank_text_is_nothing_and_never_the_word_nil(blank: str | None) -> None:
    assert writer(blank, blank, blank, blank) == WriterWords()


def test_what_is_no_text_is_no_name_of_a_writer() -> None:
    with pytest.raises(BadValue, match="worker_id is a text"):
        writer(worker_id=7)


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (WriterWords(writer_id="w", worker_id="wo"), "w"),
        (WriterWords(worker_id="wo", stage_id="st"), "wo"),
        (WriterWords(stage_id="st", session_id="se"), "st"),
        (WriterWords(session_id="se"), "se"),
        (WriterWords(), "unknown"),
    ],
)
def test_a_writer_is_shown_under_the_first_name_it_has(words: WriterWords, name: str) -> None:
    assert name_of(words) == name


def test_two_writers_conflict_where_both_are_known_and_differ() -> None:
    a, b, nobody = WriterWords(writer_id="a"), WriterWords(writer_id="b"), WriterWords(worker_id="a")
    assert conflicts(b, a)
    assert not conflicts(a, a)
    assert not conflicts(a, None)
    assert not conflicts(a, nobody)
    assert not conflicts(nobody, a)


@pytest.mark.parametrize(
    ("word", "policy"),
    [
        (None, "ignore"),
        ("", "ignore"),
        (" Ignore ", "ignore"),
        ("OFF", "ignore"),
        ("warn", "warn"),
        ("Warning", "warn"),
        ("error", "error"),
        (" STRICT\n", "error"),
    ],
)
def test_a_policy_is_a_word_in_any_case(word: str | None, policy: str) -> None:
    assert conflict_policy(word) == policy


def test_a_policy_that_is_refused_is_named_with_those_there_are() -> None:
    with pytest.raises(BadValue) as caught:
        conflict_policy(" Deny")
    assert (caught.value.message, caught.value.expected) == (
        "unknown conflict policy ' Deny'.",
        "ignore, warn or error",
    )


@pytest.mark.parametrize("word", ["deny", "errors", 1, ["warn"]])
def test_any_other_policy_is_refused(word: object) -> None:
    with pytest.raises(BadValue, match=r"unknown conflict policy|is a word"):
        conflict_policy(word)


@pytest.mark.parametrize("name", ["a\nb", "\x1b[31mred", "\ud800", "x" * 201, "a\u200bb"])
def test_a_name_that_could_forge_a_line_is_no_name_of_a_writer(name: str) -> None:
    with pytest.raises(BadValue, match="no name of a writer"):
        writer(name)
