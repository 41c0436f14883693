import csv

from agent.results.tables import csv_text

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
