import csv

import numpy as np
import pytest

from agent.results.tables import csv_text
from drivers.contract.maps import CLASS_NAMES, DefectMap

HEADER = (
    "row_px,col_px,x_angstrom,y_angstrom,sublattice,class,"
    "p_x2,p_vac1,p_vac2,p_metal,p_dopant,entropy_nats,foreign"
)


def test_the_header_is_the_promised_one_and_every_column_a_line(a_map):
    lines = csv_text(a_map()).splitlines()
    assert lines[0] == HEADER
    assert len(lines) == 1 + 6


def test_classes_and_sublattices_are_spelt_out(a_map):
    rows = list(csv.DictReader(csv_text(a_map()).splitlines()))
    assert [row["class"] for row in rows] == ["x2", "vac1", "vac2", "metal", "dopant", "metal"]
    assert [row["sublattice"] for row in rows[:4]] == ["chalcogen"] * 3 + ["metal"]
    assert float(rows[1]["p_vac1"]) == 0.9


def test_every_number_stands_below_its_own_heading(a_map):
    columns = a_map().columns.copy()
    columns["foreign"] = np.linspace(0.1, 0.7, len(columns))
    rows = list(csv.DictReader(csv_text(DefectMap(a_map().header, columns)).splitlines()))
    for name in ("row_px", "col_px", "x_angstrom", "y_angstrom", "entropy_nats", "foreign"):
        assert [float(row[name]) for row in rows] == pytest.approx(columns[name], abs=1e-4), name
    for number, name in enumerate(CLASS_NAMES):
        assert [float(row[f"p_{name}"]) for row in rows] == pytest.approx(columns["p"][:, number], rel=1e-5)
