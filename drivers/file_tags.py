"""Where the formats keep what a context needs: tables of paths, names and units."""

_HYPERSPY = "Acquisition_instrument"
_DM = "ImageList/TagGroup0/ImageTags"
_DM_STACK = f"{_DM}/source/Tags at creation"
#: The node of our own simulator's files.
COLUMNIST = "Columnist"
#: Where `drivers.tiff_channels` puts a channel's name.
CHANNEL = "name of the channel"

#: (field, path, unit by the format's convention); of several rows of a field the first found counts.
#: Checked: the DM rows on files of a JEOL ARM200F with GMS 3.11 (Sample Time is the dwell in µs), the
#: Velox rows against RosettaSciIO's reader, which takes V, s, m, rad; HyperSpy's metadata are keV, mrad, nA.
PATHS: tuple[tuple[str, str, str], ...] = (
    ("host", f"{COLUMNIST}/context/specimen/host", ""),
    ("dopant", f"{COLUMNIST}/context/specimen/dopant", ""),
    ("dwell_us", f"{COLUMNIST}/acquisition/dwell_us", "us"),
    ("dose_e_per_a2", f"{COLUMNIST}/acquisition/dose_e_per_a2", "e/angstrom^2"),
    ("energy_kev", f"{_HYPERSPY}/TEM/beam_energy", ""),
    ("convergence_mrad", f"{_HYPERSPY}/TEM/convergence_angle", "mrad"),
    ("beam_current_pa", f"{_HYPERSPY}/TEM/beam_current", "nA"),
    ("detector", f"{_HYPERSPY}/Detector/name", ""),
    ("inner_mrad", f"{_HYPERSPY}/Detector/inner_angle_mrad", "mrad"),
    ("outer_mrad", f"{_HYPERSPY}/Detector/outer_angle_mrad", "mrad"),
    ("dwell_us", f"{_HYPERSPY}/Scan/dwell_time_us", "us"),
    *(
        row
        for tags in (_DM, _DM_STACK)
        for row in (
            ("energy_kev", f"{tags}/Microscope Info/Voltage", "V"),
            ("beam_current_pa", f"{tags}/Microscope Info/Probe Current (nA)", "nA"),
            ("detector", f"{tags}/DataBar/Signal Name", ""),
            ("dwell_us", f"{tags}/DigiScan/Sample Time", "us"),
        )
    ),
    ("energy_kev", "Optics/AccelerationVoltage", "V"),
    ("convergence_mrad", "Optics/BeamConvergence", "rad"),
    ("detector", "DetectorMetadata/DetectorName", ""),
    ("inner_mrad", "DetectorMetadata/CollectionAngleRange/begin", "rad"),
    ("outer_mrad", "DetectorMetadata/CollectionAngleRange/end", "rad"),
    ("dwell_us", "Scan/DwellTime", "s"),
    ("detector", CHANNEL, ""),
)

#: Last component of the path in NeXus and plain HDF5, without a suffix that names the unit.
NAMES: dict[str, str] = {
    "host": "host",
    "dopant": "dopant",
    **dict.fromkeys(("detector", "detector_name"), "detector"),
    **dict.fromkeys(
        ("energy", "beam_energy", "voltage", "high_voltage", "acceleration_voltage", "accelerating_voltage"),
        "energy_kev",
    ),
    **dict.fromkeys(("inner", "inner_angle", "inner_collection_angle"), "inner_mrad"),
    **dict.fromkeys(("outer", "outer_angle", "outer_collection_angle"), "outer_mrad"),
    **dict.fromkeys(
        ("convergence", "convergence_angle", "semi_convergence_angle", "convergence_semi_angle"),
        "convergence_mrad",
    ),
    **dict.fromkeys(("pixel_size", "declared_pixel_size"), "pixel_size_angstrom"),
    **dict.fromkeys(("dwell", "dwell_time"), "dwell_us"),
    **dict.fromkeys(("dose", "electron_dose"), "dose_e_per_a2"),
    **dict.fromkeys(("beam_current", "probe_current"), "beam_current_pa"),
}

#: Endings of names in HDF5 that name the unit.
UNIT_SUFFIXES: dict[str, str] = {
    **{f"_{unit}": unit for unit in ("ev", "kev", "v", "kv", "m", "um", "nm", "angstrom", "pm")},
    **{f"_{unit}": unit for unit in ("rad", "mrad", "s", "ms", "us", "ns", "na", "pa")},
    "_e_per_a2": "e/angstrom^2",
    "_e_per_nm2": "e/nm^2",
}
