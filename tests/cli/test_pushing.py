"""`playhead export --to otlp`: into files, and to a collector that answers as collectors do."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from playhead_projections.cli.faults import AnswerIsNo, Usage
from playhead_projections.cli.pushing import push
from tests.cli.shell import Shell
from tests.projections.otlp_shape import spans_of

Answer = tuple[int, dict[str, str], bytes]
TAKEN: Answer = (200, {}, b"{}")


class Collector:
    """Takes traces over HTTP, and says to each what it was told to say; then that it took them."""

    def __init__(self) -> None:
        self.got: list[tuple[str, dict[str, str], Any]] = []
        self.answers: list[Answer] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                collector.got.append((self.path, dict(self.headers), json.loads(body)))
                code, headers, said = collector.answers.pop(0) if collector.answers else TAKEN
                self.send_response(code)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(said)

            def log_message(self, format: str, *args: Any) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def collector() -> Iterator[Collector]:
    opened = Collector()
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    made = Shell(tmp_path_factory.mktemp("otlp"))
    assert made.run("audit", "--arg", "n=4", "--arg", "greeting=moin-moin")[1].code == 0
    return made


def test_a_file_holds_one_document_a_line_and_is_the_same_every_time(shell: Shell, tmp_path: Path) -> None:
    target = tmp_path / "spans.jsonl"

    done = shell.here("export", "@", "--to", "otlp", "-o", str(target))
    first = target.read_bytes()
    shell.here("export", "@", "--to", "otlp", "-o", str(target))

    assert (done.code, done.err) == (0, f"1 document of spans to {target}\n")
    assert target.read_bytes() == first
    assert b"moin-moin" not in first
    assert len(spans_of([json.loads(line) for line in first.splitlines()])) == 6


def test_a_collector_is_sent_the_same(shell: Shell, collector: Collector) -> None:
    words = ["export", "@", "--to", "otlp", "--endpoint", collector.url, "--header", "x-key= abc=d"]

    done = shell.here(*words, "--content", "--service", "desk")

    ((path, headers, document),) = collector.got
    assert (done.code, path) == (0, "/v1/traces")
    assert headers["X-Key"] == "abc=d"
    assert headers["Content-Type"] == "application/json"
    assert "moin-moin" in json.dumps(spans_of([document]))
    assert document["resourceSpans"][0]["resource"]["attributes"][0]["value"] == {"stringValue": "desk"}


def test_a_collector_that_is_busy_is_asked_again(shell: Shell, collector: Collector) -> None:
    collector.answers = [(503, {"Retry-After": "0"}, b""), (429, {}, b"")]

    assert shell.here("export", "@", "--to", "otlp", "--endpoint", f"{collector.url}/v1/traces/").code == 0

    assert len(collector.got) == 3
    assert {path for path, *_ in collector.got} == {"/v1/traces"}


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((400, {}, b"bad"), "400 Bad Request"),
        ((302, {"Location": "http://127.0.0.1:9/"}, b""), "302 Found"),
        (
            (200, {}, b'{"partialSuccess": {"rejectedSpans": "2", "errorMessage": "too \\u001b[31mold"}}'),
            "rejected 2 spans and took the others: too",
        ),
        ((200, {}, b'{"partial_success": {"rejected_spans": 1}, "more": 1}'), "rejected 1 span"),
        ((200, {}, b"<html>log in</html>"), "what answered is no collector"),
        ((200, {}, b"[]"), "what answered is no collector"),
        ((202, {}, b'{"partialSuccess": []'), "what answered is no collector"),
        ((200, {}, b"{" * 70_000), "what answered is no collector"),
        ((200, {}, b'{"partialSuccess": {"rejectedSpans": 1e999}}'), "what answered is no collector"),
        ((200, {}, b'{"partialSuccess": {"rejectedSpans": NaN}}'), "what answered is no collector"),
        ((200, {}, b'{"partialSuccess": {"rejectedSpans": 0.5}}'), "what answered is no collector"),
        ((200, {}, b'{"partialSuccess": {"rejectedSpans": true}}'), "what answered is no collector"),
        ((200, {}, b'{"partialSuccess": {"rejectedSpans": "some"}}'), "what answered is no collector"),
        ((200, {}, b'{"partialSuccess": {"rejectedSpans": 2.0}}'), "rejected 2 spans"),
        ((200, {}, b'{"partialSuccess": 7}'), "what answered is no collector"),
        ((200, {}, b'{"partialSuccess": "no"}'), "what answered is no collector"),
        ((200, {}, b'{"status": "error"}'), "what answered is no collector"),
        ((200, {}, b'{"status": "error", "error": "no such route"}'), "it says: no such route"),
        ((200, {}, b'{"code": 3, "message": "inv\\u001b[1malid"}'), "it says: inv"),
        ((200, {}, b"false"), "what answered is no collector"),
        ((200, {}, b"0"), "what answered is no collector"),
        ((200, {"Content-Type": "text/html"}, b"  \n"), "what answered is no collector"),
        ((200, {"Content-Length": "100"}, b"{}"), "its answer broke off, 98 bytes too short"),
        ((200, {"Content-Length": "100"}, b""), "its answer broke off, 100 bytes too short"),
    ],
)
def test_a_collector_that_says_no_is_told(
    shell: Shell, collector: Collector, answer: Answer, said: str
) -> None:
    collector.answers = [answer]

    done = shell.here("export", "@", "--to", "otlp", "--endpoint", collector.url)

    assert done.code == 1
    assert said in done.err
    assert "\x1b" not in done.err
    assert len(collector.got) == 1


def test_who_rejects_nothing_took_it_and_may_say_something(shell: Shell, collector: Collector) -> None:
    for said in (b"", b"{}", b'{"partialSuccess": {}}', b'{"partialSuccess": null}'):
        collector.answers = [(200, {}, said)]
        done = shell.here("export", "@", "--to", "otlp", "--endpoint", collector.url)
        assert (done.code, done.err) == (0, "")
    collector.answers = [(200, {}, b'{"partialSuccess": {"errorMessage": "use \\u001b[1mgRPC"}}')]
    done = shell.here("export", "@", "--to", "otlp", "--endpoint", collector.url)
    assert (done.code, done.err) == (0, "it says: use \N{REPLACEMENT CHARACTER}[1mgRPC\n")


def test_what_is_rejected_of_one_document_keeps_no_other_from_being_sent(collector: Collector) -> None:
    collector.answers = [(200, {}, b'{"partialSuccess": {"rejectedSpans": 3, "errorMessage": "old"}}')]
    with pytest.raises(AnswerIsNo, match="rejected 3 spans and took the others: old"):
        push(collector.url, iter([b"{}", b"{}"]), [])
    assert len(collector.got) == 2


def test_a_path_that_is_no_ascii_is_sent_percent_encoded(shell: Shell, collector: Collector) -> None:
    done = shell.here("export", "@", "--to", "otlp", "--endpoint", f"{collector.url}/pf\u00e4d%20x/")

    assert done.code == 0
    assert collector.got[0][0] == "/pf%C3%A4d%20x/v1/traces"


def test_nobody_there_is_told(shell: Shell, collector: Collector) -> None:
    collector.close()

    done = shell.here("export", "@", "--to", "otlp", "--endpoint", collector.url)

    assert (done.code, "did not take the spans" in done.err) == (1, True)
    assert "Traceback" not in done.err


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["@", "--to", "jaeger"], 2),
        (["--to", "otlp"], 2),
        (["--all", "--to", "otlp"], 2),
        (["@2", "--to", "otlp"], 2),
        (["nobody", "--to", "otlp"], 3),
        (["@", "--endpoint", "http://localhost:1"], 2),
        (["@", "--content"], 2),
        (["@", "--to", "otlp", "--endpoint", "file:///etc/passwd"], 2),
        (["@", "--to", "otlp", "--endpoint", "http://"], 2),
        (["@", "--to", "otlp", "--endpoint", "http://[::1"], 2),
        (["@", "--to", "otlp", "--endpoint", "http://localhost:1", "-o", "x"], 2),
        (["@", "--to", "otlp", "--endpoint", "http://localhost:1", "--header", "nothing"], 2),
        (["@", "--to", "otlp", "--endpoint", "http://localhost:1", "--header", "a=b\r\nc: d"], 2),
        (["@", "--to", "otlp", "--endpoint", "http://localhost:1", "--header", "n\u00e4me=x"], 2),
        (["@", "--to", "otlp", "--endpoint", "http://\u2603.example:1"], 1),
        (["@", "--to", "otlp", "-o", "runs.db"], 2),
    ],
)
def test_what_cannot_be_is_a_clear_error(shell: Shell, words: list[str], code: int) -> None:
    done = shell.here("export", *words)

    assert done.code == code, done
    assert "Traceback" not in done.err


@pytest.mark.parametrize(
    "endpoint",
    [
        f"http://{'a' * 70}.example:1",
        "http://a b:1",
        "http://localhost:1/a b",
        "http://localhost:1/\x7f",
        "http://ada:secret@localhost:1",
        "http://localhost:1/v1?key=1",
        "http://localhost:0",
        "http://localhost:99999",
        "ftp://localhost",
    ],
)
def test_an_endpoint_that_nobody_can_post_to_is_refused_before_anything_is_sent(endpoint: str) -> None:
    with pytest.raises(Usage, match="is no endpoint"):
        push(endpoint, iter([b"{}"]), [])


@pytest.mark.parametrize(
    "header", ["=x", "a b=x", "a:b=x", "a=\u20ac", "a=\0", "Content-Length=1", "host = x"]
)
def test_a_header_that_http_cannot_carry_is_refused_before_anything_is_sent(header: str) -> None:
    with pytest.raises(Usage, match="header"):
        push("http://localhost:1", iter([b"{}"]), [header])
