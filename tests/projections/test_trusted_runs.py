"""What runs really record about trust: a chain that others verify, with who agreed and what they signed."""

from pathlib import Path
from typing import Any

from playhead import ApprovalTimedOut, Autonomy, Policy, Proposed, persona, tool
from playhead.events.approval import ApprovalAnswered
from playhead.log.reader import LogReader
from playhead.trust.book import score
from playhead.trust.exchange import Producer, export_chain, import_chain
from playhead.trust.record import TrustRecord
from playhead.trust.timestamp import written
from playhead_projections.trust_graph.graph import chain_of
from tests.runtime.conftest import Home
from tests.runtime.people import asked, of
from tests.test_sign import signer_of

ADA, BOB = (signer_of(bytes([number]) * 32) for number in (31, 32))
KEYS = {"ada": [ADA.public], "bob": [BOB.public]}


@tool(side_effect_level="network")
async def send(to: str) -> str:
    return f"sent to {to}"


def chain_in(home: Home) -> list[TrustRecord]:
    with LogReader(home.path) as log:
        return list(chain_of(log))


def imported(records: list[TrustRecord]) -> list[TrustRecord]:
    """The records as somebody else takes them, who looks at everything."""
    data = export_chain(
        records, topic="trust_graph", producer=Producer("playhead", "1"), generated_at="2026-04-19T18:45:00Z"
    )
    found = import_chain(data)
    assert found.report.verified
    return list(found.records)


async def test_a_required_approval_stands_in_the_record_with_what_each_signed(tmp_path: Path) -> None:
    @persona(policy=Policy(autonomy=Autonomy(tier="act_with_approval", reviewers=["ada", "bob"], quorum=2)))
    async def sender() -> str:
        return await send("cy")

    home = Home("sqlite", tmp_path)
    async with home.engine(sender, reviewer_keys=KEYS) as engine:
        run = await engine.start(sender)
        request = (await asked(engine, run.id)).request
        for name, signer in (("bob", BOB), ("ada", ADA)):
            await run.answer(request, "approve", reviewer=name, signer=signer)
        await run.result()
        answers = await of(engine, run.id, ApprovalAnswered)
    (record,) = imported(chain_in(home))
    assert (record.approver, record.autonomy_tier, record.outcome) == ("ada", "act_with_approval", "success")
    assert record.metadata["approval_request_id"] == request
    assert record.metadata["approval"] == {
        "required": True,
        "quorum": 2,
        "signatures": [
            {
                "reviewer": answer.reviewer,
                "signed_at": written(answer.signed_at),
                "signature": answer.signature,
                "key": answer.key,
            }
            for answer in answers
        ],
    }


async def test_all_that_becomes_of_an_agent_is_one_chain_that_others_verify(tmp_path: Path) -> None:
    scope = Autonomy(tier="act_auto", per_day=1, deadline_s=0.02)

    @persona(policy=Policy(autonomy=scope))
    async def sender() -> list[str]:
        said: list[str] = []
        for to in ("ada", "bob"):
            try:
                made: Any = await send(to)
                said.append("proposed" if isinstance(made, Proposed) else "sent")
            except ApprovalTimedOut:
                said.append("late")
        return said

    home = Home("sqlite", tmp_path)
    async with home.engine(sender) as engine:
        first = await engine.start(sender)
        assert await first.result() == ["sent", "late"]
        await engine.demote("sender", "shadow", by="ada")
        second = await engine.start(sender)
        assert await second.result() == ["proposed", "proposed"]
    records = imported(chain_in(home))
    assert [(each.action, each.outcome, each.autonomy_tier) for each in records] == [
        ("network.call", "success", "act_auto"),
        ("autonomy.tier_transition", "denied", "act_with_approval"),
        ("network.call", "timeout", "act_auto"),
        ("trust.demote", "success", "shadow"),
        ("network.call", "denied", "shadow"),
        ("network.call", "denied", "shadow"),
    ]
    assert [each.trace_id for each in records] == [first.id] * 3 + ["trust/sender@0"] + [second.id] * 2
    assert [each.approver for each in records] == [None, None, None, "ada", None, None]
    judged = score(records, "sender")
    assert (judged.total, judged.successes, judged.timeouts, judged.denied) == (2, 1, 1, 0)
    assert (judged.effective_tier, judged.policy.side_effect_level) == ("shadow", "none")
