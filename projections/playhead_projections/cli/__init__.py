"""The command line: `playhead [--store PATH] COMMAND [RUN[@SEQ]] [flags]`.

A command is loaded when it is asked for, so that reading a log never pays for what
runs programs. What is printed on success is the answer; what is printed on failure
is a code, one sentence, what was expected and found, and the next command.
"""

from __future__ import annotations

import gc
import signal
from contextlib import suppress
from importlib import import_module
from typing import Any, Final

import click

from playhead_projections.cli.faults import INTERRUPTED, guarded

GC_THRESHOLD: Final = 150_000

# Section, then command, with where it is and what it is for.
SECTIONS: Final[dict[str, dict[str, tuple[str, str]]]] = {
    "Run": {
        "demo": (
            "playhead_projections.cli.demonstrate:demo",
            "See it work: an audit that is killed half way and comes back.",
        ),
        "run": ("playhead_projections.cli.running:run", "Run a persona of yours and print its result."),
        "worker": (
            "playhead_projections.cli.working:worker",
            "Take up what is due, wake timers, until stopped.",
        ),
        "resume": ("playhead_projections.cli.running:resume", "Take up one unfinished run."),
        "recover": ("playhead_projections.cli.working:recover", "Take up every interrupted run, once."),
        "resolve": ("playhead_projections.cli.telling:resolve", "Answer for an operation in doubt."),
        "cancel": ("playhead_projections.cli.telling:cancel", "Ask a run to stop."),
        "signal": ("playhead_projections.cli.telling:signal", "Tell a run something."),
        "replay": (
            "playhead_projections.cli.running:replay",
            "Run it again against its tape, touching nothing.",
        ),
        "debug": (
            "playhead_projections.cli.debugging:debug",
            "Stop a replay at an event, in pdb, and go on and back.",
        ),
        "fork": (
            "playhead_projections.cli.forking:fork",
            "Make another run of one, up to any event, edited.",
        ),
    },
    "Personas on duty": {
        "persona": (
            "playhead_projections.cli.duties:persona",
            "list, status, spend, trigger, tick, pause, resume, drain, disable",
        ),
    },
    "Compositions": {
        "compose": (
            "playhead_projections.cli.composing:compose",
            "run, resume, report, check, manifest, declarations, examples, events, trace",
        ),
        "crystallize": (
            "playhead_projections.cli.crystallizing:crystallize",
            "mine, validate, shadow: workflows out of what was recorded",
        ),
    },
    "Read": {
        "runs": ("playhead_projections.cli.listing:runs", "List runs, newest first."),
        "show": ("playhead_projections.cli.showing:show", "Show what a run did, one event per line."),
        "log": ("playhead_projections.cli.logs:log", "List events as they stand in the log."),
        "event": ("playhead_projections.cli.logs:event", "Show one event whole."),
        "tail": ("playhead_projections.cli.logs:tail", "Show the newest events, and follow."),
        "receipts": ("playhead_projections.cli.receipting:receipts", "List what each finished step took."),
        "timeline": ("playhead_projections.cli.timing:timeline", "Show what was under way when."),
        "report": (
            "playhead_projections.cli.reporting:report",
            "Report on a run: text, JSON, Markdown, HTML.",
        ),
        "why": ("playhead_projections.cli.causes:why", "Say what led to an event, back to its beginning."),
        "blame": ("playhead_projections.cli.blaming:blame", "Say where a value comes from."),
        "context": ("playhead_projections.cli.contexts:context", "Show exactly what a model call was shown."),
        "diff": ("playhead_projections.cli.differing:diff", "Show where two runs part, and what differs."),
        "bisect": (
            "playhead_projections.cli.bisecting:bisect",
            "Find the event, or the recorded outcome, that a result depends on.",
        ),
    },
    "State": {
        "state": (
            "playhead_projections.cli.stating:state",
            "show, at, history, blame, diff, handoffs, export, import: what outlives a run",
        ),
    },
    "Trust": {
        "approvals": (
            "playhead_projections.cli.approving:approvals",
            "List what people are asked and have not decided.",
        ),
        "approve": ("playhead_projections.cli.approving:approve", "Agree to what a run asks, or answer it."),
        "deny": ("playhead_projections.cli.approving:deny", "Say no to what a run asks."),
        "key": ("playhead_projections.cli.keys:key", "new: a key to sign answers with."),
        "policy": (
            "playhead_projections.cli.policies:policy",
            "test: which rule decides about a call, and why",
        ),
        "trust": (
            "playhead_projections.cli.trusting:trust",
            "query, verify, promote, demote, export, what-if, grants: what agents did, and who let them",
        ),
    },
    "Keep": {
        "verify": (
            "playhead_projections.cli.verifying:verify",
            "Check that nothing was edited, lost or put in.",
        ),
        "checkpoint": (
            "playhead_projections.cli.checkpointing:checkpoint",
            "Sign what the log holds now, and keep that beside it.",
        ),
        "attest": ("playhead_projections.cli.attesting:attest", "Write the receipt of a run, with proofs."),
        "bundle": ("playhead_projections.cli.attesting:bundle", "Write all evidence of a run as one file."),
        "export": ("playhead_projections.cli.moving:export", "Write runs as JSON lines, chain intact."),
        "import": ("playhead_projections.cli.moving:import_", "Take runs in from an export or a store file."),
        "redact": (
            "playhead_projections.cli.redacting:redact",
            "Erase a payload, or a part of it, for good.",
        ),
        "rebuild": ("playhead_projections.cli.keeping:rebuild", "Build the read models again from the log."),
        "schema": ("playhead_projections.cli.keeping:schema", "Print the JSON Schema of every event."),
        "db": ("playhead_projections.cli.keeping:db", "Print facts about the store file."),
        "where": ("playhead_projections.cli.keeping:where", "Say which store is used, and why."),
        "doctor": (
            "playhead_projections.cli.doctoring:doctor",
            "Check store, driver and machine, or a program.",
        ),
    },
}
COMMANDS: Final = {name: entry for section in SECTIONS.values() for name, entry in section.items()}


