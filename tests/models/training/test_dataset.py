import json
from dataclasses import replace

import numpy as np
import pytest

from agent.__main__ import main
from drivers.contract.context import ColumnClass
from drivers.contract.errors import InputError
from models.contexts import reference_contexts
from models.reading import read_columns
from models.training.columns import MisreadError, label_columns, motif_numbers
from models.training.conditions import Ranges, draw_frame
from models.training.dataset import (
    MOST_A_FRAME,
    Plan,
    build,
    build_shard,
    make_shard,
    read_shard,
    shard_path,
)
from sim_microscope.motifs import all_motifs

RANGES = Ranges(pixels=128, lattice_px=(9.0, 12.0), log10_dose=(4.5, 5.5), contaminated=0.0)


@pytest.fixture
def plan() -> Plan:
    return Plan(150, 3, RANGES)


def test_the_columns_of_a_frame_get_their_truth():
    frame = draw_frame(reference_contexts()[331], RANGES, [1, 2])
    reading = read_columns(frame.image)
    labelled = label_columns(frame, reading)
    assert len(labelled.label) == int(reading.whole.sum()) - labelled.spurious
    assert labelled.missed == labelled.spurious == 0
    metal = np.isin(labelled.label, [ColumnClass.METAL, ColumnClass.DOPANT])
    assert (labelled.is_metal == metal).all()
    assert np.isfinite(labelled.moments).all()


def test_a_motif_names_the_column_and_the_number_of_each_kind_of_neighbour():
    frame = draw_frame(reference_contexts()[331], replace(RANGES, dilute=0.0, dense_dopant=(0.3, 0.3)), [4])
    labelled = label_columns(frame, read_columns(frame.image))
    center = {"X2": 0, "X1top": 1, "empty": 2, "metal": 3, "dopant": 4}
    classes = np.array([center[motif.center] for motif in all_motifs()])
    assert (classes[labelled.motif] == labelled.label).all()
    # 0.3 of the metals are dopants, so a chalcogen column has 0.9 of them around it on average.
    frames = [
        draw_frame(reference_contexts()[331], replace(RANGES, dilute=0.0, dense_dopant=(0.3, 0.3)), [n])
        for n in range(4, 12)
    ]
    number = np.concatenate([motif_numbers(frame) for frame in frames])
    around = number[number < 34]
    dopants = np.array([motif.neighbours.count("dopant") for motif in all_motifs()])[around]
    on_chalcogen = classes[around] < 3
    assert dopants[on_chalcogen].mean() == pytest.approx(0.9, abs=0.2)


def test_a_shard_is_the_same_whenever_it_is_built(plan, tmp_path):
    for folder in (tmp_path / "first", tmp_path / "second"):
        folder.mkdir()
        build_shard(plan, 7, folder)
    first, second = (read_shard(tmp_path / name, 7) for name in ("first", "second"))
    assert len(first["label"]) >= plan.columns_a_context
    assert all(np.array_equal(first[name], second[name]) for name in first)
    assert np.isfinite(first["moments"]).all()
    assert json.loads(str(first["counts"]))["frames"] == first["frame"].max() + 1


def test_no_class_of_a_frame_outweighs_the_rest(plan, tmp_path):
    build_shard(replace(plan, ranges=replace(RANGES, pixels=384)), 0, tmp_path)
    arrays = read_shard(tmp_path, 0)
    for frame in np.unique(arrays["frame"]):
        assert np.bincount(arrays["label"][arrays["frame"] == frame]).max() <= MOST_A_FRAME


def test_a_folder_of_another_plan_is_left_alone(plan, tmp_path):
    (tmp_path / "plan.json").write_text(json.dumps(plan.as_card()))
    with pytest.raises(InputError, match="another seed"):
        build(replace(plan, seed=4), tmp_path, workers=1)
    assert not shard_path(tmp_path, 0).exists()


@pytest.mark.slow
def test_an_interrupted_build_goes_on_where_it_was(tmp_path):
    plan = Plan(1, 0, RANGES)
    done: list[int] = []

    def interrupt(columns: int) -> None:
        done.append(columns)
        if len(done) == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(plan, tmp_path, workers=2, on_done=interrupt)
    before = {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("context-*.npz")}
    assert 5 <= len(before) < 576
    card = build(plan, tmp_path, workers=2)
    assert card["columns"] >= 576
    assert all((tmp_path / name).stat().st_mtime_ns == time for name, time in before.items())


@pytest.mark.slow
def test_a_dask_cluster_makes_the_same_shards(plan, tmp_path, monkeypatch):
    distributed = pytest.importorskip("distributed")
    monkeypatch.setattr("models.training.dataset.reference_contexts", lambda: reference_contexts()[:2])
    with distributed.LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster:
        build(plan, tmp_path / "there", workers=1, cluster=cluster.scheduler_address)
    build(plan, tmp_path / "here", workers=1)
    for number in range(2):
        there, here = (read_shard(tmp_path / name, number) for name in ("there", "here"))
        assert all(np.array_equal(there[name], here[name]) for name in here)


@pytest.mark.slow  # it is waited for
def test_a_cluster_that_does_not_answer_is_named(plan, tmp_path):
    pytest.importorskip("distributed")
    with pytest.raises(InputError, match=r"no Dask scheduler answers at 'tcp://127\.0\.0\.1:1'"):
        build(plan, tmp_path, workers=1, cluster="tcp://127.0.0.1:1")


def test_a_frame_that_kernels_cannot_make_is_refused_and_the_shard_goes_on(plan):
    shard = make_shard(replace(plan, ranges=replace(RANGES, defocus_angstrom=150.0)), 6)
    counts = json.loads(str(shard["counts"]))
    assert counts["refused"] > 0
    assert len(shard["label"]) >= plan.columns_a_context


def test_a_frame_of_which_no_column_is_found_is_misread():
    frame = draw_frame(reference_contexts()[331], RANGES, [1, 2])
    elsewhere = replace(frame, pixel_positions=frame.pixel_positions + 1e4)
    with pytest.raises(MisreadError):
        label_columns(elsewhere, read_columns(frame.image))


def test_a_plan_that_is_cut_short_is_named(plan, tmp_path):
    (tmp_path / "plan.json").write_text('{"what": ')
    with pytest.raises(InputError, match=r"plan\.json is missing, cut short or altered"):
        build(plan, tmp_path, workers=1)


def test_the_command_of_the_card_builds_to_the_same_plan(monkeypatch, tmp_path, capsys):
    plans = []

    def note(plan, folder, **others):
        plans.append(plan)
        return plan.as_card() | {"columns": 1, "frames": 1}

    monkeypatch.setattr("models.training.commands.dataset.build", note)
    words = ["--patches", "56e6", "--seed", "2", "--out", str(tmp_path), "--json"]
    assert main(["dataset", "build", *words]) == 0
    assert json.loads(capsys.readouterr().out)["seed"] == 2
    assert main(plans[0].command.replace("FOLDER", str(tmp_path)).split()[1:]) == 0
    assert plans[0] == plans[1]


@pytest.mark.parametrize("seed", [-1, 2**31])
def test_seeds_of_test_fields_are_not_those_of_a_data_set(seed, tmp_path, capsys):
    assert main(["dataset", "build", "--out", str(tmp_path), "--seed", str(seed)]) == 2
    assert f"--seed {seed}" in capsys.readouterr().err
