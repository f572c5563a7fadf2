"""`playhead report`, `why`, `blame` and `context` as their users run them, also on logs of strangers."""

import asyncio
import base64
import hashlib
import html
import json
import re
import subprocess
import sys
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec import Raw

from playhead import Engine, Reply, Request, model_call, persona, request_approval, signal, step, tool
from playhead.errors import PlayheadError
from playhead.events import catalog as facts
from playhead.events import rules
from playhead.events.fact import Fact, Failure, Site
from playhead.log.envelope import NewEvent
from playhead_projections.cli.reports import markdown, page
from playhead_projections.cli.reports.page_style import STYLE
from tests import long_run
from tests.cli.shell import Done, Shell, environment
from tests.projections import everything
from tests.projections.recorded import erase, started, unknown, write

HEAVY = {"asyncio", "pydantic", "structlog", "aiosqlite", "playhead.runtime.engine"}
HOSTILE = (
    "</script><script>alert(1)</script><img src=x onerror=alert(2)>' \" ` | \\| [a](javascript:x) "
    "<!-- </style> --> &lt;b&gt; \x1b[31mred\x07 \u202egnp.exe\r\n# head\n- * _x_ ~~y~~ ]]> 日本"
)
VISIBLE = "</td><img src=x onerror=alert(2)>|`[a](b)"
"""Names of people hold nothing that nobody sees."""


class Tiny:
    name = "tiny"

    async def complete(self, request: Any) -> Reply:
        return Reply(text=HOSTILE + request.prompt, model=HOSTILE)


@tool(side_effect_level="read_only")
async def echo(text: str, more: list[str]) -> str:
    if text == "fail":
        raise ValueError(HOSTILE)
    return text


@step
async def inner(text: str) -> str:
    return (await model_call(Request(prompt=text, messages=[{"role": HOSTILE, HOSTILE: text}]))).text


@persona
async def stranger(text: str) -> str:
    said = await echo(text, more=[text] * 3)
    try:
        await echo("fail", more=[])
    except ValueError:
        said += await inner(text)
    await request_approval("go", args={HOSTILE: text}, detail=text)
    said += await signal("go", str)
    raise RuntimeError(said)


@pytest.fixture(scope="module")
def strange(tmp_path_factory: pytest.TempPathFactory) -> tuple[Shell, str]:
    """A run in which every text that somebody may choose is an attack."""
    shell = Shell(tmp_path_factory.mktemp("strange"))

    async def go() -> str:
        async with Engine.open(shell.store, personas=[stranger], model=Tiny()) as engine:
            run = await engine.start(stranger, HOSTILE, name=HOSTILE)
            async with asyncio.timeout(30):
                while not (asked := await run.requests()):  # noqa: ASYNC110  only the log says it
                    await asyncio.sleep(0.005)
            await run.answer(asked[0].request, "approve", reviewer=VISIBLE, reason=HOSTILE)
            await engine.signal(run.id, "go", HOSTILE, sender=HOSTILE)
            with pytest.raises(Exception, match="script"):
                await run.result()
            return run.id

    return shell, asyncio.run(go())


@pytest.fixture(scope="module")
def forged(tmp_path_factory: pytest.TempPathFactory) -> tuple[Shell, str]:
    """A log that no engine wrote: every word in it is an attack, also those that no program could choose."""
    shell = Shell(tmp_path_factory.mktemp("forged"))
    raw = Raw(msgspec.msgpack.encode({HOSTILE: HOSTILE}))
    site, bad = Site(HOSTILE, HOSTILE, 1), Failure(type=HOSTILE, message=HOSTILE, cause=Failure(type=HOSTILE))
    told: list[tuple[str, Fact]] = [
        ("", facts.RunClaimed(worker=HOSTILE, pid=1, host=HOSTILE)),
        ("", rules.PolicyNarrowed(persona=HOSTILE, policy={HOSTILE: HOSTILE})),
        ("0/s#0", facts.StepStarted(step=HOSTILE, function=HOSTILE, args=raw, site=site)),
        ("0/s#0", rules.StageEntered(stage=HOSTILE, iteration=1, policy={HOSTILE: [HOSTILE]})),
        (f"0/s#0/{HOSTILE}#0", facts.ToolRequested(tool=HOSTILE, args=raw, effect="effect", site=site)),
        (f"0/s#0/{HOSTILE}#0", facts.ToolFailed(failure=bad, resolved_by=HOSTILE)),
        ("0/d#0", rules.ToolDenied(tool=HOSTILE, args=raw, reason=HOSTILE, by=HOSTILE)),
        ("0/m#0", facts.ModelCalled(client=HOSTILE, model=HOSTILE, request=raw, site=site)),
        ("0/m#0", facts.ModelAnswered(reply=raw, model=HOSTILE, cost_source=HOSTILE)),
        ("0/p#0", rules.PersonaEntered(persona=HOSTILE, policy=None)),
        ("0/h#0", rules.HookFired(hook=HOSTILE, event=HOSTILE, target=HOSTILE, persona=HOSTILE, shown=raw)),
        ("0/c#0", facts.ChildRequested(run=HOSTILE, persona=HOSTILE, args=raw)),
        ("0/w#0", facts.WaitStarted(signal=HOSTILE)),
        ("", facts.RunReleased(reason=HOSTILE)),
    ]
    write(shell.store, "forged", started(HOSTILE, HOSTILE), *told)
    return shell, "forged"


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> tuple[Shell, everything.Desk]:
    """The run with everything. Nobody may write here."""
    shell = Shell(tmp_path_factory.mktemp("desk"))
    return shell, everything.recorded(shell.store)


