import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from drivers.contract.context import HAADF, ColumnClass, Detector, Specimen
from drivers.contract.errors import CommandRefusedError, InputError
from drivers.contract.header import Window
from drivers.contract.instrument import (
    AcquireImage,
    BlankBeam,
    MoveStage,
    Refocus,
    SetFieldOfView,
    StartScan,
    StopScan,
    SwitchDetector,
    SwitchEnergy,
    UnblankBeam,
)
from drivers.contract.knock_on import BARN_A2, knock_on_barn
from sim_microscope.instrument import Instrument
from sim_microscope.settings import SimulatorSettings

STILL = {"drift_x_nm_per_s": 0.0, "drift_y_nm_per_s": 0.0, "drift_walk_nm": 0.0}


def make(**settings):
    small = {"fov_nm": 4.0, "pixels": 128, "row_jitter_px": 0.0, "is_damaging": False} | STILL
    return Instrument(SimulatorSettings(**(small | settings)))


def take(instrument, now_s=0.0):
    """One scan: when it ends, and its frames."""
    end_s = instrument.begin_scan(now_s)
    assert end_s is not None
    return end_s, instrument.end_scan()


def frame(instrument, now_s=0.0):
    (only,) = take(instrument, now_s)[1]
    return only


# Time and dose.


def test_a_scan_takes_dwell_times_pixels_and_its_flybacks():
    end_s, (taken,) = take(make(dwell_us=8.0, flyback_us=100.0), 5.0)
    assert end_s - 5.0 == pytest.approx(128 * (128 * 8e-6 + 100e-6))
    assert taken.facts.monotonic_s == end_s


def test_the_declared_dose_is_current_times_dwell_over_the_area_of_a_pixel():
    facts = frame(make(beam_current_pa=30.0, dwell_us=5.0)).facts
    assert facts.dose_e_per_a2 == pytest.approx(30e-12 * 5e-6 / 1.602176634e-19 / (40 / 128) ** 2)
    assert facts.pixel_size_angstrom == pytest.approx(40 / 128)


def test_every_electron_of_a_session_is_counted_once():
    instrument = make(beam_current_pa=20.0, dwell_us=5.0, active=("HAADF", "MAADF"))
    now_s = 0.0
    for _ in range(3):
        now_s, _ = take(instrument, now_s)
    electrons = 3 * 128**2 * 5e-6 * 20e-12 / 1.602176634e-19
    assert instrument.specimen.dose.electrons == pytest.approx(electrons)


def test_a_scan_that_is_given_up_halfway_leaves_half_its_dose():
    instrument = make(flyback_us=0.0)
    end_s = instrument.begin_scan(0.0)
    instrument.execute(BlankBeam(), end_s / 2)
    electrons = 64 * 128 * 4e-6 * 50e-12 / 1.602176634e-19
    assert instrument.specimen.dose.electrons == pytest.approx(electrons, rel=1e-6)


def test_the_mean_count_is_the_intensity_times_the_electrons():
    few, many = frame(make(beam_current_pa=10.0)), frame(make(beam_current_pa=100.0))
    assert many.pixels.mean() / few.pixels.mean() == pytest.approx(10, rel=0.02)


# Specimen, stage and drift.


def test_the_stage_moves_what_is_seen_by_as_much():
    instrument = make()
    before = frame(instrument)
    instrument.execute(MoveStage(x_nm=0.625, y_nm=-0.3125), 10.0)
    after = frame(instrument, 20.0)
    _, i, j = np.intersect1d(before.truth.sites, after.truth.sites, return_indices=True)
    moved = after.truth.positions_px[j] - before.truth.positions_px[i]
    # By +x what was seen lies further left: 6.25 Å are 20 px.
    np.testing.assert_allclose(moved, np.tile([10.0, -20.0], (len(i), 1)), atol=1e-6)
    assert after.facts.stage.x_nm == 0.625


def test_the_specimen_drifts_with_its_velocity_whatever_the_stage_says():
    instrument = make(drift_x_nm_per_s=0.02, drift_y_nm_per_s=-0.01)
    before, after = frame(instrument, 0.0), frame(instrument, 10.0)
    _, i, j = np.intersect1d(before.truth.sites, after.truth.sites, return_indices=True)
    moved = (after.truth.positions_px[j] - before.truth.positions_px[i]).mean(axis=0) * 40 / 128
    np.testing.assert_allclose(moved, [-1.0, 2.0], atol=0.02)  # [Å] in 10 s
    assert after.facts.stage == before.facts.stage


