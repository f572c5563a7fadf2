"""Sources of nondeterminism, seen while a program uses them: time, chance, order, environment, threads, I/O.

    with Watch() as watch:
        ...                        # load the program, play its tape
    watch.sightings

A profiler is told of every function that is called. Those whose answers no tape holds are
known by what they are, whatever they were imported as, and are put down at the line of the
user's own that led to them. What playhead and the imports do is nobody's source.
"""

from __future__ import annotations

import importlib
import inspect
import os
import random
import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, Final, Literal, Self

import msgspec

from playhead.replay.frames import is_installed
from playhead.runtime.place import is_ours

Kind = Literal["time", "chance", "set order", "environment", "threads", "unrecorded I/O", "ids", "memory"]
SIGHTINGS_MAX: Final = 500

# Written in C: known by themselves. Each name is looked up here, so one that is not there is left out.
_BUILTIN: Final[dict[Kind, str]] = {
    "time": "time.time time.time_ns time.monotonic time.monotonic_ns time.perf_counter time.perf_counter_ns"
    " time.process_time time.process_time_ns time.thread_time time.clock_gettime time.localtime time.gmtime"
    " time.ctime time.strftime time.sleep datetime.datetime.now datetime.datetime.utcnow"
    " datetime.datetime.today datetime.date.today",
    "chance": "os.urandom os.getrandom random.random random.getrandbits",
    "environment": "os.getcwd os.getcwdb os.getpid os.getppid os.cpu_count os.uname os.getlogin os.getuid"
    " os.get_terminal_size os.getloadavg socket.gethostname sys.getfilesystemencoding time.mktime"
    " datetime.datetime.fromtimestamp datetime.date.fromtimestamp _locale.setlocale _locale.localeconv",
    "threads": "_thread.start_new_thread _thread.start_joinable_thread",
    "unrecorded I/O": "io.open _io.open_code os.open os.read os.listdir os.scandir os.stat os.lstat os.access"
    " os.readlink os.system os.popen os.mkdir os.remove os.rename os.utime os.statvfs builtins.input"
    " sqlite3.connect select.select socket.getaddrinfo socket.gethostbyname os.posix_spawn os.fork",
    "ids": "builtins.id builtins.hash _thread.get_ident _thread.get_native_id _thread._count",
    "memory": "gc.collect gc.get_objects gc.get_referrers gc.get_count gc.get_stats sys.getrefcount"
    " sys.getsizeof tracemalloc.get_traced_memory resource.getrusage",
}
# Written in Python: known by their code.
_PYTHON: Final[dict[Kind, str]] = {
    "chance": "uuid.uuid1 uuid.uuid4 uuid.getnode secrets.token_hex secrets.token_bytes"
    " secrets.token_urlsafe secrets.randbelow",
    "environment": "os._Environ.__getitem__ os._Environ.__iter__ os._Environ.__len__ platform.node"
    " platform.uname platform.platform platform.system locale.getlocale getpass.getuser"
    " tempfile.gettempdir",
    "threads": "threading.Thread.start threading.active_count threading.enumerate"
    " concurrent.futures.ThreadPoolExecutor.submit multiprocessing.process.BaseProcess.start",
    "unrecorded I/O": "socket.socket.__init__ socket.create_connection subprocess.Popen.__init__"
    " urllib.request.urlopen http.client.HTTPConnection.request tempfile.mkstemp glob.glob",
    "memory": "_weakrefset.WeakSet.__iter__ _weakrefset.WeakSet.__len__ weakref.WeakValueDictionary.items"
    " weakref.WeakValueDictionary.keys weakref.WeakValueDictionary.values"
    " weakref.WeakValueDictionary.__len__ weakref.WeakKeyDictionary.__len__",
}
# Asked for by way of asyncio, which is ours otherwise.
_THROUGH_ASYNCIO: Final[dict[Kind, str]] = {
    "threads": "asyncio.to_thread playhead.runtime.loop.ProgramLoop.run_in_executor"
}


class Sighting(msgspec.Struct):
    """A source, and the line of the user's own that used it."""

    kind: Kind
    what: str
    file: str
    line: int
    function: str
    times: int = 0
    matched: int = 0
    """How many events of the program had been matched with the tape when it was used last."""
    direct: bool = False
    """Whether the line itself used it, and not what it called of others."""


