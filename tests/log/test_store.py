"""What every store promises, asked of the file and of the model alike."""

from __future__ import annotations

import asyncio
from hashlib import sha256
from pathlib import Path

import pytest

from playhead.errors import (
    BadValue,
    Conflict,
    Fenced,
    Held,
    IdReuse,
    NotFound,
    StoreError,
)
from playhead.log.envelope import Append, Appended, Event, NewEvent, Told
from playhead.log.memory_store import MemoryStore
from playhead.log.sqlite_store import SqliteStore
from tests.log.store_helpers import ID, RUN, AnyStore, HandClock, append_id, event, events

TWO = tuple["AnyStore", "AnyStore"]


async def payloads(store: AnyStore, stream: str = RUN) -> list[bytes | None]:
    return [found.payload for found in await store.read(stream)]


# --- appending ------------------------------------------------------------------------------------


async def test_what_was_appended_is_read_back_whole(store: AnyStore) -> None:
    new = NewEvent("step.started", 3, -5, "0.1/search#2", 0, b"\x00\xff")

    landed = await store.append(RUN, 0, [event("first"), new], append_id=ID)
    first, second = await store.read(RUN)

    assert (landed.stream, landed.first_seq, landed.next_seq, landed.epoch) == (RUN, 0, 2, 0)
    assert (landed.position, landed.digest) == (second.position, second.digest)
    assert second[1:9] == (RUN, 1, "step.started", 3, -5, 0, "0.1/search#2", 0)
    assert second.payload == b"\x00\xff"
    assert (first.append_id, second.append_id) == (ID, None)


async def test_the_second_of_two_writers_is_told(store: AnyStore) -> None:
    await store.append(RUN, 0, [event("mine")])

    with pytest.raises(Conflict) as told:
        await store.append(RUN, 0, [event("yours")])

    assert (told.value.expected, told.value.found) == (0, 1)
    assert await payloads(store) == [b"mine"]


async def test_nobody_appends_beyond_the_end(store: AnyStore) -> None:
    with pytest.raises(Conflict) as told:
        await store.append(RUN, 1, [event()])

    assert (told.value.expected, told.value.found) == (1, 0)
    assert await store.head(RUN) == (RUN, 0, bytes(32), 0, None, "", None)


async def test_appends_of_one_turn_share_a_group_and_keep_their_order(store: AnyStore) -> None:
    settled: list[Append] = []
    appends = [
        Append(RUN, seq, [event(str(seq))], append_id=append_id(seq), done=settled.append)
        for seq in range(20)
    ]

    for append in appends:
        store.submit(append)
    assert not settled
    await store.drained()

    assert settled == appends
    assert [append.outcome.first_seq for append in appends if isinstance(append.outcome, Appended)] == list(
        range(20)
    )
    assert await payloads(store) == [str(seq).encode() for seq in range(20)]


async def test_a_refused_append_fails_nobody_but_its_caller(store: AnyStore) -> None:
    outcomes = await asyncio.gather(
        store.append(RUN, 0, [event("a")]),
        store.append(RUN, 0, [event("b")]),
        store.append(RUN, 1, [event("c"), NewEvent("\ud800", 1, 0, "", None, b"")]),
        store.append(RUN, 1, [event("d")]),
        store.append("no name", 0, [event("e")]),
        return_exceptions=True,
    )

    assert [type(outcome) for outcome in outcomes] == [Appended, Conflict, BadValue, Appended, BadValue]
    assert await payloads(store) == [b"a", b"d"]
    assert (await store.verify()).ok


async def test_a_done_that_raises_keeps_nobody_waiting(store: AnyStore) -> None:
    mistakes: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: mistakes.append(context["exception"]))

    def wrong(_: Append) -> None:
        raise ValueError("mistake")

    store.submit(Append(RUN, 0, [event("a")], append_id=append_id(1), done=wrong))
    landed = await store.append(RUN, 1, [event("b")])

    assert landed.first_seq == 1
    assert [str(mistake) for mistake in mistakes] == ["mistake"]


# --- the same append again ------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 3])
async def test_the_same_append_again_gives_the_first_answer(store: AnyStore, count: int) -> None:
    first = await store.append(RUN, 0, events(count), append_id=ID)
    await store.append(RUN, count, [event("later")])

    again = await store.append(RUN, 0, events(count), append_id=ID)

    assert again == first
    assert (await store.head(RUN)).seq == count + 1


