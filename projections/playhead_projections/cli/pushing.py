"""`playhead export --to otlp`: spans into a file, or to a collector over HTTP."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from http.client import HTTPException
from typing import TYPE_CHECKING, Any, Final
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit

from playhead_projections.cli.faults import AnswerIsNo, Usage
from playhead_projections.cli.output import cleaned

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


def push(endpoint: str, bodies: Iterator[bytes], headers: Sequence[str]) -> int:
    """Post each document to the collector at `endpoint`; returns how many. Raises `AnswerIsNo`, `Usage`."""
    url, sent = _url(endpoint), 0
    told = _headers(headers)
    for body in bodies:
        _post(url, body, told)
        sent += 1
    return sent


def _url(endpoint: str) -> str:
    try:
        parts = urlsplit(endpoint)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        usable = usable and not parts.query and not parts.fragment
    except ValueError:
        usable = False
    if not usable:
        raise Usage(f"{endpoint!r} is no endpoint.", expected="http://localhost:4318", found=endpoint)
    bare = endpoint.rstrip("/")
    return bare if bare.endswith(PATH) else bare + PATH


def _headers(given: Sequence[str]) -> dict[str, str]:
    found = {"Content-Type": "application/json"}
    for text in given:
        name, separator, value = text.partition("=")
        if not separator or not name.strip() or not (name + value).isprintable():
            raise Usage("a header has a name and a value.", expected="NAME=VALUE", found=name)
        found[name.strip()] = value.strip()
    return found


def _post(url: str, body: bytes, headers: dict[str, str]) -> None:
    from urllib.request import Request, build_opener

    request = Request(url, data=body, headers=headers, method="POST")  # noqa: S310  http or https, by _url
    opener = build_opener(_no_redirect())
    for attempt in range(1, TRIES_MAX + 1):
        wait = _try(opener, request, last=attempt == TRIES_MAX)
        if wait is None:
            return
        time.sleep(min(wait or 0.2 * 2**attempt, WAIT_S_MAX))


def _no_redirect() -> Any:
    from urllib.request import HTTPRedirectHandler

    class Stay(HTTPRedirectHandler):
        """Spans, and the headers that open a collector, go where they were sent and nowhere else."""

        def redirect_request(self, *_: Any, **__: Any) -> Request | None:
            return None

    return Stay()


def _try(opener: Any, request: Request, *, last: bool) -> float | None:
    """Post once: None where it was taken, else how long to wait, 0 where nobody says. Raises `AnswerIsNo`."""
    try:
        with opener.open(request, timeout=TIMEOUT_S) as answer:
            _check_taken(answer.read(ANSWER_BYTES_MAX))
            return None
    except HTTPError as error:
        with error:
            if error.code in AGAIN and not last:
                asked = error.headers.get("Retry-After", "")
                return float(asked) if asked.isdecimal() else 0.0
            raise _refused(f"{error.code} {error.reason}") from error
    except (URLError, HTTPException, OSError) as error:
        raise _refused(str(getattr(error, "reason", error))) from error


def _check_taken(answer: bytes) -> None:
    import msgspec

    try:
        told = msgspec.json.decode(answer, type=dict[str, dict[str, int | str]]).get("partialSuccess", {})
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return  # it was taken, whatever it says
    rejected = str(told.get("rejectedSpans", 0))
    if rejected != "0":
        raise _refused(f"{rejected} spans rejected: {told.get('errorMessage', '')}")


def _refused(why: str) -> AnswerIsNo:
    return AnswerIsNo(
        f"the collector did not take the spans: {cleaned(why)}.",
        next_step="Send them again: ids follow from the run, so what it has already it gets no second time.",
    )
