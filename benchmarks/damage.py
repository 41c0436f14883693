"""What the choice of scans costs the specimen: vacancies that the beam makes in MoS2 at 80 and 100 keV.

Run by `columnist bench damage [--json] [--seeds N] [--dwell-us T]`.  The agent's sessions and those of the
plainer policies of `columnist bench loop` go on until the same F1 is reached; the chalcogens that the beam
has taken by then are counted.  The first frame has the dose of `columnist bench loop`, where HAADF sees 1.5
electrons a pixel at 60 keV; of that dose it sees 1.0 at 80 and 0.7 at 100 keV, which 3 us give back.
"""

import argparse
from dataclasses import replace
from typing import Any

import numpy as np

from benchmarks.rig.figures import DOSE, F1, F1_WANTED, LOST, curve, dose_to, final_f1
from benchmarks.rig.runs import CASES, Case, run
from drivers.commands.options import count

ENERGIES_KEV = (80.0, 100.0)

POLICIES = ("agent", "haadf", "maadf", "alternating", "both", "windows")


def main(words: tuple[str, ...] = ()) -> tuple[dict[str, Any], bool]:
    parser = argparse.ArgumentParser(prog="columnist bench damage")
    parser.add_argument("--seeds", type=count, default=10)
    parser.add_argument("--dwell-us", type=float, help="of the first frame, 1.5 if not given; budgets follow")
    options = parser.parse_args(words)
    case = next(case for case in CASES if case.name == "MoS2:V")
    if options.dwell_us is not None:
        case = replace(case, settings=case.settings | {"dwell_us": options.dwell_us})
    report = {
        f"{energy:g} keV": summarise(
            {name: [run(_at(case, energy), name, seed) for seed in range(options.seeds)] for name in POLICIES}
        )
        for energy in ENERGIES_KEV
    }
    return report, True


def _at(case: Case, energy_kev: float) -> Case:
    settings = case.settings | {"energy_kev": energy_kev}
    return replace(case, name=f"{case.name} {energy_kev:g}", settings=settings)


def summarise(found: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Dose and vacancies made by the time that the mean F1 reaches what agent and best rival both reach.

    Beside each rival the same of both at what these two reach: some get no further.
    """
    agent = found["agent"]
    fixed = {name: sessions for name, sessions in found.items() if name != "agent"}
    wanted = min(F1_WANTED, final_f1(agent), max(final_f1(sessions) for sessions in fixed.values()))
    report: dict[str, Any] = {"f1": wanted, "sessions": len(agent)}
    for name, sessions in found.items():
        report[name] = _cost(sessions, wanted) | {
            "final_f1": final_f1(sessions),
            "first_f1": float(np.mean([s["looks"][0][F1] for s in sessions])),
            "first_dose": float(np.mean([s["looks"][0][DOSE] for s in sessions])),
        }
    for name, sessions in fixed.items():
        both = min(wanted, final_f1(sessions))
        report[name]["at_its_f1"] = {"f1": both, "agent": _cost(agent, both), "itself": _cost(sessions, both)}
    return report


def _cost(sessions: list[dict[str, Any]], wanted: float) -> dict[str, float | None]:
    """Dose, and vacancies made, by the time that the mean F1 reaches a value; None if it never does."""
    dose = dose_to(sessions, wanted)
    if not np.isfinite(dose):
        return {"dose_e_per_a2": None, "vacancies_made": None}
    return {"dose_e_per_a2": dose, "vacancies_made": float(curve(sessions, np.array([dose]), LOST)[0])}
