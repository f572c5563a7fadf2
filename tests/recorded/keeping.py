"""State: what agents keep beyond a run, who wrote it, conflicts, and a task that is passed on."""

from pathlib import Path

from playhead import StateConflict, persona, resume_state, state
from playhead.errors import NotFound
from tests.recorded.recording import Recording, engine


@persona
async def writes(page: str) -> list[str]:
    notes = await state("notes", "audit-7")
    await notes.write("plan.md", "first read, then judge")
    await notes.write("evidence/pages.json", {"read": [page], "done": False})
    await notes.write("short-lived", "soon gone")
    await notes.delete("short-lived")
    return await notes.list()


@persona
async def reads_and_conflicts() -> list[str]:
    notes = await resume_state("notes", "audit-7", conflict_policy="warn")
    entry = await notes.entry("plan.md")
    assert entry is not None
    found = [str(await notes.read("evidence/pages.json", "/read")), str(entry.version)]
    found.append(str((await notes.write("plan.md", "judge at once")).conflict))
    careful = await state("notes", "audit-7", conflict_policy="error")
    for change in (
        careful.write("evidence/pages.json", {}),
        careful.write("plan.md", "x", expected_version=9),
    ):
        try:
            await change
        except StateConflict as error:
            found.append(type(error).__name__)
    try:
        await resume_state("notes", "nobody")
    except NotFound as error:
        found.append(type(error).__name__)
    return found


@persona
async def passes_on() -> str:
    notes = await state("notes", "audit-7", writer_id="the judge")
    passed = await notes.handoff(
        {
            "source_persona": "reads_and_conflicts",
            "target_persona_or_human": {"kind": "human", "label": "legal"},
            "task": "judge the licence",
            "reason": "two licences contradict each other",
        }
    )
    own = await state("notes")
    await own.write("mine.json", [1, None, "ü"])
    return f"version {passed.version}, {await own.read('mine.json')}"


async def live(store: Path) -> None:
    async with engine(store, writes, reads_and_conflicts, passes_on) as opened:
        await (await opened.start(writes, "README.md")).result()
        await (await opened.start(reads_and_conflicts)).result()
        await (await opened.start(passes_on)).result()


RECORDINGS = (
    Recording(
        "0035-state-conflicts-and-a-handoff",
        live,
        frozenset(
            {
                *("state.requested", "state.completed", "state.failed", "session.opened", "state.written"),
                *("state.deleted", "state.conflict_detected", "state.folder_made", "handoff.emitted"),
            }
        ),
    ),
)