def test_its_random_walk_spreads_as_the_square_root_of_time():
    spread = []
    for seed in range(200):
        drift = make(drift_walk_nm=0.05, seed=seed).specimen.drift
        spread.append(drift.at(16.0))
    assert np.std(spread) == pytest.approx(0.5 * 4, rel=0.12)  # [Å]


@pytest.mark.parametrize("drift", [0.0, 0.05], ids=["still", "drifting"])
def test_columns_stand_where_the_truth_says(drift):
    instrument = make(
        drift_y_nm_per_s=drift, beam_current_pa=1000.0, source_sigma_angstrom=0.3, vac1=0.0, vac2=0.0
    )
    taken = frame(instrument)
    assert peak_error_px(taken) < 0.15


def test_a_wrong_calibration_is_in_the_image_and_its_truth_but_not_in_the_header():
    right, wrong = frame(make()), frame(make(pixel_size_error=0.05))
    assert wrong.facts.pixel_size_angstrom == right.facts.pixel_size_angstrom
    # The field is in truth 5 % wider and shows more columns.
    assert len(wrong.truth.sites) / len(right.truth.sites) == pytest.approx(1.05**2, abs=0.03)


def peak_error_px(taken):
    """Root mean square distance of the image's metal columns from the truth."""
    image = gaussian_filter(taken.pixels.astype(float), 1.0)
    errors = []
    metals = taken.truth.positions_px[taken.truth.classes == ColumnClass.METAL]
    for row, column in metals:
        r, c = round(row), round(column)
        if not (4 <= r < image.shape[0] - 4 and 4 <= c < image.shape[1] - 4):
            continue
        near = image[r - 2 : r + 3, c - 2 : c + 3]
        i, j = np.unravel_index(near.argmax(), near.shape)
        r, c = r - 2 + i, c - 2 + j
        up, here, down = image[r - 1 : r + 2, c]
        left, _, right = image[r, c - 1 : c + 2]
        vertical = 0.5 * (up - down) / (up - 2 * here + down)
        peak = np.array([r + vertical, c + 0.5 * (left - right) / (left - 2 * here + right)])
        errors.append(peak - [row, column])
    assert len(errors) > 50
    return float(np.sqrt(np.mean(np.square(errors))))


# Windows and detectors.


def test_a_window_is_the_crop_of_the_same_specimen():
    instrument = make(beam_current_pa=5000.0)
    now_s, (whole,) = take(instrument)
    window = Window(row_px=32, col_px=48, rows_px=40, cols_px=24)
    instrument.execute(AcquireImage(window=window), now_s)
    part = frame(instrument, now_s)
    assert part.pixels.shape == (40, 24)
    assert part.facts.window == window
    crop = whole.pixels[32:72, 48:72]
    # The same intensity, each with its own noise.
    noise = np.sqrt(crop + part.pixels)
    assert np.sqrt(np.mean(((crop - part.pixels) / noise) ** 2)) == pytest.approx(1.0, abs=0.1)
    _, i, j = np.intersect1d(whole.truth.sites, part.truth.sites, return_indices=True)
    assert len(j) == len(part.truth.sites)
    np.testing.assert_allclose(whole.truth.positions_px[i] - [32, 48], part.truth.positions_px[j], atol=1e-6)


def test_a_window_costs_its_own_time_and_dose_alone():
    instrument = make()
    window = Window(row_px=0, col_px=0, rows_px=16, cols_px=16)
    instrument.execute(StopScan(), 0.0)
    instrument.execute(AcquireImage(window=window, dwell_us=10.0), 0.0)
    end_s, _ = take(instrument)
    assert end_s == pytest.approx(16 * (16 * 10e-6 + 50e-6))
    assert instrument.specimen.dose.electrons == pytest.approx(256 * 10 * 50 * 6.241509, rel=1e-6)
    assert instrument.begin_scan(end_s) is None  # nothing more was asked for


def test_detectors_at_once_share_scan_and_dose_but_not_their_noise():
    both = make(active=("HAADF", "MAADF"), row_jitter_px=0.3, drift_walk_nm=0.05)
    _, (haadf, maadf) = take(both)
    np.testing.assert_array_equal(haadf.truth.positions_px, maadf.truth.positions_px)
    assert haadf.facts.simultaneous.group == maadf.facts.simultaneous.group
    assert [f.facts.simultaneous.index for f in (haadf, maadf)] == [0, 1]
    assert [f.facts.detector.name for f in (haadf, maadf)] == ["HAADF", "MAADF"]
    # One of them alone sees the same frame: the other takes nothing from it.
    alone = frame(make(active=("HAADF",), row_jitter_px=0.3, drift_walk_nm=0.05))
    np.testing.assert_array_equal(alone.pixels, haadf.pixels)
    assert alone.facts.simultaneous is None
    # With hardly any electrons there is nothing but noise.
    dim = [f.pixels.ravel() for f in take(make(active=("HAADF", "MAADF"), beam_current_pa=0.2))[1]]
    assert abs(np.corrcoef(*dim)[0, 1]) < 0.05


