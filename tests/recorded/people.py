"""People who are asked: yes, no, too late, to other arguments, two of three, and with signatures."""

import asyncio
from pathlib import Path
from typing import Any

from playhead import (
    ApprovalDenied,
    ApprovalRules,
    ApprovalTimedOut,
    Engine,
    Policy,
    Run,
    ask_user,
    dual_control,
    escalate_to,
    persona,
    request_approval,
    tool,
)
from playhead.events.approval import ApprovalRequested
from tests.recorded.recording import Recording, asleep, engine


@tool(side_effect_level="network")
async def publish(page: str) -> str:
    return f"{page} is out"


async def asked(run: Run, number: int = 1) -> ApprovalRequested:
    """What the run asks people, once it asks."""
    async with asyncio.timeout(20):
        while len(open_now := await run.requests()) < number:  # noqa: ASYNC110  only the log says it
            await asyncio.sleep(0.005)
    return open_now[-1]


# ------------------------------------------------------------- agreed to


@persona
async def is_agreed_to(page: str) -> list[str]:
    first = await request_approval("publish", args={"page": page}, reviewers=["ada", "bob"])
    edited = await request_approval("publish", args={"page": page}, reviewers=["ada"], deadline_s=None)
    pages = await ask_user("how many pages?", kind=int)
    both = await dual_control(2, 3, publish_it, approvers=["ada", "bob", "cy"])
    over = await escalate_to("legal", "it is about a licence")
    return [*first.reviewers, str(edited.args), str(edited.edited), str(pages), both, *over.reviewers]


async def publish_it() -> str:
    return await publish("both agreed")


async def live_agreed(store: Path) -> None:
    async with engine(store, is_agreed_to) as opened:
        run = await opened.start(is_agreed_to, "about")
        request = (await asked(run)).request
        await run.answer(request, "approve", reviewer="ada", reason="reads well")
        edited = (await asked_after(run, request)).request
        await run.answer(edited, "approve", {"page": "draft"}, reviewer="ada")
        question = (await asked_after(run, edited)).request
        await run.answer(question, "approve", "many", reviewer="ada")
        await run.answer(question, "approve", 3, reviewer="ada")
        pair = (await asked_after(run, question)).request
        for word, who in (("approve", "cy"), ("withdraw", "cy"), ("approve", "dee"), ("approve", "bob")):
            await run.answer(pair, word, reviewer=who)  # type: ignore[arg-type]
        await run.answer(pair, "approve", reviewer="ada")
        over = (await asked_after(run, pair)).request
        await run.answer(over, "approve", reviewer="the lawyer")
        await run.result()


async def asked_after(run: Run, request: str) -> ApprovalRequested:
    """What the run asks next."""
    async with asyncio.timeout(20):
        while True:
            found = [each for each in await run.requests() if each.request != request]
            if found:
                return found[-1]
            await asyncio.sleep(0.005)


# --------------------------------------------------------- not agreed to


@persona(policy=Policy(approval=ApprovalRules(require_approval=["publish"])))
async def is_not_agreed_to(page: str) -> list[str]:
    found: list[str] = []
    try:
        await publish(page)
    except ApprovalDenied as error:
        found.append(error.message)
    try:
        await request_approval("archive", args=page, deadline_s=0.02)
    except ApprovalTimedOut as error:
        found.append(type(error).__name__)
    found.append(await ask_user("in which colour?", default="blue", deadline_s=0.02))
    return found


async def live_not_agreed(store: Path) -> None:
    async with engine(store, is_not_agreed_to) as opened:
        run = await opened.start(is_not_agreed_to, "about")
        await run.answer((await asked(run)).request, "deny", reviewer="bob", reason="not on a Friday")
        await run.result()


async def live_left_asking(store: Path) -> None:
    async with engine(store, is_not_agreed_to) as opened:
        run = await opened.start(is_not_agreed_to, "about")
        await asleep(opened, run.id)


# ------------------------------------------------------------- signed


@persona
async def is_signed(version: str) -> list[str]:
    agreed = await request_approval("release", args={"version": version}, quorum=2)
    return [f"{each['reviewer']}: {each['signed']}" for each in agreed.signatures]


async def live_signed(store: Path) -> None:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from playhead.sign import Signer

    signers = {name: Signer(Ed25519PrivateKey.generate()) for name in ("ada", "bob", "cy")}
    keys: Any = {name: [signer.public] for name, signer in signers.items()}
    async with Engine.open(store, personas=[is_signed], reviewer_keys=keys, suspend_after_s=0.02) as opened:
        run = await opened.start(is_signed, "1.0")
        request = (await asked(run)).request
        for name in ("ada", "cy"):
            await run.answer(request, "approve", reviewer=name, signer=signers[name])
        await run.result()


RECORDINGS = (
    Recording(
        "0036-agreed-to-by-people",
        live_agreed,
        frozenset({"approval.requested", "approval.answered", "approval.granted", "answer.sent"}),
    ),
    Recording(
        "0037-not-agreed-to",
        live_not_agreed,
        frozenset({"approval.denied", "approval.timed_out", "timer.fired"}),
    ),
    Recording("0038-signed-by-two-of-three", live_signed, frozenset({"approval.granted"})),
    Recording(
        "0039-left-to-be-approved",
        live_left_asking,
        frozenset({"approval.requested", "run.suspended"}),
        verdict="incomplete",
    ),
)
