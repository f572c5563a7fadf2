"""Where else an erased value stands: whatever the name that it stood under, and however it is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from playhead import Engine, Reply, Request, model_call, persona, tool
from playhead.events.catalog import ModelAnswered, RunFailed, ToolCompleted, ToolRequested
from playhead.events.codec import CATALOG
from playhead.events.fact import Fact, Failure, Site
from playhead.events.words import Usage
from playhead.log.envelope import Event
from playhead.runtime.needles import Needles
from tests.runtime.letters import holding, seq_of

ORDINARY = ("type", "module", "category", "function", "role", "kind", "model", "site", "trace", "id", "name")


def raw(value: Any) -> msgspec.Raw:
    return msgspec.Raw(msgspec.msgpack.encode(value))


def event_of(fact: Fact) -> Event:
    new = CATALOG.new_event(fact, at=1)
    return Event(1, "run/x", 0, new.type, new.version, 1, 1, "", None, None, b"s", new.payload, b"d")


def found(erased: Any, other: Any, *parts: str) -> list[str]:
    """Where `other`, arguments of a tool, holds what `erased`, a result, did."""
    payload = CATALOG.new_event(ToolCompleted(result=raw(erased)), at=1).payload
    asked = event_of(ToolRequested(tool="send", args=raw(other), effect="effect"))
    needles = Needles(payload, "tool.completed", parts)
    return [place.part for place in needles.places(asked, CATALOG)]


@tool(side_effect_level="read_only")
async def who(name: str) -> dict[str, Any]:
    return {word: f"{word} of lovelace" for word in ORDINARY} | {"in": [{"role": "countess"}]}


@tool
async def send(text: str) -> str:
    return f"sent {text}"


@persona
async def tells(name: str) -> str:
    person: Any = await who(name)
    return await send(" / ".join([*(person[word] for word in ORDINARY), person["in"][0]["role"]]))


class Counts:
    name = "counts"

    async def complete(self, request: Any) -> Reply:
        return Reply(text="a letter", usage=Usage(input_tokens=7, output_tokens=5), cost_micros=3)


@persona
async def asks(name: str) -> str:
    return (await model_call(Request(prompt=f"about {name}"))).text


async def test_values_of_users_are_looked_for_under_whatever_name(tmp_path: Path) -> None:
    async with Engine.open(tmp_path / "runs.db", personas=[tells]) as engine:
        run = await engine.start(tells, "ada")
        await run.result()
        seq = await seq_of(engine, run.id, "tool.completed")
        done = await engine.redact(run.id, seq, reason="she asked", everywhere=True)

    assert not done.also
    assert {part for _, _, parts in done.everywhere for part in parts} == {"/args/text", "/result"}
    for text in (b"of lovelace", b"countess"):
        assert holding(tmp_path, text) == []


@pytest.mark.parametrize("word", ORDINARY)
def test_every_name_of_a_member_is_one_of_the_user(word: str) -> None:
    assert found({word: "lovelace"}, {"to": "lovelace"}) == ["/args/to"]


def test_of_a_failure_the_message_and_arguments_are_looked_for_and_not_where_it_was() -> None:
    site = Site("letters_of_ada", "post_it", 3)
    failure = Failure(
        type="LostLetter", module="letters_of_ada", message="to countess", category="dead_letter",
        arguments=[{"site": "ockham", "type": "manor house"}], site=site, trace=[site],
        cause=Failure(type="Flooded", message="wet paper"),
        members=[Failure(type="Torn", message="half of it")],
    )  # fmt: skip
    needles = Needles(event_of(RunFailed(failure=failure)).payload or b"", "run.failed")

    assert set(needles.texts) == {"to countess", "ockham", "manor house", "wet paper", "half of it"}
    other = Failure(type="Other", arguments=[{"site": "ockham"}], site=Site("ockham", "ockham", 1))
    places = needles.places(event_of(RunFailed(failure=other)), CATALOG)
    assert [place.part for place in places] == ["/failure/arguments/0/site"]


def test_words_of_every_conversation_are_nobodys() -> None:
    said = {"messages": [{"role": "user", "content": "lovelace"}, {"role": "assistant", "content": "byron"}]}
    answered = event_of(ModelAnswered(reply=raw(said)))

    assert set(Needles(answered.payload or b"", "model.answered").texts) == {"lovelace", "byron"}


@pytest.mark.parametrize(
    ("erased", "other"),
    [
        (4915112345678, 4915112345678.0),
        (250000.0, 250000),
        (250000, "for 250000.0 in all"),
        (250000.0, "for 250000 in all"),
        ("4929123412341234567", 4929123412341234567),
        ("18446744073709551615", 18446744073709551615),
        (b"\xff\xfe\x00secret\xff", b"\xff\xfe\x00secret\xff"),
        (b"\xff\xfe\x00secret\xff", b"head \xff\xfe\x00secret\xff tail"),
        (b"lovelace", "to lovelace"),
        ("lovelace", b"\xff lovelace \xff"),
    ],
)
def test_a_value_is_found_in_every_form_that_it_has(erased: Any, other: Any) -> None:
    assert found({"n": erased}, {"m": other}) == ["/args/m"]
    assert found({"n": erased}, {"m": other}, "/result/n") == ["/args/m"]


def test_what_is_nearly_the_same_number_or_bytes_is_not_found() -> None:
    assert found({"n": 2**53 + 1}, {"m": float(2**53)}) == []
    assert found({"n": b"\xff\xfesecret"}, {"m": "\ufffd\ufffdsecret"}) == []
    assert found({"n": "99999999999999999999"}, {"m": 99999999999999999999.0}) == []


async def test_what_a_model_used_is_told_where_its_answer_says_it_once_more(tmp_path: Path) -> None:
    async with Engine.open(tmp_path / "runs.db", personas=[asks], model=Counts()) as engine:
        run = await engine.start(asks, "ada-lovelace")
        await run.result()
        seq = await seq_of(engine, run.id, "model.answered")
        told = await engine.redact(run.id, seq, "/usage/input_tokens", reason="hers", dry_run=True)
        mirrored = await engine.redact(run.id, seq, "/reply/usage", reason="hers", dry_run=True)
        done = await engine.redact(run.id, seq, "/usage", reason="hers", everywhere=True)

    assert [(place.seq, place.part) for place in told.also] == [(seq, "/reply/usage/input_tokens")]
    assert [(place.seq, place.part) for place in mirrored.also] == [(seq, "/usage")]
    assert not done.also
    assert done.kept["usage"] == done.kept["reply"]["usage"] == "playhead:erased"


def test_usage_is_nothing_to_look_for() -> None:
    answered = event_of(ModelAnswered(reply=raw({"usage": {"input_tokens": 5}}), usage=Usage(input_tokens=5)))

    assert not Needles(answered.payload or b"", "model.answered", ("/usage",))