def test_a_detector_switch_settles_before_the_next_scan():
    instrument = make()
    instrument.execute(SwitchDetector(detectors=("MAADF",)), 1.0)
    assert instrument.state(1.0).is_settling
    assert instrument.begin_scan(1.1) is None
    assert frame(instrument, 1.3).facts.detector.name == "MAADF"
    assert not instrument.state(1.3).is_settling


# Energy and focus.


def test_an_energy_change_takes_its_time_and_is_read_back():
    instrument = make(energy_ramp_s=4.0, energy_settle_s=6.0)
    instrument.execute(SwitchEnergy(energy_kev=60.0), 10.0)
    half = instrument.state(12.0)
    assert half.energy_kev == pytest.approx(70.0)
    assert half.is_settling
    assert half.settles_in_s == pytest.approx(8.0)
    assert "60 keV" in half.note
    assert instrument.begin_scan(12.0) is None  # no beam
    there = instrument.state(15.0)
    assert there.energy_kev == 60.0
    assert there.is_settling
    assert not instrument.state(20.0).is_settling
    assert instrument.state(20.0).defocus_nm == 0


def test_an_energy_that_settles_at_once_is_read_back_while_it_changes():
    instrument = make(energy_ramp_s=4.0, energy_settle_s=0.0)
    instrument.execute(SwitchEnergy(energy_kev=60.0), 10.0)
    assert instrument.state(12.0).is_settling
    assert instrument.state(14.0).defocus_nm == 0


def test_frames_are_out_of_focus_while_the_energy_settles_and_say_so():
    instrument = make(beam_current_pa=500.0, energy_shift_nm=0.0)
    instrument.execute(SwitchEnergy(energy_kev=60.0), 0.0)
    settling, settled = frame(instrument, 6.1), frame(instrument, 30.0)
    assert settling.facts.energy_kev == settled.facts.energy_kev == 60.0
    assert settling.facts.is_settled is False
    assert settled.facts.is_settled is True
    assert settling.facts.defocus_nm > 4
    contrast = [f.pixels.std() / f.pixels.mean() for f in (settling, settled)]
    assert contrast[0] < 0.7 * contrast[1]


def test_an_energy_change_shifts_the_field():
    instrument = make(energy_shift_nm=0.5)
    before = frame(instrument)
    instrument.execute(SwitchEnergy(energy_kev=60.0), 10.0)
    after = frame(instrument, 60.0)
    _, i, j = np.intersect1d(before.truth.sites, after.truth.sites, return_indices=True)
    moved = after.truth.positions_px[j] - before.truth.positions_px[i]
    assert moved.std(axis=0).max() < 1e-6
    assert 0.1 < np.linalg.norm(moved[0]) * 4.0 / 128 < 3.0


def test_a_height_blurs_until_it_is_focused_on():
    instrument = make(beam_current_pa=500.0)
    sharp = frame(instrument)
    instrument.execute(MoveStage(z_nm=6.0), 1.0)
    blurred = frame(instrument, 2.0)
    instrument.execute(Refocus(), 3.0)
    again = frame(instrument, 5.0)
    assert blurred.pixels.std() < 0.7 * sharp.pixels.std()
    assert again.pixels.std() == pytest.approx(sharp.pixels.std(), rel=0.05)
    assert again.facts.defocus_nm == 0


# Damage.


def test_vacancies_grow_with_dose_as_the_cross_section_says():
    host = Specimen(host="MoS2")
    instrument = make(
        specimen=host,
        energy_kev=100.0,
        is_damaging=True,
        beam_current_pa=300.0,
        dwell_us=20.0,
        fov_nm=10.0,
        vac1=0.0,
        vac2=0.0,
    )
    first = frame(instrument)
    chalcogens = int(np.sum(first.truth.classes == ColumnClass.X2))
    assert np.sum(first.truth.classes == ColumnClass.VAC1) == 0
    second = frame(instrument, 10.0)
    hits = knock_on_barn("MoS2", 100.0) * BARN_A2 * first.facts.dose_e_per_a2
    expected = chalcogens * -np.expm1(-hits)
    lost = int(np.sum(second.truth.classes == ColumnClass.VAC1))
    assert expected > 20
    assert abs(lost - expected) < 4 * np.sqrt(expected)
    now_s = 20.0
    for _ in range(30):
        now_s, (last,) = take(instrument, now_s)
    assert np.sum(last.truth.classes == ColumnClass.VAC2) > 3


