"""Policies that the agent is measured against: each says what to scan next, given the same fused evidence.

All begin with a frame of the whole field at the same dose, read with the same networks, and fuse alike; those
that read both detectors at once do so from the first frame on, the others begin in HAADF.
"""

from collections.abc import Callable

import numpy as np

from agent.belief import believe
from agent.boxes import Field
from agent.known import Known
from agent.sightings import field_box
from agent.worth import MARGIN_ANGSTROM, list_offers
from benchmarks.rig.lab import Lab
from benchmarks.rig.squares import propose_boxes
from drivers.contract.instrument import AcquireImage, Command, SwitchDetector

#: What to do, given the session, the number of scans so far, and a generator.
Policy = Callable[[Lab, int, np.random.Generator], tuple[Command, ...]]

#: Edge of the windows of highest entropy, over that of the field.
WINDOW = 0.5


def fixed(*names: str) -> Policy:
    """The whole field again and again on the same detectors."""

    def scan(lab: Lab, turn: int, rng: np.random.Generator) -> tuple[Command, ...]:
        return (*_switch(lab, *names), AcquireImage())

    return scan


def alternating(lab: Lab, turn: int, rng: np.random.Generator) -> tuple[Command, ...]:
    """The whole field, one detector after the other."""
    return (*_switch(lab, ("HAADF", "MAADF")[turn % 2]), AcquireImage())


def at_random(lab: Lab, turn: int, rng: np.random.Generator) -> tuple[Command, ...]:
    """Anything that the instrument offers, windows too."""
    register = lab.weigher.mind.register
    assert lab.view is not None
    defect_map, header = lab.view
    offers = list_offers(
        Known(register, believe(register, lab.law), lab.law),
        lab.instrument.capabilities(),
        lab.instrument.state(lab.now_s),
        header,
        field_box(defect_map, header),
        defect_map.header.settled.context,
        allowed=("HAADF", "MAADF"),
    )
    offer = offers[int(rng.integers(len(offers)))]
    return (*(() if offer.switch is None else (offer.switch,)), offer.acquire)


def above_threshold(lab: Lab, turn: int, rng: np.random.Generator) -> tuple[Command, ...]:
    """The whole field, and the other detector once a frame's own mean entropy is above 0.02 nats."""
    present = lab.instrument.state(lab.now_s).detectors[0].name
    assert lab.view is not None
    if lab.view[0].header.mean_entropy_nats > 0.02:
        present = "MAADF" if present == "HAADF" else "HAADF"
    return (*_switch(lab, present), AcquireImage())


def windows(*names: str) -> Policy:
    """The window of highest entropy, again and again."""

    def scan(lab: Lab, turn: int, rng: np.random.Generator) -> tuple[Command, ...]:
        register = lab.weigher.mind.register
        assert lab.view is not None
        box = field_box(*lab.view)
        edge = WINDOW * (box[2] - box[0])
        entropy = believe(register, lab.law).entropy_nats
        boxes = propose_boxes(register.position_angstrom, entropy, box, edge, 1)
        if not boxes:  # nothing is in doubt
            return (*_switch(lab, *names), AcquireImage())
        wide = tuple(
            edge + side * MARGIN_ANGSTROM for edge, side in zip(boxes[0], (-1, -1, 1, 1), strict=True)
        )
        window = Field(box, lab.view[1].shape).window_of(wide)
        return (*_switch(lab, *names), AcquireImage(window=window))

    return scan


#: By name; the whole-field ones first.
WHOLE_FIELD: dict[str, Policy] = {
    "haadf": fixed("HAADF"),
    "maadf": fixed("MAADF"),
    "alternating": alternating,
    "threshold": above_threshold,
    "both": fixed("HAADF", "MAADF"),
}
POLICIES: dict[str, Policy] = WHOLE_FIELD | {
    "random": at_random,
    "windows": windows("HAADF", "MAADF"),
}


#: Policies that read both detectors from the first frame on.
BOTH_FROM_THE_START = ("both", "windows")


def _switch(lab: Lab, *names: str) -> tuple[Command, ...]:
    present = {detector.name for detector in lab.instrument.state(lab.now_s).detectors}
    return () if present == set(names) else (SwitchDetector(detectors=names),)
