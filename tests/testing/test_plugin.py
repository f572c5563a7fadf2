"""Any recorded run is a test: the plugin, under a pytest of its own."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import subprocess
import sys
from base64 import b64decode
from collections.abc import Callable, Generator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from playhead import Engine
from playhead.events.catalog import PayloadErased
from playhead.events.codec import CATALOG
from playhead.log.reader import LogReader
from playhead.log.transfer import export_lines
from tests.checkout import ROOT
from tests.test_public_names import HEAVY, loaded_by

AGENTS = Path(__file__).with_name("agents.py")
PLUGIN = ("-p", "no:playhead", "-p", "playhead.testing.plugin", "-p", "no:cacheprovider")
Write = Callable[..., None]


@contextmanager
def named_agents() -> Generator[ModuleType]:
    """The program, under the name that it has in the directories of the tests."""
    spec = importlib.util.spec_from_file_location("agents", AGENTS)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["agents"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["agents"]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with an export of each run that the tests are about, and the key of their secrets."""
    place = tmp_path_factory.mktemp("recorded")
    with named_agents() as agents:
        asyncio.run(record(agents, place))
    return place


async def record(agents: ModuleType, place: Path) -> None:
    runs: dict[str, list[str]] = {}
    options: dict[str, Any] = {**agents.PLAYHEAD, "suspend_after_s": 0.02}
    async with Engine.open(place / "runs.db", personas=[agents.audit], **options) as engine:
        starts: list[tuple[str, Any, list[Any]]] = [
            ("audit", agents.audit, [["attrs", "click"]]),
            ("gold", agents.audit, [["attrs", "gold"]]),
            ("failed", agents.audit, [["broken"]]),
            ("family", agents.family, [["attrs", "click"]]),
            ("relaxed", agents.relaxed, [["attrs", "click"]]),
            ("careful", agents.careful, []),
            ("secretive", agents.secretive, []),
            ("shops", agents.shops, ["tea"]),
            ("erased", agents.audit, [["attrs"]]),
            ("patient", agents.patient, []),
        ]
        for file, persona, args in starts:
            run = await engine.start(persona, *args, name=file)
            if persona is agents.patient:
                while (await engine.store.head(f"run/{run.id}")).status != "suspended":  # noqa: ASYNC110  only the log says it
                    await asyncio.sleep(0.01)
            elif file != "failed":
                await run.result()
            else:
                with pytest.raises(Exception, match="no such package"):
                    await run.result()
            if file == "erased":
                head = await engine.store.head(f"run/{run.id}")
                gone = CATALOG.new_event(PayloadErased(reason="asked"), at=engine.clock.now(), cause=4)
                await engine.store.append(head.stream, head.seq, [gone], epoch=head.epoch)
            children = [fact.run for _, fact in await engine.facts_of(run.id) if hasattr(fact, "run")]
            runs[file] = [f"run/{run.id}", *(f"run/{child}" for child in children)]
    with LogReader(place / "runs.db") as log:
        for file, streams in runs.items():
            lines = list(export_lines(log, streams))
            if file == "erased":
                lines[5] = without_payload(lines[5])
            (place / f"{file}.jsonl").write_bytes(b"".join(lines))


def without_payload(line: bytes) -> bytes:
    """The line of an event as it is exported when its payload was erased."""
    event = json.loads(line)
    kept = bytes.fromhex(event["salt"]) + b64decode(event["payload"])
    event |= {"salt": None, "payload": None, "body": None, "commitment": sha256(kept).hexdigest()}
    return json.dumps(event).encode() + b"\n"


@pytest.fixture
def write(pytester: pytest.Pytester, recorded: Path) -> Write:
    """Puts a test file beside the program and the recordings it names."""

    def put(text: str, *files: str, edit: tuple[str, str] = ("", "")) -> None:
        program = AGENTS.read_text()
        assert edit[0] in program
        pytester.path.joinpath("agents.py").write_text(program.replace(*edit, 1) if edit[0] else program)
        pytester.path.joinpath("test_it.py").write_text(f"import agents\nimport pytest\n{text}")
        for file in files:
            pytester.path.joinpath(file).write_bytes((recorded / file).read_bytes())

    return put


