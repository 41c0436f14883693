from dataclasses import replace

import numpy as np
import pytest
import torch

from drivers.contract.context import HAADF, ColumnClass, Context, Specimen
from drivers.contract.errors import InputError
from models.analysis import load_analyser
from models.calibration import Calibration
from models.checkpoint import Weights
from models.classify import Classification, classify_columns
from models.contrasts import expected_contrast
from models.foreignness import Familiar
from models.networks.catalogue import find_recipe
from models.reading import read_columns

WSE2 = Context(specimen=Specimen(host="WSe2", dopant="Ti"), energy_kev=80.0, detector=HAADF)
SHAPE = (200, 200)


class FlagNetwork(torch.nn.Module):
    """Says METAL on the sublattice that the flag names, X2 on the other."""

    def forward(self, contrast: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        flag = contrast[:, 6:7]
        return 8 * (flag * torch.eye(5)[ColumnClass.METAL] + (1 - flag) * torch.eye(5)[ColumnClass.X2])


@pytest.fixture
def familiar() -> Familiar:
    return Familiar(torch.zeros(576, 5, 6), torch.eye(6).expand(576, 6, 6), torch.ones(576))


def weights(name: str) -> Weights:
    find_recipe(name)
    return Weights(FlagNetwork(), Calibration.none(), {"network": name})


@pytest.fixture
def frame(make_honeycomb, draw, rng):
    ratio = expected_contrast(WSE2).metal
    truth = make_honeycomb(SHAPE, lattice_px=10.0, heights=(ratio, 1.0))
    sites = np.flatnonzero((truth.sublattice == 1) & (rng.random(len(truth.height)) < 0.05))
    return draw(truth.dimmed(sites, 0.5), SHAPE, sigma_px=1.5) + rng.normal(0, 0.02, SHAPE), truth


def classify(image: np.ndarray, context: Context, of: Weights, familiar: Familiar) -> Classification:
    return classify_columns(read_columns(image), context, of, familiar)


@pytest.mark.parametrize("name", ["mlp-simple", "mlp-nocontext"])
def test_every_covered_column_gets_a_class_a_probability_and_a_foreignness(frame, familiar, name):
    image, truth = frame
    result = classify(image, WSE2, weights(name), familiar)
    count = int(result.reading.covered.sum())
    assert result.positions.shape == (count, 2)
    assert result.posterior.probability.shape == (count, 5)
    assert result.foreignness.shape == result.is_decided.shape == (count,)
    assert result.is_decided.all()
    nearest = np.linalg.norm(truth.positions[None] - result.positions.numpy()[:, None], axis=2).argmin(1)
    said_metal = result.posterior.label.numpy() == ColumnClass.METAL
    assert (said_metal == (truth.sublattice[nearest] == 0)).all()  # the metal is the brighter here


def test_gain_and_offset_change_nothing(frame, familiar):
    image, _ = frame
    plain = classify(image, WSE2, weights("mlp-simple"), familiar)
    changed = classify(image * 37.0 + 1e4, WSE2, weights("mlp-simple"), familiar)
    torch.testing.assert_close(plain.posterior.probability, changed.posterior.probability, atol=1e-3, rtol=0)


def test_a_context_without_dopant_is_none_that_columns_are_classified_under(frame, familiar):
    context = Context(specimen=Specimen(host="WSe2"), energy_kev=80.0, detector=HAADF)
    with pytest.raises(InputError, match="dopant"):
        classify(frame[0], context, weights("mlp-simple"), familiar)


def test_where_the_sublattice_is_not_decided_the_probabilities_weigh_both(frame, familiar, monkeypatch):
    image, _ = frame
    sure = classify(image, WSE2, weights("mlp-simple"), familiar)
    unsure = replace(sure.decision, margin_nats=torch.tensor([1.2]))
    monkeypatch.setattr("models.classify.decide_by_contrast", lambda *_: unsure)
    both = classify(image, WSE2, weights("mlp-simple"), familiar)
    assert not both.is_decided.any()
    said = sure.posterior.probability[:, ColumnClass.METAL].round()
    share = float(torch.sigmoid(torch.tensor(1.2)))
    expected = torch.where(said == 1, share, 1 - share)
    assert torch.allclose(both.posterior.probability[:, 3:].sum(1), expected, atol=0.01)
    assert torch.equal(both.posterior.label, sure.posterior.label)
    assert (both.posterior.entropy_nats > 0.5).all()


@pytest.fixture(scope="module")
def shipped():
    analyser = load_analyser()
    return analyser.weights, analyser.familiar


def test_edges_rims_and_boundaries_teach_nothing_of_the_rest(frame, shipped, rng):
    """Whatever columns there look like, prior, alignment and scatter are those of the regular ones."""
    image, _ = frame
    image = image.copy()
    image[:, 150:] = rng.normal(0, 0.02, (SHAPE[0], 50))
    reading = read_columns(image)
    is_regular = reading.whole & ~reading.lattice.rim & ~reading.lattice.boundary
    is_regular[40:60] = False
    reading.lattice.boundary[40:60] = True
    deep = torch.where(is_regular[:, None], reading.moments, 0.6 * reading.moments)
    results = [classify_columns(one, WSE2, *shipped) for one in (reading, replace(reading, moments=deep))]
    plain, spoilt = results
    kept = is_regular[plain.chosen]
    assert (plain.posterior.label[~kept] != spoilt.posterior.label[~kept]).any()
    assert torch.equal(plain.posterior.prior, spoilt.posterior.prior)
    assert torch.equal(plain.posterior.probability[kept], spoilt.posterior.probability[kept])
    assert torch.equal(plain.foreignness[kept], spoilt.foreignness[kept])
    assert plain.depth == spoilt.depth
    assert not spoilt.between[~kept].any()


def test_a_grain_that_is_decided_stays_so_beside_one_that_is_not(
    make_honeycomb, draw, familiar, monkeypatch, rng
):
    ratio = expected_contrast(WSE2).metal
    first, second = (
        draw(
            make_honeycomb(SHAPE, lattice_px=10.0, angle_deg=angle, heights=(ratio, 1.0)), SHAPE, sigma_px=1.5
        )
        for angle in (7.0, 29.0)
    )
    reading = read_columns(np.where(np.arange(200) < 120, first, second) + rng.normal(0, 0.02, SHAPE))
    sure = classify_columns(reading, WSE2, weights("mlp-simple"), familiar)
    assert sure.decision.is_decided.tolist() == [True, True]
    unsure = replace(sure.decision, margin_nats=torch.tensor([3.0, 1.2]))
    monkeypatch.setattr("models.classify.decide_by_contrast", lambda *_: unsure)
    both = classify_columns(reading, WSE2, weights("mlp-simple"), familiar)
    in_first = reading.lattice.grain[both.chosen] == 0
    assert torch.equal(both.is_decided, in_first)
    torch.testing.assert_close(both.posterior.probability[in_first], sure.posterior.probability[in_first])
    apart = both.posterior.probability[~in_first] - sure.posterior.probability[~in_first]
    assert bool((apart.abs().amax(1) > 0.1).all())
