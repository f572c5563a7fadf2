"""A time has one canonical text, and that is what is hashed."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from playhead.errors import BadValue
from playhead.trust.timestamp import canonical, instant, written
from tests.trust import oracle
from tests.trust.made import timestamps

SECOND = 1_000_000_000


@pytest.mark.parametrize(
    ("said", "text"),
    [
        ("2026-04-19T18:42:11Z", "2026-04-19T18:42:11Z"),
        ("2026-04-19t18:42:11z", "2026-04-19T18:42:11Z"),
        ("2026-04-19 18:42:11Z", "2026-04-19T18:42:11Z"),
        ("2026-04-19T18:42:11+00:00", "2026-04-19T18:42:11Z"),
        ("2026-04-19T18:42:11-00:00", "2026-04-19T18:42:11Z"),
        ("2026-04-19T18:42:11+02:00", "2026-04-19T18:42:11+02:00"),
        ("2026-04-19T18:42:11-23:59", "2026-04-19T18:42:11-23:59"),
        ("2026-04-19T18:42:11-00:30", "2026-04-19T18:42:11-00:30"),
        ("2026-04-19T18:42:11.0Z", "2026-04-19T18:42:11Z"),
        ("2026-04-19T18:42:11.000000000000Z", "2026-04-19T18:42:11Z"),
        ("2026-04-19T18:42:11.500Z", "2026-04-19T18:42:11.5Z"),
        ("2026-04-19T18:42:11.05Z", "2026-04-19T18:42:11.05Z"),
        ("2026-04-19T18:42:11.123456789Z", "2026-04-19T18:42:11.123456789Z"),
        ("2026-04-19T18:42:11.1234567899Z", "2026-04-19T18:42:11.123456789Z"),
        ("2026-04-19T18:42:11.0000000009Z", "2026-04-19T18:42:11Z"),
        ("2016-12-31T23:59:60Z", "2016-12-31T23:59:59.999999999Z"),
        ("2016-12-31T23:59:60.5Z", "2016-12-31T23:59:59.999999999Z"),
        ("2017-01-01T00:59:60+01:00", "2017-01-01T00:59:59.999999999+01:00"),
        ("9999-12-31T23:59:60Z", "9999-12-31T23:59:59.999999999Z"),
        ("2024-02-29T00:00:00Z", "2024-02-29T00:00:00Z"),
        ("2026-01-31T00:00:00.10Z", "2026-01-31T00:00:00.1Z"),
        ("0000-02-29T00:00:00Z", "0000-02-29T00:00:00Z"),
    ],
)
def test_a_time_has_one_text(said: str, text: str) -> None:
    assert canonical(said) == text
    assert canonical(text) == text


@pytest.mark.parametrize(
    "said",
    [
        *("", "now", "2026-04-19", "2026-04-19T18:42:11", "2026-04-19T18:42Z", "2026-4-19T18:42:11Z"),
        *("2026-13-19T18:42:11Z", "2026-00-19T18:42:11Z", "2026-04-31T18:42:11Z", "2026-04-00T18:42:11Z"),
        *("2025-02-29T18:42:11Z", "1900-02-29T18:42:11Z", "2026-04-19T24:00:00Z", "2026-04-19T18:60:11Z"),
        *("2026-04-19T18:42:61Z", "2026-04-19T18:42:11.Z", "2026-04-19T18:42:11,5Z"),
        *("2026-04-19T18:42:11+24:00", "2026-04-19T18:42:11+02:60", "2026-04-19T18:42:11+0200"),
        *("2026-04-19T18:42:11 Z", "2026-04-19T18:42:11Z\n", " 2026-04-19T18:42:11Z", "+026-04-19T18:42:11Z"),
        *(
            "2026-04-19T18:42:60Z",
            "2016-12-31T22:59:60Z",
            "2016-12-30T23:59:60Z",
            "2016-12-31T23:59:60+01:00",
        ),
        *("\uff12026-04-19T18:42:11Z", "2026-04-19T18:42:11.\u0665Z", "12026-04-19T18:42:11Z"),
    ],
)
def test_what_is_no_time_is_refused(said: str) -> None:
    with pytest.raises(BadValue, match="is no time"):
        canonical(said)
    with pytest.raises(BadValue, match="is no time"):
        instant(said)


def test_a_long_text_that_is_no_time_is_not_shown_whole() -> None:
    with pytest.raises(BadValue) as caught:
        canonical("1" * 10_000)

    assert len(str(caught.value)) < 200


@given(timestamps)
def test_any_time_has_the_text_that_a_second_implementation_gives_it(said: str) -> None:
    assert canonical(said) == oracle.time(said)


@given(timestamps)
def test_the_canonical_text_is_the_same_time(said: str) -> None:
    assert instant(canonical(said)) == instant(said)


def test_times_are_compared_across_offsets_and_to_the_nanosecond() -> None:
    assert instant("1970-01-01T00:00:00Z") == 0
    assert instant("1970-01-01T02:00:00.000000001+02:00") == 1
    assert instant("1969-12-31T23:59:59.5Z") == -SECOND // 2
    assert instant("2026-04-19T18:42:11Z") == 1_776_624_131 * SECOND
    assert instant("0000-01-01T00:00:00Z") == -62_167_219_200 * SECOND


@given(st.integers(-62_167_219_200 * SECOND, 253_402_300_800 * SECOND - 1))
@example(-62_167_219_200 * SECOND)
@example(253_402_300_800 * SECOND - 1)
@example(instant("9600-01-01T00:00:00Z"))
@example(instant("0001-01-01T00:00:00Z"))
def test_a_time_of_the_clock_is_written_canonically_and_read_back(at: int) -> None:
    text = written(at)

    assert canonical(text) == text
    assert instant(text) == at


@pytest.mark.parametrize("at", [-62_167_219_200 * SECOND - 1, 253_402_300_800 * SECOND, 10**40, -(10**40)])
def test_a_year_that_cannot_be_written_is_refused(at: int) -> None:
    with pytest.raises(BadValue, match="in no year"):
        written(at)
