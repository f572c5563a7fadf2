"""Policies: what they deny, stages that narrow, what is inside of them; and secrets that leave values."""

from typing import Any

from playhead import (
    ArgConstraint,
    Policy,
    Stage,
    StageExit,
    ToolRejected,
    child_run,
    persona,
    side_value,
    step,
    tool,
)
from playhead.errors import ChildFailed, StageExhausted
from tests.recorded.recording import Recording, simply


@tool(side_effect_level="read_only", kind="read", path_params=["path"], capabilities={"fs": ["read"]})
async def read(path: str) -> str:
    return f"<{path}>"


@tool(side_effect_level="workspace_write", kind="edit", path_params=["path"], capabilities={"fs": ["write"]})
async def edit(path: str) -> str:
    return f"wrote {path}"


@tool
async def undeclared(what: str) -> str:
    return what


async def rejected(*calls: Any) -> list[str]:
    """What comes of each call."""
    found: list[str] = []
    for call in calls:
        try:
            found.append(await call)
        except (ToolRejected, ChildFailed) as error:
            found.append(error.message)
    return found


@persona(
    policy=Policy(
        workspace_roots=["src"],
        side_effect_level="workspace_write",
        tool_arg_constraints=[ArgConstraint(tool="edit", arg_key="path", arg_patterns=["src/*"])],
    )
)
async def is_bounded() -> list[str]:
    return await rejected(
        read("src/a.py"), read("/etc/passwd"), read("src/../b"), edit("src/b.py"), undeclared("x")
    )


# ----------------------------------------------------------------- stages


@step
async def look(path: str) -> list[str]:
    return await rejected(read(path), edit(path))


@step
async def change(path: str) -> list[str]:
    return await rejected(read(path), edit(path))


async def after_look(end: StageExit) -> None:
    await rejected(edit("src/after"))


@persona(
    policy=Policy(side_effect_level="workspace_write"),
    stages=[
        Stage("look", allowed_tools=["read"], max_iterations=2, on_exit=after_look),
        Stage("change", allowed_tools=["edit", "delete"]),
    ],
)
async def works_in_stages(path: str) -> list[str]:
    found = [*await look(path), *await change(path), *await look(path)]
    try:
        await look(path)
    except StageExhausted as error:
        found.append(error.message)
    return found


# ----------------------------------------------- personas inside of others


@persona(policy=Policy(tools=["read"]))
async def only_reads(path: str) -> list[str]:
    return await rejected(read(path), edit(path))


@persona(policy=Policy(tools=["edit", "read"], recursion_limit=1))
async def encloses(path: str) -> list[str]:
    inside = await only_reads(path)
    child = await child_run(only_reads, path)
    deep = await rejected(has_child_of_its_own(path))
    return [*inside, *child, *deep, *await rejected(edit(path))]


@persona
async def grandchild(path: str) -> list[str]:
    return await child_run(only_reads, path)


async def has_child_of_its_own(path: str) -> str:
    found: list[str] = await child_run(grandchild, path)
    return str(found)


# ---------------------------------------------------------------- secrets

KEY = bytes(range(32))
SECRETS = ["password", "*_token"]


@tool(side_effect_level="network", secret=["pin"])
async def log_in(user: str, password: str, pin: int) -> dict[str, str]:
    return {"user": user, "session_token": f"{user}-{password}-{pin}", "state": "in"}


def environment() -> dict[str, str]:
    return {"HOME": "somewhere", "api_token": "abc"}


@persona
async def keeps_secrets(user: str, password: str) -> list[str]:
    session = await log_in(user, "hush", 1234)
    again = await log_in(user, "hush", 1234)
    here: dict[str, str] = await side_value("environment", environment)
    same = session["session_token"] == again["session_token"]
    return [session["session_token"][:18], str(same), here["api_token"][:18], password[:18]]


PLAYHEAD = {"secrets": SECRETS}

RECORDINGS = (
    Recording(
        "0026-denied-by-a-policy",
        simply(is_bounded),
        frozenset({"policy.narrowed", "tool.denied", "tool.completed"}),
    ),
    Recording(
        "0027-stages-that-narrow",
        simply(works_in_stages, "src/a.py"),
        frozenset({"stage.entered", "stage.exited", "tool.denied"}),
    ),
    Recording(
        "0028-personas-and-children-inside-a-policy",
        simply(encloses, "src/a.py"),
        frozenset({"persona.entered", "persona.exited", "child.requested", "policy.narrowed", "tool.denied"}),
    ),
    Recording(
        "0029-secrets-that-were-redacted",
        simply(keeps_secrets, "ada", "hush", secrets=SECRETS),
        frozenset({"tool.completed", "value.recorded"}),
        key=KEY,
    ),
)
