import numpy as np
import pytest

from drivers.contract.errors import InputError
from sim_microscope.build import ColumnTask, run_tasks
from sim_microscope.column_build import Settings
from sim_microscope.workers import connect_cluster

QUICK = Settings(cell_angstrom=12.0, max_angle_mrad=100.0, radial_nodes=1, angular_nodes=2)


def test_an_interrupted_build_keeps_what_is_finished(tmp_path):
    tasks = [ColumnTask(name, 60, QUICK) for name in ("Ti", "V")]
    done = []
    run_tasks(tasks[:1], tmp_path, workers=1, cluster=None, on_done=done.append)
    first = tmp_path / f"{tasks[0].stem}.npz"
    before = first.stat().st_mtime_ns
    run_tasks(tasks, tmp_path, workers=1, cluster=None, on_done=done.append)
    assert done == [1, 1, 1]
    assert first.stat().st_mtime_ns == before
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(f"{t.stem}.npz" for t in tasks)


def test_a_result_is_not_mistaken_for_one_of_other_settings():
    stems = {
        ColumnTask("Ti", 60, settings).stem for settings in (QUICK, Settings(), Settings(radial_nodes=3))
    }
    assert len(stems) == 3


def test_a_cluster_that_does_not_answer_is_named():
    with pytest.raises(InputError, match=r"tcp://127\.0\.0\.1:1.*dask scheduler"):
        connect_cluster("tcp://127.0.0.1:1", timeout_s=0.3)


@pytest.mark.slow
def test_a_dask_cluster_computes_the_same(tmp_path):
    from distributed import LocalCluster

    task = ColumnTask("Ti", 60, QUICK)
    with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster:
        run_tasks([task], tmp_path, workers=1, cluster=cluster.scheduler_address, on_done=lambda count: None)
    with np.load(tmp_path / f"{task.stem}.npz") as data:
        np.testing.assert_array_equal(data["static"], task.compute()["static"])