class Watch:
    """Puts down every source that the calling thread uses, from `with` to its end.

    `matched` says how far the replay is.
    """

    def __init__(self, matched: Callable[[], int] = lambda: 0) -> None:
        self.matched = matched
        self._found: dict[tuple[Kind, str, int], Sighting] = {}
        self._direct: set[tuple[Kind, str, int]] = set()
        self._calls: dict[Any, tuple[Kind, str]] = dict(_known(_BUILTIN))
        # By id, because the hash of code is one over all that it holds. Whose they are live as long as we do.
        self._codes: dict[int, tuple[Kind, str]] = {
            id(thing.__code__): known for thing, known in _known(_PYTHON) if inspect.isfunction(thing)
        }
        self._through: dict[int, tuple[Kind, str]] = {
            id(thing.__code__): known for thing, known in _known(_THROUGH_ASYNCIO)
        }
        self._of_random = {
            id(vars(random.Random)[name].__code__): name
            for name in vars(random.Random)
            if hasattr(vars(random.Random)[name], "__code__")
        }
        self._watched = {*self._codes, *self._through, *self._of_random}

    @property
    def sightings(self) -> list[Sighting]:
        """What was seen, in the order of first use."""
        return list(self._found.values())

    def __enter__(self) -> Self:
        sys.setprofile(self._profile)
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Put nothing more down, before the end of `with`: whatever is called meanwhile is slow."""
        sys.setprofile(None)

    def shift(self, seconds: float) -> None:
        """Let the clocks of the `time` module be wrong by so much, from now on and for everybody."""
        for name in ("time", "monotonic", "perf_counter"):
            for unit, scale in ((name, 1), (f"{name}_ns", 10**9)):
                wrong = _wrong_clock(vars(importlib.import_module("time"))[unit], seconds * scale)
                self._codes[id(wrong.__code__)] = ("time", "")
                self._watched.add(id(wrong.__code__))
                vars(importlib.import_module("time"))[unit] = wrong

    def _profile(self, frame: FrameType, event: str, arg: Any) -> None:
        if event == "c_call":
            try:
                known = self._calls.get(arg)
            except TypeError:  # a method of something that cannot be hashed
                known = None
            if known is not None:
                self._put_down(known, frame)
        elif event == "call" and id(frame.f_code) in self._watched:
            code = id(frame.f_code)
            if code in self._codes:
                self._put_down(self._named(frame, self._codes[code]), frame.f_back)
            elif code in self._through:
                self._put_down(self._through[code], frame.f_back, through=True)
            elif code in self._of_random:
                self._of_chance(frame, self._of_random[code])

    def _named(self, frame: FrameType, known: tuple[Kind, str]) -> tuple[Kind, str]:
        if not known[1]:
            return known[0], f"time.{frame.f_locals['name']}"
        key = frame.f_locals.get("key") if known[1] == "os._Environ.__getitem__" else None
        return (known[0], f"os.environ[{key!r}]") if key is not None else known

    def _of_chance(self, frame: FrameType, name: str) -> None:
        """A method of a generator: the module's own, or one that is made without a seed."""
        this = frame.f_locals.get("self")
        if this is vars(random)["_inst"]:
            self._put_down(("chance", f"random.{name}"), frame.f_back)
        elif name == "__init__" and frame.f_locals.get("x") is None:
            self._put_down(("chance", "random.Random() without a seed"), frame.f_back)

    def _put_down(
        self, known: tuple[Kind, str], frame: FrameType | None, *, through: bool = False
    ) -> Sighting | None:
        own = _own_frame(frame, through=through)
        if own is None or len(self._found) >= SIGHTINGS_MAX:
            return None
        key = (known[0], own.f_code.co_filename, own.f_lineno)
        found = self._found.get(key)
        if found is not None and frame is own and key not in self._direct:
            found.what = known[1]  # what the line itself names tells more than what that came to use
        if frame is own:
            self._direct.add(key)
        if found is None:
            found = Sighting(known[0], known[1], *key[1:], own.f_code.co_qualname)
            self._found[key] = found
        found.times += 1
        found.direct |= frame is own
        found.matched = self.matched()
        return found


def _own_frame(frame: FrameType | None, *, through: bool) -> FrameType | None:
    """The line of the user's own that led here; None where playhead or an import stands between."""
    while frame is not None:
        name = frame.f_code.co_filename
        if name.startswith("<frozen importlib"):
            return None
        if is_ours(frame):
            if not (through and frame.f_globals.get("__name__", "").startswith("asyncio")):
                return None
        elif not is_installed(name) and not name.startswith("<"):
            return frame
        frame = frame.f_back
    return None


def _known(table: dict[Kind, str]) -> Iterator[tuple[Any, tuple[Kind, str]]]:
    for kind, names in table.items():
        for name in names.split():
            thing = _thing(name)
            if thing is not None:
                yield thing, (kind, name)


def _thing(name: str) -> Any:
    """What stands under a dotted name; None where there is no such thing here."""
    parts = name.split(".")
    for length in range(len(parts) - 1, 0, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:length]))
        except ImportError:
            continue
        for part in parts[length:]:
            found = getattr(found, part, None)
        return found
    return None


def _wrong_clock(clock: Callable[[], Any], by: float) -> Any:
    name = clock.__name__
    add = int(by) if name.endswith("_ns") else by

    def wrong() -> Any:
        assert name
        return clock() + add

    wrong.__module__, wrong.__name__, wrong.__qualname__ = clock.__module__, name, clock.__qualname__
    return wrong


ENVIRONMENT_KEPT: Final = frozenset({"PATH", "HOME", "SHELL", "USER", "TMPDIR"})


def changed_environment(sightings: list[Sighting]) -> dict[str, str]:
    """Other values for the variables that a program looked at, where another value can do no harm."""
    looked = {
        each.what[len("os.environ[") + 1 : -2] for each in sightings if each.what.startswith("os.environ[")
    }
    harmless = {
        name
        for name in looked
        if name not in ENVIRONMENT_KEPT and not name.startswith(("PYTHON", "LD_", "PLAYHEAD"))
    }
    return {name: f"{os.environ.get(name, '')}-changed" for name in sorted(harmless)}
