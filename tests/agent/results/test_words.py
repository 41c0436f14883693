from datetime import UTC, datetime

import pytest

from agent.results.words import class_words, share_words, time_words
from drivers.contract.maps import Concentration


def test_a_dopant_has_a_word_only_if_there_may_be_one():
    assert class_words("Ti")["dopant"] == "Ti dopant"
    assert "dopant" not in class_words(None)


@pytest.mark.parametrize(
    ("shares", "told"),
    [
        ((0.0746, 0.0646, 0.0849), ("7.5 %", "6.5 to 8.5 %")),
        ((0.0002, 0.00003, 0.00123), ("0.02 %", "0.003 to 0.12 %")),
        ((0.00042, 0.0, 0.00163), ("< 0.16 %", "0 to 0.16 %")),
        ((0.5, 0.2, 0.8), ("50 %", "20 to 80 %")),
        ((0.0, 0.0, 0.0), ("0 %", "0 to 0 %")),
    ],
    ids=["two digits of the interval", "small", "nothing found", "few sites", "ruled out"],
)
def test_concentrations_have_the_digits_that_their_intervals_bear(shares, told):
    value, low, high = shares
    found = Concentration(
        defect="vac1", of="chalcogen sites", sites=9, expected_count=1, value=value, low=low, high=high
    )
    assert share_words(found) == told


def test_no_concentration_is_told_where_no_site_counts():
    found = Concentration(
        defect="vac1", of="chalcogen sites", sites=0, expected_count=0, value=0, low=0, high=1
    )
    assert share_words(found) == ("-", "-")


def test_times_name_their_zone():
    assert time_words(datetime(2026, 11, 30, 7, 5, tzinfo=UTC)) == "2026-11-30 07:05 UTC"
