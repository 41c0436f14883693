"""The pixel size of a frame by its host's lattice constant, and what speaks against that host."""

import math

import torch

from drivers.contract.errors import InputError
from drivers.contract.facts import Settled
from drivers.contract.maps import MapFlag, Scale
from drivers.contract.materials import HOSTS, find_host
from models.reading import Reading

#: Declared over measured pixel size, either way, beyond which this is not the host's lattice.  The hosts'
#: lattice constants differ by 17 % at most, and calibrations are wrong by some 4 %.
_OTHER_LATTICE = 1.2

#: Units that may be taken for Å, by the power of ten that a pixel size is then wrong by.
_TAKEN_FOR_ANGSTROM = {-10: "m", -4: "µm", -1: "nm", 2: "pm"}

#: A lattice that is a hexagonal one stretched by more than this in one direction is another lattice; a square
#: one is stretched by 1.73, the labelled scans by 1.01 to 1.03.
_LARGEST_STRETCH = 1.5

#: A pixel size that is declared and differs by more than this from the lattice's is reported.
_SCALE_TOLERANCE = 0.02

#: A lattice constant that differs by less than this from a host's is told as that host's.
_SAME_LATTICE = 0.01


def measure_scale(reading: Reading, settled: Settled) -> Scale:
    """Pixel size from the lattice, beside the declared one.

    Raises
    ------
    InputError
        If the declared one, or the lattice's stretch, says that this is not the host.
    """
    lattice = reading.lattice
    host = find_host(settled.context.specimen.host)
    declared = settled.facts.pixel_size_angstrom
    size = host.lattice_constant_angstrom / lattice.lattice_px
    if declared is not None and not 1 / _OTHER_LATTICE < declared.value / size < _OTHER_LATTICE:
        seen = declared.value * lattice.lattice_px
        raise InputError(
            f"{host.name} cannot be this lattice: its lattice constant is {host.lattice_constant_angstrom:g} "
            f"Å, the image's is {seen:.3g} Å by the pixel size {declared.value:.4g} Å ({declared.source}); "
            f"{_other_scale(declared.value, declared.value / size)}"
        )
    least, most = torch.linalg.eigvalsh(reading.disc.double()).tolist()
    if most > _LARGEST_STRETCH * least:
        raise InputError(
            f"expected the hexagonal lattice of {host.name}, found one stretched {most / least:.2f}-fold in "
            "one direction (a square lattice is, 1.73-fold); check what is imaged, and that rows and "
            "columns of the scan are as far apart and at right angles"
        )
    return Scale(
        lattice_px=lattice.lattice_px,
        pixel_size_angstrom=size,
        declared_pixel_size_angstrom=declared.value if declared else None,
        shear=max(1.0, most / least),
    )


def _other_scale(declared_angstrom: float, ratio: float) -> str:
    """How to mend a pixel size that is so many times the lattice's: by another unit, if that is the slip."""
    power = round(math.log10(ratio))
    if power == 0 or not 1 / _OTHER_LATTICE < ratio / 10.0**power < _OTHER_LATTICE:
        return (
            f"name another host ({', '.join(HOSTS)}), or override a wrong calibration by pixel_size_angstrom "
            "(--pixel-size-angstrom of `analyse`)"
        )
    unit = _TAKEN_FOR_ANGSTROM.get(power)
    off = f"{10.0 ** abs(power):g} times too {'large' if power > 0 else 'small'}"
    cause = f"as if it were in {unit}" if unit else "as if its decimal point had slipped"
    right = f"pixel_size_angstrom {declared_angstrom / 10.0**power:.4g}"
    return f"it is about {off}, {cause}: give it in Å, {right} (--pixel-size-angstrom of `analyse`)"


def scale_flags(scale: Scale, host: str) -> tuple[MapFlag, ...]:
    """Say it if the declared pixel size is not the lattice's, and which hosts' it would be."""
    declared = scale.declared_pixel_size_angstrom
    if declared is None or abs(declared / scale.pixel_size_angstrom - 1) <= _SCALE_TOLERANCE:
        return ()
    seen = declared * scale.lattice_px
    fitting = [
        name
        for name, other in HOSTS.items()
        if name != host and abs(other.lattice_constant_angstrom / seen - 1) <= _SAME_LATTICE
    ]
    who = f"that of {' or '.join(fitting)}" if fitting else "that of no host that is known"
    return (
        MapFlag(
            kind="scale_mismatch",
            message=f"the declared pixel size {declared:.4g} Å differs by "
            f"{100 * (declared / scale.pixel_size_angstrom - 1):+.1f} % from the lattice's "
            f"{scale.pixel_size_angstrom:.4g} Å, which is believed because the host is said to be {host}; "
            f"by the declared one the lattice constant is {seen:.3g} Å, {who}: check the host too",
        ),
    )