def test_every_chalcogen_that_the_beam_takes_is_counted():
    instrument = make(is_damaging=True, radiolysis_barn=1000.0, beam_current_pa=300.0, dwell_us=20.0)
    first = frame(instrument)
    lost = instrument.lost_chalcogens
    second = frame(instrument, 10.0)

    def chalcogens(shown):
        return 2 * np.sum(shown.truth.classes == ColumnClass.X2) + np.sum(
            shown.truth.classes == ColumnClass.VAC1
        )

    doubles = [np.sum(shown.truth.classes == ColumnClass.VAC2) for shown in (first, second)]
    assert doubles[1] > doubles[0] + 10  # one scan took both of many columns
    assert lost == chalcogens(first) - chalcogens(second)


def test_carbon_on_a_detector_that_begins_on_the_axis_is_refused_before_it_is_imaged():
    bright_field = Detector(name="BF", inner_mrad=0.0, outer_mrad=20.0)
    settings = {"detectors": (HAADF, bright_field), "method": "multislice", "contamination_nm": 1.0}
    with pytest.raises(InputError, match="contamination on BF"):
        make(active=("BF",), **settings)
    with pytest.raises(CommandRefusedError, match="contamination on BF"):
        make(**settings).execute(SwitchDetector(detectors=("BF",)), 0.0)


@pytest.mark.parametrize(
    ("host", "energy_kev", "is_damaging"),
    [("WSe2", 100.0, True), ("MoS2", 60.0, True), ("MoS2", 100.0, False)],
    ids=["a selenide", "below the threshold", "switched off"],
)
def test_no_vacancies_are_made(host, energy_kev, is_damaging):
    instrument = make(
        specimen=Specimen(host=host),
        energy_kev=energy_kev,
        is_damaging=is_damaging,
        beam_current_pa=1000.0,
        dwell_us=100.0,
    )
    now_s = 0.0
    for _ in range(3):
        now_s, _ = take(instrument, now_s)
    assert instrument.lost_chalcogens == 0
    assert instrument.specimen.dose.highest_e_per_a2 > 1e7


def test_only_what_was_scanned_is_damaged():
    instrument = make(specimen=Specimen(host="MoS2"), energy_kev=100.0, is_damaging=True, vac1=0, vac2=0)
    instrument.execute(StopScan(), 0.0)
    window = Window(row_px=0, col_px=0, rows_px=128, cols_px=64)
    instrument.execute(AcquireImage(window=window, dwell_us=10_000.0), 0.0)
    now_s, _ = take(instrument)
    instrument.execute(AcquireImage(), now_s)
    after = frame(instrument, now_s)
    hit = after.truth.positions_px[np.isin(after.truth.classes, (ColumnClass.VAC1, ColumnClass.VAC2))]
    assert len(hit) > 30
    assert hit[:, 1].max() < 63.5


def test_carbon_grows_where_the_beam_is_and_scatters():
    instrument = make(contamination_nm_per_dose=5.0, beam_current_pa=500.0, dwell_us=40.0)
    now_s, (first,) = take(instrument)
    for _ in range(3):
        now_s, (last,) = take(instrument, now_s)
    assert last.pixels.mean() > 1.1 * first.pixels.mean()
    instrument.execute(MoveStage(x_nm=20.0), now_s)
    fresh = frame(instrument, now_s + 1.0)
    assert fresh.pixels.mean() == pytest.approx(first.pixels.mean(), rel=0.02)


# Determinism.


def test_the_same_seed_and_calls_make_the_same_session_to_the_bit():
    def session():
        instrument = make(drift_walk_nm=0.05, row_jitter_px=0.1, seed=5)
        now_s, (first,) = take(instrument)
        instrument.execute(SwitchEnergy(energy_kev=60.0), now_s)
        _, (second,) = take(instrument, now_s + 20.0)
        return first, second

    for one, other in zip(session(), session(), strict=True):
        np.testing.assert_array_equal(one.pixels, other.pixels)
        assert one.facts == other.facts


