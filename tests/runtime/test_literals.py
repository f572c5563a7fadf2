"""Many texts that are looked for at once are found where each of them alone would be."""

import random

import pytest

from playhead.runtime.literals import FEW, Literals


@pytest.mark.parametrize("many", [1, FEW, FEW + 1, 200])
@pytest.mark.parametrize("alphabet", ["ab", "ab.*(\\]^-", "aäß𝄞\n\0"])
def test_what_is_found_is_what_each_alone_would_find(many: int, alphabet: str) -> None:
    chance = random.Random(many)

    def text(least: int, most: int) -> str:
        return "".join(chance.choices(alphabet, k=chance.randint(least, most)))

    for _ in range(20):
        wanted = [text(3, 9) for _ in range(many)]
        literals, in_bytes = Literals(wanted), Literals([one.encode() for one in wanted])
        for told in (text(0, 12) for _ in range(20)):
            assert (told in literals) == any(one in told for one in wanted)
            assert (told.encode() in in_bytes) == any(one.encode() in told.encode() for one in wanted)


def test_nothing_is_found_where_nothing_is_wanted() -> None:
    assert "text" not in Literals[str]([])
