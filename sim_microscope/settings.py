"""What a simulated microscope and its specimen are like, in one validated message."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from drivers.contract.context import (
    CONVERGENCE_MRAD,
    ENERGIES_KEV,
    HAADF,
    MAADF,
    Detector,
    EnergyKev,
    Message,
    Specimen,
)

NonNegative = Annotated[float, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]


class SimulatorSettings(Message):
    """A session of the simulated microscope; the same settings and calls make the same session to the bit.

    Directions are the stage's: x along the columns of a frame, y along its rows.
    """

    specimen: Specimen = Specimen(host="WSe2", dopant="Ti")
    vac1: Fraction = 0.03
    """Single vacancies, of the chalcogen columns."""
    vac2: Fraction = 0.005
    """Double vacancies, of the chalcogen columns."""
    dopant_fraction: Fraction | None = None
    """Dopants, of the metal columns; None is 0.04 with a dopant and 0 without."""
    rotation_deg: float | None = None
    """Rotation of the lattice from the column axis towards the row axis; None draws it."""
    contamination_nm: Annotated[float, Field(ge=0, le=50)] = 0.0
    """Mean thickness of carbon on the specimen from the start."""
    contamination_nm_per_dose: Annotated[float, Field(ge=0, le=50)] = 0.0
    """Growth of the carbon with 10^6 electrons/Å² on the field."""
    seed: Annotated[int, Field(ge=0, le=2**63 - 1)] = 0

    energies_kev: Annotated[tuple[EnergyKev, ...], Field(min_length=1)] = tuple(
        float(e) for e in ENERGIES_KEV
    )
    """Beam energies that it can be switched to."""
    energy_kev: EnergyKev = 80.0
    convergence_mrad: Positive = CONVERGENCE_MRAD
    detectors: Annotated[tuple[Detector, ...], Field(min_length=1)] = (HAADF, MAADF)
    """Detectors that it has."""
    active: Annotated[tuple[str, ...], Field(min_length=1)] = ("HAADF",)
    """Detectors that read at first; several read the same scan."""

    fov_nm: Annotated[float, Field(ge=1, le=100)] = 10.0
    pixels: Annotated[int, Field(ge=16, le=4096)] = 512
    dwell_us: Annotated[float, Field(ge=0.05, le=10_000)] = 4.0
    flyback_us: NonNegative = 50.0
    """Time between the last point of a row and the first of the next; the beam is blanked meanwhile."""
    beam_current_pa: Annotated[float, Field(gt=0, le=10_000)] = 50.0
    stage_range_nm: Annotated[float, Field(gt=0, le=100_000)] = 1000.0
    """How far the stage goes from its middle along x and y."""
    source_sigma_angstrom: Annotated[float, Field(ge=0, le=2)] = 0.4
    row_jitter_px: Annotated[float, Field(ge=0, le=2)] = 0.05
    defocus_angstrom: Annotated[float, Field(ge=-200, le=200)] = 0.0
    """Defocus that stays when all has settled."""
    pixel_size_error: Annotated[float, Field(gt=-0.2, lt=0.2)] = 0.0
    """Calibration error: true pixel size over the declared one, less one.  Headers know nothing of it."""
    gain_counts_per_e: Positive = 1.0
    offset_counts: NonNegative = 0.0
    readout_sigma_counts: NonNegative = 0.0

    drift_x_nm_per_s: float = 0.01
    drift_y_nm_per_s: float = 0.005
    """Steady velocity of the specimen."""
    drift_walk_nm: NonNegative = 0.01
    """Standard deviation of its random walk along x and y after one second."""
    is_damaging: bool = True
    """Whether the beam makes vacancies above the knock-on threshold."""
    radiolysis_barn: NonNegative = 0.0
    """Further cross-section for losing a chalcogen, at any energy: damage by electronic excitation."""

    detector_settle_s: NonNegative = 0.2
    stage_settle_s: NonNegative = 0.3
    energy_ramp_s: NonNegative = 6.0
    """Duration of an energy change itself, with the beam off."""
    energy_settle_s: NonNegative = 6.0
    """Time from then on in which the focus comes back."""
    energy_defocus_angstrom: Annotated[float, Field(ge=-500, le=500)] = 60.0
    """Defocus after an energy change, before it settles."""
    energy_shift_nm: NonNegative = 1.0
    """Standard deviation of the shift of the field that an energy change brings, along x and y."""

    method: Literal["kernels", "multislice"] = "kernels"
    """Multislice is at rest and takes some 0.07 (MAADF) to 0.15 s (HAADF) a point and core."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        names = [detector.name for detector in self.detectors]
        if len(set(names)) < len(names):
            raise ValueError(f"detectors {names}: expected every name once")
        if missing := [name for name in self.active if name not in names]:
            raise ValueError(f"active detectors {missing} are not among the detectors {names}")
        if len(set(self.active)) < len(self.active):
            raise ValueError(f"active detectors {list(self.active)}: expected every name once")
        if self.energy_kev not in self.energies_kev:
            raise ValueError(f"energy_kev {self.energy_kev:g} is not among energies_kev {self.energies_kev}")
        if self.dopant_fraction and self.specimen.dopant is None:
            raise ValueError(f"dopant_fraction {self.dopant_fraction:g} needs a specimen with a dopant")
        if self.vac1 + self.vac2 > 1:
            raise ValueError("vac1 and vac2 add up to more than every chalcogen column")
        return self
