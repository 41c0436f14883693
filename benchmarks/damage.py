"""What the choice of scans costs the specimen: vacancies that the beam makes in MoS2 at 80 and 100 keV.

Run by `columnist bench damage [--json] [--seeds N]`.  The agent's sessions and those of the plainer policies
of `columnist bench loop` go on until the same F1 is reached; the chalcogens that the beam has taken by then
are counted.
"""

import argparse
import json
from dataclasses import replace
from typing import Any

import numpy as np

from benchmarks.rig.figures import DOSE, F1, F1_WANTED, LOST, curve, dose_to, final_f1
from benchmarks.rig.runs import CASES, Case, run

ENERGIES_KEV = (80.0, 100.0)

POLICIES = ("agent", "haadf", "maadf", "alternating", "both", "windows")


def main(as_json: bool, words: tuple[str, ...] = ()) -> int:
    parser = argparse.ArgumentParser(prog="columnist bench damage")
    parser.add_argument("--seeds", type=int, default=10)
    options = parser.parse_args(words)
    case = next(case for case in CASES if case.name == "MoS2:V")
    report = {
        f"{energy:g} keV": summarise(
            {name: [run(_at(case, energy), name, seed) for seed in range(options.seeds)] for name in POLICIES}
        )
        for energy in ENERGIES_KEV
    }
    print(json.dumps(report, indent=1) if as_json else "\n".join(f"{k}: {v}" for k, v in report.items()))
    return 0


def _at(case: Case, energy_kev: float) -> Case:
    settings = case.settings | {"energy_kev": energy_kev}
    return replace(case, name=f"{case.name} {energy_kev:g}", settings=settings)


def summarise(found: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Dose and vacancies made by the time that the mean F1 reaches what agent and best rival both reach."""
    fixed = [name for name in found if name != "agent"]
    wanted = min(F1_WANTED, final_f1(found["agent"]), max(final_f1(found[name]) for name in fixed))
    report: dict[str, Any] = {"f1": wanted, "sessions": len(found["agent"])}
    for name, sessions in found.items():
        dose = dose_to(sessions, wanted)
        is_there = np.isfinite(dose)
        report[name] = {
            "dose_e_per_a2": float(dose) if is_there else None,
            "vacancies_made": float(curve(sessions, np.array([dose]), LOST)[0]) if is_there else None,
            "final_f1": final_f1(sessions),
            "first_f1": float(np.mean([s["looks"][0][F1] for s in sessions])),
            "first_dose": float(np.mean([s["looks"][0][DOSE] for s in sessions])),
        }
    return report
