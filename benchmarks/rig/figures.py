"""Figures of many sessions: doses at equal F1, calibration, promises, and F1 against dose."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.rig.policies import POLICIES, WHOLE_FIELD

#: Places in a `Look`.
DOSE, SECONDS, ENTROPY, F1, _, LOST = range(6)

#: What is asked of F1 and of the mean entropy.
F1_WANTED, ENTROPY_WANTED = 0.98, 0.05

#: Whole-field policies that read one detector at a time.
SINGLE = tuple(name for name in WHOLE_FIELD if name != "both")

Session = dict[str, Any]


def curve(sessions: list[Session], doses: NDArray[np.float64], which: int) -> NDArray[np.float64]:
    """Mean over sessions of what was reached by each dose; before the first scan, nothing."""
    rows = []
    for session in sessions:
        looks = np.array(session["looks"], np.float64)
        last = np.searchsorted(looks[:, DOSE], doses * (1 + 1e-9), side="right") - 1
        start = 0.0 if which == F1 else np.nan
        rows.append(np.where(last >= 0, np.nan_to_num(looks[np.maximum(last, 0), which]), start))
    return np.asarray(np.mean(rows, axis=0))


def dose_to(sessions: list[Session], wanted: float) -> float:
    """Dose at which the mean F1 first reaches a value; infinite if it never does."""
    doses = np.unique(np.concatenate([[look[DOSE] for look in s["looks"]] for s in sessions]))
    reached = np.flatnonzero(curve(sessions, doses, F1) >= wanted - 1e-9)
    return float(doses[reached[0]]) if len(reached) else float("inf")


def median_to(sessions: list[Session], which: int, wanted: float, cost: int) -> float | None:
    """Median over sessions of the cost to reach a value of F1 (from below) or entropy (from above)."""
    costs = []
    for session in sessions:
        looks = [x for x in session["looks"] if (x[which] >= wanted if which == F1 else x[which] <= wanted)]
        costs.append(looks[0][cost] if looks else float("inf"))
    middle = float(np.median(costs))
    return middle if np.isfinite(middle) else None


def final_f1(sessions: list[Session]) -> float:
    """Mean over sessions of the highest F1 that the mean course reaches."""
    doses = np.unique(np.concatenate([[look[DOSE] for look in s["looks"]] for s in sessions]))
    return float(curve(sessions, doses, F1).max())


def summarise(sessions: list[Session]) -> dict[str, Any]:
    """All figures."""
    by_case: dict[str, dict[str, list[Session]]] = {}
    for session in sessions:
        by_case.setdefault(session["case"], {}).setdefault(session["policy"], []).append(session)
    cases = {name: _summarise_case(found) for name, found in by_case.items()}
    agent = [session for session in sessions if session["policy"] == "agent"]

    def median(name: str) -> float:
        return float(np.median([case[name] for case in cases.values()]))

    promised, realised = np.sum([p for s in agent for p in s["promises"]] or [(0.0, 0.0)], axis=0)
    return {
        "dose_ratio_vs_best": median("ratio_vs_best"),
        "dose_ratio_vs_both": median("ratio_vs_both"),
        "dose_ratio_vs_windows": median("ratio_vs_windows"),
        "worst_dose_ratio": max(case["ratio_vs_all"] for case in cases.values()),
        "fused_ece": _calibration_error(agent),
        "fused_ece_of_all": _calibration_error(sessions),
        "gain_error": abs(promised / realised - 1) if realised > 0 else None,
        "promised_nats": float(promised),
        "realised_nats": float(realised),
        "requests": sum(len(s["promises"]) for s in agent),
        "cases": cases,
    }


def _summarise_case(found: dict[str, list[Session]]) -> dict[str, Any]:
    """Figures of one specimen: doses at the highest F1 that the agent and the best rival both reach."""
    single = [name for name in SINGLE if name in found]
    best_final = max(final_f1(found[name]) for name in single)
    wanted = min(F1_WANTED, final_f1(found["agent"]), best_final)
    doses = {name: dose_to(runs, wanted) for name, runs in found.items()}
    others = [dose for name, dose in doses.items() if name != "agent"]
    mine = doses["agent"]
    return {
        "f1": wanted,
        "doses_e_per_a2": doses,
        "ratio_vs_best": mine / min(doses[name] for name in single),
        "ratio_vs_both": mine / doses["both"],
        "ratio_vs_windows": mine / doses["windows"],
        "ratio_vs_all": mine / min(others),
        "dose_to_0.05_nats": {n: median_to(r, ENTROPY, ENTROPY_WANTED, DOSE) for n, r in found.items()},
        "seconds_to_0.05_nats": {n: median_to(r, ENTROPY, ENTROPY_WANTED, SECONDS) for n, r in found.items()},
        "dose_to_f1_0.98": {n: median_to(r, F1, F1_WANTED, DOSE) for n, r in found.items()},
        "seconds_to_f1_0.98": {n: median_to(r, F1, F1_WANTED, SECONDS) for n, r in found.items()},
        "final_f1": {n: final_f1(r) for n, r in found.items()},
        "misplaced": float(np.mean([s["misplaced"] for s in found["agent"]])),
        "unread_of_agent": float(np.mean([s["rejected"] for s in found["agent"]])),
    }


def _calibration_error(sessions: list[Session]) -> float:
    """Expected calibration error of the posteriors at the end."""
    count, sure, right = np.sum([s["bins"] for s in sessions], axis=0).T
    return float(np.abs(right - sure).sum() / max(count.sum(), 1))


def draw(sessions: list[Session], path: Path) -> Path:
    """Plot the mean F1 against dose, one panel a specimen."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from matplotlib.ticker import NullFormatter

    names = list(dict.fromkeys(session["case"] for session in sessions))
    figure, axes = pyplot.subplots(1, len(names), figsize=(4 * len(names), 3.5), sharey=True, squeeze=False)
    for axis, name in zip(axes[0], names, strict=True):
        here = [session for session in sessions if session["case"] == name]
        for policy in dict.fromkeys(session["policy"] for session in here):
            runs = [session for session in here if session["policy"] == policy]
            doses = np.unique(np.concatenate([[look[DOSE] for look in s["looks"]] for s in runs]))
            style = {"linewidth": 2.5, "color": "black"} if policy == "agent" else {"linewidth": 1.2}
            axis.step(doses, curve(runs, doses, F1), where="post", label=policy, **style)
        axis.set(title=name, xscale="log", xlabel="dose [e/Å²]", ylim=(0.6, 1.0))
        axis.xaxis.set_minor_formatter(NullFormatter())  # they would run into one another
        axis.axhline(F1_WANTED, color="grey", linewidth=0.8, linestyle=":")
    axes[0][0].set_ylabel("F1 of the defects")
    figure.legend(*axes[0][0].get_legend_handles_labels(), loc="lower center", ncols=len(POLICIES) + 1)
    figure.tight_layout(rect=(0, 0.08, 1, 1))
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
    return path
