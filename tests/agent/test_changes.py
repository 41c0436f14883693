import numpy as np

from agent.belief import believe
from agent.drift import Steadiness
from agent.evidence import enter
from agent.register import empty_register

STEADY = Steadiness()


def test_damage_is_noticed_and_not_averaged_away(make_specimen, law, contexts):
    specimen = make_specimen(1, 100.0)
    register, identity = empty_register(), None
    for number in range(5):
        context = contexts.maadf if number % 2 else contexts.haadf
        scan, seen = specimen.look((0.0, 0.0), 90.0, context, 1e4, taken_s=10.0 * number)
        register, entry = enter(register, scan, law, STEADY)
        assert not len(entry.changed)
    identity = seen[np.argsort(entry.row)]
    whole = np.flatnonzero((specimen.label == 0) & np.isin(np.arange(len(specimen.label)), identity))
    hit = specimen.rng.choice(whole, 60, replace=False)
    specimen.label[hit] = 1
    taken = register.taken_e_per_a2.copy()
    for number in range(5, 9):
        context = contexts.maadf if number % 2 else contexts.haadf
        scan, _ = specimen.look((0.0, 0.0), 90.0, context, 1e4, taken_s=10.0 * number)
        register, entry = enter(register, scan, law, STEADY)
    changed = np.flatnonzero(np.isfinite(register.changed_s))
    true = np.isin(identity[changed], hit)
    assert true.sum() >= 45  # three of four, after two frames of each detector
    assert (~true).sum() <= 2
    assert (register.changed_s[changed] >= 50.0).all()
    belief = believe(register, law)
    assert (belief.probability[changed[true]].argmax(axis=1) == 1).mean() > 0.95
    assert (register.taken_e_per_a2 > taken).all()  # a change does not undo the dose


def test_faint_frames_that_differ_by_noise_raise_no_alarm(make_specimen, law, contexts):
    alarms, looks = 0, 0
    for seed in range(2):
        specimen, register = make_specimen(seed, 100.0), empty_register()
        for number in range(10):
            context = contexts.maadf if number % 2 else contexts.haadf
            scan, _ = specimen.look((0.0, 0.0), 90.0, context, 5e3, taken_s=10.0 * number)
            register, entry = enter(register, scan, law, STEADY)
            alarms += len(entry.changed)
            looks += len(entry.row)
    assert looks > 20_000
    assert alarms <= 2


def test_a_vacancy_that_fills_again_is_not_damage(make_specimen, law, contexts):
    """Steps go one way: a column that looks whole later is weighed with the others, not restarted."""
    specimen, register = make_specimen(2, 80.0), empty_register()
    for number in range(4):
        register, _ = enter(
            register, specimen.look((0.0, 0.0), 70.0, dose=2e4, taken_s=10.0 * number)[0], law, STEADY
        )
    specimen.label[specimen.label == 1] = 0
    for number in range(4, 7):
        register, entry = enter(
            register, specimen.look((0.0, 0.0), 70.0, dose=2e4, taken_s=10.0 * number)[0], law, STEADY
        )
        assert not len(entry.changed)