# What it refuses.


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (SwitchEnergy(energy_kev=200.0), "possible are 60, 80, 100 keV"),
        (SwitchDetector(detectors=("BF",)), "detector 'BF' is not there; there are HAADF, MAADF"),
        (SwitchDetector(detectors=("HAADF", "HAADF")), "every name once"),
        (SetFieldOfView(field_of_view_nm=5000.0), "expected 1 to 100 nm"),
        (MoveStage(x_nm=1e6), "expected -1000 to 1000 nm"),
        (StartScan(dwell_us=1e6), "dwell"),
        (AcquireImage(shape_px=(4, 4)), "expected 16 to 4096 px"),
        (AcquireImage(window=Window(row_px=100, col_px=0, rows_px=100, cols_px=10)), "reaches out"),
    ],
    ids=lambda value: value.kind if hasattr(value, "kind") else "",
)
def test_what_it_cannot_do_it_refuses_with_the_reason(command, reason):
    instrument = make()
    before = instrument.state(0.0)
    with pytest.raises(CommandRefusedError, match=reason):
        instrument.execute(command, 0.0)
    assert instrument.state(0.0) == before


def test_it_takes_no_frames_while_blanked_and_refuses_to_be_asked():
    instrument = make()
    instrument.execute(BlankBeam(), 0.0)
    assert instrument.state(0.0).is_blanked
    assert instrument.begin_scan(0.0) is None
    with pytest.raises(CommandRefusedError, match="blanked"):
        instrument.execute(AcquireImage(), 0.0)
    instrument.execute(UnblankBeam(), 1.0)
    assert instrument.begin_scan(1.0) is not None


def test_it_refuses_to_move_anything_while_it_settles():
    instrument = make()
    instrument.execute(SwitchEnergy(energy_kev=100.0), 0.0)
    for command in (SwitchEnergy(energy_kev=60.0), SwitchDetector(detectors=("MAADF",)), MoveStage(x_nm=1.0)):
        with pytest.raises(CommandRefusedError, match="settling"):
            instrument.execute(command, 1.0)
    with pytest.raises(CommandRefusedError, match="energy is going over"):
        instrument.execute(AcquireImage(), 1.0)


def test_it_stops_and_starts_with_other_settings():
    instrument = make()
    instrument.execute(StopScan(), 0.0)
    assert not instrument.state(0.0).is_scanning
    assert instrument.begin_scan(0.0) is None
    instrument.execute(StartScan(dwell_us=2.0, shape_px=(64, 96)), 0.0)
    taken = frame(instrument)
    assert taken.pixels.shape == (64, 96)
    assert taken.facts.dwell_us == 2.0
    assert taken.facts.pixel_size_angstrom == pytest.approx(40 / 96)


def test_a_scan_that_is_stopped_is_completed_first():
    instrument = make()
    instrument.begin_scan(0.0)
    instrument.execute(StopScan(), 0.01)
    assert instrument.state(0.02).is_scanning
    assert len(instrument.end_scan()) == 1
    assert not instrument.state(1.0).is_scanning


def test_what_was_asked_for_is_lost_when_the_beam_is_blanked():
    instrument = make()
    instrument.execute(StopScan(), 0.0)
    instrument.execute(AcquireImage(), 0.0)
    instrument.execute(BlankBeam(), 0.0)
    instrument.execute(UnblankBeam(), 0.0)
    assert instrument.begin_scan(0.0) is None


def test_it_says_what_it_can_do():
    capabilities = make().capabilities()
    assert "refocus" in capabilities.commands
    assert len(capabilities.commands) == 10
    assert capabilities.max_simultaneous == 2
    assert capabilities.energies_kev == (60.0, 80.0, 100.0)


@pytest.mark.slow
def test_multislice_frames_are_those_of_the_kernels_at_rest():
    frames = []
    for method in ("multislice", "kernels"):
        instrument = make(
            method=method,
            fov_nm=1.0,
            pixels=16,
            active=("MAADF",),
            source_sigma_angstrom=0.1,
            beam_current_pa=5000.0,
            dwell_us=100.0,
        )
        instrument.execute(StopScan(), 0.0)
        window = Window(row_px=2, col_px=3, rows_px=5, cols_px=5)
        instrument.execute(AcquireImage(window=window), 0.0)
        frames.append(frame(instrument))
    exact, quick = frames
    np.testing.assert_array_equal(exact.truth.positions_px, quick.truth.positions_px)
    assert exact.facts == quick.facts
    assert np.corrcoef(exact.pixels.ravel(), quick.pixels.ravel())[0, 1] > 0.97