class Parsed(HTMLParser):
    """What a page is made of."""

    VOID = frozenset({"meta", "br", "img", "link", "input", "hr"})

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: Counter[str] = Counter()
        self.attributes: Counter[tuple[str, str]] = Counter()
        self.classes: set[str] = set()
        self.text: list[str] = []
        self.open: list[str] = []
        self.scripts: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        for name, value in attrs:
            self.attributes[tag, name] += 1
            if name == "class":
                self.classes |= set((value or "").split())
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        (self.scripts if "script" in self.open or "style" in self.open else self.text).append(data)

    def handle_comment(self, data: str) -> None:
        raise AssertionError(f"a comment: {data[:80]}")


def page_of(shell: Shell, *words: str, run: str = "@") -> str:
    done = shell.here("report", run, "--format", "html", *words)
    assert done.code == 0, done.err
    return done.out


# The page.


@pytest.mark.parametrize("whose", ["strange", "forged"])
def test_a_page_holds_what_strangers_wrote_as_text_and_nothing_else(
    whose: str, request: pytest.FixtureRequest, desk: tuple[Shell, everything.Desk]
) -> None:
    shell, run = request.getfixturevalue(whose)
    ours, theirs = Parsed(page_of(desk[0])), Parsed(page_of(shell, run=run))

    assert theirs.open == []
    assert theirs.tags["script"] == theirs.tags["style"] == 1
    assert set(theirs.tags) <= set(ours.tags) | {"details", "summary"}
    assert set(theirs.attributes) <= set(ours.attributes)
    assert not [name for _, name in theirs.attributes if name.startswith("on") or name in ("style", "src")]
    assert theirs.attributes["a", "href"] == 1
    assert theirs.classes <= set(re.findall(r"\.([a-z_]+)", STYLE))
    assert theirs.scripts == ours.scripts
    told = "".join(theirs.text)
    assert told.count("<img src=x onerror=alert(2)>") > 5
    assert "\x1b" not in told
    assert "\u202e" not in told


def test_a_page_asks_nobody_for_anything(desk: tuple[Shell, everything.Desk]) -> None:
    page = page_of(desk[0])

    assert "default-src 'none'" in page
    assert "http:" not in page
    assert "https:" not in page
    assert "url(" not in page
    assert "@import" not in page


def test_the_policy_of_a_page_names_its_own_script_and_style(desk: tuple[Shell, everything.Desk]) -> None:
    page = page_of(desk[0])
    policy = html.unescape(
        page.partition('http-equiv="Content-Security-Policy" content="')[2].partition('"')[0]
    )
    for tag in ("style", "script"):
        text = page.partition(f"<{tag}>")[2].partition(f"</{tag}>")[0]
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy


def test_every_node_stands_on_the_page_once(desk: tuple[Shell, everything.Desk]) -> None:
    shell, _ = desk
    document = shell.here("report", "@", "--json").document

    page = page_of(shell)

    for node in document["nodes"]:
        assert page.count(f'<span class="seq">{node["seq"]}</span>') == 1
    assert page.count('<span class="seq">') == len(document["nodes"])


def test_a_page_that_has_no_room_says_what_is_not_there(desk: tuple[Shell, everything.Desk]) -> None:
    shell, _ = desk

    page = page_of(shell, "-n", "5")

    assert page.count('<span class="seq">') <= 5
    assert " more are not on this page" in page
    assert Parsed(page).open == []


# Markdown and text.