def ran(pytester: pytest.Pytester, *words: str, **counts: int) -> str:
    """What a pytest in this process prints, after it counted passed, failed and errors as said."""
    result = pytester.runpytest_inprocess(*PLUGIN, *words)
    found = result.parseoutcomes()
    assert {name: found.get(name, 0) for name in counts} == counts, result.stdout.str()
    assert sum(found.values()) == sum(counts.values()), found
    return result.stdout.str()


# An edited program.


def test_an_edited_program_fails_with_the_whole_report_and_nothing_of_playhead_s_insides(
    pytester: pytest.Pytester, write: Write
) -> None:
    write(
        "def test_it(playhead_replay):\n    playhead_replay('audit.jsonl', agents.audit)",
        "audit.jsonl",
        edit=("await read_licence(package)", "await read_licence(package.title())"),
    )

    said = ran(pytester, failed=1)

    line = 1 + AGENTS.read_text().partition("await read_licence")[0].count("\n")
    assert "audit.jsonl no longer replays. Diverged: run " in said
    assert "  recorded   tool.requested  0/classify#0/read_licence#0  args.package = 'attrs'" in said
    assert "  now        tool.requested  0/classify#0/read_licence#0  args.package = 'Attrs'" in said
    assert f"agents:classify:{line}" in said
    assert "  agreed     up to event 2, step.started 0/classify#0" in said
    assert "Undo the change, guard it with patched(), or start a new run." in said
    assert "playhead/" not in said
    assert "Traceback" not in said
    assert "site-packages" not in said


