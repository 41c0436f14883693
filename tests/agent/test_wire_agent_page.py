"""`docs/wire-agent.md`: names all that a client in another language has to know."""

import re
from pathlib import Path
from typing import get_args

import pytest

from agent.assessment import Assessment, Score
from agent.control import describe
from agent.goals import Standing, Verdict
from agent.requests import Concern, Figure, Promise, Request, Wish
from agent.state import State
from drivers.contract.context import Context, Detector, Specimen
from drivers.contract.facts import Facts, Settled, Sourced
from drivers.contract.maps import (
    COLUMN_DTYPE,
    ClassCounts,
    ColumnFlag,
    Concentration,
    DetectorEvidence,
    FlagKind,
    FrameReference,
    Grain,
    MapFlag,
    MapHeader,
    ModelReference,
    Scale,
)
from models.map_flags import FOREIGN

PAGE = (Path(__file__).parents[2] / "docs" / "wire-agent.md").read_text(encoding="utf-8")

MAP = (MapHeader, FrameReference, Settled, Context, Specimen, Detector, Facts, Sourced, ModelReference, Scale)
MAP += (Grain, ClassCounts, Concentration, DetectorEvidence, MapFlag)
NEWS = (Assessment, Score, Verdict, Standing, Request, Wish, Figure, Promise, Concern)


def is_named(word):
    return re.search(rf"[`\"]{word}[`\"]", PAGE) is not None


@pytest.mark.parametrize("message", MAP + NEWS, ids=lambda message: message.__name__)
def test_the_page_names_every_field(message):
    assert [field for field in message.model_fields if not is_named(field)] == []


def test_the_page_names_every_flag_of_a_map():
    assert [kind for kind in get_args(FlagKind) if not re.search(rf"^\| `{kind}` \|", PAGE, re.M)] == []


def test_the_page_says_what_every_bit_of_a_columns_flags_means():
    for flag in ColumnFlag:
        assert f"| {flag.value} | `{flag.name.lower()}` |" in PAGE
    assert f"`foreign` above {FOREIGN:g}" in PAGE


def test_the_page_says_where_every_field_of_a_column_lies():
    for name in COLUMN_DTYPE.names:
        assert re.search(rf"^\| {COLUMN_DTYPE.fields[name][1]} \| [^|]+ \| `{name}` \|", PAGE, re.M), name
    assert f"records of {COLUMN_DTYPE.itemsize} bytes" in PAGE


def test_the_page_names_what_the_status_tells():
    told = describe(State())
    assert [name for name in (*told, *told["frames"]) if not is_named(name)] == []
