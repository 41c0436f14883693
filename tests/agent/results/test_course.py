import csv

from agent.results.course import CoursePoint, course_csv


def test_every_figure_of_a_map_stands_below_a_heading_of_its_own(a_map):
    text = course_csv([CoursePoint("bridge-7", 12, 63.25, a_map().header)])
    (row,) = csv.DictReader(text.splitlines())
    assert len(row) == len(text.splitlines()[0].split(",")), "no heading twice: of two one would be lost"
    assert row == {
        "session": "bridge-7",
        "sequence": "12",
        "at_s": "63.250",
        "host": "WSe2",
        "dopant_element": "Ti",
        "energy_kev": "80",
        "detector": "HAADF",
        "pixel_size_angstrom": "0.4",
        "columns": "6",
        "x2": "1",
        "vac1": "1",
        "vac2": "1",
        "metal": "2",
        "dopant": "1",
        "vac1_share": "0.3",
        "vac1_low": "0.1",
        "vac1_high": "0.6",
        "vac2_share": "",
        "vac2_low": "",
        "vac2_high": "",
        "dopant_share": "",
        "dopant_low": "",
        "dopant_high": "",
        "mean_entropy_nats": "0.3",
        "flags": "scale_mismatch",
        "file": "<image> & co.dm4",
    }
