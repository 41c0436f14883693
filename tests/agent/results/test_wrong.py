import numpy as np
import pytest

from agent.results.wrong import wrong_sites_png

FRAME = np.random.default_rng(0).random((80, 90)).astype(np.float32)


def site(said, labelled, row=40.0, p=(0.6, 0.4, 0.0, 0.0, 0.0)):
    return {"row_px": row, "col_px": 30.0, "said": said, "labelled": labelled, "p": list(p)}


@pytest.mark.parametrize("count", [0, 1, 25], ids=["none wrong", "one", "more than fit"])
def test_a_picture_is_made_however_many_sites_are_wrong(count):
    wrong = [site("x2", "vac1", row=2.0 + k) for k in range(count)]
    assert wrong_sites_png(FRAME, wrong, 9.0, "frame").startswith(b"\x89PNG")


def test_what_is_overlooked_and_what_is_invented_are_drawn_apart():
    pictures = {
        wrong_sites_png(FRAME, [site(said, labelled)], 9.0, "frame")
        for said, labelled in (("x2", "vac1"), ("vac1", "x2"), ("vac1", "dopant"))
    }
    assert len(pictures) == 3
