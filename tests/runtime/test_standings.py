"""How agents stand: who is believed, what takes away and what gives, and what nobody can read any more."""

import asyncio
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from playhead.errors import BadValue
from playhead.events.autonomy import AutonomySpent, TierChanged
from playhead.events.codec import Erased, Unknown
from playhead.policy.span import DAY_NS, HOUR_NS
from playhead.policy.tier import TIERS, Tier
from playhead.trust.standing import Spent, Trusted
from tests.runtime.conftest import Home, until
from tests.test_sign import signer_of

ADA, BOB, EVE = (signer_of(bytes([number]) * 32) for number in (21, 22, 23))
KEYS = {"ada": [ADA.public], "bob": [BOB.public]}

MOVES = st.tuples(st.sampled_from(["promote", "demote"]), st.sampled_from(TIERS), st.booleans())


def moved(action: Any, after: Tier) -> TierChanged:
    return TierChanged(agent="a", action=action, before=None, after=after, by="ada")


@given(st.lists(MOVES, max_size=8))
def test_only_a_promotion_by_somebody_who_is_believed_ever_raises_a_tier(moves: list[Any]) -> None:
    trusted = Trusted()
    for seq, (action, after, believed) in enumerate(moves):
        before, first = trusted.tier or TIERS[-1], trusted.tier is None
        trusted.apply(seq, moved(action, after), believed=believed)
        now = trusted.tier or TIERS[-1]
        raised = TIERS.index(now) > TIERS.index(before)
        assert not raised or (believed and action == "promote")
        assert not trusted.promoted or any(did == "promote" and sure for did, _, sure in moves[: seq + 1])
        if TIERS.index(after) < TIERS.index(before):
            assert now == after  # what takes away always counts
        assert first or trusted.tier is not None


@pytest.mark.parametrize("lost", [Erased("trust.tier_changed", 1), Unknown("trust.tier_moved", 9, {})])
def test_after_an_event_that_nobody_can_read_nothing_is_left_until_a_new_word(lost: object) -> None:
    trusted = Trusted()
    trusted.apply(0, moved("promote", "act_auto"))
    trusted.apply(1, lost)
    assert (trusted.tier, trusted.promoted, trusted.changed) == ("shadow", False, 1)
    trusted.apply(2, moved("promote", "suggest"))
    assert (trusted.tier, trusted.changed) == ("suggest", 2)


