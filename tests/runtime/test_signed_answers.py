"""Signed answers: with keys only what a reviewer signed counts, once, for exactly what it was signed for."""

from pathlib import Path
from typing import Any, Literal, get_args

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from playhead import ApprovalRules, Engine, Policy, ask_user, child_run, persona, request_approval, tool
from playhead.errors import ApprovalDenied, BadEvent, BadValue, RunFailed
from playhead.events.approval import AnswerSent, ApprovalAnswered, ApprovalGranted, ApprovalRequested
from playhead.events.approval import ApprovalDenied as Denied
from playhead.events.catalog import RunStarted
from playhead.events.signed import ANSWER, digest_of, heard, parts_of
from playhead.events.words import NOTHING, AnswerWord, GrantWords
from playhead.log.envelope import Event
from playhead.log.memory_store import MemoryLog
from playhead.policy.quorum import Answer, Terms, count
from playhead.runtime.approving import digest_of as call_digest
from playhead.sign import Signer, keyring, sign
from playhead_projections.inbox import Inbox
from playhead_projections.projection import fold
from tests.replay.prefixes import RUN, copied, cut, play
from tests.runtime.conftest import Home, until
from tests.runtime.people import asked, of
from tests.test_sign import signer_of

ADA, BOB, EVE = (signer_of(bytes([number]) * 32) for number in (11, 12, 13))
KEYS = {"ada": [ADA.public], "bob": [BOB.public]}
SIGNERS = {"ada": ADA, "bob": BOB}


@persona
async def publishes(page: str = "about") -> list[Any]:
    found = await request_approval("publish", args={"page": page}, reviewers=["ada", "bob"], quorum=2)
    return [found.reviewers, found.args, found.signatures]


async def post(engine: Engine, run: str, said: AnswerSent) -> None:
    """Put an answer into a mailbox as anybody can who reaches the log."""
    stream = f"mailbox/{run}"
    seq = (await engine.store.head(stream)).seq
    await engine.store.append(stream, seq, [engine.catalog.new_event(said, at=engine.clock.now())])
    await engine.look(run)


def unsigned(request: ApprovalRequested, reviewer: str, word: AnswerWord = "approve") -> AnswerSent:
    return AnswerSent(request=request.request, word=word, reviewer=reviewer, value=msgspec.Raw(NOTHING))


def signed(run: str, request: ApprovalRequested, said: AnswerSent, signer: Signer, at: int) -> AnswerSent:
    said = msgspec.structs.replace(said, signed_at=at)
    made = sign(signer, ANSWER, *parts_of(run, request.digest, said, digest_of(said.value)))
    return msgspec.structs.replace(said, signature=made.signature, key=made.key)


async def taken(engine: Engine, run: str, many: int) -> None:
    async def there() -> bool:
        return len(await of(engine, run, ApprovalAnswered)) >= many

    await until(there)


async def test_signed_answers_count_and_stand_in_the_record_with_their_signatures(home: Home) -> None:
    async with home.engine(publishes, reviewer_keys=KEYS) as engine:
        run = await engine.start(publishes)
        request = await asked(engine, run.id)
        for name in ("bob", "ada"):
            await run.answer(request.request, "approve", reviewer=name, signer=SIGNERS[name])
        reviewers, _, signatures = await run.result()
        (started,) = await of(engine, run.id, RunStarted)
        (granted,) = await of(engine, run.id, ApprovalGranted)
        answers = await of(engine, run.id, ApprovalAnswered)

    assert started.reviewer_keys == {name: tuple(keys) for name, keys in KEYS.items()}
    assert reviewers == ["ada", "bob"]
    assert [each.signed for each in granted.granted] == ["valid", "valid"]
    for shown, words, answer in zip(signatures, granted.granted, answers, strict=True):
        assert shown == {
            "reviewer": answer.reviewer,
            "signed_at": answer.signed_at,
            "signed": "valid",
            "signature": answer.signature,
            "key": SIGNERS[answer.reviewer].key,
        }
        assert (words.signature, words.key, words.signed_at) == (
            answer.signature,
            answer.key,
            answer.signed_at,
        )
        made = heard(started.reviewer_keys, run.id, request.digest, answer, digest_of(answer.value))
        assert made == "valid"