@pytest.mark.parametrize("whose", ["strange", "forged"])
def test_markdown_of_a_stranger_is_text(whose: str, request: pytest.FixtureRequest) -> None:
    shell, run = request.getfixturevalue(whose)
    said = shell.here("report", run, "--format", "markdown").out

    assert "<" not in said
    assert "\x1b" not in said
    tables = [block for block in said.split("\n\n") if block.startswith("|")]
    for table in tables:
        widths = {row.replace("\\\\", "").replace("\\|", "").count("|") for row in table.strip().splitlines()}
        assert len(widths) == 1, table
    unescaped = said.replace("\\\\", "").replace("\\`", "").replace("\\[", "").replace("\\*", "")
    assert "`" not in unescaped
    assert "[" not in unescaped
    assert "*" not in unescaped


def test_not_even_the_id_of_a_run_is_trusted(forged: tuple[Shell, str]) -> None:
    document = forged[0].here("report", "@", "--json").document
    document["run"]["run"] = VISIBLE

    for lines in (markdown.lines(document, limit=1), page.lines(document, limit=1)):
        said = "\n".join(lines)
        assert "<img" not in said
        assert "`" not in said.replace("\\`", "") or said.startswith("<!doctype")


@pytest.mark.parametrize("whose", ["strange", "forged"])
@pytest.mark.parametrize(
    "words",
    [
        ("report", "RUN"), ("report", "RUN", "--json"), ("report", "RUN", "--format", "markdown"),
        ("report", "RUN", "--format", "html"), ("why", "RUN@6"), ("why", "RUN@6", "--json"),
        ("blame", "RUN@3"), ("blame", "RUN@3", "--json"), ("context", "RUN"), ("context", "RUN", "--json"),
        ("context", "RUN@8"), ("blame", "RUN@8"), ("why", "RUN@9", "--all"),
    ],
    ids=" ".join,
)  # fmt: skip
def test_no_command_lets_a_stranger_move_the_terminal(
    whose: str, words: tuple[str, ...], request: pytest.FixtureRequest
) -> None:
    shell, run = request.getfixturevalue(whose)
    done = shell.here(*(word.replace("RUN", run) for word in words))

    assert done.code in (0, 1)
    assert "Traceback" not in done.err
    said = done.out + done.err
    assert all(ch == "\n" or ch.isprintable() for ch in said)


@pytest.mark.parametrize("last", range(16))
def test_every_form_can_be_asked_for_as_of_any_event(strange: tuple[Shell, str], last: int) -> None:
    shell, run = strange
    for form in ("text", "json", "markdown", "html"):
        done = shell.here("report", f"{run}@{last}", "--format", form)
        assert (done.code, done.err) == (0, "")
        assert "as of" in done.out or form == "json"


def test_the_tree_fits_on_a_narrow_terminal(
    desk: tuple[Shell, everything.Desk], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "90")

    tree = desk[0].here("report", "@").out.partition("What it did\n")[2].partition("\n\n")[0]

    assert max(len(line) for line in tree.splitlines()) <= 90


def test_the_text_says_how_many_it_leaves_out(desk: tuple[Shell, everything.Desk]) -> None:
    done = desk[0].here("report", "@", "-n", "4")

    document = desk[0].here("report", "@", "--json").document
    shown = done.out.partition("What it did")[2].partition("\n\n")[0]
    left_out = [int(line.split()[1]) for line in shown.splitlines() if line.strip().startswith("…")]
    rows = [line for line in shown.splitlines() if re.match(r" +\d+ +(step|tool|hook|model) ", line)]
    assert len(rows) <= 4
    assert len(rows) + sum(left_out) == len(document["nodes"])


# Files.


def test_a_file_is_called_as_its_form_is(desk: tuple[Shell, everything.Desk], tmp_path: Path) -> None:
    shell, _ = desk
    for name, start in (("a.html", "<!doctype html>"), ("a.md", "# "), ("a.json", "{"), ("a.txt", "")):
        done = shell.here("report", "@", "-o", str(tmp_path / name))
        assert (done.code, done.out) == (0, "")
        assert (tmp_path / name).read_text().startswith(start)
    assert json.loads((tmp_path / "a.json").read_text()) == shell.here("report", "@", "--json").document
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.html", "a.json", "a.md", "a.txt"]


def test_a_file_that_was_there_is_replaced_and_not_written_into(
    desk: tuple[Shell, everything.Desk], tmp_path: Path
) -> None:
    (tmp_path / "old.md").write_text("what was there")
    (tmp_path / "kept.md").hardlink_to(tmp_path / "old.md")

    desk[0].here("report", "@", "-o", str(tmp_path / "old.md"))

    assert (tmp_path / "old.md").read_text().startswith("# ")
    assert (tmp_path / "kept.md").read_text() == "what was there"


