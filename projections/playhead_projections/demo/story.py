"""The demo, scene by scene. Every sentence that it prints was checked before; one that is not true ends it.

Story(Path("somewhere")).tell()     # raises NotTrue
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

import playhead
import playhead_projections
from playhead import Reply
from playhead.clock import SystemClock
from playhead.events.catalog import ModelAnswered, ToolCompleted
from playhead.events.codec import CATALOG
from playhead.events.composition import CompositionCompleted
from playhead.log.backup import copy_to
from playhead.log.envelope import Event
from playhead.log.reader import LogReader
from playhead.log.verify import Fault, verify
from playhead_projections.demo.audit import (
    AT_ONCE,
    AUDIT,
    BODIES,
    DIES_AT,
    OWNER,
    PACKAGES_MAX,
    Metadata,
    installed,
    undeclared,
)
from playhead_projections.demo.count import KINDS, Body, bodies, counted
from playhead_projections.demo.life import STORE
from playhead_projections.projector import state_at
from playhead_projections.receipts import Receipt, Receipts, peek
from playhead_projections.run_report import RunReport, document

LIFE: Final = "playhead_projections.demo.life"
COMMAND: Final = "from playhead_projections.cli import main; main()"
LIFE_S_MAX: Final = 50
RECEIPTS_SHOWN: Final = 6
ROWS: Final = {
    "finished": "on disk before the kill",
    "finished_again": "   of these, run again",
    "in_flight": "under way at the kill",
    "in_flight_again": "   of these, run again",
    "later": "run afterwards, once",
}
RUN_KINDS: Final = {"tool": "tool calls", "model": "model calls"}


class NotTrue(Exception):
    """Something that the demo was about to say is not so."""


class Life(NamedTuple):
    """A process of the demo that has ended."""

    pid: int
    code: int
    said: dict[str, Any]
    complained: str


class Edit(NamedTuple):
    """One byte of a copy, changed."""

    event: Event
    was: str
    now: str


class Story:
    """Tells the demo in `directory`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.store = directory / STORE
        self.run = ""
        self.first = 0

    def tell(self) -> None:
        """All of it. Raises `NotTrue`."""
        clock = SystemClock()
        began = clock.boottime()
        packages = installed()[:PACKAGES_MAX]
        say(f"An agent audits the licences of {len(packages)} Python packages installed on this machine.")
        say("Half way its process is killed. What it finished is neither done nor paid for again.")
        unclear = undeclared(packages)
        tool, where = ("read_licence", unclear) if unclear else ("read_metadata", packages)
        at_death = self.begin_and_die(tool, where[len(where) // 2])
        self.ask(self.go_on())
        entered = self.count(at_death)
        self.replay()
        self.report(entered)
        self.receipts()
        self.trust()
        self.verify()
        self.edit_a_copy()
        say(
            f"\nEverything above was checked before it was printed. {(clock.boottime() - began) / 1e9:.1f} s."
        )

    # ------------------------------------------------------------ two lives

    def begin_and_die(self, tool: str, where: str) -> list[Event]:
        scene("A process runs the audit, and is killed")
        before = set(self.runs())
        life = self.live("begin", {DIES_AT: f"{tool} {where}"})
        claim(life.code == -signal.SIGKILL, f"the process died by SIGKILL, not with {life.code}", life)
        new = set(self.runs()) - before
        claim(len(new) == 1, "one run began", life)
        self.run, self.first = new.pop(), life.pid
        at_death = self.events()
        claim(not ended(at_death), "the run is unfinished on the log")
        row("process", f"{life.pid}, killed with SIGKILL while it was in {tool} for {where}")
        row("on disk", f"run {self.run}, {len(at_death)} events, unfinished")
        return at_death

    def go_on(self) -> str:
        """Returns the id of the request that the run waits for."""
        scene("Another process takes the run up where the log ends")
        life = self.live("go-on")
        claim(life.code == 0, "the second process ended well", life)
        request = life.said["runs"].get(self.run)
        claim(bool(request), "the run asks before it writes", life)
        written = [body for body in bodies(self.directory / BODIES, self.run) if body.name == "write_report"]
        claim(not written, "nothing is written yet")
        row("process", f"{life.pid}, ran the program again from its first line, answered by the log")
        row("result", "it has read and judged, and stands still; the process is gone")
        return str(request)

    def ask(self, request: str) -> None:
        scene("It may read alone, and must ask before it writes")
        shown = self.command("approvals")
        claim(shown.code == 0, "the request is pending", shown)
        (pending,) = [asked for asked in shown.said["approvals"] if asked["run"] == self.run]
        claim(pending["request"] == request, "it is the one that the run waits for")
        claim((pending["action"], pending["reviewers"]) == ("write_report", [OWNER]), "the owner is asked")
        row("pending", f"{pending['action']}, which is {pending['detail']['action_class']}")
        row("", f"{pending['quorum']} of {', '.join(pending['reviewers'])} must agree to exactly this call")
        told = self.command("approve", request, "--by", OWNER, "--reason", "the list is right")
        claim(told.code == 0, "the answer was taken", told)
        row("answer", f"process {told.pid}: playhead approve {request[:17]}… --by {OWNER}")
        life = self.live("finish")
        claim(life.code == 0, "the last process ended well", life)
        result, status = life.said["runs"].get(self.run, ("", "missing"))
        claim(status == "completed", "the run completed", life)
        claim(ended(self.events()) == "run.completed", "the log says so too")
        row("process", f"{life.pid} took it up with the answer")
        row("result", result)

    def count(self, at_death: list[Event]) -> list[Body]:
        scene(f"What ran twice? Counted in {BODIES}, which tools and model write themselves")
        entered = bodies(self.directory / BODIES, self.run)
        found = {kind: counted(kind, entered, at_death, self.first) for kind in KINDS}
        say(f"   {'':<28}" + "".join(f"{RUN_KINDS[kind]:>14}" for kind in KINDS))
        for name, words in ROWS.items():
            say(f"   {words:<28}" + "".join(f"{getattr(found[kind], name):>14}" for kind in KINDS))
        for kind, count in found.items():
            claim(count.finished_again == 0, f"no finished {kind} call ran again")
            claim(count.in_flight <= AT_ONCE, f"at most {AT_ONCE} {kind} calls were under way")
        claim(found["tool"].finished > 0, "something was finished before the kill")
        twice = {(body.op, body.attempt) for body in entered if entered.count(body) > 1}
        claim(not twice, "no attempt was entered twice by one process")
        writes = [body for body in entered if body.name == "write_report"]
        claim(len(writes) == 1, "the report was written once")
        say(f"   At most {AT_ONCE} at once were under way; they ran again because they only read.")
        say("   The one effect, write_report, ran once.")
        return entered

    def replay(self) -> None:
        scene("Another process replays the run: no files, no sockets, no tools, no model")
        before = (self.directory / BODIES).read_bytes()
        life = self.live("replay", words=[self.run])
        claim(life.code == 0, "the replay ended well", life)
        said = life.said
        claim(said["verdict"] == "identical", f"the replay is identical: {said['divergence']}", life)
        claim(not said["denied"], f"nothing was tried that is denied: {said['denied']}", life)
        claim((self.directory / BODIES).read_bytes() == before, "no tool and no model was entered")
        row("verdict", f"identical: {said['matched']} events of the program regenerated, byte for byte")

    # ------------------------------------------------- what the log says

    def report(self, entered: list[Body]) -> None:
        scene("The report of the run, from the log alone")
        with LogReader(self.store) as log:
            found = document(state_at(log, RunReport(), f"run/{self.run}").state)
        totals = found["totals"]
        asked = {kind: len({body.op for body in entered if body.kind == kind}) for kind in KINDS}
        known = {kind: totals["by_kind"].get(kind, 0) for kind in KINDS}
        claim(known == asked, f"log and file agree on the operations: {known}, {asked}")
        row("run", f'{found["run"]} "{found["name"]}", {found["status"]}, took {ms(found["duration"])}')
        row("lives", f"{found['deaths']} death, {found['resumes']} resumes")
        row("steps", str(totals["steps"]))
        composed = [found for found in self.facts() if isinstance(found, CompositionCompleted)]
        claim(len(composed) == 1, "the snippet was composed once, over both lives")
        row("snippet", f"{composed[0].calls} calls, {composed[0].steps} steps: {composed[0].stdout.strip()}")
        row(
            "operations",
            f"{totals['operations']}: {asked['tool']} tool calls, {asked['model']} model calls, "
            f"{totals['by_kind'].get('hook', 0)} questions to a hook, {totals['retries']} retries",
        )
        row(
            "model",
            f"{totals['input_tokens']:,} tokens in, {totals['output_tokens']:,} out, "
            f"{money(totals['cost_micros'])} by its price table",
        )
        limit = AUDIT.max_micros or 0
        claim(not found["denied"], "no stage had to refuse anything")
        claim(totals["cost_micros"] <= limit, "the budget was kept")
        row(
            "bounds",
            f"{money(totals['cost_micros'])} of {money(limit)} spent; {_staged(found['steps'])} steps under "
            "a stage, nothing refused",
        )

    def receipts(self) -> None:
        with LogReader(self.store) as log:
            found = peek(state_at(log, Receipts(), f"run/{self.run}").state)
        scene(f"Receipts of {len(found)} completed steps, the dearest first")
        ends = {receipt.status for receipt in found}
        claim(ends <= {"completed", "skipped"}, f"every step completed, or was too dear and skipped: {ends}")
        found.sort(key=lambda receipt: -(receipt.inclusive.used.cost_micros.total))
        say(f"   {'step':<34}{'took':>9}{'tries':>7}{'asked':>7}{'in':>8}{'out':>6}{'cost':>11}")
        for receipt in found[:RECEIPTS_SHOWN]:
            say(f"   {receipt_line(receipt)}")
        if len(found) > RECEIPTS_SHOWN:
            say(f"   … and {len(found) - RECEIPTS_SHOWN} more: playhead receipts")

    def trust(self) -> None:
        scene("Who did what, under which tier, and who agreed")
        found = self.command("trust", "query", "--agent", "audit").said["records"]
        mine = [record for record in found if record["trace_id"] == self.run]
        claim(len(mine) == 1, "there is one trust record: reading needs none")
        for record in mine:
            said = (record["action"], record["outcome"], record["autonomy_tier"], record["approver"])
            claim(
                said == ("fs.write", "success", "act_with_approval", OWNER), f"it says what happened: {said}"
            )
            row("record", f"{record['agent']}: {said[0]}, {said[1]}, under {said[2]}, approved by {said[3]}")
        graph = self.command("trust", "grants", self.run).said
        claim(not graph["ungranted"], "nothing was done that nobody had granted")
        (grant,) = graph["grants"]
        by = ", ".join(grant["by"])
        row("grant", f"{by} granted {grant['to']['tool']} @{grant['seq']}; used @{grant['used']}, and once")
        checked = self.command("trust", "verify")
        claim(checked.code == 0, "the chain of records verifies", checked)
        row("chain", f"{checked.said['total']} record(s), each names the hash of the one before: verified")

    def verify(self) -> None:
        scene("The chain, checked from the first event to the last")
        checked = verify(self.store)
        claim(checked.ok, f"the chain verifies: {checked.faults}")
        row("verified", f"{checked.events} events in {checked.streams} stream(s), no fault")
        row("keep this", next(str(end) for end in checked.ends if end.stream == f"run/{self.run}"))

    def edit_a_copy(self) -> None:
        scene("One byte is changed in a copy")
        copy = self.directory / "edited-copy.db"
        copy.unlink(missing_ok=True)
        copy_to(self.store, copy)
        edit = change_one_byte(copy, self.events())
        row("edited", f"event {edit.event.seq}, {edit.event.type}: {edit.was!r} now reads {edit.now!r}")
        faults = verify(copy, anchors=()).faults
        claim(bool(faults), "verify saw the edit")
        claim(all(names(fault, edit.event) for fault in faults), f"verify names the event: {faults}")
        row("verify", f"{faults[0].stream}@{faults[0].seq}: {faults[0].sentence.partition(':')[0]}")
        claim(verify(self.store).ok, "the store itself is untouched")

    # --------------------------------------------------------------- means

    def live(
        self, deed: str, environment: dict[str, str] | None = None, words: list[str] | None = None
    ) -> Life:
        """Run one process of the demo to its end."""
        return self.process(["-m", LIFE, deed, *(words or [])], environment)

    def command(self, *words: str) -> Life:
        """Run a command of `playhead` in a process of its own."""
        return self.process(["-c", COMMAND, "--store", STORE, *words, "--json"])

    def process(self, words: list[str], environment: dict[str, str] | None = None) -> Life:
        """Run a process in the directory of the demo to its end; what it prints is JSON."""
        roots = {
            str(Path(str(package.__file__)).parent.parent) for package in (playhead, playhead_projections)
        }
        known = {name: value for name, value in os.environ.items() if name not in {DIES_AT, "PYTHONPATH"}}
        path = os.pathsep.join([*sorted(roots), *filter(None, [os.environ.get("PYTHONPATH")])])
        with subprocess.Popen(  # noqa: S603  our own interpreter and words
            [sys.executable, "-P", *words],
            cwd=self.directory,
            env={**known, "PYTHONPATH": path, **(environment or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                out, complained = process.communicate(timeout=LIFE_S_MAX)
            except subprocess.TimeoutExpired:
                process.kill()
                raise NotTrue(f"the process ends within {LIFE_S_MAX} s") from None
        return Life(process.pid, process.returncode, json.loads(out) if out.strip() else {}, complained)

    def runs(self) -> list[str]:
        """Ids of the runs in the store."""
        if not self.store.exists():
            return []
        with LogReader(self.store) as log:
            return [name.partition("/")[2] for name in log.streams("run", limit=1_000_000)]

    def facts(self) -> list[Any]:
        """What the events of the run say."""
        return [CATALOG.decode(event) for event in self.events()]

    def events(self) -> list[Event]:
        """The events of the run."""
        with LogReader(self.store) as log:
            return list(log.scan(f"run/{self.run}"))


def change_one_byte(copy: Path, events: list[Event]) -> Edit:
    """Change one letter of what the model, or else a tool, answered. Never the live file."""
    data = bytearray(copy.read_bytes())
    for event, word in [*_words(events, ModelAnswered), *_words(events, ToolCompleted)]:
        assert event.payload is not None
        assert event.salt is not None
        # Salt and payload stand side by side, and no two events share a salt, while runs of the same
        # packages share answers.
        stored = event.salt + event.payload
        if len(word) > 1 and data.count(stored) == 1:
            at = data.index(stored) + stored.rindex(word)
            data[at] += 1
            copy.write_bytes(data)
            return Edit(event, word.decode(), bytes(data[at : at + len(word)]).decode())
    raise NotTrue("an answer can be found in the copy")


def _words(events: list[Event], kind: type[ModelAnswered | ToolCompleted]) -> list[tuple[Event, bytes]]:
    """Events of `kind` with a word of what was answered, newest first."""
    found: list[tuple[Event, bytes]] = []
    for event in reversed(events):
        fact = CATALOG.decode(event)
        if not isinstance(fact, kind):
            continue
        if isinstance(fact, ModelAnswered):
            found.append((event, msgspec.msgpack.decode(fact.reply, type=Reply).text.encode()))
        elif fact.result and "/read_metadata#" in event.op:
            found.append((event, msgspec.msgpack.decode(fact.result, type=Metadata).version.encode()))
    return found


def names(fault: Fault, event: Event) -> bool:
    """Whether `fault` says that it is this event that was changed."""
    return (fault.stream, fault.seq) == (event.stream, event.seq)


def ended(events: list[Event]) -> str | None:
    """How a run ended, if it did."""
    ends = ("run.completed", "run.failed", "run.cancelled")
    return next((event.type for event in reversed(events) if event.type in ends), None)


def claim(true: bool, what: str, life: Life | None = None) -> None:  # noqa: FBT001  the point is what it says
    """Go on only if it is true."""
    if not true:
        raise NotTrue(what + (f"\n{life.complained}" if life and life.complained else ""))


def _staged(steps: list[dict[str, Any]]) -> int:
    """How many steps, and steps inside them, a stage held for."""
    return sum((step["stage"] is not None) + _staged(step["steps"]) for step in steps)


def receipt_line(receipt: Receipt) -> str:
    """One receipt, with what the steps inside it took."""
    used = receipt.inclusive.used
    item = receipt.op.partition("item[")[2].partition("]")[0]
    name = f"{receipt.name} {item}".strip()
    took = ms((receipt.finished or receipt.started) - receipt.started)
    counts = f"{receipt.inclusive.attempts:>7}{used.model_calls:>7}"
    tokens = f"{number(used.input_tokens.value):>8}{number(used.output_tokens.value):>6}"
    return f"{name[:33]:<34}{took:>9}{counts}{tokens}{money(used.cost_micros.value):>11}"


def ms(ns: int) -> str:
    """A length of time."""
    return f"{ns / 1e6:,.0f} ms"


def number(value: int | None) -> str:
    """A count; what is unknown is no 0."""
    return "?" if value is None else f"{value:,}"


def money(micros: int | None) -> str:
    """Millionths of a dollar as dollars."""
    return "?" if micros is None else f"${micros / 1e6:.6f}"


def scene(title: str) -> None:
    """Begin a scene."""
    print(f"\n{title}", flush=True)


def row(name: str, text: str) -> None:
    """One line of a scene."""
    print(f"   {name:<12}{text}", flush=True)


def say(text: str) -> None:
    """One line."""
    print(text, flush=True)