async def test_a_replay_needs_no_key_file_and_comes_to_the_same_signatures(
    home: Home, tmp_path: Path
) -> None:
    ring = tmp_path / "keys.json"
    ring.write_bytes(msgspec.json.encode({"reviewers": KEYS}))
    async with home.engine(publishes, reviewer_keys=ring) as engine:
        run = await engine.start(publishes)
        request = await asked(engine, run.id)
        for name in ("ada", "bob"):
            await run.answer(request.request, "approve", reviewer=name, signer=SIGNERS[name])
        await run.result()
    ring.unlink()
    other = {"ada": [EVE.public], "bob": [ADA.public]}
    for keys in (None, other):
        async with home.engine(publishes, reviewer_keys=keys) as engine:
            outcome = await engine.replay(run.id)
            assert (outcome.identical, outcome.divergence) == (True, None)


def test_a_replay_verifies_again_what_the_tape_holds() -> None:
    async def once(engine: Engine) -> str:
        run = await engine.start(publishes)
        request = await asked(engine, run.id)
        for name in ("ada", "bob"):
            await run.answer(request.request, "approve", reviewer=name, signer=SIGNERS[name])
        await run.result()
        return run.id

    async def verdict(engine: Engine, run: str) -> str:
        return (await engine.replay(run)).verdict

    log = MemoryLog()
    run = play(log, once, personas=[publishes], reviewer_keys=keyring(KEYS))
    number = next(n for n, event in enumerate(log.streams[RUN + run]) if event.type == "approval.answered")
    for field, value, said in (
        ("reason", "", "identical"),
        ("reason", "so", "diverged"),
        ("key", "", "diverged"),
    ):

        def change(events: list[Event], field: str = field, value: str = value) -> list[Event]:
            told = msgspec.msgpack.decode(events[number].payload or b"")
            payload = msgspec.msgpack.encode({**told, field: value})
            return [*events[:number], events[number]._replace(payload=payload), *events[number + 1 :]]

        changed = copied(log, run, change)
        assert play(changed, lambda engine: verdict(engine, run), personas=[publishes]) == said


def test_killed_at_every_event_signed_answers_come_to_the_same_end() -> None:
    async def once(engine: Engine) -> tuple[str, Any]:
        run = await engine.start(publishes)
        request = await asked(engine, run.id)
        await post(engine, run.id, unsigned(request, "ada", "deny"))
        await run.answer(request.request, "approve", reviewer="ada", signer=ADA)
        await run.answer(request.request, "withdraw", reviewer="ada", signer=ADA)
        await post(engine, run.id, await mail_of(engine, run.id, 1))
        await run.answer(request.request, "approve", reviewer="bob", signer=BOB)
        await run.answer(request.request, "approve", reviewer="ada", signer=ADA)
        return run.id, await run.result()

    log = MemoryLog()
    run, result = play(log, once, personas=[publishes], reviewer_keys=keyring(KEYS))
    assert [each["reviewer"] for each in result[2]] == ["bob", "ada"]

    async def resume(engine: Engine) -> Any:
        await engine.recover()
        found = await engine.result(run)
        assert (await engine.replay(run)).identical
        return found

    for length in range(1, len(log.streams[RUN + run])):
        assert play(cut(log, run, length), resume, personas=[publishes]) == result


async def mail_of(engine: Engine, run: str, seq: int) -> AnswerSent:
    (event,) = await engine.store.read(f"mailbox/{run}", seq, 1)
    fact = engine.catalog.decode(event)
    assert isinstance(fact, AnswerSent)
    return fact


# What is signed.


def made(**changed: Any) -> AnswerSent:
    said: dict[str, Any] = {
        "request": "approval_1",
        "word": "approve",
        "reviewer": "ada",
        "value": msgspec.Raw(msgspec.msgpack.encode({"page": "a"})),
        "digest": "sha256:1",
        "reason": "fine",
        "signed_at": 5,
    }
    return AnswerSent(**{**said, **changed})


