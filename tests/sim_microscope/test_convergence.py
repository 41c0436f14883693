import pytest

from sim_microscope.convergence import Row, as_markdown, study_quadrature, study_rings


def test_rows_become_a_table_a_study():
    rows = [
        Row("cell", "W", "24 Å", "HAADF", 0.07, 0.001, False),
        Row("cell", "W", "32 Å", "HAADF", 0.07, 0.0, True),
        Row("angular rings", "W", "interpolated", "35-95", 0.1, 0.002, True),
    ]
    text = as_markdown(rows)
    assert text.count("###") == 2
    assert "| W | 32 Å | HAADF | 0.07000 | 0.000% | chosen |" in text


@pytest.mark.slow
def test_the_chosen_quadrature_has_converged():
    chosen = [row for row in study_quadrature() if row.chosen]
    assert len(chosen) == 2
    assert all(row.deviation < 1e-3 for row in chosen)


@pytest.mark.slow
def test_annuli_between_the_ring_edges_are_right():
    assert all(row.deviation < 0.02 for row in study_rings())
