"""`playhead receipts`: what each finished step took, inner steps before the ones around them."""

from __future__ import annotations

import click

from playhead_projections.cli.addresses import as_of_option, find_as_of
from playhead_projections.cli.faults import DONE
from playhead_projections.cli.output import count, cut, money, span, table
from playhead_projections.cli.session import Session, command, json_option, jsonl_option


@command("receipts")
@click.argument("run", default="@")
@click.option(
    "--after", default=-1, help="Only of steps that finished after this event: the cursor of last time."
)
@as_of_option
@json_option
@jsonl_option
def receipts(
    session: Session, *, run: str, after: int, as_of: str | None, as_json: bool, as_jsonl: bool
) -> int:
    """List the receipts of RUN's finished steps, in the order of finishing. RUN@12 lists those of then."""
    from playhead_projections.accounts import length
    from playhead_projections.projector import state_as_of
    from playhead_projections.receipts import SCHEMA, Receipts, document, drain

    with session.reading() as log:
        address = find_as_of(log, session.store, run, as_of)
        book = state_as_of(log, Receipts(), address.stream, address.last).state
    found, cursor = drain(
        book, after=max(after, (address.first or 0) - 1) if address.first != address.last else after
    )
    if as_jsonl:
        for receipt in found:
            session.out.record(document(receipt))
    elif as_json:
        body = {
            "run": address.run,
            "receipts": [document(receipt) for receipt in found],
            "cursor": cursor,
            "unfinished": list(book.open),
            "besides": book.besides.document(),
        }
        session.out.document(SCHEMA, body)
    else:
        rows: list[list[str]] = []
        for receipt in found:
            used = receipt.inclusive.used
            waited = ", ".join(
                f"{kind} {span(waited.ns)}" for kind, waited in sorted(receipt.inclusive.waited.items())
            )
            rows.append(
                [
                    str(receipt.seq),
                    receipt.name,
                    session.out.word(receipt.status),
                    span(length(receipt.started, receipt.finished or receipt.started)),
                    receipt.model or "-",
                    count(used.model_calls),
                    count(used.input_tokens.value, unknown=used.input_tokens.unknown),
                    count(used.output_tokens.value, unknown=used.output_tokens.unknown),
                    money(used.cost_micros.value, used.cost_micros.unknown),
                    count(receipt.inclusive.attempts),
                    cut(f"{receipt.error.type}: {receipt.error.message}" if receipt.error else waited, 60),
                ]
            )
        head = [
            "seq",
            "step",
            "status",
            "took",
            "model",
            "calls",
            "in",
            "out",
            "cost",
            "tries",
            "waited for, or error",
        ]
        lines = table(rows, head=head, right=(0, 3, 5, 6, 7, 8, 9)) if rows else ["no step has finished."]
        if book.besides.model_calls:
            calls = count(book.besides.model_calls, "model call")
            cost = money(book.besides.cost_micros.value, book.besides.cost_micros.unknown)
            lines.append(f"{calls} in no receipt, {cost}")
        if book.open:
            lines.append(f"{count(len(book.open), 'step')} not finished: {cut(', '.join(book.open), 80)}")
        session.out.lines(lines)
    return DONE