@given(st.lists(st.tuples(st.integers(0, 3 * 24), st.integers(0, 5)), max_size=40))
def test_an_operation_is_counted_once_in_the_hour_and_the_day_in_which_it_was_counted_first(
    said: list[tuple[int, int]],
) -> None:
    said = sorted(said)
    spent = Spent()
    first: dict[int, int] = {}
    for hour, number in said:
        known = first.get(number)
        if known is not None and hour // 24 > known // 24 + 1:
            continue  # the same operation days later is not asked for again
        first.setdefault(number, hour)
        spent.apply(hour * HOUR_NS + 5, AutonomySpent(agent="a", run="r", op=str(number)))
    now = max(first.values(), default=0)
    assert spent.this(HOUR_NS, now * HOUR_NS) == sum(hour == now for hour in first.values())
    assert spent.this(DAY_NS, now * HOUR_NS) == sum(hour // 24 == now // 24 for hour in first.values())


async def test_with_keys_nobody_is_promoted_without_a_signature_of_who_says_so(home: Home) -> None:
    async with home.engine(reviewer_keys=KEYS) as engine:
        for by, signer, why in (
            ("ada", None, "only what is signed counts"),
            ("eve", EVE, "eve has no key"),
            ("ada", BOB, "no key of ada"),
        ):
            with pytest.raises(BadValue, match=why):
                await engine.promote("audit", "act_auto", by=by, signer=signer)
        await engine.demote("audit", "shadow", by="bob", signer=BOB)
        changed = await engine.promote("audit", "suggest", by="ada", reason="a good month", signer=ADA)
        assert (changed.before, changed.key) == ("shadow", ADA.key)
        assert (await engine.standing("audit")).tier == "suggest"


async def test_what_others_wrote_counts_for_an_engine_with_keys_only_where_it_takes_away(home: Home) -> None:
    async with home.engine() as other, home.engine(reviewer_keys=KEYS) as engine:
        await other.promote("audit", "act_auto", by="ada")  # unsigned
        assert (await engine.standing("audit")).promoted is False
        assert (await other.standing("audit")).promoted is True
        await other.demote("audit", "suggest", by="ada")
        assert (await engine.standing("audit")).tier == "suggest"
        await other.promote("audit", "act_auto", by="ada")
        assert (await engine.standing("audit")).tier == "suggest"


@pytest.mark.parametrize("change", ["agent", "after", "by", "reason", "again", "key"])
async def test_a_signature_is_good_for_one_change_of_one_agent_at_one_place(
    home: Home, change: Literal["agent", "after", "by", "reason", "again", "key"]
) -> None:
    async with home.engine(reviewer_keys=KEYS) as engine:
        await engine.demote("audit", "shadow", by="bob", signer=BOB)
        genuine = await engine.promote("audit", "suggest", by="ada", signer=ADA)
        await engine.demote("audit", "shadow", by="bob", signer=BOB)
        forged: dict[str, TierChanged] = {
            "agent": replace(genuine, agent="other"),
            "after": replace(genuine, after="act_auto"),
            "by": replace(genuine, by="bob"),
            "reason": replace(genuine, reason="because"),
            "again": genuine,
            "key": replace(genuine, key=BOB.key),
        }
        fact, agent = forged[change], forged[change].agent
        stream = f"trust/{agent}"
        seq = (await engine.store.head(stream)).seq
        await engine.store.append(stream, seq, [engine.catalog.new_event(fact, at=engine.clock.now())])
        standing = await engine.standing(agent)
        # Of the other agent nobody had said a word, and whoever it was took something away from it.
        assert standing.tier == {"audit": "shadow", "other": "suggest"}[agent]
        assert standing.promoted == (agent == "audit")


async def test_how_an_agent_stands_is_read_again_in_another_process(tmp_path: Path) -> None:
    home = Home("sqlite", tmp_path)
    async with home.engine() as engine:
        await engine.demote("audit", "suggest", by="ada", reason="four times the same issue")
    async with home.engine() as engine:
        assert (await engine.standing("audit")).tier == "suggest"
        (event,) = await engine.store.read("trust/audit", 0, 10)
        fact: Any = engine.catalog.decode(event)
        assert (fact.by, fact.reason, fact.action) == ("ada", "four times the same issue", "demote")


class Looks:
    """Looks at the log, each of which ends when it may."""

    def __init__(self, store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self.found: list[int] = []
        self.gate = asyncio.Event()
        self._heads = store.heads
        monkeypatch.setattr(store, "heads", self.heads)

    async def heads(self, kind: str, **options: Any) -> Any:
        found = await self._heads(kind, **options)
        self.found.append(len(found))
        await self.gate.wait()
        return found


async def test_many_who_start_at_once_look_together(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    async with home.engine() as engine:
        looks = Looks(engine.store, monkeypatch)
        looks.gate.set()
        assert not any(await asyncio.gather(*(engine.standings.in_use() for _ in range(20))))
        assert looks.found == [0]
        assert await engine.standings.in_use() is False
        assert looks.found == [0, 0]


async def test_nobody_is_told_what_was_seen_before_he_asked(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with home.engine() as engine, home.engine() as other:
        looks = Looks(engine.store, monkeypatch)
        early = asyncio.create_task(engine.standings.in_use())
        await until(lambda: looks.found == [0])
        await other.demote("audit", "shadow", by="ada")
        late = asyncio.create_task(engine.standings.in_use())
        await asyncio.sleep(0)
        looks.gate.set()
        await early
        assert await late is True
        assert looks.found == [0, 1]
