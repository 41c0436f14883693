"""`columnist evaluate labelled`: what its figures are of, and what it says of images that it cannot score."""

from agent.commands.evaluate_labelled import summarise


def row(group, detector, kappa, **others):
    figures = {"recall": 1.0, "precision": 0.9, "recall_vacancy": 1.0, "sublattice_right": 1.0}
    f1 = {"x2": 1.0, "vac1": kappa / 2, "vac2": None, "metal": 1.0, "dopant": None}
    known = {"model": "m", "set": group, "detector": detector, "kappa": kappa, "f1": f1}
    return known | figures | {"sublattice_margin_nats": 5.0} | others


def test_images_of_one_set_and_detector_are_averaged_together():
    rows = [row("one", "HAADF", 0.8), row("one", "HAADF", 0.6), row("two", "HAADF", 0.2)]
    rows += [row("two", "ADF 35-120 mrad", 0.4, recall=0.5), row("two", "HAADF", 1.0) | {"model": "other"}]
    report = summarise(rows, "m", 2.5)
    assert report["sets"]["one"]["HAADF"]["kappa"] == 0.7
    assert report["sets"]["one"]["HAADF"]["f1_vac1"] == 0.35
    assert report["sets"]["two"]["HAADF"]["kappa"] == 0.2
    assert report["sets"]["two"]["ADF 35-120 mrad"]["recall_min"] == 0.5
    assert "f1_dopant" not in report["sets"]["one"]["HAADF"]


def test_own_images_beside_the_known_ones_have_figures_of_their_own():
    report = summarise([row("tiwse2", "HAADF", 0.9), row("mine", "HAADF", 0.1)], "m", 2.5)
    assert report["haadf"]["kappa"] == 0.9
    assert report["sets"]["mine"]["HAADF"]["kappa"] == 0.1