def test_a_file_that_no_form_is_called_by_is_not_written(
    desk: tuple[Shell, everything.Desk], tmp_path: Path
) -> None:
    refused = desk[0].here("report", "@", "-o", str(tmp_path / "a.pdf"))
    named = desk[0].here("report", "@", "-o", str(tmp_path / "b.pdf"), "--format", "markdown")

    assert (refused.code, named.code) == (2, 0)
    assert "no form of a report has files that end in .pdf" in refused.err
    assert [path.name for path in tmp_path.iterdir()] == ["b.pdf"]


def test_of_a_request_that_is_gone_no_length_is_told(tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    asked = facts.ModelCalled(
        client="tiny", model=None, request=Raw(msgspec.msgpack.encode({"prompt": "hello"}))
    )
    write(shell.store, "r", started(), ("0/tiny#0", asked))
    erase(shell.store, "r", 1)

    said = shell.here("context", "r@1")

    assert (said.code, "what it was shown is erased" in said.out, "byte" in said.out) == (0, True, False)
    assert shell.here("context", "r", "--json").document["calls"][0]["size"] is None


def test_a_link_stays_a_link_and_a_pipe_is_written_into(
    desk: tuple[Shell, everything.Desk], tmp_path: Path
) -> None:
    (tmp_path / "real.md").write_text("")
    (tmp_path / "link.md").symlink_to("real.md")

    desk[0].here("report", "@", "-o", str(tmp_path / "link.md"))
    piped = desk[0].start("report", "@", "--format", "markdown", "-o", "/dev/stdout")

    assert (tmp_path / "link.md").is_symlink()
    assert (tmp_path / "real.md").read_text().startswith("# ")
    assert piped.communicate()[0].startswith("# ")


@pytest.mark.parametrize("name", ["runs.db", "runs.db-wal", "runs.db-readmodels", "../{here}/runs.db"])
def test_a_report_is_never_written_over_the_store(desk: tuple[Shell, everything.Desk], name: str) -> None:
    shell, _ = desk

    done = shell.here("report", "@", "-o", name.format(here=shell.directory.name))

    assert done.code == 2
    assert "over the store" in done.err


def test_where_nothing_can_be_written_it_says_so(desk: tuple[Shell, everything.Desk]) -> None:
    done = desk[0].here("report", "@", "-o", "no/such/place.html")

    assert done.code == 2
    assert "Traceback" not in done.err


# Mistakes.


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("report", "nobody"), 3), (("report", "@", "--json", "--format", "html"), 2),
        (("report", "@999"), 3),
        (("why", "@"), 2), (("why", "@1..3"), 2), (("why", "@999"), 3), (("why", "nobody@1"), 3),
        (("blame",), 2), (("blame", "@"), 2), (("blame", "@4", "nowhere"), 2),
        (("blame", "@4", "/nowhere"), 3),
        (("blame", "a", "b", "c", "d"), 2), (("blame", "@4", "--as-of", "@4"), 2),
        (("blame", "no", "one", "x"), 1),
        (("blame", "desk", "today", "../x"), 2), (("blame", "desk", "today", "headline.json"), 0),
        (("blame", "desk", "today", "headline.json/nope"), 1),
        (("context", "@2"), 3), (("context", "@999"), 3), (("context", "@21", "--diff", "@2"), 3),
        (("context", "@21", "--diff", "@"), 2), (("context", "@21", "--diff", "@29"), 1),
        (("context", "@21", "--diff", "@22"), 0), (("context", "@", "--diff", "@21"), 2),
    ],
    ids=str,
)  # fmt: skip
def test_the_exit_code_says_what_is_wrong(
    desk: tuple[Shell, everything.Desk], words: tuple[str, ...], code: int
) -> None:
    for more in ((), ("--json",)):
        done = desk[0].here(*words, *more)
        assert done.code == code, done.err
        assert "Traceback" not in done.err
        if more and code and done.out:  # `state blame` says in words that there is no value
            assert done.document["schema"] in ("playhead.error/1", "playhead.context_diff/1")


