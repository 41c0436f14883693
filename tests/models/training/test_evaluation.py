from dataclasses import replace

import pytest
import torch

from models.training.evaluation import (
    evaluate,
    expected_calibration_error,
    fit_calibration,
    fit_temperatures,
)
from models.training.samples import Samples


def samples_of(label: torch.Tensor, context: torch.Tensor, spread: torch.Tensor | None = None) -> Samples:
    return Samples(
        torch.zeros(len(label), 8).half(),
        context.short(),
        label.byte(),
        torch.full((len(label),), 4.7).half(),
        torch.ones(len(label)),
        torch.full((len(label),), 0.1).half() if spread is None else spread.half(),
    )


def calibrated(count: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits, and labels drawn from their own softmax."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(count, 5, generator=generator)
    label = torch.multinomial(torch.softmax(logits, 1), 1, generator=generator)[:, 0]
    return logits, label


def test_the_calibration_error_of_calibrated_logits_vanishes_and_that_of_doubled_ones_does_not():
    logits, label = calibrated(100_000)
    weight = torch.ones(len(label))
    assert expected_calibration_error(torch.softmax(logits, 1), label, weight) < 0.01
    assert expected_calibration_error(torch.softmax(2 * logits, 1), label, weight) > 0.1


def test_temperatures_undo_what_was_done_to_the_logits_of_each_context():
    logits, label = calibrated(576 * 200)
    context = torch.arange(576).repeat_interleave(200)
    factor = torch.where(context % 2 == 0, 2.0, 0.8)
    temperature = fit_temperatures(logits * factor[:, None], samples_of(label, context), shared_columns=200)
    assert float(temperature[0::2].mean()) == pytest.approx(1.65, abs=0.4)  # drawn to the mean of all
    assert float(temperature[0::2].mean()) > float(temperature[1::2].mean()) + 0.3


def test_the_power_of_the_spread_is_found_on_the_sublattice_it_is_of_and_left_out_where_it_is_not_told():
    logits, label = calibrated(40_000)
    spread = torch.where(torch.arange(len(label)) % 2 == 0, 0.05, 0.2)
    samples = samples_of(label, torch.zeros(len(label)), spread)
    sure = logits * (spread / 0.1)[:, None] ** 0.8  # too sure where it is noisy
    assert fit_calibration(sure, samples).power.tolist() == pytest.approx([0.8, 0.0], abs=0.05)
    assert fit_calibration(sure, samples, knows_context=False).power.tolist() == [0.0, 0.0]


def test_a_network_that_does_not_know_the_context_has_one_temperature_for_all():
    logits, label = calibrated(576 * 200)
    context = torch.arange(576).repeat_interleave(200)
    factor = torch.where(context % 2 == 0, 2.0, 0.8)
    samples = samples_of(label, context)
    temperature = fit_calibration(logits * factor[:, None], samples, knows_context=False).temperature
    assert len(temperature.unique()) == 1
    assert 0.8 < float(temperature[0]) < 2.0


def test_figures_of_a_perfect_classifier_are_perfect():
    label = torch.arange(5).repeat(576)
    logits = 20 * torch.eye(5)[label]
    figures = evaluate(logits, samples_of(label, torch.arange(576).repeat_interleave(5)))
    assert figures["accuracy"] == pytest.approx(1)
    assert figures["worst_context"]["accuracy"] == pytest.approx(1)
    assert figures["ece"] < 1e-3
    assert figures["entropy_nats"] < 1e-3


def test_the_worst_context_is_named():
    label = torch.arange(5).repeat(576)
    context = torch.arange(576).repeat_interleave(5)
    logits = 20 * torch.eye(5)[label]
    logits[context == 17] = logits[context == 17].roll(1, dims=1)
    figures = evaluate(logits, samples_of(label, context))
    assert figures["worst_context"]["accuracy"] == 0
    assert "keV" in figures["worst_context"]["name"]


def test_the_loss_of_calibrated_logits_is_their_entropy_whatever_the_weights_are_scaled_by():
    logits, label = calibrated(100_000)
    samples = samples_of(label, torch.arange(576).repeat(174)[: len(label)])
    plain = evaluate(logits, samples)
    scaled = evaluate(logits, replace(samples, weight=7 * samples.weight))
    assert plain["loss"] == pytest.approx(plain["entropy_nats"], rel=0.02)
    assert scaled["loss"] == pytest.approx(plain["loss"], rel=1e-4)
