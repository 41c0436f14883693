import json

import numpy as np
import pytest

from drivers.contract.errors import MissingKernelError
from sim_microscope.table_files import read_arrays, write_arrays


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "table.npz"
    write_arrays(path, {"what": "a test"}, a=np.arange(200.0), b=np.eye(3))
    return path


def test_arrays_and_card_survive_with_a_digest_of_the_arrays(path):
    card, arrays = read_arrays(path, ("a", "b"))
    assert card["what"] == "a test"
    np.testing.assert_array_equal(arrays["b"], np.eye(3))
    write_arrays(path, {"what": "another"}, a=np.arange(200.0) + 1, b=np.eye(3))
    assert read_arrays(path, ("a",))[0]["digest"] != card["digest"]
    assert sorted(file.name for file in path.parent.iterdir()) == ["table.json", "table.npz"]


def spoil(path, how):
    card = path.with_suffix(".json")
    {
        "no table": lambda: path.unlink(),
        "no card": lambda: card.unlink(),
        "cut short": lambda: path.write_bytes(path.read_bytes()[:300]),
        "altered": lambda: path.write_bytes(path.read_bytes()[:120] + b"XXXX" + path.read_bytes()[124:]),
        "empty": lambda: path.write_bytes(b""),
        "card cut short": lambda: card.write_text(card.read_text()[:20]),
        "card is a list": lambda: card.write_text("[]"),
        "lacks an array": lambda: np.savez(path, a=np.zeros(3)),
        "another's": lambda: np.savez(path, a=np.arange(200.0) + 1, b=np.eye(3)),
        "card without digest": lambda: card.write_text("{}"),
        "pickled": lambda: np.savez(path, a=np.array([{}]), b=np.zeros(1)),
    }[how]()


@pytest.mark.parametrize(
    "how",
    [
        "no table",
        "no card",
        "cut short",
        "altered",
        "empty",
        "card cut short",
        "card is a list",
        "lacks an array",
    ]
    + ["another's", "card without digest", "pickled"],
)
def test_a_broken_table_is_named_with_the_remedy(path, how):
    spoil(path, how)
    with pytest.raises(MissingKernelError, match="columnist kernels build"):
        read_arrays(path, ("a", "b"))


def test_a_card_is_plain_json(path):
    assert json.loads(path.with_suffix(".json").read_text())["what"] == "a test"