def test_an_unrecorded_read_that_changed_the_run_is_named_with_its_line(
    pytester: pytest.Pytester, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WHO", "click")
    write(
        "def test_it(playhead_replay):\n    playhead_replay('audit.jsonl', agents.audit)",
        "audit.jsonl",
        edit=("await read_licence(package)", "await read_licence(os.environ.get('WHO'))"),
    )

    said = ran(pytester, failed=1)

    assert "args.package = 'click'" in said
    assert "perhaps    unrecorded environment (os.environ.get) at agents:classify:" in said


# A test of a run.


def test_a_run_is_replayed_and_answers_what_a_test_asks(pytester: pytest.Pytester, write: Write) -> None:
    write(
        """
def test_it(playhead_replay):
    run = playhead_replay("audit.jsonl", agents)
    assert (run.status, run.name, run.error) == ("completed", "audit", None)
    assert run.outcome.identical and run.result == "permissive, permissive"
    assert [(step.name, step.status, step.result) for step in run.steps] == [
        ("classify", "completed", "permissive"), ("classify", "completed", "permissive")]
    first, second = run.calls("read_licence")
    assert first.args == {"package": "attrs", "lines": 3} and first.result.startswith("MIT")
    assert (first.status, first.attempts, second.args["package"]) == ("completed", 1, "click")
    assert run.calls("publish") == [] and len(run.calls()) == 2
    assert run.model_calls[1].request["prompt"].endswith("click")
    assert run.model_calls[1].reply["text"] == "permissive"
    assert (run.tokens, run.cost_micros, run.denied, run.approvals) == (24, 1200, [], [])
    assert [type(fact).__name__ for fact in run.events("run.completed")] == ["RunCompleted"]
    assert len(run.events()) == run.outcome.events
    run.assert_steps("classify", "classify")
    run.assert_calls("read_licence", 2)
    run.assert_calls("read_licence", [{"package": p, "lines": 3} for p in ("attrs", "click")])
    run.assert_denied()
    run.assert_cost_at_most(1200)
    run.assert_tokens_at_most(24)
""",
        "audit.jsonl",
    )

    ran(pytester, passed=1)


@pytest.mark.parametrize(
    ("file", "line", "said"),
    [
        (
            "audit",
            "assert_steps('classify', 'publish')",
            "other steps than expected|    classify\n|  - publish\n|  + classify    event 8, 0/classify#1",
        ),
        (
            "audit",
            "assert_calls('read_licence', 1)",
            'calls read_licence 2 times, not 1:|{"lines": 3, "package": "click"}    event 9',
        ),
        (
            "audit",
            "assert_calls('read_licence', [{'package': 'attrs', 'lines': 4}])",
            '- {"lines": 4, "package": "attrs"}|+ {"lines": 3, "package": "attrs"}    event 3',
        ),
        ("audit", "assert_cost_at_most(1199)", "cost 1,200 millionths; expected at most 1,199|600  event 5"),
        ("audit", "assert_tokens_at_most(0)", "used 24 tokens; expected at most 0|12  event 5"),
        ("gold", "assert_tokens_at_most(99)", "used 12 tokens, and 1 of 2 did not tell|?  event 11"),
        ("careful", "assert_denied()", "+ publish    event 3, denied: "),
        (
            "failed",
            "result",
            "failed.jsonl has no result: failed, ValueError: no such package\ufffd[2J",
        ),
    ],
)
def test_an_assertion_that_fails_shows_the_test_s_line_and_what_is_recorded(
    pytester: pytest.Pytester, write: Write, file: str, line: str, said: str
) -> None:
    write(
        f"def test_it(playhead_replay):\n    run = playhead_replay('{file}.jsonl', agents)\n    run.{line}\n",
        f"{file}.jsonl",
    )

    found = ran(pytester, failed=1)

    for part in said.split("|"):
        assert part in found
    assert f">       run.{line}\n" in found
    assert "\x1b" not in found
    assert "playhead/testing" not in found


def test_what_failed_and_what_waits_replays_too(pytester: pytest.Pytester, write: Write) -> None:
    write(
        """
def test_failed(playhead_replay):
    run = playhead_replay("failed.jsonl", agents)
    assert (run.status, run.error, run.steps[0].status) == ("failed", run.steps[0].error, "failed")
    assert "no such package" in run.error.message
    assert run.calls()[0].error.type == "ValueError" and run.tokens == 0

def test_waits(playhead_replay):
    run = playhead_replay("patient.jsonl", agents)
    assert (run.status, run.outcome.verdict, run.outcome.identical) == ("suspended", "incomplete", False)
    with pytest.raises(AssertionError, match="has no result: suspended"):
        run.result

def test_denied(playhead_replay):
    run = playhead_replay("careful.jsonl", agents)
    run.assert_denied("publish")
    assert (run.result, run.denied[0].args, run.calls()) == ("ToolRejected", {"text": "a"}, [])

def test_errors_of_its_own(playhead_replay):
    assert playhead_replay("shops.jsonl", agents).result == "no tea"
    assert playhead_replay("shops.jsonl", agents.shops, errors=[agents.OutOfStock]).outcome.identical

def test_unknown(playhead_replay):
    run = playhead_replay("gold.jsonl", agents)
    assert (run.tokens, run.model_calls[1].tokens) == (12, None)
""",
        *("failed.jsonl", "patient.jsonl", "careful.jsonl", "gold.jsonl", "shops.jsonl"),
    )

    ran(pytester, passed=5)


def test_what_was_erased_cannot_be_replayed_past_and_the_test_says_so(
    pytester: pytest.Pytester, write: Write
) -> None:
    write("def test_it(playhead_replay):\n    playhead_replay('erased.jsonl', agents)", "erased.jsonl")

    said = ran(pytester, failed=1)

    assert "in erased.jsonl cannot be replayed." in said
    assert "event 4 (tool.completed) was erased. It cannot run again past it." in said


def test_nothing_is_touched(pytester: pytest.Pytester, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOUCHED", str(pytester.path / "touched"))
    write("def test_it(playhead_replay):\n    playhead_replay('audit.jsonl', agents)", "audit.jsonl")

    ran(pytester, passed=1)

    found = {path.name for path in pytester.path.iterdir()} - {"__pycache__"}
    assert found == {"agents.py", "test_it.py", "audit.jsonl"}


@pytest.mark.parametrize("how", ["def", "async def"])
def test_relaxed_and_strict_runs_replay_in_sync_and_async_tests(
    pytester: pytest.Pytester, write: Write, how: str
) -> None:
    pytester.makeini("[pytest]\nanyio_mode = auto\n")
    write(
        f"""
@pytest.fixture
def anyio_backend():
    return "asyncio"

{how} test_relaxed(playhead_replay):
    assert playhead_replay("relaxed.jsonl", agents.relaxed, model=agents.Tiny()).result == ["permissive"] * 2

{how} test_strict(playhead_replay):
    assert playhead_replay("audit.jsonl", agents.audit).outcome.identical
""",
        *("relaxed.jsonl", "audit.jsonl"),
    )

    ran(pytester, passed=2)


def test_a_relaxed_run_of_an_edited_program_fails_with_its_report(
    pytester: pytest.Pytester, write: Write
) -> None:
    write(
        "def test_it(playhead_replay):\n    playhead_replay('relaxed.jsonl', agents)",
        "relaxed.jsonl",
        edit=("await read_licence(package)", "await read_licence(package.title())"),
    )

    assert "relaxed.jsonl no longer replays. Diverged: run " in ran(pytester, failed=1)


# Several runs in a file.


def test_every_run_of_a_file_is_replayed_and_the_first_root_is_what_is_returned(
    pytester: pytest.Pytester, write: Write, recorded: Path
) -> None:
    lines = (recorded / "family.jsonl").read_bytes().splitlines(keepends=True)
    begin = next(n for n, line in enumerate(lines) if n and b'"schema"' in line[:60])
    (recorded / "turned.jsonl").write_bytes(
        b"".join([*lines[begin:], *lines[:begin]])
    )  # the child comes first
    write(
        """
@pytest.mark.parametrize("file", ["family.jsonl", "turned.jsonl"])
def test_it(playhead_replay, file):
    run = playhead_replay(file, agents)
    assert run in run.runs and all(one.runs == run.runs for one in run.runs)
    (begin,) = [one.id[:8] for one in run.runs if one.persona is agents.audit]
    child = playhead_replay(file, agents, run=begin)
    assert (run.persona, child.persona) == (agents.family, agents.audit)
    assert playhead_replay(file, agents, run="family").id == run.id
    assert (run.steps, [step.name for step in child.steps]) == ([], ["classify"] * 2)

def test_there_is_none_like_that(playhead_replay):
    playhead_replay("family.jsonl", agents, run="nobody")
""",
        *("family.jsonl", "turned.jsonl"),
    )

    said = ran(pytester, passed=2, failed=1)

    assert "no run is called 'nobody' in family.jsonl, which holds" in said


def test_a_child_that_diverges_fails_the_test_of_its_parent(pytester: pytest.Pytester, write: Write) -> None:
    write(
        "def test_it(playhead_replay):\n    playhead_replay('family.jsonl', agents)",
        "family.jsonl",
        edit=('", ".join(', '"; ".join('),
    )

    said = ran(pytester, failed=1)

    assert "family.jsonl no longer replays. Diverged: run " in said
    assert "now        run.completed    result = 'permissive; permissive'" in said


# What cannot be replayed.


def edited(recorded: Path) -> bytes:
    data = (recorded / "audit.jsonl").read_bytes()
    assert b'"attempt"' not in data
    return data.replace(b'"seq":3,', b'"seq":4,', 1)


def forged(recorded: Path) -> bytes:
    """A payload and its body are changed together, and the digests are left."""
    lines = [json.loads(line) for line in (recorded / "patient.jsonl").read_bytes().splitlines()]
    lines[1]["at"] += 1
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "there is no recording at it.jsonl. Record one: playhead export RUN -o FILE.jsonl"),
        (lambda _: b"", "it.jsonl holds no run. Write one into it: playhead export RUN -o it.jsonl"),
        (lambda _: b"not a recording\n", "it.jsonl is no export that can be trusted.|line 1 is no JSON"),
        (lambda _: b"\xff\x00\n", "it.jsonl is no export that can be trusted.|line 1 is no JSON"),
        (lambda _: b"[]\n", "line 1 is no JSON object"),
        (lambda _: b"{}\n", "line 1 has other keys than it should."),
        (
            lambda place: (place / "runs.db").read_bytes(),
            "it.jsonl is a store and no export.|playhead --store it.jsonl export RUN",
        ),
        (edited, "it.jsonl is no export that can be trusted.|store.import_refused: line 5"),
        (forged, "it.jsonl is no export that can be trusted.|store.import_refused: line 2"),
        (
            lambda place: (place / "audit.jsonl").read_bytes().rpartition(b'{"seq"')[0],
            "is cut off.|expected   15 events|found      14 events",
        ),
    ],
)
def test_what_is_no_recording_is_said_in_words(
    pytester: pytest.Pytester,
    write: Write,
    recorded: Path,
    content: Callable[[Path], bytes] | None,
    said: str,
) -> None:
    write("def test_it(playhead_replay):\n    playhead_replay('it.jsonl', agents)")
    if content is not None:
        pytester.path.joinpath("it.jsonl").write_bytes(content(recorded))

    found = ran(pytester, failed=1)

    for part in said.split("|"):
        assert part in found
    assert "Traceback" not in found
    assert "playhead/" not in found


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            "'audit.jsonl', agents.family",
            "is one of persona audit of module agents, and only family was given.",
        ),
        ("'audit.jsonl'", "hand over a persona, or a module with some."),
        ("'audit.jsonl', 'agents.py'", "'agents.py' is no persona, and no module with personas."),
        ("'audit.jsonl', pytest", "module pytest holds no persona: mark the function with @persona."),
        ("'audit.json', agents", "there is no recording at audit.json. Beside it lie audit.jsonl."),
        ("'.', agents", "cannot be read: Is a directory."),
        ("'audit.jsonl', agents, redaction_key='nothing'", "the redaction key at "),
        ("'audit.jsonl', agents, redaction_key='agents.py'", "holds no redaction key"),
    ],
)
def test_a_wrong_word_is_said_in_words(
    pytester: pytest.Pytester, write: Write, words: str, said: str
) -> None:
    write(f"def test_it(playhead_replay):\n    playhead_replay({words})", "audit.jsonl")

    assert said in ran(pytester, failed=1)