def test_a_log_that_cannot_be_read_is_refused_and_not_guessed(tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    write(
        shell.store, "r", started(), NewEvent("tool.completed", 1, 1, "0/t#0", None, b"\xc1"), unknown("x.y")
    )

    def said(*words: str) -> Done:
        done = shell.here(*words)
        assert "Traceback" not in done.err
        return done

    assert said("report", "r").code == 4
    assert said("why", "r@1").code == 0
    assert said("why", "r@2").code == 0
    assert said("blame", "r@1").code == 3
    assert said("context", "r").code == 0
    assert said("report", "r@0").code == 0


# What was erased.


def test_of_what_was_redacted_all_four_tell_what_is_left(tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    desk = everything.recorded(shell.store)
    place = f"{desk.run}@21"  # a question to a model

    assert shell("redact", place, "/request/system", "--reason", "request 12").code == 0

    shown = shell.here("context", place, "--json").document
    assert "Be dry." not in json.dumps(shown)
    assert shown["request"]["prompt"].startswith("page 1")
    assert "oracle-large" in shell.here("why", place, "-n", "1").out
    assert shell.here("blame", place, "/request/prompt").code == 0
    (node,) = [n for n in shell.here("report", desk.run, "--json").document["nodes"] if n["seq"] == 21]
    assert node["input"].startswith('"page 1')
    assert shell("redact", place, "--reason", "request 13").code == 0
    assert shell.here("context", place).out.endswith("what it was shown is erased\n")
    assert "erased" in shell.here("report", desk.run, "--all").out
    assert shell.here("why", f"{desk.run}@22", "--all").code == 0


def test_a_report_may_be_asked_for_as_of_any_moment(desk: tuple[Shell, everything.Desk]) -> None:
    shell, recorded = desk

    at = shell.here("report", f"{recorded.run}@30", "--json").document
    then = shell.here("report", recorded.run, "--as-of", f"{recorded.run}@30", "--json").document

    assert at == then
    assert shell.here("report", f"{recorded.run}@30", "--as-of", f"{recorded.run}@30").code == 2
    assert shell.here("report", recorded.run, "--as-of", "yesterday").code == 2


async def _forked(path: Path) -> tuple[str, str]:
    async with Engine.open(path, personas=[changes]) as engine:
        run = await engine.start(changes)
        await run.result()
        fork = await engine.fork(run.id, at=1)
        await fork.result()
        return run.id, fork.id


@tool
async def change(what: str) -> str:
    return f"changed {what}"


@persona
async def changes() -> str:
    try:
        return await change("it")
    except PlayheadError as error:
        return type(error).__name__


def test_a_fork_says_what_it_was_forked_from_and_what_its_fence_withheld(tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    run, fork = asyncio.run(_forked(shell.store))

    assert f"forked from {run}@1" in shell.here("report", fork).out
    assert shell.here("report", run, "--json").document["run"]["forked_from"] is None
    links = shell.here("why", f"{fork}@0", "--json").document["links"]
    assert [(each["relation"], each["stream"], each["seq"]) for each in links[0]["because"]] == [
        ("forked_from", f"run/{run}", 1)
    ]
    events = shell.here("log", fork, "--json").document["events"]
    failed = next(event["seq"] for event in events if event["type"] == "tool.failed")
    assert "a fence kept it from happening" in shell.here("why", f"{fork}@{failed}").out


# What they are made of.


@pytest.mark.parametrize(
    "words",
    [
        ["report", "@"], ["report", "@", "--json"], ["report", "@", "--format", "html"], ["why", "@9"],
        ["blame", "@21"], ["context", "@"], ["context", "@21"], ["report", "--help"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_they_import_nothing_heavy_and_write_nothing(
    desk: tuple[Shell, everything.Desk], words: list[str]
) -> None:
    shell, _ = desk
    before = sorted(path.name for path in shell.directory.iterdir())
    code = (
        "import sys\nfrom playhead_projections.cli import main\ntry:\n    main(sys.argv[1:])\nfinally:\n"
        f"    print(sorted({HEAVY!r} & set(sys.modules)), file=sys.stderr)"
    )

    done = subprocess.run(
        [sys.executable, "-c", code, *words],
        cwd=shell.directory,
        env=environment(),
        capture_output=True,
        check=False,
    )

    assert done.returncode == 0
    assert done.stderr.decode().splitlines()[-1] == "[]"
    assert sorted(path.name for path in shell.directory.iterdir()) == before


def test_a_report_begins_at_a_snapshot_which_is_proved_like_all_that_is_kept(tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    run = long_run.recorded(tmp_path / "runs.db", 1_000)

    first, again = (shell.here("report", f"{run}@900", "--json").out for _ in range(2))
    whole = shell.here("report", run, "--json").document
    proved = shell.here("rebuild", "--verify")

    assert first == again
    assert (json.loads(first)["at"], whole["at"]) == (900, None)
    (said,) = [line for line in proved.out.splitlines() if line.startswith("report ")]
    assert re.fullmatch(r"report +0 states +0 rows +[1-9] snapshots? +equal to a fresh fold", said), said