def test_every_changed_byte_of_each_part_of_an_answer_is_seen() -> None:
    said = made()
    told = sign(ADA, ANSWER, *parts_of("run", "sha256:0", said, digest_of(said.value)))
    said = msgspec.structs.replace(said, signature=told.signature, key=told.key)
    keys = keyring(KEYS)

    def of_it(said: AnswerSent, run: str = "run", asked: str = "sha256:0") -> str:
        return heard(keys, run, asked, said, digest_of(said.value))

    assert of_it(said) == of_it(said, asked="sha256:9") == "valid"  # it names the call itself
    assert of_it(said, run="ruN") == "invalid"
    for field in ("request", "reviewer", "digest", "reason"):
        text = getattr(said, field)
        for place in range(len(text)):
            other = f"{text[:place]}{chr(ord(text[place]) ^ 1)}{text[place + 1 :]}"
            assert of_it(msgspec.structs.replace(said, **{field: other})) == "invalid", (field, place)
    for place in range(len(said.value)):
        raw = bytearray(said.value)
        raw[place] ^= 1
        assert of_it(msgspec.structs.replace(said, value=msgspec.Raw(raw))) == "invalid", place
    for word in get_args(AnswerWord):
        assert of_it(msgspec.structs.replace(said, word=word)) == (
            "valid" if word == "approve" else "invalid"
        )
    for at in (4, 6, -5, 50):
        assert of_it(msgspec.structs.replace(said, signed_at=at)) == "invalid"
    assert of_it(msgspec.structs.replace(said, digest="")) == "invalid"
    assert of_it(msgspec.structs.replace(said, signature="")) == "unsigned"
    assert heard({}, "run", "sha256:0", said, digest_of(said.value)) == "unsigned"


def test_the_parts_of_an_answer_never_change_from_version_to_version() -> None:
    said = made(reason="")

    assert ANSWER == "playhead.answer/1"
    assert parts_of("run", "sha256:0", said, b"v") == (
        *(b"run", b"approval_1", b"sha256:1", b"approve", b"ada", b"", b"v", b"5"),
    )
    assert parts_of("run", "sha256:0", made(digest=""), b"v")[2] == b"sha256:0"


SAYINGS = st.builds(
    AnswerSent,
    request=st.sampled_from(["approval_1", "approval_2"]),
    word=st.sampled_from(get_args(AnswerWord)),
    reviewer=st.sampled_from(["ada", "bob"]),
    value=st.sampled_from([msgspec.Raw(NOTHING), msgspec.Raw(b"\x01")]),
    digest=st.sampled_from(["", "sha256:1"]),
    reason=st.sampled_from(["", "a", "ada"]),
    signed_at=st.integers(1, 3),
)
RUNS = st.sampled_from(["run1", "run2"])


@given(SAYINGS, SAYINGS, RUNS, RUNS)
@settings(max_examples=300)
def test_a_signature_is_good_for_one_answer_and_for_no_other(
    one: AnswerSent, other: AnswerSent, run: str, run_of_other: str
) -> None:
    told = sign(SIGNERS[one.reviewer], ANSWER, *parts_of(run, "sha256:0", one, digest_of(one.value)))
    moved = msgspec.structs.replace(other, signature=told.signature, key=told.key)

    found = heard(keyring(KEYS), run_of_other, "sha256:0", moved, digest_of(moved.value))

    assert found == ("valid" if (run, one) == (run_of_other, other) else "invalid")


POOL = st.builds(
    Answer,
    st.sampled_from(["ada", "bob"]),
    st.sampled_from(["approve", "withdraw"]),
    signed=st.sampled_from(["valid", "valid", "unsigned", "invalid"]),
    signed_at=st.integers(1, 5),
)


@given(st.lists(POOL, max_size=12))
@settings(max_examples=300)
def test_whoever_is_counted_has_signed_nothing_later_before(answers: list[Answer]) -> None:
    terms = Terms("d", ("ada", "bob"), quorum=2, signed=True)
    counted = count(terms, answers)

    for agreed in counted.agreed:
        place = next(n for n, answer in enumerate(answers) if answer is agreed)
        earlier = [a for a in answers[:place] if (a.reviewer, a.signed) == (agreed.reviewer, "valid")]
        assert agreed.signed == "valid"
        assert all(each.signed_at < agreed.signed_at for each in earlier)
        later = [a for a in answers[place + 1 :] if a.reviewer == agreed.reviewer and a.word == "withdraw"]
        ignored = dict(counted.ignored)
        for each in later:
            number = next(n for n, answer in enumerate(answers) if answer is each)
            assert number in ignored