def test_arguments_that_do_not_fit_the_persona_any_more_are_said_in_words(
    pytester: pytest.Pytester, write: Write
) -> None:
    write(
        "def test_it(playhead_replay):\n    playhead_replay('audit.jsonl', agents)",
        "audit.jsonl",
        edit=("async def audit(packages: list[str])", "async def audit(packages: int)"),
    )

    said = ran(pytester, failed=1)

    assert "in audit.jsonl cannot be replayed." in said
    assert "value.bad: " in said


def test_secrets_are_compared_with_the_key_of_their_store_and_asked_for_without(
    pytester: pytest.Pytester, write: Write, recorded: Path
) -> None:
    (key,) = recorded.glob("*-redaction-key")
    (pytester.path / "key").write_bytes(key.read_bytes())
    write(
        f"KEY = bytes.fromhex('{key.read_bytes().hex()}')\n"
        """
def test_file(playhead_replay):
    run = playhead_replay("secretive.jsonl", agents, redaction_key="key")
    assert run.calls()[0].args["token"].startswith("playhead:redacted:")

def test_bytes(playhead_replay):
    playhead_replay("secretive.jsonl", agents, redaction_key=KEY)

def test_without(playhead_replay):
    playhead_replay("secretive.jsonl", agents)

def test_another_file(playhead_replay):
    playhead_replay("secretive.jsonl", agents, redaction_key="other.key")

def test_other_bytes(playhead_replay):
    playhead_replay("secretive.jsonl", agents, redaction_key=bytes(32))

def test_too_few(playhead_replay):
    playhead_replay("secretive.jsonl", agents, redaction_key=b"x")
""",
        "secretive.jsonl",
    )
    (pytester.path / "other.key").write_bytes(b"k" * 32)

    said = ran(pytester, passed=2, failed=4)

    assert "it holds secrets, which are compared by digests that only the key of its store can make." in said
    assert "args.token at event 2: other.key is not the key of the store that this was recorded in" in said
    assert "args.token at event 2: redaction_key= is not the key of the store" in said
    assert "redaction_key= holds no redaction key: 1 bytes instead of 32." in said
    assert "no longer replays" not in said


