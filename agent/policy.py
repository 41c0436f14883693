"""The plain policy: ask for another detector when the columns of some maps in a row are too uncertain."""

from dataclasses import replace

from agent.requests import Figure, Wish
from agent.settings import LimitSettings, PolicySettings
from agent.state import Memory
from drivers.contract.instrument import Capabilities, SwitchDetector
from drivers.contract.maps import MapHeader

#: How much of the remembered entropy of a detector each new map replaces.
FRESHNESS = 0.5


def remember(memory: Memory, header: MapHeader, policy: PolicySettings) -> Memory:
    """Take a map into account."""
    detector = header.settled.context.detector.name
    known = dict(memory.entropy)
    now = header.mean_entropy_nats
    known[detector] = now if detector not in known else known[detector] + FRESHNESS * (now - known[detector])
    is_above = now > policy.entropy_nats
    before = memory.above if detector == memory.detector else 0
    return Memory(
        above=before + 1 if is_above else 0,
        cooldown=max(memory.cooldown - 1, 0),
        entropy=tuple(sorted(known.items())),
        detector=detector,
    )


def rest(memory: Memory, policy: PolicySettings) -> Memory:
    """Begin the pause after a request has ended."""
    return replace(memory, cooldown=policy.cooldown_frames, above=0)


def consider(
    memory: Memory,
    header: MapHeader,
    capabilities: Capabilities,
    policy: PolicySettings,
    limits: LimitSettings,
) -> Wish | None:
    """Say what the policy would like after a map; None if it is content.

    A detector that was never tried is tried; one that was is chosen only if its remembered entropy is lower
    by the margin.  With the pause after each request that keeps the detector from flapping.
    """
    if memory.cooldown > 0 or memory.above < policy.settle_frames:
        return None
    if SwitchDetector.model_fields["kind"].default not in capabilities.commands:
        return None
    present = header.settled.context.detector.name
    known = dict(memory.entropy)
    offered = [detector.name for detector in capabilities.detectors]
    others = [name for name in offered if name != present and name in limits.detectors]
    promising = [
        name for name in others if name not in known or known[name] < known[present] - policy.margin_nats
    ]
    if not promising:
        return None
    target = min(promising, key=lambda name: (known.get(name, -1.0), offered.index(name)))
    return _wish(memory, header, policy, target, known.get(target))


def _wish(
    memory: Memory, header: MapHeader, policy: PolicySettings, target: str, remembered: float | None
) -> Wish:
    """Give the reason in numbers and in a sentence."""
    present, entropy = header.settled.context.detector.name, header.mean_entropy_nats
    hope = (
        "has not been tried here"
        if remembered is None
        else f"last gave {remembered:.3f} nats on this specimen"
    )
    reason = (
        f"The {header.columns} columns of this frame keep {entropy:.3f} nats on average in {present}, above "
        f"{policy.entropy_nats:g} for {memory.above} frames in a row; {target} {hope}."
    )
    figures = [
        Figure(name="mean_entropy", value=entropy, unit="nats"),
        Figure(name="threshold", value=policy.entropy_nats, unit="nats"),
        Figure(name="frames_above", value=float(memory.above), unit="1"),
        Figure(name="columns", value=float(header.columns), unit="1"),
    ]
    if remembered is not None:
        figures.append(Figure(name="remembered_entropy", value=remembered, unit="nats"))
    return Wish(command=SwitchDetector(detectors=(target,)), reason=reason, figures=tuple(figures))
