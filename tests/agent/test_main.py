import subprocess
import sys

import pytest

from agent.__main__ import COMMANDS, main

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


BAD = {
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
    "memory": (["--fov-nm", "90000", "--pixels", "16384"], "GiB"),
    "table": (["--table", "nowhere"], "columnist kernels build"),
    "vacancies": (["--vac1", "1.5"], "fraction"),
    "defocus": (["--defocus-nm", "300"], "multislice"),
}


@pytest.mark.parametrize(("words", "told"), BAD.values(), ids=BAD)
def test_bad_input_is_answered_in_one_line_and_writes_nothing(words, told, tmp_path, capsys):
    out = tmp_path / "out"
    assert main([*SIMULATE, "--out", str(out), *words]) == 2
    message = capsys.readouterr().err
    assert told in message
    assert "Traceback" not in message
    assert not out.exists()
