"""`playhead state …`: what agents keep beyond a run, as of now or of any event, and who wrote it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

import click
import msgspec

from playhead.agent_state.keys import Place
from playhead.agent_state.pointer import pointed
from playhead.agent_state.writers import name_of
from playhead.errors import NotFound
from playhead.events.json_text import json_text
from playhead_projections.cli.addresses import AS_OF, as_of_option, position_of
from playhead_projections.cli.faults import DONE, NO, Usage
from playhead_projections.cli.output import brief, moment, shown, table
from playhead_projections.cli.session import Session, command, json_option
from playhead_projections.cli.state_files import check_session, export, import_, no_session
from playhead_projections.state_at import Met, Version

if TYPE_CHECKING:
    from playhead.log.reader import LogReader

VALUE_WIDTH: Final = 60
NOTHING: Final = "nothing"

pointer_option = click.option("--pointer", default="", metavar="/A/0", help="A place in a JSON value.")


@click.group("state")
def state() -> None:
    """What agents keep beyond a run: sessions, their keys, every version of each, and who wrote it."""


# ------------------------------------------------------------------- reading


@command("show")
@click.argument("root", required=False)
@click.argument("session_", metavar="[SESSION]", required=False)
@click.argument("key", required=False)
@pointer_option
@json_option
def show(
    session: Session,
    *,
    root: str | None,
    session_: str | None,
    key: str | None,
    pointer: str,
    as_json: bool,
) -> int:
    """List the sessions, the keys of ROOT SESSION, or print the value of KEY.

    Exit code 1 when KEY has no value, or nothing there.
    """
    with session.reading() as log:
        return _shown(session, log, root, session_, key, pointer, None, as_json=as_json)


@command("at")
@click.argument("event", metavar=AS_OF)
@click.argument("root", required=False)
@click.argument("session_", metavar="[SESSION]", required=False)
@click.argument("key", required=False)
@pointer_option
@json_option
def at(
    session: Session,
    *,
    event: str,
    root: str | None,
    session_: str | None,
    key: str | None,
    pointer: str,
    as_json: bool,
) -> int:
    """Like show, as of then. Of the sessions that the run had used by its event N, where none is named."""
    with session.reading() as log:
        position = position_of(log, session.store, event)
        if root is None:
            from playhead_projections.cli.addresses import find
            from playhead_projections.state_at import sessions, sessions_of

            if "@" in event:
                address = find(log, session.store, event)
                places = sessions_of(log, address.run, address.first)
            else:
                places = sessions(log, position)
            return _sessions(session, log, places, position, as_json=as_json)
        return _shown(session, log, root, session_, key, pointer, position, as_json=as_json)


@command("history")
@click.argument("root")
@click.argument("session_", metavar="SESSION")
@click.argument("key")
@json_option
def history(session: Session, *, root: str, session_: str, key: str, as_json: bool) -> int:
    """List every version and every conflict of KEY. Exit code 1 when there is none."""
    from playhead_projections.state_at import history as told

    place, name = Place.of(root, session_), Place.key(key)
    with session.reading() as log:
        check_session(log, place)
        found = [each for each in told(log, place, name) if each.key == name or _is_erased(each)]
    if as_json:
        changes = [_document(each) for each in found]
        session.out.document("playhead.state_history/1", {**_of(place), "key": name, "changes": changes})
    elif found:
        session.out.lines(
            table([_line(each) for each in found], head=["", "when", "by", "in", "what"], right=(0,))
        )
    else:
        session.out.aside(f"{name} was never written in {place.root} {place.session}.")
    return DONE if found else NO


@command("blame")
@click.argument("root")
@click.argument("session_", metavar="SESSION")
@click.argument("key")
@pointer_option
@as_of_option
@json_option
def blame(
    session: Session,
    *,
    root: str,
    session_: str,
    key: str,
    pointer: str,
    as_of: str | None,
    as_json: bool,
) -> int:
    """Say who gave KEY, or a place in it, the value that it has, and at which event of which run.

    Exit code 1 when it has none.
    """
    place, name = Place.of(root, session_), Place.key(key)
    return blame_key(session, place, name, pointer, as_of, as_json=as_json)


def blame_key(
    session: Session, place: Place, name: str, pointer: str, as_of: str | None, *, as_json: bool
) -> int:
    """Say who gave a key, or a place in it, its value; as `playhead state blame` and `playhead blame` do."""
    from playhead_projections.state_at import asked_at
    from playhead_projections.state_at import blame as blamed

    with session.reading() as log:
        position = None if as_of is None else position_of(log, session.store, as_of)
        check_session(log, place)
        found = blamed(log, place, name, pointer, position)
        asked = None if found is None or found.erased else asked_at(log, found)
    if found is None:
        session.out.aside(f"{name}{pointer} has no value in {place.root} {place.session}.")
        return NO
    if as_json:
        value = None if found.erased else pointed(found.content, pointer)
        session.out.document(
            "playhead.state_blame/1",
            {**_document(found), "run_seq": asked, "pointer": pointer, "value": value},
        )
    elif found.erased:
        where = f"{found.stream}@{found.seq}"
        session.out.line(f"{name}{pointer}  erased at {where}: who gave it its value cannot be told")
    else:
        number, when, by, where, _ = _line(found)
        value = brief(pointed(found.content, pointer), VALUE_WIDTH)
        event = f"{where}@{asked}" if asked is not None else where
        session.out.line(f"{name}{pointer}  version {number} by {by}, {when}, at {event}  {value}")
    return NO if found.erased else DONE


@command("diff")
@click.argument("before", metavar="RUN@N")
@click.argument("after", metavar="[RUN@N]", required=False)
@click.option("--session", "named", nargs=2, metavar="ROOT SESSION", help="Only this one.")
@json_option
def diff(
    session: Session, *, before: str, after: str | None, named: tuple[str, str] | None, as_json: bool
) -> int:
    """Say which keys differ between two events, or between an event and now. Exit code 1 when some do.

    Of the sessions that these runs and their children used, where none is named.
    """
    from playhead_projections.cli.addresses import find
    from playhead_projections.state_at import keys_at, same, sessions_of

    with session.reading() as log:
        first = position_of(log, session.store, before)
        second = None if after is None else position_of(log, session.store, after)
        runs = {find(log, session.store, text).run for text in (before, after or before)}
        places = [Place.of(*named)] if named else _every(sessions_of(log, run) for run in sorted(runs))
        found: list[dict[str, Any]] = []
        for place in places:
            old, new = keys_at(log, place, first), keys_at(log, place, second)
            for key in sorted({*old, *new}, key=str.encode):
                one, other = old.get(key), new.get(key)
                if one and other and (one.seq == other.seq or same(one.content, other.content)):
                    continue
                found.append(
                    {
                        **_of(place),
                        "key": key,
                        "before": None if one is None else _document(one),
                        "after": None if other is None else _document(other),
                    }
                )
    if as_json:
        session.out.document("playhead.state_diff/1", {"differences": found})
    for each in found if not as_json else ():
        sign = "+" if each["before"] is None else "-" if each["after"] is None else "~"
        was, now = (_brief_of(each[side]) for side in ("before", "after"))
        session.out.line(f"{sign} {each['root']} {each['session']} {each['key']}  {was} -> {now}")
    return NO if found else DONE


@command("handoffs")
@click.argument("run", metavar="RUN[@N]")
@json_option
def handoffs(session: Session, *, run: str, as_json: bool) -> int:
    """List who passed which task to whom in a run, up to event N. Exit code 1 when nobody did."""
    from playhead_projections.cli.addresses import find
    from playhead_projections.handoffs import handoffs_of

    with session.reading() as log:
        address = find(log, session.store, run)
        found, flawed = handoffs_of(log, address.run, address.last)
    if as_json:
        each = {
            "handoffs": [{"artifact": one.artifact, "seqs": one.seqs} for one in found],
            "flawed": [one._asdict() for one in flawed],
        }
        session.out.document("playhead.handoffs/1", {"run": address.run, **each})
        return DONE if found else NO
    rows = [_handoff(one.artifact, one.seqs) for one in found]
    session.out.lines(table(rows, head=["event", "from", "to", "task", "reason"], right=(0,)))
    session.out.lines(f"event {one.seq} is no handoff: {one.why}" for one in flawed)
    return DONE if found else NO


def _handoff(artifact: dict[str, Any], seqs: list[int]) -> list[str]:
    target = artifact["target_persona_or_human"]
    to = f"{target['kind']} {target['label'] or target['id']}"
    names = [brief(name, VALUE_WIDTH).strip('"') for name in (artifact["source_persona"], to)]
    return [str(seqs[0]), *names, *(brief(artifact[said], VALUE_WIDTH) for said in ("task", "reason"))]


# ------------------------------------------------------------------- inside


def _shown(
    session: Session,
    log: LogReader,
    root: str | None,
    named: str | None,
    key: str | None,
    pointer: str,
    position: int | None,
    *,
    as_json: bool,
) -> int:
    from playhead_projections.state_at import key_at, keys_at, sessions

    if root is None or named is None:
        every = sessions(log, position)
        places = [place for place in every if root in (None, place.root)]
        if root is not None and not places:
            known = ", ".join(sorted({place.root for place in every})) or NOTHING
            raise NotFound(f"there is no session under {root!r}.", expected=known, found=root)
        return _sessions(session, log, places, position, as_json=as_json)
    place = Place.of(root, named)
    check_session(log, place)
    if key is None:
        if pointer:
            raise Usage("--pointer is a place in the value of a key.", expected="ROOT SESSION KEY")
        found = keys_at(log, place, position)
        if not found and not log.head(place.stream).seq:
            raise no_session(place)
        return _keys(session, place, found, as_json=as_json)
    name = Place.key(key)
    if not log.head(place.stream).seq and not log.head(place.stream_of(name)).seq:
        raise no_session(place)
    version = key_at(log, place, name, position)
    if version is None or version.deleted or version.erased:
        what = "was erased or cannot be read" if version is not None and version.erased else "has no value"
        session.out.aside(f"{name} {what} in {place.root} {place.session}.")
        return NO
    value = pointed(version.content, pointer, missing=(nowhere := object()))
    if value is nowhere:
        session.out.aside(f"{name} has nothing at {pointer} in {place.root} {place.session}.")
        return NO
    if as_json:
        session.out.document(
            "playhead.state_value/1", {**_document(version), "pointer": pointer, "value": value}
        )
    else:
        session.out.line(value if isinstance(value, str) else json_text(value, indent=2, default=shown))
    return DONE


def _sessions(
    session: Session, log: LogReader, places: list[Place], position: int | None, *, as_json: bool
) -> int:
    from playhead_projections.state_at import keys_at

    held = {place: keys_at(log, place, position) for place in places}
    if as_json:
        listed = [
            {**_of(place), "keys": [_document(version) for version in keys.values()]}
            for place, keys in held.items()
        ]
        session.out.document("playhead.state/1", {"sessions": listed})
        return DONE
    rows = [
        [place.root, place.session, str(len(keys)), _newest(list(keys.values()))]
        for place, keys in held.items()
    ]
    session.out.lines(table(rows, head=["root", "session", "keys", "last written"], right=(2,)))
    return DONE


def _keys(session: Session, place: Place, found: dict[str, Version], *, as_json: bool) -> int:
    if as_json:
        keys = [_document(version) for version in found.values()]
        session.out.document("playhead.state/1", {"sessions": [{**_of(place), "keys": keys}]})
        return DONE
    rows = [
        [
            key,
            str(version.version),
            name_of(version.writer),
            moment(version.at),
            "(erased)" if version.erased else brief(version.content, VALUE_WIDTH),
        ]
        for key, version in found.items()
    ]
    session.out.lines(table(rows, head=["key", "version", "by", "when", "value"], right=(1,)))
    return DONE


def _every(found: Iterable[list[Place]]) -> list[Place]:
    """All places, each once."""
    return list(dict.fromkeys(place for places in found for place in places))


def _newest(versions: list[Version]) -> str:
    return moment(max(version.at for version in versions)) if versions else NOTHING


def _is_erased(each: Version | Met) -> bool:
    return isinstance(each, Version) and each.erased


def _of(place: Place) -> dict[str, Any]:
    return {"root": place.root, "session": place.session}


def _document(each: Version | Met) -> dict[str, Any]:
    said = each._asdict()
    said["writer"] = msgspec.to_builtins(each.writer)
    if isinstance(each, Met):
        return {"type": "conflict", **said, "previous": msgspec.to_builtins(each.previous)}
    return {"type": "deleted" if each.deleted else "written", **said}


def _line(each: Version | Met) -> list[str]:
    where = each.run or each.process or "?"
    by, when = name_of(each.writer), moment(each.at)
    if isinstance(each, Met):
        done = "refused" if each.refused else "let pass"
        if each.expected_version is not None and each.refused:
            done = f"{done}, {each.expected_version} was expected"
        over = f"version {each.version} by {name_of(each.previous)}" if each.version else NOTHING
        return ["", when, by, where, f"{each.change} over {over}: {done} ({each.policy})"]
    value = "(deleted)" if each.deleted else "(erased)" if each.erased else brief(each.content, VALUE_WIDTH)
    return [str(each.version), when, by, where, value]


def _brief_of(document: dict[str, Any] | None) -> str:
    return NOTHING if document is None else brief(document["content"], VALUE_WIDTH)


for _sub in (show, at, history, blame, diff, handoffs, export, import_):
    state.add_command(_sub)