# A directory of them.


def test_every_file_of_a_directory_is_a_test_by_itself_also_in_another_process(
    pytester: pytest.Pytester, write: Write, recorded: Path
) -> None:
    write(
        "from playhead.testing import playhead_fixtures\n"
        "test_recorded_runs = playhead_fixtures('recorded', agents)\n",
    )
    for file in ("audit", "failed", "family", "relaxed", "deeper/careful"):
        path = pytester.path / "recorded" / f"{file}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes((recorded / path.name).read_bytes())

    said = ran(pytester, "-v", passed=5)
    assert "test_it.py::test_recorded_runs[deeper/careful.jsonl] PASSED" in said

    program = pytester.path / "agents.py"
    program.write_text(
        program.read_text().replace("package: str, lines: int = 3", "package: str, lines: int = 4")
    )
    result = in_a_process(pytester.path, "-n", "1")
    assert "FAILED test_it.py::test_recorded_runs[audit.jsonl] - Failed: recorded" in result
    assert "4 failed, 1 passed" in result


def test_a_directory_without_recordings_is_no_test_that_passes(
    pytester: pytest.Pytester, write: Write
) -> None:
    write(
        "from playhead.testing import playhead_fixtures\n"
        "test_recorded_runs = playhead_fixtures('recorded', agents)\n"
    )

    said = ran(pytester, errors=1)

    assert "there is no recording **/*.jsonl in " in said
    assert "Traceback" not in said


# The plugin is no burden.


def in_a_process(place: Path, *words: str) -> str:
    """What pytest prints in a process of its own."""
    command = [sys.executable, "-m", "pytest", "-q", *PLUGIN, *words]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT / "engine"), str(ROOT / "projections")]),
    }
    done = subprocess.run(
        command, cwd=place, env=environment, check=False, capture_output=True, text=True, timeout=100
    )
    return done.stdout + done.stderr


def test_loading_the_plugin_loads_nothing_that_runs_programs(tmp_path: Path) -> None:
    loaded = loaded_by("import playhead.testing.plugin", tmp_path)

    assert {name for name in loaded if name.startswith("playhead.")} == {
        "playhead.testing",
        "playhead.testing.plugin",
    }
    assert not (loaded - loaded_by("import pytest", tmp_path)) & {*HEAVY, "msgspec", "anyio"}


def test_tests_that_do_not_use_it_run_without_the_engine(pytester: pytest.Pytester) -> None:
    pytester.path.joinpath("test_it.py").write_text(
        "import sys\ndef test_it():\n    assert 'playhead.runtime' not in sys.modules\n"
    )

    assert "1 passed" in in_a_process(pytester.path)
