"""A small map of made-up columns, without torch."""

from collections.abc import Callable

import numpy as np
import pytest

from drivers.contract.context import HAADF, ColumnClass, Context, Specimen
from drivers.contract.facts import Facts, Settled, Sourced
from drivers.contract.maps import (
    COLUMN_DTYPE,
    ClassCounts,
    ColumnFlag,
    Concentration,
    DefectMap,
    FrameReference,
    Grain,
    MapFlag,
    MapHeader,
    ModelReference,
    Scale,
)


def make_map(classes: tuple[int, ...] = (0, 1, 2, 3, 4, 3), edge: int = 64) -> DefectMap:
    columns = np.zeros(len(classes), dtype=COLUMN_DTYPE)
    columns["cls"] = classes
    columns["row_px"] = np.linspace(5, edge - 6, len(classes))
    columns["col_px"] = np.linspace(edge - 6, 5, len(classes))
    columns["x_angstrom"], columns["y_angstrom"] = columns["col_px"] * 0.4, columns["row_px"] * 0.4
    columns["sublattice"] = np.isin(classes, (0, 1, 2))
    columns["p"][np.arange(len(classes)), list(classes)] = 0.9
    columns["entropy_nats"] = np.linspace(0, 0.6, len(classes))
    columns["flags"][-1] = ColumnFlag.FOREIGN
    counts = np.bincount(columns["cls"], minlength=len(ColumnClass)).tolist()
    facts = Facts(
        host=Sourced[str](value="WSe2", source="command line: --host"),
        dopant=Sourced[str](value="Ti", source="config.toml: dopant"),
        energy_kev=Sourced[float](value=80.0, source="image.dm4: Voltage"),
        pixel_size_angstrom=Sourced[float](value=0.41, source="image.dm4: scale of the axes"),
    )
    context = Context(specimen=Specimen(host="WSe2", dopant="Ti"), energy_kev=80.0, detector=HAADF)
    header = MapHeader(
        frame=FrameReference(file="<image> & co.dm4", shape=(edge, edge), sha256="0" * 64),
        settled=Settled(context=context, facts=facts),
        model=ModelReference(
            name="m", weights_sha256="1" * 64, foreignness_sha256="2" * 64, code_version="0"
        ),
        scale=Scale(lattice_px=8.3, pixel_size_angstrom=0.4, declared_pixel_size_angstrom=0.41, shear=1.01),
        grains=(
            Grain(
                columns=len(classes),
                vectors_px=((8.3, 0.0), (4.15, 7.19)),
                is_decided=True,
                margin_nats=7.0,
                brightness_nats=3.0,
                defect_nats=4.0,
                metal_over_x2=1.2,
            ),
        ),
        prior=(0.5, 0.0, 0.0, 0.5, 0.0),
        columns=len(classes),
        counts=ClassCounts(x2=counts[0], vac1=counts[1], vac2=counts[2], metal=counts[3], dopant=counts[4]),
        concentrations=(
            Concentration(
                defect="vac1", of="chalcogen sites", sites=3, expected_count=1.0, value=0.3, low=0.1, high=0.6
            ),
        ),
        mean_entropy_nats=0.3,
        masked_fraction=0.1,
        flags=(MapFlag(kind="scale_mismatch", message="the declared pixel size differs"),),
    )
    return DefectMap(header, columns)


@pytest.fixture
def a_map() -> Callable[..., DefectMap]:
    return make_map
