"""`playhead export --to otlp`: spans into a file, or to a collector over HTTP."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable, Iterator, Sequence
from http.client import HTTPException
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlsplit

from playhead_projections.cli.faults import AnswerIsNo, Usage
from playhead_projections.cli.output import cleaned, count

if TYPE_CHECKING:
    from urllib.request import Request

    from playhead_projections.cli.session import Session

PATH: Final = "/v1/traces"
TIMEOUT_S: Final = 10
TRIES_MAX: Final = 4
WAIT_S_MAX: Final = 5.0
ANSWER_BYTES_MAX: Final = 64 * 1024
AGAIN: Final = frozenset({429, 502, 503, 504})
"""Answers after which OTLP says to try again."""
FRAMING: Final = frozenset({"content-type", "content-length", "transfer-encoding", "host", "connection"})
PARTIAL: Final = frozenset({"partialSuccess", "partial_success"})
"""All that a collector says where it took something."""
NO_COLLECTOR: Final = "what answered is no collector: it speaks no OTLP in JSON"
_COUNT: Final = re.compile(r"-?[0-9]{1,19}", re.ASCII)
_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


def lines(session: Session, runs: Sequence[str], *, content: bool, service: str) -> Iterator[bytes]:
    """One document of OTLP on each line."""
    from playhead_projections.cli.addresses import find
    from playhead_projections.otlp import documents

    with session.reading() as log:
        for text in runs:
            address = find(log, session.store, text)
            if address.first is not None:
                raise Usage("a run is exported whole.", expected="RUN", found=text)
            for document in documents(log, address.run, content=content, service=service):
                yield json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


class Pushed(NamedTuple):
    """How many documents a collector took, and what it said to that."""

    documents: int
    warnings: list[str]


def push(endpoint: str, bodies: Iterator[bytes], headers: Sequence[str]) -> Pushed:
    """Post each document to the collector at `endpoint`. Raises `Usage`, and `AnswerIsNo` for one refused.

    Where it rejects some of the spans of a document it is given the others all the same, and that is
    raised at the end.
    """
    url, sent, rejected = _url(endpoint), 0, 0
    told, said = _headers(headers), list[str]()
    for body in bodies:
        answer = _post(url, body, told)
        sent, rejected = sent + 1, rejected + answer.rejected
        said += [answer.message] if answer.message and answer.message not in said else []
    if rejected:
        raise AnswerIsNo(
            f"the collector rejected {count(rejected, 'span')} and took the others:"
            f" {cleaned('; '.join(said))}.",
            next_step="It says why. Sent again they would be rejected again.",
        )
    return Pushed(sent, [cleaned(each) for each in said])


def _url(endpoint: str) -> str:
    """Where to post, as HTTP has it: names of hosts in their ASCII form, and paths percent-encoded."""
    try:
        parts = urlsplit(endpoint)
        named = parts.hostname or ""
        host = named if ":" in named else named.encode("idna").decode()
        usable = parts.scheme in ("http", "https") and bool(host) and parts.port != 0
    except ValueError:
        raise _no_endpoint(endpoint) from None
    usable = usable and not parts.query and not parts.fragment and parts.username is None
    if not usable or not endpoint.isprintable() or " " in endpoint:
        raise _no_endpoint(endpoint)
    host = f"[{host}]" if ":" in host else host
    port = "" if parts.port is None else f":{parts.port}"
    path = quote(parts.path.rstrip("/"), safe="/%:@!$&'()*+,;=~")
    return f"{parts.scheme}://{host}{port}{path if path.endswith(PATH) else path + PATH}"


def _no_endpoint(endpoint: str) -> Usage:
    return Usage(
        f"{endpoint!r} is no endpoint.",
        expected="http://localhost:4318, and what opens it by --header",
        found=endpoint,
    )


def _headers(given: Sequence[str]) -> dict[str, str]:
    found = {"Content-Type": "application/json"}
    for text in given:
        name, separator, value = text.partition("=")
        if (
            not separator
            or not _TOKEN.fullmatch(name.strip())
            or not (value.isascii() and value.isprintable())
        ):
            raise Usage(
                "a header has a name and a value that HTTP can carry.",
                expected="NAME=VALUE, in ASCII",
                found=name,
            )
        if name.strip().lower() in FRAMING:
            raise Usage(f"the header {name.strip()} follows from what is sent.", found=name)
        found[name.strip()] = value.strip()
    return found


def _post(url: str, body: bytes, headers: dict[str, str]) -> _Answer:
    from urllib.request import Request, build_opener

    request = Request(url, data=body, headers=headers, method="POST")  # noqa: S310  http or https, by _url
    opener = build_opener(_no_redirect())
    for attempt in range(1, TRIES_MAX + 1):
        found = _try(opener, request, last=attempt == TRIES_MAX)
        if isinstance(found, _Answer):
            return found
        time.sleep(min(found or 0.2 * 2**attempt, WAIT_S_MAX))
    raise AssertionError("the last try answers or raises")


def _no_redirect() -> Any:
    from urllib.request import HTTPRedirectHandler

    class Stay(HTTPRedirectHandler):
        """Spans, and the headers that open a collector, go where they were sent and nowhere else."""

        def redirect_request(self, *_: Any, **__: Any) -> Request | None:
            return None

    return Stay()


def _try(opener: Any, request: Request, *, last: bool) -> _Answer | float:
    """Post once: what was answered, else how long to wait, 0 where nobody says. Raises `AnswerIsNo`."""
    try:
        with opener.open(request, timeout=TIMEOUT_S) as answer:
            data = answer.read(ANSWER_BYTES_MAX + 1)
            if answer.length and len(data) <= ANSWER_BYTES_MAX:
                raise _refused(f"its answer broke off, {answer.length} bytes too short")
            return _answered(data)
    except HTTPError as error:
        with error:
            if error.code in AGAIN and not last:
                asked = error.headers.get("Retry-After", "")
                return float(asked) if asked.isdecimal() else 0.0
            raise _refused(f"{error.code} {error.reason}") from error
    except (URLError, HTTPException, OSError) as error:
        raise _refused(str(getattr(error, "reason", error))) from error


class _Answer(NamedTuple):
    """How many spans a collector rejected, and what it said."""

    rejected: int = 0
    message: str = ""


def _answered(data: bytes) -> _Answer:
    """What a collector says to what it took. Raises `AnswerIsNo` where it was no collector that answered.

    No answer at all is the empty message: nothing was rejected. Whoever has something else to say than OTLP
    lets a collector say is none.
    """
    if not data:
        return _Answer()
    try:
        told: Any = json.loads(data)
        if told and PARTIAL.isdisjoint(told):
            raise _refused(_status(told))
        partial: Any = _first(told, PARTIAL) or {}
        rejected = _whole(_first(partial, ("rejectedSpans", "rejected_spans")))
        message = str(_first(partial, ("errorMessage", "error_message")) or "")
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise _refused(NO_COLLECTOR) from error
    return _Answer(max(rejected, 0), message)


def _first(told: Any, names: Iterable[str]) -> Any:
    """What stands under one of these names, which are the same in two spellings; None where nothing does."""
    return next((told[name] for name in names if told.get(name) is not None), None)


def _whole(number: Any) -> int:
    """A count, as a number or as a text. Raises `ValueError` for what is none."""
    if number is None:
        return 0
    if isinstance(number, float) and number.is_integer():
        return int(number)
    if isinstance(number, (int, str)) and _COUNT.fullmatch(str(number)):
        return int(number)
    raise ValueError("no count of spans")


def _status(told: Any) -> str:
    """What somebody says who took nothing: the message of a status, where there is one."""
    message = _first(told, ("message", "error"))
    return f"it says: {message}" if isinstance(message, str) and message else NO_COLLECTOR


def _refused(why: str) -> AnswerIsNo:
    return AnswerIsNo(
        f"the collector did not take the spans: {cleaned(why)}.",
        next_step="Send them again: ids follow from the run, so what it has already it gets no second time.",
    )
