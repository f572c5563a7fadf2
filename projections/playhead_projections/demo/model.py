"""A model that needs no network: rules over the text of a licence, behind the interface of a real one.

    reply = await LicenceModel().complete(Request(prompt=..., context={"text": ...}))

Its counts are real counts by a rule that can be checked: a run of letters and digits
is one token for each four characters begun, every other visible character is one.
Its price is that of a table, so that sums of money have something to add up.
"""

from __future__ import annotations

import asyncio
import json
import re
from fractions import Fraction
from typing import Any, Final

from playhead import Reply, Request, Usage

WAIT_S: Final = 0.01
"""A model thinks. Long enough that several calls are in flight at once."""

INPUT_MICROS: Final = Fraction(15, 100)
OUTPUT_MICROS: Final = Fraction(60, 100)
"""Prices of a token in millionths of a dollar."""

# The first that matches is the answer.
RULES: Final = (
    (r"apache license,?\s+version 2\.0", "Apache-2.0"),
    (r"mozilla public license,?\s+version 2\.0", "MPL-2.0"),
    (r"gnu affero general public license", "AGPL-3.0-only"),
    (r"gnu lesser general public license", "LGPL-3.0-only"),
    (r"gnu general public license", "GPL-3.0-only"),
    (r"python software foundation license", "PSF-2.0"),
    (r"neither the name", "BSD-3-Clause"),
    (r"redistribution and use in source and binary forms", "BSD-2-Clause"),
    (r"permission to use, copy, modify, and(/or)? distribute this software", "ISC"),
    (r"permission is hereby granted, free of charge", "MIT"),
    (r"this is free and unencumbered software", "Unlicense"),
    (r"altered source versions must be plainly marked", "Zlib"),
    (r"license :: osi approved :: mit license", "MIT"),
    (r"license :: osi approved :: apache software license", "Apache-2.0"),
)


class LicenceModel:
    """Knows licences by their words, and says `unclear` where it does not."""

    name = "licence-rules"

    async def complete(self, request: Request) -> Reply:
        """One answer: an SPDX identifier or `unclear`."""
        await asyncio.sleep(WAIT_S)
        shown = [request.system or "", request.prompt, json.dumps(request.context, ensure_ascii=False)]
        answer = judged(request.context)
        usage = Usage(input_tokens=sum(map(tokens, shown)), output_tokens=tokens(answer))
        return Reply(
            text=answer,
            model=self.name,
            usage=usage,
            cost_micros=price(usage),
            cost_source="price_table",
            stop_reason="end",
        )


def judged(context: Any) -> str:
    """The first rule that matches the text, or what was declared where there is no text."""
    text = re.sub(r"\s+", " ", " ".join([context["text"], *context["classifiers"]])).lower()
    return next((name for pattern, name in RULES if re.search(pattern, text)), "unclear")


def tokens(text: str) -> int:
    """How many tokens `text` has, by the rule above."""
    return sum(-(-len(piece) // 4) if piece.isalnum() else 1 for piece in re.findall(r"[^\W_]+|\S", text))


def price(usage: Usage) -> int:
    """What the table asks for, in millionths of a dollar, rounded half to even once."""
    return round((usage.input_tokens or 0) * INPUT_MICROS + (usage.output_tokens or 0) * OUTPUT_MICROS)