def test_a_signed_answer_that_comes_again_after_a_withdrawal_does_not_count() -> None:
    terms = Terms("d", ("ada",), quorum=1, signed=True)

    def said(word: Literal["approve", "deny", "withdraw"], at: int) -> Answer:
        return Answer("ada", word, signed="valid", signed_at=at)

    two = terms._replace(reviewers=("ada", "bob"), quorum=2)
    again = count(two, [said("approve", 1), said("withdraw", 2), said("approve", 1)])
    assert (again.verdict, again.agreed, [n for n, _ in again.ignored]) == ("open", (), [2])
    assert count(two, [said("approve", 1), said("withdraw", 2), said("approve", 3)]).agreed
    turned = count(terms, [said("withdraw", 2), said("approve", 1)])  # delivered in another order
    assert (turned.verdict, [n for n, _ in turned.ignored]) == ("open", [0, 1])
    assert (
        count(terms, [said("approve", 3)._replace(signed="invalid"), said("approve", 1)]).verdict == "granted"
    )
    assert count(two, [said("approve", 1), said("deny", 1)]).verdict == "open"


# What is not signed does not count.


async def test_only_what_a_reviewer_signed_decides_also_where_somebody_reaches_the_log(home: Home) -> None:
    async with home.engine(publishes, reviewer_keys=KEYS) as engine:
        run, other = await engine.start(publishes), await engine.start(publishes)
        request, another = await asked(engine, run.id), await asked(engine, other.id)
        good = signed(run.id, request, unsigned(request, "ada"), ADA, 100)
        change = msgspec.structs.replace
        elsewhere = signed(other.id, another, unsigned(another, "ada"), ADA, 100)
        mail = [
            unsigned(request, "ada"),
            unsigned(request, "ada", "deny"),
            signed(run.id, request, unsigned(request, "eve", "deny"), EVE, 100),
            signed(run.id, request, unsigned(request, "ada", "deny"), EVE, 100),
            signed(run.id, request, unsigned(request, "ada", "deny"), BOB, 100),
            change(signed(run.id, request, unsigned(request, "ada", "deny"), EVE, 100), key=ADA.key),
            change(elsewhere, request=request.request),
            change(good, word="deny"),
            change(good, reviewer="bob"),
            change(good, signed_at=101),
            good,
            change(unsigned(request, "ada", "withdraw"), signed_at=102),
            signed(run.id, request, unsigned(request, "ada", "withdraw"), ADA, 102),
            good,
            unsigned(request, "bob"),
            signed(run.id, request, unsigned(request, "bob"), BOB, 1),
        ]
        for said in mail:
            await post(engine, run.id, said)
        await taken(engine, run.id, len(mail))
        assert await of(engine, run.id, ApprovalGranted) == await of(engine, run.id, Denied) == []
        assert await run.requests() == [request]
        box = fold(Inbox(), run.id, await home.events(run.id)).state.open[request.request]
        assert (len(box.said), box.agreed) == (len(mail), ["bob"])
        await post(engine, run.id, signed(run.id, request, unsigned(request, "ada"), ADA, 103))
        assert [each["signed_at"] for each in (await run.result())[2]] == [1, 103]
        assert (await engine.replay(run.id)).identical


async def test_what_is_signed_now_is_later_also_by_a_clock_that_is_behind(home: Home) -> None:
    ahead = 2**62
    async with home.engine(publishes, reviewer_keys=KEYS) as engine:
        run = await engine.start(publishes)
        request = await asked(engine, run.id)
        await post(engine, run.id, msgspec.structs.replace(unsigned(request, "ada"), signed_at=2 * ahead))
        await post(engine, run.id, signed(run.id, request, unsigned(request, "ada", "deny"), EVE, 2 * ahead))
        odd = engine.catalog.new_event(unsigned(request, "ada"), at=engine.clock.now())
        await engine.store.append(f"mailbox/{run.id}", 2, [odd._replace(payload=b"\xc1")])
        await post(engine, run.id, signed(run.id, request, unsigned(request, "ada"), ADA, ahead))
        await run.answer(request.request, "withdraw", reviewer="ada", signer=signer_of(bytes([11]) * 32))
        await run.answer(request.request, "approve", reviewer="bob", signer=BOB)
        await taken(engine, run.id, 5)
        assert await run.requests() == [request]  # the withdrawal counts
        await run.answer(request.request, "approve", reviewer="ada", signer=signer_of(bytes([11]) * 32))
        told = {each["reviewer"]: each["signed_at"] for each in (await run.result())[2]}
    assert told["ada"] == ahead + 2
    assert told["bob"] < ahead


