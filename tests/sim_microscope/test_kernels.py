import numpy as np
import pytest

from drivers.contract.context import ENERGIES_KEV, HAADF, MAADF, Detector
from drivers.contract.errors import MissingKernelError
from drivers.contract.materials import DOPANTS, HOSTS
from sim_microscope.column_build import Settings, compute_column
from sim_microscope.kernels import (
    EDGES_MRAD,
    RADII_ANGSTROM,
    check_annulus,
    column_kernel,
    default_table,
    load_table,
    save_table,
    vacuum_intensity,
)
from sim_microscope.multislice import Multislice
from sim_microscope.scattering import FREQUENCIES, scattering_amplitude, wavelength_angstrom
from sim_microscope.wave_grid import WaveGrid

TABLE = default_table()


def test_the_table_holds_every_column_of_every_host():
    metals = {host.metal for host in HOSTS.values()} | set(DOPANTS)
    chalcogens = {f"{name}:{state}" for name in HOSTS for state in ("X2", "X1top", "X1bottom")}
    assert set(TABLE.species) == metals | chalcogens
    assert TABLE.energies_kev == ENERGIES_KEV
    assert np.isfinite(TABLE.static).all()
    assert np.isfinite(TABLE.averaged).all()


def test_the_table_is_what_the_code_computes():
    # Coarser numerics than the table's (cell, quadrature), which the study puts at some 0.1 %.
    settings = Settings(cell_angstrom=24.0, radial_nodes=3)
    fresh = compute_column("TiS2:X2", 60, settings)
    position = TABLE.index("TiS2:X2", 60)
    dark = EDGES_MRAD[:-1] >= 40
    for name in ("static", "averaged"):
        shipped = getattr(TABLE, name)[position][:, dark].sum(1)
        again = fresh[name][:, dark].sum(1)
        np.testing.assert_allclose(again[:-1], shipped[:-1], atol=3e-3 * shipped[0])
        assert again[-1] == pytest.approx(shipped[-1], rel=3e-3)


@pytest.mark.parametrize("detector", [HAADF, MAADF], ids=lambda d: d.name)
@pytest.mark.parametrize("species", ["W", "WSe2:X2", "TiS2:X1top"])
def test_a_kernel_falls_from_its_column(species, detector):
    values = column_kernel(TABLE, species, 80, detector).at(np.array([0.0, 0.5, 1.0, 3.0, 6.0]))
    assert values[0] > values[1] > 3 * values[2] > 0
    assert np.abs(values[3:]).max() < 0.03 * values[0]


def test_heavier_columns_scatter_more():
    for energy in ENERGIES_KEV:
        peaks = [
            float(column_kernel(TABLE, species, energy, HAADF).at(np.zeros(1))[0])
            for species in ("Ti", "Nb", "Ta")
        ]
        assert peaks == sorted(peaks)


def test_kernels_look_the_same_from_every_side():
    grid = WaveGrid.for_angle((24.0, 24.0), 80, 281.0)
    from sim_microscope.column_build import column_planes

    center = np.full(2, 12.0)
    angles = np.deg2rad([0.0, 30.0, 45.0, 90.0, 137.0])
    positions = center + 0.7 * np.stack([np.sin(angles), np.cos(angles)], axis=1)
    engine = Multislice(grid, 31.0, np.array([30.0, 68.0, 280.0]))
    rings = engine.contrast(column_planes("WSe2:X2", center, np.zeros(2)), positions)
    np.testing.assert_allclose(rings, rings[:1].repeat(len(angles), 0), rtol=5e-3)


def test_top_and_bottom_single_vacancies_differ_only_by_their_depth():
    top, bottom = (TABLE.static[TABLE.index(f"WSe2:{s}", 80)] for s in ("X1top", "X1bottom"))
    dark = EDGES_MRAD[:-1] >= 32
    difference = (top - bottom)[:-1, dark].sum(1)
    np.testing.assert_allclose(difference, 0.0, atol=5e-3 * top[0, dark].sum())


def test_intensity_is_conserved_in_every_kernel():
    """What a column takes out of the direct beam arrives elsewhere, or beyond the outermost ring."""
    kernels = TABLE.static[:, :, :-1]
    total = kernels.sum(axis=-1)
    rutherford = kernels[..., EDGES_MRAD[:-1] >= 200].sum(-1) / (200.0**-2 - 280.0**-2) * 280.0**-2
    lone = np.array([not name.endswith("X2") for name in TABLE.species])
    np.testing.assert_allclose((total + rutherford)[lone], 0.0, atol=0.004)
    # Two atoms in line interfere beyond the outermost ring too, so the law of one atom is less exact there.
    np.testing.assert_allclose((total + rutherford)[~lone], 0.0, atol=0.009)


