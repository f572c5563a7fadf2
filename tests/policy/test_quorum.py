"""Who has to agree, and to what: each rule by name, and over generated answers."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from playhead.policy.quorum import Answer, Counted, Terms, count

TERMS = Terms("d0", reviewers=("ada", "bob", "cy"), quorum=2, principal="agent")


def said(*words: str) -> list[Answer]:
    """`ada+` approves, `ada-` denies, `ada~` withdraws."""
    kinds: dict[str, Any] = {"+": "approve", "-": "deny", "~": "withdraw"}
    return [Answer(word[:-1], kinds[word[-1]], at=place) for place, word in enumerate(words)]


def verdict(terms: Terms, *words: str) -> str:
    return count(terms, said(*words)).verdict


def why(counted: Counted) -> list[str]:
    return [reason for _, reason in counted.ignored]


def test_so_many_different_people_have_to_agree() -> None:
    assert verdict(TERMS) == "open"
    assert verdict(TERMS, "ada+") == "open"
    counted = count(TERMS, said("ada+", "bob+"))
    assert (counted.verdict, counted.digest) == ("granted", "d0")
    assert [answer.reviewer for answer in counted.agreed] == ["ada", "bob"]
    assert counted.decided == said("ada+", "bob+")[1]


def test_who_agrees_twice_counts_once() -> None:
    counted = count(TERMS, said("ada+", "ada+"))
    assert (counted.verdict, why(counted)) == ("open", ["ada has agreed already"])
    assert count(TERMS, [*said("ada+"), Answer("ada", "approve", digest="d0")]).verdict == "open"


def test_one_denial_decides_whatever_was_said_before() -> None:
    counted = count(TERMS, said("ada+", "bob-", "cy+"))
    assert (counted.verdict, counted.decided and counted.decided.reviewer) == ("denied", "bob")
    assert counted.agreed == ()


def test_what_comes_after_the_decision_has_no_effect() -> None:
    counted = count(TERMS, said("ada+", "bob+", "cy-", "bob~"))
    assert counted.verdict == "granted"
    assert counted.ignored == ((2, "it was decided already"), (3, "it was decided already"))


def test_who_agreed_may_withdraw_while_it_is_open() -> None:
    assert verdict(TERMS, "ada+", "ada~", "bob+") == "open"
    assert verdict(TERMS, "ada+", "ada~", "bob+", "ada+") == "granted"
    assert why(count(TERMS, said("ada~"))) == ["ada has not agreed to anything"]


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("eve", "eve is not among the reviewers"),
        ("agent", "agent asked, and nobody agrees with himself"),
        ("", "it names no reviewer"),
    ],
)
def test_who_has_no_say_can_neither_agree_nor_deny(word: str, reason: str) -> None:
    for kind in "+-~":
        counted = count(TERMS, said(f"{word}{kind}"))
        assert (counted.verdict, why(counted)) == ("open", [reason])


def test_nobody_agrees_with_himself_also_where_anybody_may_agree() -> None:
    anybody = Terms("d0", principal="agent")
    assert verdict(anybody, "agent+") == "open"
    assert verdict(anybody, "eve+") == "granted"


def test_a_signature_that_is_none_makes_an_answer_count_for_nothing() -> None:
    forged = Answer("ada", "approve", signed="invalid")
    assert why(count(TERMS, [forged])) == ["the signature is not that of ada"]
    assert count(TERMS, [forged._replace(word="deny")]).verdict == "open"
    needed = TERMS._replace(signed=True, quorum=1)
    assert why(count(needed, said("ada+"))) == ["it is not signed"]
    assert count(needed, [Answer("ada", "approve", signed="valid")]).verdict == "granted"


def test_people_agree_to_what_they_were_shown_and_only_answers_to_the_same_call_add_up() -> None:
    edited = Answer("bob", "approve", digest="d1")
    counted = count(TERMS, [*said("ada+"), edited])
    assert counted.verdict == "open"
    counted = count(TERMS, [*said("ada+"), edited, Answer("cy", "approve", digest="d1")])
    assert (counted.verdict, counted.digest) == ("granted", "d1")
    assert [answer.reviewer for answer in counted.agreed] == ["bob", "cy"]
    changed = count(TERMS, [*said("ada+"), edited, Answer("ada", "approve", digest="d1")])
    assert (changed.verdict, changed.digest) == ("granted", "d1")  # ada thought again
    assert count(TERMS, [Answer("ada", "approve", digest="d0"), *said("bob+")]).verdict == "granted"


PEOPLE = ["ada", "bob", "cy", "eve", "agent", ""]
ANSWERS = st.builds(
    Answer,
    reviewer=st.sampled_from(PEOPLE),
    word=st.sampled_from(["approve", "deny", "withdraw"]),
    digest=st.sampled_from(["", "d0", "d1"]),
    signed=st.sampled_from(["valid", "unsigned", "invalid"]),
)
TERMS_OF_ALL_SORTS = st.builds(
    Terms,
    digest=st.just("d0"),
    reviewers=st.none() | st.just(("ada", "bob", "cy")),
    quorum=st.integers(1, 3),
    principal=st.sampled_from(["agent", "ada", ""]),
    signed=st.booleans(),
)


@given(TERMS_OF_ALL_SORTS, st.lists(ANSWERS, max_size=8))
def test_whatever_is_said_a_grant_has_enough_people_with_a_say_who_agree_to_one_call(
    terms: Terms, answers: list[Answer]
) -> None:
    counted = count(terms, answers)
    if counted.verdict == "granted":
        names = [answer.reviewer for answer in counted.agreed]
        assert len(set(names)) == len(names) >= terms.quorum
        for answer in counted.agreed:
            assert answer.word == "approve"
            assert answer.reviewer not in ("", terms.principal)
            assert terms.reviewers is None or answer.reviewer in terms.reviewers
            assert (answer.digest or terms.digest) == counted.digest
            assert answer.signed != "invalid"
            assert answer.signed == "valid" or not terms.signed
    if counted.verdict == "denied":
        assert counted.decided is not None
        assert counted.decided.word == "deny"


@given(TERMS_OF_ALL_SORTS, st.lists(ANSWERS, max_size=6), st.lists(ANSWERS, max_size=6))
def test_a_decision_stands_whatever_is_said_later(
    terms: Terms, answers: list[Answer], later: list[Answer]
) -> None:
    first = count(terms, answers)
    if first.verdict != "open":
        again = count(terms, [*answers, *later])
        assert again[:4] == first[:4]
        assert len(again.ignored) == len(first.ignored) + len(later)


@given(TERMS_OF_ALL_SORTS, st.lists(ANSWERS, max_size=8))
def test_counting_one_at_a_time_decides_at_the_same_answer(terms: Terms, answers: list[Answer]) -> None:
    whole = count(terms, answers)
    steps = [count(terms, answers[:length]).verdict for length in range(len(answers) + 1)]
    assert steps[-1] == whole.verdict
    decided = [length for length, step in enumerate(steps) if step != "open"]
    if whole.decided is not None:
        assert whole.decided is answers[decided[0] - 1]
