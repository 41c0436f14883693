"""One session of one policy on one specimen: how dose, time, entropy and F1 went, scan after scan."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from agent.settings import GoalSettings, LimitSettings, PolicySettings, Rules
from benchmarks.rig.lab import Lab, Look
from benchmarks.rig.policies import BOTH_FROM_THE_START, POLICIES
from drivers.contract.context import Specimen
from drivers.contract.instrument import AcquireImage, SwitchDetector
from sim_microscope.settings import SimulatorSettings

_BINS = 15


@dataclass(frozen=True)
class Case:
    """A specimen and how it is looked at.

    Parameters
    ----------
    name : str
    settings : dict
        Of the simulated microscope.
    budget : float
        Scans go on until this many times the first one's dose is spent, if F1 is not enough before.
    """

    name: str
    settings: dict[str, Any]
    budget: float = 10.0


_COMMON: dict[str, Any] = {
    "fov_nm": 16.0,
    "pixels": 512,
    "beam_current_pa": 30.0,
    "flyback_us": 50.0,
    "vac1": 0.04,
    "vac2": 0.008,
    "dopant_fraction": 0.04,
    "source_sigma_angstrom": 0.55,
    "row_jitter_px": 0.15,
    "drift_x_nm_per_s": 0.005,
    "drift_y_nm_per_s": 0.003,
}

#: Light and heavy hosts, light and heavy dopants, drift, contamination.
CASES = (
    Case("WSe2:Ti", _COMMON | {"specimen": ("WSe2", "Ti"), "energy_kev": 80.0, "dwell_us": 0.6}),
    Case("MoS2:V", _COMMON | {"specimen": ("MoS2", "V"), "energy_kev": 60.0, "dwell_us": 1.5}),
    Case(
        "MoSe2:Re, drifting",
        _COMMON
        | {
            "specimen": ("MoSe2", "Re"),
            "energy_kev": 80.0,
            "dwell_us": 0.8,
            "drift_x_nm_per_s": 0.05,
            "drift_y_nm_per_s": -0.03,
            "drift_walk_nm": 0.03,
        },
    ),
    Case("TiS2:Nb", _COMMON | {"specimen": ("TiS2", "Nb"), "energy_kev": 60.0, "dwell_us": 1.6}),
    Case(
        "WS2:Cr, contaminated",
        _COMMON
        | {
            "specimen": ("WS2", "Cr"),
            "energy_kev": 60.0,
            "dwell_us": 1.5,
            "contamination_nm": 1.0,
            "contamination_nm_per_dose": 5.0,
        },
    ),
)

#: The agent: by itself, without limits that are not of the instrument, until it expects to have found the
#: defects; dose counts for more against time than by default.
RULES = Rules(
    policy=PolicySettings(mode="auto", least_gain_nats=0.05, drift_angstrom_per_s=0.5, electrons_per_s=3e5),
    limits=LimitSettings(dose_e_per_a2=0, requests_per_minute=600),
    goals=GoalSettings(defects_f1=0.99),
)

_MOST_SCANS = 400

#: A session ends once its F1 has stayed above this for so many scans: what comes after decides no figure.
_ENOUGH, _STAYED = 0.99, 3


def settings_of(case: Case, seed: int) -> SimulatorSettings:
    """The simulated microscope of one session."""
    host, dopant = case.settings["specimen"]
    known = case.settings | {"specimen": Specimen(host=host, dopant=dopant), "seed": seed}
    return SimulatorSettings(**known)


def run(case: Case, policy: str, seed: int) -> dict[str, Any]:
    """Run one session; returns plain data for JSON."""
    rules = RULES if policy == "agent" else RULES.rebuilt(policy=_silent())
    lab = Lab(settings_of(case, seed), rules)
    looks: list[Look] = []
    if policy == "agent":
        _run_agent(lab, case, looks)
    else:
        _run_policy(lab, case, POLICIES[policy], seed, looks)
    confidence, said, truth, _ = lab.compare()
    bins = np.minimum((confidence * _BINS).astype(int), _BINS - 1)
    right = said == truth
    return {
        "case": case.name,
        "policy": policy,
        "seed": seed,
        "looks": [[round(value, 6) for value in asdict(look).values()] for look in looks],
        "bins": [
            [int((bins == k).sum()), float(confidence[bins == k].sum()), int(right[bins == k].sum())]
            for k in range(_BINS)
        ],
        "promises": lab.promises,
        "misplaced": float((truth < 0).mean()) if len(truth) else 0.0,
        "rejected": lab.state.counts.rejected,
    }


def work(task: tuple[int, str, int]) -> tuple[tuple[int, str, int], dict[str, Any]]:
    """Run the session of a case's number, a policy and a seed; returns what was run, too."""
    case, policy, seed = task
    return task, run(CASES[case], policy, seed)


def _silent() -> PolicySettings:
    """An agent that only fuses."""
    return RULES.policy.rebuilt(mode="observe")


def _run_agent(lab: Lab, case: Case, looks: list[Look]) -> None:
    idle = 0
    while idle < 3 and not _is_spent(case, looks):
        scans = lab.scans
        if not lab.carry_out_order():
            lab.tick()
            idle += 1
        if lab.scans > scans:
            looks.append(lab.look())
            idle = 0


def _run_policy(lab: Lab, case: Case, policy: Any, seed: int, looks: list[Look]) -> None:
    rng = np.random.default_rng(seed)
    if policy in [POLICIES[name] for name in BOTH_FROM_THE_START]:
        lab.command(SwitchDetector(detectors=("HAADF", "MAADF")))
    lab.command(AcquireImage())
    looks.append(lab.look())
    turn = 0
    while not _is_spent(case, looks):
        if lab.view is None:
            commands: tuple[Any, ...] = (AcquireImage(),)
        else:
            turn += 1
            commands = policy(lab, turn, rng)
        for command in commands:
            lab.command(command)
        looks.append(lab.look())


def _is_spent(case: Case, looks: list[Look]) -> bool:
    if not looks:
        return False
    if len(looks) >= _STAYED and min(look.f1 for look in looks[-_STAYED:]) >= _ENOUGH:
        return True
    return looks[-1].dose_e_per_a2 >= case.budget * looks[0].dose_e_per_a2 or len(looks) >= _MOST_SCANS