async def test_a_denial_and_an_edit_are_signed_too(home: Home) -> None:
    @persona
    async def asks() -> list[Any]:
        edited = await request_approval("publish", args={"page": "about"})
        try:
            await request_approval("delete")
        except ApprovalDenied as error:
            return [edited.args, edited.edited, edited.signatures[0]["signed"], error.reviewer]
        return []

    async with home.engine(asks, reviewer_keys=KEYS) as engine:
        run = await engine.start(asks)
        first = await asked(engine, run.id)
        draft = {"page": "draft"}
        await run.answer(first.request, "approve", draft, reviewer="ada", reason="so", signer=ADA)
        second = await asked(engine, run.id, 2)
        await run.answer(second.request, "deny", reviewer="bob", reason="no", signer=BOB)
        assert await run.result() == [draft, True, "valid", "bob"]
        assert (await engine.replay(run.id)).identical
        (granted,) = await of(engine, run.id, ApprovalGranted)
    assert granted.digest == call_digest("approval", "publish", granted.args)


async def test_a_question_is_answered_with_a_signed_value(home: Home) -> None:
    @persona
    async def asks() -> int:
        number: int = await ask_user("how many?", kind=int)
        return number

    async with home.engine(asks, reviewer_keys=KEYS) as engine:
        run = await engine.start(asks)
        request = await asked(engine, run.id)
        said = msgspec.structs.replace(unsigned(request, "ada"), value=msgspec.Raw(b"\x03"))
        good = signed(run.id, request, said, ADA, 1)
        await post(engine, run.id, msgspec.structs.replace(good, value=msgspec.Raw(b"\x04")))
        await post(engine, run.id, good)
        assert await run.result() == 3


async def test_a_call_that_a_policy_wants_approved_waits_for_a_signed_yes(home: Home) -> None:
    @tool(side_effect_level="network")
    async def send(to: str) -> str:
        return f"sent to {to}"

    @persona(policy=Policy(approval=ApprovalRules(require_approval=["send"])))
    async def sends() -> str:
        return await send("cy")

    async with home.engine(sends, reviewer_keys=KEYS) as engine:
        run = await engine.start(sends)
        request = await asked(engine, run.id)
        await post(engine, run.id, unsigned(request, "ada"))
        await taken(engine, run.id, 1)
        assert await run.requests() == [request]
        await run.answer(request.request, "approve", reviewer="ada", signer=ADA)
        assert await run.result() == "sent to cy"


# Where keys come from, and where they hold.


async def test_without_keys_the_record_says_unsigned_and_carries_no_signature(home: Home) -> None:
    async with home.engine(publishes) as engine:
        run = await engine.start(publishes)
        request = await asked(engine, run.id)
        await run.answer(request.request, "approve", reviewer="ada", signer=ADA)
        forged = signed(run.id, request, unsigned(request, "bob"), BOB, 1)
        await post(engine, run.id, forged)
        _, _, signatures = await run.result()
        (granted,) = await of(engine, run.id, ApprovalGranted)
        first, _ = await of(engine, run.id, ApprovalAnswered)
    assert [sorted(each) for each in signatures] == [["reviewer", "signed", "signed_at"]] * 2
    assert [each["signed"] for each in signatures] == ["unsigned", "unsigned"]
    assert granted.granted[1] == GrantWords(reviewer="bob", said_at=granted.granted[1].said_at)
    assert (first.signature, first.key, first.signed_at) == ("", "", 0)


async def test_an_answer_that_could_never_count_is_refused_before_it_is_sent(home: Home) -> None:
    async with home.engine(publishes, reviewer_keys=KEYS) as engine:
        run = await engine.start(publishes)
        request = await asked(engine, run.id)
        wrong: list[tuple[str, Signer | None, str]] = [
            ("ada", None, "only what is signed counts"),
            ("ada", BOB, "is no key of ada"),
            ("eve", EVE, "eve has no key"),
        ]
        async with home.engine() as other:  # it knows no keys, and the run does
            for reviewer, signer, said in wrong:
                for word in get_args(AnswerWord):
                    with pytest.raises(BadValue, match=said):
                        await other.answer(run.id, request.request, word, reviewer=reviewer, signer=signer)
        assert (await engine.store.head(f"mailbox/{run.id}")).seq == 0