class Commands(click.Group):
    """Commands by name, imported when one is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for section, commands in SECTIONS.items():
            with formatter.section(section):
                formatter.write_dl([(name, about) for name, (_, about) in commands.items()])


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--store", metavar="PATH", help="The log file. Default: PLAYHEAD_STORE, or runs.db found upward."
)
@click.option(
    "--color",
    type=click.Choice(["auto", "always", "never"]),
    default="auto",
    help="When to colour. NO_COLOR is honoured.",
)
@click.option("-v", "--verbose", is_flag=True, help="Show tracebacks.")
@click.version_option(package_name="playhead", message="%(package)s %(version)s")
@click.pass_context
def cli(ctx: click.Context, store: str | None, color: str, verbose: bool) -> None:  # noqa: FBT001  click's way
    """Read, prove, replay and run agent runs recorded on a log.

    RUN is the beginning of an id, a name, @ (the latest) or @failed. RUN@12 is an event, RUN@12..40 a range.
    """
    from playhead_projections.cli.session import Session

    ctx.obj = Session(store=store, color=color, verbose=verbose)


def main(arguments: list[str] | None = None) -> Any:
    """The console script. Ends the process with the exit code of docs/command_line.md."""
    # Imports make many objects and no garbage, and so does reading a tape of 100,000 events: looking for some
    # among them costs a tenth of a short command.
    gc.set_threshold(GC_THRESHOLD)
    code = INTERRUPTED
    with suppress(KeyboardInterrupt):  # one more, while the first was being told
        try:
            code = guarded(cli, arguments)
        finally:
            # A blocking tool may still be at work in its thread, and the interpreter waits for it: whoever
            # does not want to wait interrupts again, and then nothing is left to say.
            with suppress(ValueError):  # only the main thread may say what a signal does
                signal.signal(signal.SIGINT, signal.SIG_DFL)
    raise SystemExit(code)
