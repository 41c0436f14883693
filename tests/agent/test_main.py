import subprocess
import sys

import pytest

from agent.__main__ import COMMANDS, main
from drivers.contract.errors import InputError

SIMULATE = [
    "simulate",
    "--host",
    "WSe2",
    "--energy-kev",
    "80",
    "--detector",
    "HAADF",
    "--pixels",
    "64",
    "--fov-nm",
    "3",
]


def test_help_names_every_command_and_imports_none_of_them():
    code = (
        "import sys, agent.__main__ as m\n"
        "try: m.main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'abtem', 'numpy', 'scipy'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert all(name in result.stdout for name in COMMANDS)


def test_a_specimen_without_a_dopant_is_simulated_by_that_name_too(tmp_path):
    for name, words in {"said": ["--dopant", "none"], "unsaid": []}.items():
        assert main([*SIMULATE, *words, "--dose", "1e5", "--out", str(tmp_path / name)]) == 0
    said, unsaid = ((tmp_path / name / "WSe2_80keV_HAADF_0000.csv") for name in ("said", "unsaid"))
    assert said.read_bytes() == unsaid.read_bytes()


def test_a_kernel_table_for_multislice_is_not_silently_left_out(tmp_path, capsys):
    words = [*SIMULATE, "--method", "multislice", "--table", str(tmp_path), "--out", str(tmp_path / "out")]
    assert main(words) == 2
    assert "--table: multislice needs no kernels" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_simulate_writes_frame_truth_and_picture(tmp_path, capsys):
    assert (
        main(
            [
                *SIMULATE,
                "--dopant",
                "Ti",
                "--dose",
                "1e5",
                "--seed",
                "1",
                "--frames",
                "2",
                "--out",
                str(tmp_path),
            ]
        )
        == 0
    )
    names = sorted(path.name for path in tmp_path.iterdir())
    stems = [f"WSe2-Ti_80keV_HAADF_000{seed}" for seed in (1, 2)]
    assert names == sorted(f"{stem}.{kind}" for stem in stems for kind in ("csv", "hspy", "png"))
    assert "columns" in capsys.readouterr().out


def test_an_annulus_can_be_given_in_angles(tmp_path):
    words = [*SIMULATE, "--out", str(tmp_path)]
    words[words.index("HAADF")] = "35-120"
    assert main(words) == 0


def test_defects_can_be_listed(tmp_path):
    listed = ["--defect", "empty", "15", "15", "--defect", "dopant", "6", "20"]
    words = [*SIMULATE, "--dopant", "Ti", "--vac1", "0", "--vac2", "0", "--dopant-fraction", "0"]
    assert main([*words, *listed, "--out", str(tmp_path)]) == 0
    rows = [line.split(",") for line in next(tmp_path.glob("*.csv")).read_text().splitlines()]
    place = {row[rows[0].index("class")]: row for row in rows[1:]}
    assert set(place) == {"x2", "vac2", "metal", "dopant"}
    across, along = rows[0].index("x_angstrom"), rows[0].index("y_angstrom")
    for name, row, column in (("vac2", 15.0, 15.0), ("dopant", 6.0, 20.0)):
        found = (float(place[name][along]) - row, float(place[name][across]) - column)
        assert max(map(abs, found)) < 3.32 / 3**0.5


BAD = {
    "defect of no kind": (["--defect", "hole", "1", "2"], "X1bottom, empty"),
    "defect nowhere": (["--defect", "empty", "1", "x"], "a row and a column in Å"),
    "defect beyond the field": (["--defect", "empty", "900", "1"], "no column within"),
    "host": (["--host", "FeO2"], "known are TiS2"),
    "dopant": (["--dopant", "Au"], "dopants of WSe2"),
    "dopant of the metal's period": (["--dopant", "Re"], "left out"),
    "energy outside the table": (["--energy-kev", "200"], "columnist kernels build --energy-kev 200"),
    "energy in volts": (["--energy-kev", "80000"], "give 80"),
    "detector": (["--detector", "BF"], "HAADF"),
    "annulus": (["--detector", "5-20"], "20-280 mrad"),
    "annulus inside out": (["--detector", "120-30"], "below the outer angle"),
    "negative dose": (["--dose", "-5"], "expected electrons"),
    "pixels": (["--pixels", "3"], "16"),
    "memory": (["--fov-nm", "9000"], "GiB"),
    "table": (["--table", "nowhere"], "columnist kernels build"),
    "vacancies": (["--vac1", "1.5"], "fraction"),
    "defocus": (["--defocus-nm", "300"], "multislice"),
    "aberrations near the beam": (["--detector", "MAADF", "--defocus-nm", "2"], "incoherent, from 62 mrad"),
    "grain boundary": (["--grain-boundary-deg", "nan"], "finite number"),
    "dose beyond counting": (["--dopant", "Ti", "--dose", "1e25"], "dose_e_per_a2"),
    "jitter": (["--row-jitter-px", "1e30"], "row_jitter_px"),
    "field": (["--fov-nm", "1e30"], "fov_nm"),
    "contamination": (["--contamination", "1e20"], "contamination"),
    "energy is no number": (["--energy-kev", "inf"], "finite number"),
    "no workers": (["--workers", "0"], "at least 1"),
    "seed": (["--seed", "-1"], "0 or more"),
    "energy between": (["--energy-kev", "80.5"], "whole number of keV"),
}


def test_a_folder_that_cannot_be_written_is_named(tmp_path, capsys):
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    assert main([*SIMULATE, "--out", str(blocked / "below")]) == 2
    assert "cannot write to folder" in capsys.readouterr().err


def test_a_broken_table_is_named(tmp_path, capsys):
    (tmp_path / "kernels.npz").write_bytes(b"nothing")
    (tmp_path / "kernels.json").write_text("{")
    assert main([*SIMULATE, "--table", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    assert "cut short or altered" in capsys.readouterr().err


def test_a_partial_table_does_not_take_the_place_of_the_shipped_one(capsys):
    assert main(["kernels", "build", "--energy-kev", "40"]) == 2
    assert "--table FOLDER" in capsys.readouterr().err


@pytest.mark.parametrize("energy", ["10", "300"])
def test_a_table_of_an_energy_that_cannot_be_made_is_refused_at_once(energy, tmp_path, capsys):
    assert main(["kernels", "build", "--energy-kev", energy, "--table", str(tmp_path)]) == 2
    assert "expected 20 to 250 keV" in capsys.readouterr().err


def test_every_disturbance_can_be_asked_for(tmp_path):
    words = ["--drift-angstrom-per-s", "1", "-2", "--row-jitter-px", "0.2", "--contamination", "0.01"]
    words += ["--distortion", "0.02", "0", "0.01", "-0.03", "--strain", "0.01", "0", "0", "0.01"]
    words += [
        "--grain-boundary-deg",
        "20",
        "--defocus-nm",
        "2",
        "--astigmatism-nm",
        "1",
        "--saturation",
        "90",
    ]
    assert main([*SIMULATE, *words, "--out", str(tmp_path)]) == 0


@pytest.mark.parametrize(("words", "told"), BAD.values(), ids=BAD)
def test_bad_input_is_answered_in_one_line_and_writes_nothing(words, told, tmp_path, capsys):
    out = tmp_path / "out"
    try:
        status = main([*SIMULATE, "--out", str(out), *words])
    except SystemExit as stop:  # argparse's own way of refusing an option
        status = stop.code
    assert status == 2
    message = capsys.readouterr().err
    assert told in message
    assert "Traceback" not in message
    assert not out.exists()


def test_an_error_names_the_whole_command(tmp_path, capsys):
    assert main(["evaluate", "labelled", str(tmp_path / "none")]) == 2
    assert capsys.readouterr().err.startswith("columnist evaluate labelled: ")


STATUS = {
    "done": (0, 0, ""),
    "a check that failed": (1, 1, ""),
    "unusable input": (InputError("expected a, found b"), 2, "columnist doctor: expected a, found b"),
    "a package that is not there": (ImportError("No module named 'h5py'"), 2, "with all its extras: `make"),
    "a full disk": (OSError(28, "No space left on device"), 2, "columnist doctor: [Errno 28] No space left"),
    "Ctrl-C": (KeyboardInterrupt(), 130, "columnist doctor: interrupted; what was finished is kept"),
}


@pytest.mark.parametrize(("end", "status", "told"), STATUS.values(), ids=STATUS)
def test_the_exit_status_says_how_a_command_ended(end, status, told, monkeypatch, capsys):
    def run(arguments):
        if isinstance(end, BaseException):
            raise end
        return end

    monkeypatch.setattr("agent.commands.doctor.run", run)
    assert main(["doctor"]) == status
    assert told in capsys.readouterr().err


def test_a_reader_that_has_read_enough_ends_a_command_in_peace():
    """As in ``columnist replay SESSION | head``."""
    code = (
        "import sys, agent.commands.doctor as doctor, agent.__main__ as command\n"
        "doctor.run = lambda arguments: [print('a line', flush=True) for _ in range(100_000)] and 1\n"
        "sys.exit(command.main(['doctor']))\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as one:
        assert one.stdout.readline() == b"a line\n"
        one.stdout.close()
        assert one.stderr.read() == b""
        assert one.wait(60) == 0