@pytest.mark.parametrize("symbol", ["S", "Ti", "W"])
def test_the_integral_is_what_the_amplitude_scatters(symbol):
    """One atom, from its scattering amplitude alone: the optical theorem, and |F|² over the annulus."""
    amplitude, reach = scattering_amplitude(symbol, 80), wavelength_angstrom(80) ** -1
    axis = np.arange(-280, 281) / 80.0
    rows, columns = np.meshgrid(axis, axis, indexing="ij")
    angle = np.hypot(rows, columns) / reach * 1e3
    inside = (angle >= 30.0) & (angle < 120.0)
    radii = np.sqrt((np.arange(12) + 0.5) / 12) * 0.031 * reach
    size = [
        np.interp(np.hypot(rows[inside], columns[inside] - r), FREQUENCIES, np.abs(amplitude)) for r in radii
    ]
    scattered = np.mean([np.sum(s**2) for s in size]) / 80.0**2
    lost = -2 * amplitude[0].real * vacuum_intensity(MAADF)
    species = symbol if symbol != "S" else "MoS2:X1top"
    assert TABLE.radial(species, 80, MAADF, thermal=False)[-1] == pytest.approx(scattered - lost, rel=0.004)


def test_thermal_motion_blurs_but_loses_nothing():
    at_rest = column_kernel(TABLE, "W", 80, HAADF, thermal=False)
    moving = column_kernel(TABLE, "W", 80, HAADF)
    zero = np.zeros(1)
    assert moving.spectrum(zero) == pytest.approx(at_rest.spectrum(zero))
    assert moving.at(zero)[0] < at_rest.at(zero)[0]


def test_annuli_add_up():
    inner, outer = (
        Detector(name="x", inner_mrad=a, outer_mrad=b) for a, b in ((68.0, 133.0), (133.0, 280.0))
    )
    parts = TABLE.radial("Mo", 60, inner) + TABLE.radial("Mo", 60, outer)
    np.testing.assert_allclose(parts, TABLE.radial("Mo", 60, HAADF))


def test_a_profile_passes_through_the_radii_that_it_was_made_from():
    kernel = column_kernel(TABLE, "W", 80, HAADF, thermal=False)
    values = TABLE.radial("W", 80, HAADF, thermal=False)
    near = RADII_ANGSTROM < 3
    np.testing.assert_allclose(kernel.at(RADII_ANGSTROM[near]), values[:-1][near], atol=2e-3 * values[0])


@pytest.mark.parametrize(("inner", "outer", "expected"), [(68, 280, 0.0), (30, 120, 61 / 961), (0, 31, 1.0)])
def test_vacuum_is_the_overlap_of_beam_and_detector(inner, outer, expected):
    detector = Detector(name="x", inner_mrad=float(inner), outer_mrad=float(outer))
    assert vacuum_intensity(detector) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("ask", "told"),
    [
        (lambda: TABLE.index("W", 300), r"60, 80, 100 keV.*columnist kernels build --energy-kev 300"),
        (lambda: TABLE.index("Au", 80), "no kernel of column 'Au'"),
        (lambda: check_annulus(Detector(name="x", inner_mrad=5.0, outer_mrad=20.0)), "20-280 mrad"),
        (lambda: check_annulus(Detector(name="x", inner_mrad=50.0, outer_mrad=300.0)), "20-280 mrad"),
    ],
    ids=["energy", "species", "inner angle", "outer angle"],
)
def test_what_the_table_lacks_is_named_with_the_remedy(ask, told):
    with pytest.raises(MissingKernelError, match=told):
        ask()


def test_a_table_survives_its_file(tmp_path):
    path = tmp_path / "kernels.npz"
    save_table(TABLE, path)
    again = load_table(path)
    assert again.species == TABLE.species
    np.testing.assert_array_equal(again.averaged, TABLE.averaged)


def test_a_missing_or_broken_table_is_an_error(tmp_path):
    with pytest.raises(MissingKernelError, match="columnist kernels build"):
        load_table(tmp_path / "kernels.npz")
    path = tmp_path / "kernels.npz"
    save_table(TABLE, path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(MissingKernelError, match="cut short or altered"):
        load_table(path)