async def test_who_has_no_key_is_nobody_whose_yes_could_be_waited_for(home: Home) -> None:
    asks: list[dict[str, Any]] = [
        {"reviewers": ["ada", "eve"], "quorum": 2},
        {"quorum": 3},
        {"quorum": 2, "principal": "ada"},
    ]

    @persona
    async def tries(number: int) -> None:
        await request_approval("publish", **asks[number])

    async with home.engine(tries, reviewer_keys=KEYS) as engine:
        for number in range(len(asks)):
            run = await engine.start(tries, number)
            with pytest.raises(RunFailed, match="cannot be reached by"):
                await run.result()


async def test_a_child_run_has_the_keys_of_its_parent_whoever_goes_on_with_it(home: Home) -> None:
    @persona
    async def parent() -> Any:
        await ask_user("go on?", kind=bool)
        return await child_run(publishes)

    async with home.engine(parent, publishes, reviewer_keys=KEYS, suspend_after_s=0) as engine:
        run = await engine.start(parent)
        request = await asked(engine, run.id)
        await until(lambda: home.is_suspended(run.id))
        await engine.answer(run.id, request.request, "approve", True, reviewer="ada", signer=ADA)
    other = {"eve": [EVE.public]}
    async with home.engine(parent, publishes, reviewer_keys=other) as engine:
        await engine.recover()
        children: list[str] = []

        async def begun() -> bool:
            heads = await engine.store.heads("run", limit=10)
            children[:] = [head.stream[4:] for head in heads if head.stream != f"run/{run.id}"]
            return bool(children)

        await until(begun)
        (started,) = await of(engine, children[0], RunStarted)
        assert set(started.reviewer_keys) == {"ada", "bob"}
        request = await asked(engine, children[0])
        for name in ("ada", "bob"):
            await engine.answer(children[0], request.request, "approve", reviewer=name, signer=SIGNERS[name])
        assert (await engine.result(run.id))[0] == ["ada", "bob"]


async def test_keys_that_are_none_are_refused_when_the_engine_opens(home: Home, tmp_path: Path) -> None:
    wrong: list[Any] = [
        {},
        {"ada": ["x"]},
        {"a\u200bda": [ADA.public]},
        {"ada": [ADA.public], "bob": [ADA.public]},
    ]
    for keys in wrong:
        with pytest.raises(BadValue):
            async with home.engine(publishes, reviewer_keys=keys):
                pass
    with pytest.raises(FileNotFoundError):
        async with home.engine(publishes, reviewer_keys=tmp_path / "nowhere.json"):
            pass


def test_a_run_whose_recorded_keys_are_none_is_not_played() -> None:
    async def once(engine: Engine) -> str:
        return (await engine.start(publishes)).id

    async def replay(engine: Engine, run: str) -> None:
        await engine.replay(run)

    log = MemoryLog()
    run = play(log, once, personas=[publishes], reviewer_keys=keyring(KEYS))

    def spoil(events: list[Event]) -> list[Event]:
        told = msgspec.msgpack.decode(events[0].payload or b"")
        told["reviewer_keys"]["ada"] = ["ed25519:AAAA"]
        return [events[0]._replace(payload=msgspec.msgpack.encode(told)), *events[1:]]

    with pytest.raises(BadEvent, match="the keys of a run of publishes cannot be read"):
        play(copied(log, run, spoil), lambda engine: replay(engine, run), personas=[publishes])


def test_facts_without_signatures_are_written_as_before() -> None:
    plain = AnswerSent(request="approval_1", word="deny", reviewer="ada", value=msgspec.Raw(NOTHING))

    assert msgspec.msgpack.decode(msgspec.msgpack.encode(plain)) == {
        "type": "answer.sent",
        "request": "approval_1",
        "word": "deny",
        "reviewer": "ada",
        "value": None,
    }
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(GrantWords(reviewer="ada", said_at=1))) == {
        "reviewer": "ada",
        "said_at": 1,
    }
