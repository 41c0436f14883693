import pytest
import torch

from drivers.contract.context import HAADF, Context, Specimen
from drivers.contract.errors import InputError
from models.foreignness import Familiar, load_familiar, save_familiar, score_foreignness

WSE2 = Context(specimen=Specimen(host="WSe2", dopant="Ti"), energy_kev=80.0, detector=HAADF)


@pytest.fixture
def familiar() -> Familiar:
    mean = torch.zeros(576, 5, 6)
    mean[:, 3:] = 10.0
    return Familiar(mean, torch.eye(6).expand(576, 6, 6), torch.full((576,), 4.0))


def column(value: float, *, is_metal: bool) -> torch.Tensor:
    return torch.tensor([[value, 0, 0, 0, 0, 0, float(is_metal), 1 - float(is_metal)]])


def test_the_score_is_the_distance_to_the_nearest_class_over_that_of_the_tail(familiar):
    assert float(score_foreignness(familiar, column(2.0, is_metal=False), WSE2)) == pytest.approx(0.5)
    assert float(score_foreignness(familiar, column(12.0, is_metal=False), WSE2)) == pytest.approx(3.0)


def test_a_column_is_compared_with_its_own_sublattice(familiar):
    assert float(score_foreignness(familiar, column(0.0, is_metal=True), WSE2)) > 5


def test_it_comes_back_from_a_file(familiar, tmp_path):
    path = tmp_path / "foreignness.safetensors"
    save_familiar(path, familiar, {})
    assert torch.equal(load_familiar(path).mean, familiar.mean)


@pytest.mark.parametrize(
    "break_it",
    [
        lambda path: path.unlink(),
        lambda path: path.write_bytes(path.read_bytes()[:-9]),
        lambda path: path.write_bytes(path.read_bytes()[:-9] + b"altered.."),
    ],
    ids=["missing", "cut short", "altered"],
)
def test_a_broken_file_is_refused(familiar, tmp_path, break_it):
    path = tmp_path / "foreignness.safetensors"
    save_familiar(path, familiar, {})
    break_it(path)
    with pytest.raises(InputError, match=r"foreignness\.safetensors"):
        load_familiar(path)


def test_what_was_made_for_other_contexts_is_refused(familiar, tmp_path):
    path = tmp_path / "foreignness.safetensors"
    save_familiar(path, Familiar(familiar.mean[:9], familiar.whiten[:9], familiar.scale[:9]), {})
    with pytest.raises(InputError, match="holds 9 contexts, this code has 576"):
        load_familiar(path)


def test_an_empty_frame_is_refused(familiar):
    with pytest.raises(InputError, match="empty frame"):
        score_foreignness(familiar, torch.zeros(0, 8), WSE2)
