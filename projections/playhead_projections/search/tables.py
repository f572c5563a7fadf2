"""The rows of search in SQL: runs, parts, and the full text of parts that have ended.

Full text is kept by SQLite's FTS5 as the trigrams of all texts of a part. It only says which parts may
contain a text; whether they do is seen in the part itself. So an index that holds too much, or none at all
because a build of SQLite has no FTS5, changes how long an answer takes and never what it is. A part counts as
`indexed` once its texts are in there, and not any more when something was added to them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from playhead.events.codec import Erased, Unknown
from playhead.events.fact import Fact
from playhead.log.driver import sqlite
from playhead.log.envelope import Event
from playhead_projections.accounts import Life
from playhead_projections.listing import Listing, Row
from playhead_projections.search.parts import RUN_COLUMNS, Begun, Ended, Indexed, follow, line
from playhead_projections.search.texts import folded, value_in, words_in

PARTS: Final = "list_search_part"
FULL_TEXT: Final = "list_search_text"
TRIGRAM: Final = 3
TRIGRAMS_MAX: Final = 64

TEXTS: Final = "cast(p.name as blob), p.args, p.result, p.errors, p.notes"
"""Where the texts of a part stand, as functions are handed them."""

# ruff: noqa: S608  (what is put into SQL here are names of tables and columns of this module)
_PART_SQL: Final = f"""create table {PARTS} (
  position      integer primary key,    -- of the event that it began with, below zero for the run itself
  run           text    not null,
  seq           integer not null,
  kind          text    not null,
  op            text    not null,
  name          text    not null,
  tool          text,
  model         text,
  step          text,
  effect        text,
  started       integer not null,
  args          blob,                   -- as they stand in the log: texts and paths are read from here
  status        text    not null,
  ended_seq     integer,
  ended         integer,
  cost          integer,
  input_tokens  integer,
  output_tokens integer,
  tokens        integer,
  result        blob,
  attempts      integer not null,
  errors        blob,
  notes         blob,
  indexed       integer not null        -- whether the full text holds all of its texts
) strict"""
_INDEXES: Final = (
    f"create index {PARTS}_run on {PARTS} (run)",
    f"create index {PARTS}_tool on {PARTS} (tool, run) where tool is not null",
    f"create index {PARTS}_model on {PARTS} (model, run) where model is not null",
    f"create index {PARTS}_unindexed on {PARTS} (position) where indexed = 0",
)
# Contentless: it holds trigrams and the place of a part, and no text. Texts are folded before.
_FULL_TEXT_SQL: Final = (
    f"create virtual table {FULL_TEXT}"
    " using fts5(body, content = '', columnsize = 0, detail = none, tokenize = 'trigram case_sensitive 1')"
)
_BEGIN: Final = (
    f"insert or replace into {PARTS} (position, {', '.join(Begun._fields)}, status, attempts, indexed)"
    f" values ({', '.join('?' * (len(Begun._fields) + 1))}, 'open', 1, 0)"
)
_END: Final = (
    f"update {PARTS} set status = ?2, ended_seq = ?3, ended = ?4, model = coalesce(?5, model), cost = ?6,"
    " input_tokens = ?7, output_tokens = ?8, tokens = ?9, result = ?10, attempts = ?11, errors = ?12,"
    " notes = ?13, indexed = 0 where position = ?1"
)
_NOTE: Final = (
    f"update {PARTS} set status = coalesce(?2, status), attempts = ?3, errors = ?4, notes = ?5, indexed = 0"
    " where position = ?1"
)
_INDEX_TEXT: Final = (
    f"insert into {FULL_TEXT} (rowid, body) select p.position, all_text({TEXTS}) from {PARTS} p"
    " where p.position = ?"
)
_HOLDING: Final = (
    "select group_concat(position) from (select position from"
    f" (select rowid as position from {FULL_TEXT} where {FULL_TEXT} match ?) join {PARTS} using (position)"
    " where indexed = 1 order by position)"
)
_IS_INDEXED: Final = f"update {PARTS} set indexed = 1 where position = ?"
assert len(Ended._fields) + 4 == 13, "_END has a mark for each"


class Search(Listing[Indexed]):
    """What `playhead runs --where` asks."""

    name = "search"
    version = 3
    state = Indexed
    columns = RUN_COLUMNS
    together = "run"
    indexes = ("position",)
    effort = 16

    @property
    def tables(self) -> Sequence[tuple[str, str]]:
        return (*super().tables, (PARTS, "position"))

    def initial(self, key: str) -> Indexed:
        return Indexed(life=Life(run=key))

    def add(self, state: Indexed, event: Event, fact: Fact | Unknown | Erased) -> tuple[Indexed, Row | None]:
        changed = tuple(follow(state, event, fact))
        return state, (line(state), changed)

    def lay_out(self, db: sqlite.Connection) -> None:
        super().lay_out(db)
        db.execute(f"drop table if exists {PARTS}")
        db.execute(_PART_SQL)
        for index in _INDEXES:
            db.execute(index)
        if has_full_text(db):
            db.execute(f"drop table if exists {FULL_TEXT}")
            db.execute(_FULL_TEXT_SQL)

    def is_laid_out(self, db: sqlite.Connection) -> bool:
        if not super().is_laid_out(db):
            return False
        sql = "select 1 from sqlite_schema where name = ?"
        return db.execute(sql, (FULL_TEXT,)).fetchone() is not None or not has_full_text(db)

    def answers(self, db: sqlite.Connection) -> Iterator[Row]:
        """Each trigram with the parts that it is found in, by asking the full text for it."""
        if not full_text_is_usable(db):
            return
        name = f"terms_{FULL_TEXT}"
        db.execute(f"create virtual table if not exists temp.{name} using fts5vocab(main, {FULL_TEXT}, row)")
        for (term,) in db.execute(f"select term from temp.{name} order by term"):
            (found,) = db.execute(_HOLDING, (_quoted(term),)).fetchone()
            if found is not None:  # else only in parts that are looked at themselves
                yield term, found

    def put(self, db: sqlite.Connection, rows: Iterable[Row]) -> None:
        """What events changed, in their order: the last row of each run, and every change of a part."""
        lines: dict[str, Row] = {}
        begun: list[Row] = []
        changes: dict[int, list[Row]] = {}
        for told, changed in rows:
            lines[told[0]] = told
            for what, place, *values in changed:
                if what == "begun":
                    begun.append((place, *values))
                else:
                    changes.setdefault(place, []).append((what, place, *values))
        marks = ", ".join("?" * len(self.columns))
        db.executemany(f"insert or replace into {self.table} values ({marks})", lines.values())
        db.executemany(_BEGIN, begun)
        ends = {place: several[0][1:] for place, several in changes.items() if _is_an_end(several)}
        db.executemany(_END, ends.values())
        for place, several in changes.items():
            for what, *values in several if place not in ends else ():
                db.execute(_END if what == "ended" else _NOTE, values)
        over = [(place,) for place, several in changes.items() if several[-1][0] == "ended"]
        if over and full_text_is_usable(db):
            prepare(db)
            db.executemany(_INDEX_TEXT, over)
            db.executemany(_IS_INDEXED, over)


def _is_an_end(changes: Sequence[Row]) -> bool:
    """Whether all that happens to a part is that it ends, which is what happens to most."""
    return len(changes) == 1 and changes[0][0] == "ended"


def has_full_text(db: sqlite.Connection) -> bool:
    """Whether this SQLite has FTS5 with trigrams."""
    try:
        db.execute("create virtual table temp.probe_of_search using fts5(body, tokenize = 'trigram')")
        db.execute("drop table temp.probe_of_search")
    except sqlite.OperationalError:
        return False
    return True


def full_text_is_usable(db: sqlite.Connection) -> bool:
    """Whether there is a full text, and this SQLite can read and write it."""
    sql = "select 1 from sqlite_schema where name = ?"
    return db.execute(sql, (FULL_TEXT,)).fetchone() is not None and has_full_text(db)


def prepare(db: sqlite.Connection) -> None:
    """Give SQL the functions that read parts."""
    db.create_function("all_text", 5, _all_text, deterministic=True)


def _all_text(*given: Any) -> str:
    """All texts of a part as one, for the trigrams."""
    return "\n".join(indexable(folded(text)) for text in part_texts(*given))


def part_texts(name: bytes, *blobs: bytes | None) -> Iterator[str]:
    """All texts of a part: its name, what went in and came out, its errors, and what else was said."""
    yield name.decode()
    for blob in blobs:
        if blob is not None:
            yield from words_in(value_in(blob))


def indexable(text: str) -> str:
    """A folded text as the trigrams hold it: for them a text ends with its first NUL."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}")


def trigrams(needle: str) -> str | None:
    """What to ask the full text for: every trigram of a folded text. None for one that is too short."""
    text = indexable(needle)
    if len(text) < TRIGRAM:
        return None
    found = dict.fromkeys(text[n : n + TRIGRAM] for n in range(len(text) - TRIGRAM + 1))
    return " AND ".join(map(_quoted, list(found)[:TRIGRAMS_MAX]))


def _quoted(trigram: str) -> str:
    return '"{}"'.format(trigram.replace('"', '""'))
