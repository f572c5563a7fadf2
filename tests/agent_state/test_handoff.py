"""Handoffs: what is one, what it needs, and how several are one."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from playhead.agent_state.handoff import artifact_of, merged, recognised
from playhead.errors import BadValue

LEAST: dict[str, Any] = {
    "source_persona": "triage",
    "target_persona_or_human": {"label": "legal"},
    "task": "read the licence",
    "reason": "nobody here may judge it",
}


def test_a_handoff_has_all_members_and_what_is_left_out_is_null_or_empty() -> None:
    artifact = artifact_of(LEAST, run="4wq2mzkq7xha")
    assert artifact is not None
    assert artifact.pop("id").startswith("handoff_")
    assert artifact == {
        "_type": "handoff_artifact",
        "parent_run_id": "4wq2mzkq7xha",
        "source_persona": "triage",
        "target_persona_or_human": {"kind": "persona", "id": None, "label": "legal"},
        "task": "read the licence",
        "reason": "nobody here may judge it",
        "evidence_refs": [],
        "files_or_entities_touched": [],
        "open_questions": [],
        "blocked_on": [],
        "requested_capabilities": [],
        "allowed_side_effects": [],
        "budget_remaining": None,
        "deadline_checkback": None,
        "confidence": None,
        "receipt_links": [],
        "created_at": None,
        "metadata": {},
    }


def test_an_id_that_is_given_stays_and_one_that_is_made_follows_from_what_is_said() -> None:
    assert _made({**LEAST, "id": " h-1 "})["id"] == "h-1"
    assert _made(LEAST)["id"] == _made(dict(reversed(LEAST.items())))["id"]
    assert _made(LEAST)["id"] != _made({**LEAST, "task": "another"})["id"]


def test_the_run_is_the_parent_where_none_is_named() -> None:
    assert _made({**LEAST, "parent_run_id": "p"}, run="r")["parent_run_id"] == "p"
    assert _made({**LEAST, "parent_run_id": " "}, run="r")["parent_run_id"] == "r"


def test_texts_are_trimmed_blank_ones_go_and_what_is_there_twice_counts_once() -> None:
    artifact = _made(
        {**LEAST, "open_questions": [" a ", "", "b", "a", None, 3], "blocked_on": " x ", "created_at": "  "}
    )
    assert artifact["open_questions"] == ["a", "b"]
    assert artifact["blocked_on"] == ["x"]
    assert artifact["created_at"] is None


@pytest.mark.parametrize(
    ("said", "kept"),
    [(0.4, 0.4), (2, 1.0), (-1, 0.0), (float("nan"), None), ("high", None), (True, None), (None, None)],
)
def test_a_confidence_lies_between_0_and_1(said: object, kept: object) -> None:
    assert _made({**LEAST, "confidence": said})["confidence"] == kept


@pytest.mark.parametrize(
    ("target", "kept"),
    [
        ({"label": "l", "kind": "human"}, {"kind": "human", "id": None, "label": "l"}),
        ({"label": "l", "kind": "HUMAN "}, {"kind": "human", "id": None, "label": "l"}),
        ({"id": "i", "kind": "robot"}, {"kind": "persona", "id": "i", "label": None}),
        ({"id": " i ", "label": ""}, {"kind": "persona", "id": "i", "label": None}),
        ("legal", {"kind": "persona", "id": None, "label": "legal"}),
    ],
)
def test_a_target_is_a_human_or_a_persona(target: object, kept: object) -> None:
    assert _made({**LEAST, "target_persona_or_human": target})["target_persona_or_human"] == kept


def test_references_budgets_deadlines_and_links_keep_what_they_are_known_by() -> None:
    artifact = _made(
        {
            **LEAST,
            "evidence_refs": [{"path": "a.md", "label": "A", "extra": 1}, {}, "b.md"],
            "budget_remaining": {"tokens": 5, "dollars": 0.5, "tool_calls": "many"},
            "deadline_checkback": {"deadline": "2026-12-01"},
            "receipt_links": [{"run_id": "r1"}, {"kind": "other", "href": "h"}],
        }
    )
    assert artifact["evidence_refs"] == [
        {"artifact_id": None, "kind": None, "label": "A", "path": "a.md", "uri": None},
        {"artifact_id": None, "kind": None, "label": None, "path": "b.md", "uri": None},
    ]
    assert artifact["budget_remaining"] == {"tokens": 5, "tool_calls": None, "dollars": 0.5}
    assert artifact["deadline_checkback"] == {"deadline": "2026-12-01", "checkback_at": None}
    assert [link["kind"] for link in artifact["receipt_links"]] == ["run_receipt", "other"]


def test_a_link_to_a_receipt_has_all_members_and_metadata_stays_as_it_is() -> None:
    metadata = {"any": [1, {"thing": None}]}
    artifact = _made({**LEAST, "receipt_links": [{"run_id": " r1 ", "path": ""}], "metadata": metadata})
    assert artifact["receipt_links"] == [
        {
            "kind": "run_receipt",
            "label": None,
            "run_id": "r1",
            "artifact_id": None,
            "path": None,
            "href": None,
        }
    ]
    assert artifact["metadata"] == metadata


@pytest.mark.parametrize(
    "name",
    [
        "files_or_entities_touched",
        "open_questions",
        "blocked_on",
        "requested_capabilities",
        "allowed_side_effects",
    ],
)
def test_every_list_of_texts_is_trimmed_and_holds_each_once_where_it_came_first(name: str) -> None:
    assert _made({**LEAST, name: [" b ", "a", "", "b", "\t", "a "]})[name] == ["b", "a"]


@pytest.mark.parametrize("name", ["id", "parent_run_id", "created_at"])
def test_an_optional_text_that_is_blank_is_one_that_is_left_out(name: str) -> None:
    assert _made({**LEAST, name: " \n"}) == _made(LEAST)


@pytest.mark.parametrize("name", ["source_persona", "task", "reason"])
def test_a_handoff_says_who_hands_over_what_and_why(name: str) -> None:
    for blank in (None, " ", 5):
        with pytest.raises(BadValue, match=f"a handoff needs {name}"):
            artifact_of({"_type": "handoff_artifact", **LEAST, name: blank})


@pytest.mark.parametrize("target", [{}, {"kind": "human"}, {"label": " "}, [], 5])
def test_a_target_has_a_label_or_an_id(target: object) -> None:
    with pytest.raises(BadValue, match="a handoff needs a target"):
        artifact_of({**LEAST, "_type": "handoff_artifact", "target_persona_or_human": target})


@pytest.mark.parametrize("name", ["source_persona", "task", "reason"])
def test_what_only_looks_like_a_handoff_and_lacks_something_is_none(name: str) -> None:
    assert artifact_of({**LEAST, name: " "}) is None
    assert artifact_of({**LEAST, "target_persona_or_human": {"kind": "human"}}) is None
    assert artifact_of({**LEAST, "confidence": 10**400}) is not None


def test_a_value_is_a_handoff_by_its_type_or_by_what_it_says() -> None:
    assert recognised({"_type": "handoff_artifact"}) is not None
    assert recognised(LEAST) is LEAST
    assert recognised({name: LEAST[name] for name in ("source_persona", "task", "reason")}) is None
    assert recognised({"done": True}) is None
    assert recognised("handoff") is None
    assert artifact_of({"done": True}) is None


def test_a_record_is_opened_at_its_data_and_an_envelope_at_its_handoff_else_its_summary() -> None:
    assert recognised({"kind": "artifact", "data": LEAST}) is LEAST
    envelope = {"_type": "agent_state_handoff", "summary": LEAST, "handoff": None}
    assert recognised(envelope) is LEAST
    typed = {"_type": "handoff_artifact"}
    assert recognised({**envelope, "handoff": typed}) is typed


def test_handoffs_of_one_id_are_one_where_the_first_wins_and_later_ones_fill_gaps() -> None:
    one = _made({**LEAST, "id": "h", "receipt_links": [{"run_id": "r1"}]})
    two = _made(
        {
            **LEAST,
            "id": "h",
            "task": "other",
            "created_at": "now",
            "receipt_links": [{"run_id": "r1"}, {"run_id": "r2"}],
        }
    )
    three = _made({**LEAST, "id": "i"})
    both = merged([one, two, three])
    assert [each["id"] for each in both] == ["h", "i"]
    assert (both[0]["task"], both[0]["created_at"]) == ("read the licence", "now")
    assert [link["run_id"] for link in both[0]["receipt_links"]] == ["r1", "r2"]


def test_every_gap_is_filled_from_a_later_handoff_of_the_same_id_and_nothing_else() -> None:
    least, full = _made({**LEAST, "id": "h"}), _made({**FULL, "id": "h"})
    assert merged([least, full]) == [{**full, **{name: least[name] for name in LEAST}}]
    assert merged([full, least]) == [full]


def test_a_human_target_is_one_however_it_is_written_and_one_reference_needs_no_list() -> None:
    for target in ("Ada", {"label": "Ada"}):
        said = {**LEAST, "target_human": target}
        said.pop("target_persona_or_human", None)
        said.pop("target", None)
        made = _made({**said, "evidence_refs": "a.md"})
        assert made["target_persona_or_human"] == {"kind": "human", "id": None, "label": "Ada"}
        assert [each["path"] for each in made["evidence_refs"]] == ["a.md"]


def test_gaps_inside_of_a_budget_a_deadline_and_metadata_are_filled_and_a_target_is_one_thing() -> None:
    said: list[dict[str, Any]] = [
        {"budget_remaining": {"tokens": 5}, "metadata": {"a": 1}, "target": {"label": "legal"}},
        {
            "budget_remaining": {"tokens": 9, "dollars": 2},
            "metadata": {"a": 2, "b": 3},
            "target": {"id": "h1"},
        },
        {"deadline_checkback": {"deadline": "2026-12-01"}},
        {"deadline_checkback": {"deadline": "2026-12-09", "checkback_at": "2026-11-30"}},
    ]
    (found,) = merged([_made({**LEAST, "id": "h", **each}) for each in said])
    assert found["budget_remaining"] == {"tokens": 5, "tool_calls": None, "dollars": 2}
    assert found["deadline_checkback"] == {"deadline": "2026-12-01", "checkback_at": "2026-11-30"}
    assert found["metadata"] == {"a": 1, "b": 3}
    assert found["target_persona_or_human"] == {"kind": "persona", "id": None, "label": "legal"}


FULL: dict[str, Any] = {
    "source_persona": "another",
    "target_persona_or_human": {"kind": "human", "id": "h1", "label": "counsel"},
    "task": "another task",
    "reason": "another reason",
    "parent_run_id": "r0",
    "evidence_refs": [{"path": "a.md"}],
    "files_or_entities_touched": ["a.md"],
    "open_questions": ["which?"],
    "blocked_on": ["legal"],
    "requested_capabilities": ["read"],
    "allowed_side_effects": ["none"],
    "budget_remaining": {"tokens": 5},
    "deadline_checkback": {"deadline": "2026-12-01"},
    "confidence": 0.5,
    "receipt_links": [{"run_id": "r1"}],
    "created_at": "2026-11-01",
    "metadata": {"a": 1},
}
LINKS = [{"run_id": "r1"}, {"run_id": "r2"}]
MEMBERS = [*LEAST, "id", "confidence", "receipt_links", "evidence_refs", "data", "_type", "metadata"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@given(
    st.dictionaries(
        st.sampled_from(
            [*LEAST, "id", "confidence", "receipt_links", "evidence_refs", "data", "_type", "metadata"]
        ),
        JSON,
    )
)
def test_anything_is_a_whole_handoff_or_none_or_is_refused(value: dict[str, Any]) -> None:
    try:
        artifact = artifact_of(value)
    except BadValue:
        return
    if artifact is not None:
        assert artifact_of(artifact) == artifact
        assert merged([artifact, artifact]) == [artifact]


def _made(value: Any, run: str | None = None) -> dict[str, Any]:
    artifact = artifact_of(value, run=run)
    assert artifact is not None
    return artifact