async def test_the_same_append_twice_in_one_group_gives_one_answer(store: AnyStore) -> None:
    one, two = await asyncio.gather(
        store.append(RUN, 0, events(2), append_id=ID), store.append(RUN, 0, events(2), append_id=ID)
    )

    assert one == two
    assert (await store.head(RUN)).seq == 2


@pytest.mark.parametrize(
    "other",
    [
        [event("0"), event("else")],
        [event("0")],
        [event("0"), event("1"), event("2")],
        [event("0"), event("1")._replace(at=43)],
        [event("0"), event("1")._replace(type="step.failed")],
        [event("0"), event("1")._replace(cause=0)],
        [event("0"), event("1")._replace(op="x")],
        [event("0"), event("1")._replace(version=2)],
    ],
)
@pytest.mark.parametrize("at_once", [False, True])
async def test_other_content_under_the_same_id_is_refused(
    store: AnyStore, other: list[NewEvent], at_once: bool
) -> None:
    first = store.append(RUN, 0, events(2), append_id=ID)
    second = store.append(RUN, 0, other, append_id=ID)
    if at_once:
        outcomes = await asyncio.gather(first, second, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [Appended, IdReuse]
    else:
        await first
        with pytest.raises(IdReuse) as told:
            await second
        assert told.value.seq == 0
    assert (await store.head(RUN)).seq == 2


async def test_another_id_at_a_taken_place_is_a_conflict(store: AnyStore) -> None:
    await store.append(RUN, 0, events(2), append_id=append_id(1))
    await store.append(RUN, 2, events(2), append_id=append_id(3))

    for expected, name in ((0, 3), (1, 1), (2, 1), (3, 3)):
        with pytest.raises(Conflict):
            await store.append(RUN, expected, events(1), append_id=append_id(name))


async def test_a_claim_that_landed_is_answered_again_after_a_takeover(two: TWO) -> None:
    store, other = two
    first = await store.append(RUN, 0, events(1), append_id=ID, claim=store.worker, release=True)
    await other.append(RUN, 1, events(1), claim=other.worker, epoch=1)

    assert await store.append(RUN, 0, events(1), append_id=ID, claim=store.worker, release=True) == first


# --- leases ---------------------------------------------------------------------------------------


async def test_a_claim_bumps_the_epoch_and_stamps_its_events(store: AnyStore) -> None:
    landed = await store.append(RUN, 0, events(2), claim=store.worker)

    assert landed.epoch == 1
    assert [found.epoch for found in await store.read(RUN)] == [1, 1]
    head = await store.head(RUN)
    assert (head.epoch, head.worker) == (1, store.worker)
    assert await store.alive(store.worker)


async def test_an_append_under_another_epoch_is_fenced(store: AnyStore) -> None:
    await store.append(RUN, 0, events(1), claim=store.worker)

    for epoch in (0, 2):
        with pytest.raises(Fenced) as told:
            await store.append(RUN, 1, events(1), epoch=epoch)
        assert (told.value.expected, told.value.found) == (epoch, 1)

    assert (await store.append(RUN, 1, events(1), epoch=1)).epoch == 1


async def test_a_stale_owner_is_fenced_whatever_it_expects(two: TWO) -> None:
    store, other = two
    await store.append(RUN, 0, events(1), claim=store.worker)
    await store.append(RUN, 1, events(1), epoch=1, release=True)
    await other.append(RUN, 2, events(1), claim=other.worker)

    for expected in (1, 2, 3, 4):
        with pytest.raises(Fenced):
            await store.append(RUN, expected, events(1), epoch=1)


async def test_a_stream_that_was_never_claimed_has_epoch_0(store: AnyStore) -> None:
    await store.append("mailbox/a", 0, events(1))

    with pytest.raises(Fenced):
        await store.append("mailbox/a", 1, events(1), epoch=1)


async def test_a_living_holder_keeps_its_lease(two: TWO) -> None:
    store, other = two
    await store.append(RUN, 0, events(1), claim=store.worker)

    with pytest.raises(Held) as told:
        await other.append(RUN, 1, events(1), claim=other.worker)

    assert told.value.worker == store.worker
    assert await other.alive(store.worker)
    assert not await other.alive("nobody")
    assert (await store.append(RUN, 1, events(1), epoch=1)).epoch == 1


async def test_a_holder_may_claim_again(store: AnyStore) -> None:
    await store.append(RUN, 0, events(1), claim=store.worker)

    assert (await store.append(RUN, 1, events(1), claim=store.worker)).epoch == 2


async def test_a_released_stream_can_be_claimed_by_another(two: TWO) -> None:
    store, other = two
    await store.append(RUN, 0, events(1), claim=store.worker)
    await store.append(RUN, 1, events(1), epoch=1, release=True)
    assert (await store.head(RUN)).worker is None

    assert (await other.append(RUN, 2, events(1), claim=other.worker)).epoch == 2


async def test_a_worker_may_be_seen_to_live_without_a_claim_until_it_closes(two: TWO) -> None:
    store, other = two
    await store.enlist()

    assert await other.alive(store.worker)
    assert await store.renew()
    await store.close()
    assert not await other.alive(store.worker)


async def test_a_store_that_closes_gives_up_its_leases(two: TWO) -> None:
    store, other = two
    await store.append(RUN, 0, events(1), claim=store.worker)
    await store.close()

    assert not await other.alive(store.worker)
    assert (await other.append(RUN, 1, events(1), claim=other.worker)).epoch == 2


async def test_renewing_needs_a_lease(store: AnyStore) -> None:
    assert not await store.renew()
    assert store.lease_age_s is None

    await store.append(RUN, 0, events(1), claim=store.worker)

    assert await store.renew()
    assert store.lease_age_s == 0


async def test_the_ends_of_streams_are_read_in_pages_by_name(store: AnyStore) -> None:
    for name in ("run/b", "run/a/2", "run/a/1", "run/a/é", "run/a", "run/a0", "mailbox/a/1"):
        await store.append(name, 0, events(3))

    assert [(last.stream, last.seq) for last in await store.tails("run", "a/")] == [
        ("run/a/1", 2),
        ("run/a/2", 2),
        ("run/a/é", 2),
    ]
    assert [last.stream for last in await store.tails("run", limit=2)] == ["run/a", "run/a/1"]
    assert [last.stream for last in await store.tails("run", after="run/a/1", limit=3)] == [
        *("run/a/2", "run/a/é", "run/a0")
    ]
    assert await store.tails("run", "a/", after="run/a/é") == []
    assert (await store.tails("run", "b"))[0] == (await store.read("run/b", 2, 1))[0]


async def test_what_the_owner_says_of_a_stream_stands_in_its_head(store: AnyStore) -> None:
    await store.append(RUN, 0, events(1), status="waiting", wake_at=77)
    await store.append(RUN, 1, events(1))
    await store.append("run/b", 0, events(1), status="running")
    await store.append("run/c", 0, events(1))
    await store.append("persona/d", 0, events(1), status="waiting")

    head = await store.head(RUN)

    assert (head.seq, head.status, head.wake_at) == (2, "waiting", 77)
    assert [found.stream for found in await store.heads("run")] == ["run/c", "run/b", RUN]
    assert [found.stream for found in await store.heads("run", limit=2)] == ["run/c", "run/b"]
    assert [found.stream for found in await store.heads("run", status=["waiting", "running"])] == [
        "run/b",
        RUN,
    ]
    assert [found.stream for found in await store.heads("run", status=[""])] == ["run/c"]
    assert (await store.heads("run", status=["waiting"]))[0] == head
    assert await store.heads("ru") == []

    await store.append(RUN, 2, events(1), status="running")

    assert (await store.head(RUN)).wake_at is None


# --- reading --------------------------------------------------------------------------------------


async def test_reading_is_by_pages_and_by_types(store: AnyStore) -> None:
    mixed = [event(str(n), type_="even" if n % 2 == 0 else "odd") for n in range(150)]
    await store.append(RUN, 0, mixed)

    assert [found.seq for found in await store.read(RUN, 140)] == list(range(140, 150))
    assert [found.seq for found in await store.read(RUN, 10, 3)] == [10, 11, 12]
    assert [found.seq for found in await store.read(RUN, 3, 2, types=["odd"])] == [3, 5]
    assert len(await store.read(RUN, types=["odd", "even"])) == 150
    assert await store.read(RUN, types=["none"]) == []
    assert await store.read(RUN, 150) == await store.read("run/none") == []


async def test_what_events_tell_is_what_reading_them_says(store: AnyStore) -> None:
    large = bytes(range(256)) * 400
    await store.append("run/other", 0, [event("elsewhere")])
    await store.append(
        RUN, 0, [NewEvent("step.started", 3, -5, "0.1/search#2", 7, data) for data in (b"", b"\x00", large)]
    )
    await store.append(RUN, 3, [event(str(n)) for n in range(150)])

    for start, limit in ((0, 1000), (2, 70), (140, 100), (153, 10)):
        whole = await store.read(RUN, start, limit)
        assert await store.tell(RUN, start, limit) == [
            Told(found.stream, found.seq, found.type, found.version, found.at, found.op, found.payload)
            for found in whole
        ]
    assert await store.tell("run/none") == []


async def test_what_a_long_stream_tells_is_what_reading_it_says(store: AnyStore) -> None:
    await store.append("run/long", 0, [event(f"kind{n % 7}") for n in range(2_500)])

    told = await store.tell("run/long", 3, 5_000)

    whole = await store.read("run/long", 3, 5_000)
    assert [found.seq for found in told] == list(range(3, 2_500))
    assert [(found.seq, found.type, found.payload) for found in told] == [
        (found.seq, found.type, found.payload) for found in whole
    ]


async def test_the_feed_gives_every_stream_in_order(store: AnyStore) -> None:
    for number in range(100):
        await store.append(f"run/{number % 7}", number // 7, [event(str(number))])

    pages: list[Event] = []
    while page := await store.feed(pages[-1].position if pages else 0, 30):
        assert len(page) <= 30
        pages += page

    assert [found.payload for found in pages] == [str(number).encode() for number in range(100)]
    assert sorted(found.position for found in pages) == [found.position for found in pages]
    assert await store.feed(pages[-1].position) == []


async def test_a_follower_sees_every_event_once_and_in_order(store: AnyStore) -> None:
    await store.append(RUN, 0, events(5))
    seen: list[int] = []

    async def follow() -> None:
        async for found in store.follow(2):
            seen.append(found.position)
            if len(seen) == 403:
                return

    following = asyncio.create_task(follow())
    for number in range(200):
        await asyncio.gather(
            store.append(RUN, 5 + number, [event()]), store.append("run/b", number, [event()])
        )
    await asyncio.wait_for(following, 10)

    assert seen == list(range(3, 406))


async def test_a_follower_is_woken_by_another_worker(two: TWO) -> None:
    store, other = two

    async def first() -> Event:
        async for found in store.follow(0):
            return found
        raise AssertionError

    following = asyncio.create_task(first())
    await asyncio.sleep(0.03)
    await other.append(RUN, 0, [event("news")])

    assert (await asyncio.wait_for(following, 5)).payload == b"news"


# --- blobs and large payloads ---------------------------------------------------------------------


async def test_a_blob_is_kept_under_its_digest(store: AnyStore) -> None:
    address = await store.put_blob(b"data")
    assert await store.put_blob(b"data") == address == sha256(b"data").digest()

    assert await store.get_blob(address) == b"data"
    with pytest.raises(NotFound):
        await store.get_blob(bytes(32))


@pytest.mark.parametrize("size", [0, 1, 65_535, 65_536, 65_537, 3_000_000])
async def test_payloads_of_any_size_come_back(store: AnyStore, size: int) -> None:
    data = bytes(range(256)) * (size // 256 + 1)
    await store.append(RUN, 0, [event()._replace(payload=data[:size])] * 2)

    assert await payloads(store) == [data[:size]] * 2
    if size > 65_536:
        assert await store.get_blob(sha256(data[:size]).digest()) == data[:size]
    assert (await store.verify()).ok


# --- odd values -----------------------------------------------------------------------------------

ODD_TEXT = ["nul\x00nul", "é\u0301", "\u202e", "𝄞", "a'b\"c;--", "line\nline", "\x7f"]


@pytest.mark.parametrize("text", ODD_TEXT)
async def test_odd_text_comes_back_as_it_was(store: AnyStore, text: str) -> None:
    await store.append(RUN, 0, [event(text, type_=text, op=text)], status=text)

    (found,) = await store.read(RUN)

    assert (found.type, found.op, found.payload) == (text, text, text.encode())
    assert (await store.head(RUN)).status == text
    assert (await store.verify()).ok


@pytest.mark.parametrize(
    "wrong",
    [  # some of which no type checker lets through
        event()._replace(at=2**63),
        event()._replace(at=-(2**63) - 1),
        event()._replace(at=1.5),  # type: ignore[arg-type]
        event()._replace(version=-1),
        event()._replace(version=2**32),
        event()._replace(cause=2**63),
        event()._replace(type="\udc80"),
        event()._replace(op="\ud800"),
        event()._replace(type="t" * 129),
        event()._replace(op="o" * 16_385),
        event()._replace(type=None),  # type: ignore[arg-type]
        event()._replace(payload="text"),  # type: ignore[arg-type]
        event()._replace(payload=None),  # type: ignore[arg-type]
        event()._replace(payload=5),  # type: ignore[arg-type]
    ],
)
async def test_what_the_log_cannot_hold_is_refused_at_the_door(store: AnyStore, wrong: NewEvent) -> None:
    for position in (0, 2):
        batch = events(3)
        batch[position] = wrong
        with pytest.raises(BadValue):
            await store.append(RUN, 0, batch)

    assert (await store.append(RUN, 0, events(1))).first_seq == 0
    assert len(await store.feed(0)) == 1
    assert (await store.verify()).ok


@pytest.mark.parametrize(
    "name",
    ["", "run", "run/", "/a", "Run/a", "run/a\x00b", "run/\n", "run/" + "x" * 600, "run/\ud800", "r n/a"],
)
async def test_a_stream_has_a_kind_and_an_id(store: AnyStore, name: str) -> None:
    with pytest.raises(BadValue):
        await store.append(name, 0, events(1))

    assert (await store.heads("run")) == []


@pytest.mark.parametrize(
    "name", ["run/../../etc", "run/%2e%2e", "run/con", "run/é", "state/a b/c", "run/'", "run/a."]
)
async def test_a_stream_name_is_never_a_file_name(store: AnyStore, name: str) -> None:
    await store.append(name, 0, events(1), claim=store.worker)

    assert (await store.read(name))[0].stream == name


@pytest.mark.parametrize(("status", "wake_at"), [("s" * 257, None), ("\ud800", None), ("", -1), ("", 2**63)])
async def test_a_status_that_cannot_be_held_is_refused(
    store: AnyStore, status: str, wake_at: int | None
) -> None:
    with pytest.raises(BadValue):
        await store.append(RUN, 0, events(1), status=status, wake_at=wake_at)

    assert (await store.head(RUN)).seq == 0


async def test_a_batch_of_a_thousand_lands_whole(store: AnyStore) -> None:
    landed = await store.append(RUN, 0, events(1000))

    assert (landed.next_seq, (await store.head(RUN)).seq) == (1000, 1000)
    assert (await store.verify()).ok


async def test_at_may_fall_and_repeat(store: AnyStore, clock: HandClock) -> None:
    for number, at in enumerate((5, 5, 3, -(10**18))):
        await store.append(RUN, number, [event()._replace(at=at)])

    assert [found.at for found in await store.read(RUN)] == [5, 5, 3, -(10**18)]


# --- the end --------------------------------------------------------------------------------------


async def test_a_closed_store_says_so(store: AnyStore) -> None:
    await store.append(RUN, 0, events(1))
    await store.close()
    await store.close()

    with pytest.raises(StoreError, match="closed"):
        await store.append(RUN, 1, events(1))
    with pytest.raises(StoreError, match="closed"):
        await store.read(RUN)


async def test_closing_settles_what_was_queued(store: AnyStore) -> None:
    appends = [Append(RUN, seq, [event()], append_id=append_id(seq)) for seq in range(5)]
    for append in appends:
        store.submit(append)

    await store.close()

    assert all(isinstance(append.outcome, Appended) for append in appends)


async def test_the_same_submissions_give_the_same_chain_in_both_stores(path: Path) -> None:
    chains: list[list[bytes]] = []
    for kind in (SqliteStore.open(path, clock=HandClock()), MemoryStore.open(clock=HandClock())):
        async with kind as store:
            await store.append(RUN, 0, events(3), append_id=ID, claim="w")
            await store.append("run/b", 0, events(2), append_id=ID)
            await store.append(RUN, 3, events(1), append_id=append_id(9), epoch=1)
            chains.append([found.digest for found in await store.feed(0)])
            assert (await store.verify()).ok

    assert chains[0] == chains[1]


async def test_urgent_appends_one_after_another_go_no_deeper(store: AnyStore) -> None:
    finished: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def submit(seq: int) -> None:
        store.submit(Append(RUN, seq, [event()], append_id=append_id(seq), urgent=True, done=done))

    def done(append: Append) -> None:
        assert isinstance(append.outcome, Appended)
        if append.outcome.next_seq == 1_500:
            finished.set_result(None)
        else:
            submit(append.outcome.next_seq)

    submit(0)
    await asyncio.wait_for(finished, 30)

    assert (await store.head(RUN)).seq == 1_500


async def test_a_follower_of_a_store_that_closes_is_told(store: AnyStore) -> None:
    async def follow() -> None:
        async for _ in store.follow(0):
            pass

    following = asyncio.create_task(follow())
    await asyncio.sleep(0.01)
    await store.close()

    with pytest.raises(StoreError, match="closed"):
        await asyncio.wait_for(following, 5)
