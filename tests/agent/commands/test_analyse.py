"""`columnist analyse` from files to results, and every kind of bad input."""

import json
import os
import re
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile
from rsciio.hspy import file_writer

from agent.__main__ import main
from agent.results.runs import analyse_file
from drivers.contract.context import MAADF, Context, Specimen
from sim_microscope.crystal import DefectConcentrations
from sim_microscope.imaging import Acquisition
from sim_microscope.simulate import SpecimenPlan, simulate_frame

CONTEXT = ["--host", "WSe2", "--dopant", "Ti", "--energy-kev", "80", "--detector", "MAADF"]


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    context = Context(specimen=Specimen(host="WSe2", dopant="Ti"), energy_kev=80.0, detector=MAADF)
    plan = SpecimenPlan(rotation_deg=13.0, concentrations=DefectConcentrations(0.05, 0.004, 0.002))
    acquisition = Acquisition(pixels=192, fov_nm=192 * 0.039, dose_e_per_a2=5e4, source_sigma_angstrom=0.5)
    return simulate_frame(context, acquisition, plan, seed=3).image


def test_one_image_gives_every_result_and_json(image, tmp_path, capsys):
    np.save(tmp_path / "frame.npy", image)
    out = tmp_path / "maps"
    assert main(["analyse", str(tmp_path / "frame.npy"), *CONTEXT, "--out", str(out), "--json"]) == 0
    assert sorted(path.name for path in out.iterdir()) == [
        "frame.csv",
        "frame.html",
        "frame.nxs",
        "frame_map.png",
        "frame_patches.png",
    ]
    (summary,) = json.loads(capsys.readouterr().out)["images"]
    assert summary["decided"]
    assert summary["pixel_size_angstrom"] == pytest.approx(0.39, rel=0.01)
    vac1 = summary["concentrations"]["vac1"]
    assert vac1["low"] < 0.05 < vac1["high"]
    assert summary["sources"]["host"] == "command line: --host"
    assert re.search(
        r"<td>made on</td><td>20\d\d-\d\d-\d\d \d\d:\d\d UTC</td>", (out / "frame.html").read_text()
    )


def test_a_bad_file_does_not_stop_the_rest_of_a_folder(image, tmp_path, capsys):
    folder = tmp_path / "in"
    folder.mkdir()
    np.save(folder / "b.npy", image)
    (folder / "a.npy").write_bytes(b"\x93NUMPY cut")
    out = tmp_path / "maps"
    words = ["analyse", str(folder), *CONTEXT, "--out", str(out), "--tables-only", "--json"]
    assert main(words) == 1
    report = json.loads(capsys.readouterr().out)
    assert [Path(one["file"]).name for one in report["images"]] == ["b.npy"]
    assert [Path(one["file"]).name for one in report["failures"]] == ["a.npy"]
    assert sorted(path.name for path in out.iterdir()) == ["b.csv", "b.nxs"]


def test_interrupted_what_is_done_is_told_and_in_the_report(image, tmp_path, capsys, monkeypatch):
    folder, out = tmp_path / "in", tmp_path / "maps"
    folder.mkdir()
    for name in ("a", "b"):
        np.save(folder / f"{name}.npy", image)

    def interrupted(path, *words, **options):
        if path.stem == "b":
            raise KeyboardInterrupt
        return analyse_file(path, *words, **options)

    monkeypatch.setattr("agent.commands.analyse.analyse_file", interrupted)
    assert main(["analyse", str(folder), *CONTEXT, "--out", str(out), "--json"]) == 130
    captured = capsys.readouterr()
    report = json.loads(captured.out)
    assert [Path(one["file"]).name for one in report["images"]] == ["a.npy"]
    assert report["is_cut_short"]
    assert "what was finished is kept" in captured.err
    assert "1 image, cut short" in (out / "report.html").read_text()


def test_a_frame_of_a_series_that_holds_nothing_is_a_failure_and_told(image, tmp_path, capsys):
    pixels = np.stack([image, 0 * image])
    axes = [
        {"name": name, "size": size, "units": unit, "scale": 0.039, "offset": 0.0, "index_in_array": index}
        | {"navigate": name == "time", "_type": "UniformDataAxis", "is_binned": False}
        for index, (name, size, unit) in enumerate(
            zip(("time", "y", "x"), pixels.shape, ("s", "nm", "nm"), strict=True)
        )
    ]
    signal = {"data": pixels, "axes": axes, "metadata": {"General": {"title": "scan"}}}
    empty = ("original_metadata", "package_info", "learning_results", "tmp_parameters", "models")
    signal |= {"attributes": {"_lazy": False, "ragged": False}, **{name: {} for name in empty}}
    file_writer(str(tmp_path / "series.hspy"), signal, show_progressbar=False)
    out = tmp_path / "maps"
    assert main(["analyse", str(tmp_path / "series.hspy"), *CONTEXT, "--out", str(out), "--json"]) == 1
    captured = capsys.readouterr()
    (failure,) = json.loads(captured.out)["failures"]
    assert (Path(failure["file"]).name, failure["label"]) == ("series.hspy", "scan frame 1")
    assert "series.hspy scan frame 1: expected an image with contrast" in captured.err
    assert "series.hspy scan frame 1</b>: expected an image" in (out / "report.html").read_text()


def test_what_a_file_says_and_is_not_used_is_told_below_the_table_once(image, tmp_path, capsys):
    with h5py.File(tmp_path / "two.h5", "w") as file:
        for number in range(2):
            file[f"scan/{number}"] = image
        file["scan"].attrs["dwell_time"] = 4.0
    words = ["analyse", str(tmp_path / "two.h5"), *CONTEXT, "--out", str(tmp_path / "maps"), "--tables-only"]
    assert main(words) == 0
    assert capsys.readouterr().out.count("expected a value with its unit, found 4 without") == 1


def test_files_of_other_kinds_are_known_for_what_they_are(tmp_path, capsys):
    config = tmp_path / "columnist.toml"
    assert main(["config", "init", str(config)]) == 0
    assert main(["analyse", "a.npy", "--config", str(config)]) == 2
    assert "a file of the daemon's settings" in capsys.readouterr().err
    config.write_text("[context]\nhost = 'WSe2'\n[[frame]]\nfile = 'a.dm4'\n")
    assert main(["analyse", "a.npy", "--config", str(config)]) == 2
    assert "this describes micrographs" in capsys.readouterr().err


def test_angles_that_the_command_line_goes_before_are_told(image, tmp_path, capsys):
    with h5py.File(tmp_path / "one.h5", "w") as file:
        file["scan/image"] = image
        file["scan/inner_angle_mrad"], file["scan/outer_angle_mrad"] = 68.0, 280.0
    words = ["analyse", str(tmp_path / "one.h5"), *CONTEXT, "--out", str(tmp_path / "maps"), "--json"]
    assert main(words) == 0
    (summary,) = json.loads(capsys.readouterr().out)["images"]
    assert summary["context"]["detector"]["inner_mrad"] == 30.0
    told = "/scan/inner_angle_mrad says inner_mrad 68; 30 is taken instead (command line: --detector MAADF"
    assert any(told in warning for warning in summary["warnings"])
    assert told in (tmp_path / "maps" / "one.html").read_text()


def test_options_go_before_the_config_file(image, tmp_path, capsys):
    np.save(tmp_path / "frame.npy", image)
    config = tmp_path / "columnist.toml"
    text = '[context]\nhost = "WS2"\ndopant = "Ti"\nenergy_kev = 80\ndetector = "MAADF"\n'
    config.write_text(text, encoding="utf-8-sig")  # as some editors write it
    words = ["analyse", str(tmp_path / "frame.npy"), "--config", str(config), "--host", "WSe2"]
    assert main([*words, "--out", str(tmp_path / "maps"), "--tables-only", "--json"]) == 0
    (summary,) = json.loads(capsys.readouterr().out)["images"]
    assert summary["context"]["specimen"]["host"] == "WSe2"
    assert summary["sources"]["dopant"] == f"{config}: dopant"


def test_each_image_of_a_file_may_have_a_context_of_its_own(image, tmp_path, capsys):
    both = np.stack([image, image])
    tifffile.imwrite(
        tmp_path / "two.tif", both, imagej=True, metadata={"axes": "CYX", "Labels": ["In", "Out"]}
    )
    config = tmp_path / "own.toml"
    config.write_text(
        '[context]\nhost = "WSe2"\ndopant = "Ti"\nenergy_kev = 80\ndetector = "HAADF"\n'
        '[images."In*"]\ndetector = "MAADF"\n[images.None]\nenergy_kev = 60\n'
    )
    words = [str(tmp_path / "two.tif"), "--config", str(config), "--out", str(tmp_path / "out"), "--json"]
    assert main(["analyse", *words, "--tables-only"]) == 0
    captured = capsys.readouterr()
    told = {one["label"]: one["sources"]["detector"] for one in json.loads(captured.out)["images"]}
    assert told == {"In": f'{config} [images."In*"]: detector', "Out": f"{config}: detector"}
    assert 'own.toml: [images."None"] fits no image; labels are: In, Out' in captured.err
    assert main(["analyse", *words, "--tables-only", "--detector", "HAADF"]) == 0
    hidden = 'own.toml: [images."In*"] says detector MAADF; HAADF is taken instead (command line: --detector)'
    assert hidden in capsys.readouterr().err
    assert main(["analyse", str(tmp_path / "none.tif"), *words[1:]]) == 2
    assert "fits no image" not in capsys.readouterr().err
    config.write_text("[images.In]\nvoltage = 80\n")
    assert main(["analyse", *words]) == 2
    assert "own.toml: [images.LABEL] knows host, " in capsys.readouterr().err


def test_the_folder_of_the_images_may_be_that_of_the_results(image, tmp_path, capsys):
    np.save(tmp_path / "frame.npy", image)
    words = ["analyse", str(tmp_path), *CONTEXT, "--out", str(tmp_path), "--json"]
    for _ in range(2):
        assert main(words) == 0
        captured = capsys.readouterr()
        assert [Path(one["file"]).name for one in json.loads(captured.out)["images"]] == ["frame.npy"]
    assert "left out 3 pictures and maps of earlier runs" in captured.err


def test_what_a_second_run_does_not_replace_of_an_image_goes(image, tmp_path, capsys):
    np.save(tmp_path / "frame.npy", image)
    out = tmp_path / "maps"
    words = ["analyse", str(tmp_path / "frame.npy"), *CONTEXT, "--out", str(out)]
    assert main(words) == 0
    (out / "frame_notes.png").write_bytes((out / "frame_map.png").read_bytes())
    (out / "frame_patches.png").write_bytes(b"not ours")
    assert main([*words, "--tables-only"]) == 0
    kept = ["frame.csv", "frame.nxs", "frame_notes.png", "frame_patches.png"]
    assert sorted(path.name for path in out.iterdir()) == kept
    np.save(tmp_path / "frame.npy", 0 * image)
    assert main(words) == 2
    assert f"results of an earlier run stay in {out / 'frame'}.*" in " ".join(capsys.readouterr().err.split())
    assert sorted(path.name for path in out.iterdir()) == kept


def test_a_name_in_letters_that_the_font_lacks_says_nothing_of_it(image, tmp_path, capsys):
    np.save(tmp_path / "测试.npy", image)
    assert main(["analyse", str(tmp_path / "测试.npy"), *CONTEXT, "--out", str(tmp_path / "maps")]) == 0
    assert "Glyph" not in capsys.readouterr().err


def test_a_name_with_dollars_and_bytes_that_are_no_text_is_as_good_as_any(image, tmp_path, capsys):
    folder = tmp_path / "in"
    folder.mkdir()
    for name in (b"a$_$[b].npy", b"bad\xff.npy"):
        np.save(os.fsdecode(os.fsencode(folder) + b"/" + name), image)
    out = tmp_path / "maps"
    assert main(["analyse", str(folder), *CONTEXT, "--out", str(out)]) == 0
    told = capsys.readouterr().out
    assert "a$_$[b].npy" in told
    assert "margin [nats]" in told
    assert (out / "bad__map.png").is_file()
    assert "bad\\udcff.npy" in (out / "report.html").read_text()


def test_dark_pixels_that_are_cut_off_are_flagged(image, tmp_path, capsys):
    pixels = image.astype(float)
    rng = np.random.default_rng(2)
    np.save(tmp_path / "frame.npy", np.maximum(pixels + rng.normal(size=pixels.shape), np.median(pixels)))
    words = ["analyse", str(tmp_path / "frame.npy"), *CONTEXT, "--tables-only", "--json"]
    assert main([*words, "--out", str(tmp_path / "maps")]) == 0
    (summary,) = json.loads(capsys.readouterr().out)["images"]
    assert "clipped" in [flag["kind"] for flag in summary["flags"]]


def lose_lines(pixels):
    pixels[[60, 61, 120]] = 0


def add_spikes(pixels):
    pixels[[20, 77, 150], [31, 100, 9]] = 100 * pixels.max()


def lose_pixels(pixels):
    pixels[[20, 77, 150], [31, 100, 9]] = np.nan


def table_and_flags(image, folder, capsys, *words):
    folder.mkdir()
    np.save(folder / "frame.npy", image)
    words = ["analyse", str(folder / "frame.npy"), *CONTEXT, *words, "--tables-only", "--json"]
    assert main([*words, "--out", str(folder)]) == 0
    (summary,) = json.loads(capsys.readouterr().out)["images"]
    table = np.genfromtxt(folder / "frame.csv", delimiter=",", names=True, dtype=None, encoding="utf-8")
    return table, {flag["kind"]: flag["message"] for flag in summary["flags"]}


@pytest.mark.parametrize(
    ("spoil", "kind"), [(lose_lines, "lost_rows"), (add_spikes, "spikes"), (lose_pixels, "lost_pixels")]
)
def test_lost_lines_pixels_and_spikes_are_mended_and_told(spoil, kind, image, tmp_path, capsys):
    spoilt = image.astype(np.float32)
    spoil(spoilt)
    whole, flags = table_and_flags(image, tmp_path / "whole", capsys)
    mended, more_flags = table_and_flags(spoilt, tmp_path / "spoilt", capsys)
    assert set(more_flags) - set(flags) == {kind}
    assert "3 " in more_flags[kind]
    assert len(mended) == len(whole)
    apart_px = np.hypot(*(mended[name] - whole[name][:, None] for name in ("row_px", "col_px")))
    assert apart_px.min(axis=1).max() < 1.5
    assert np.mean(mended["class"][apart_px.argmin(axis=1)] == whole["class"]) > 0.99


def test_a_pixel_size_that_is_not_the_lattices_may_mean_another_host(image, tmp_path, capsys):
    _, flags = table_and_flags(image, tmp_path / "wider", capsys, "--pixel-size-angstrom", "0.4185")
    assert (
        "the lattice constant is 3.56 Å, that of MoTe2 or WTe2: check the host too" in flags["scale_mismatch"]
    )
    _, flags = table_and_flags(image, tmp_path / "none", capsys, "--pixel-size-angstrom", "0.45")
    assert "that of no host that is known" in flags["scale_mismatch"]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("0.039", "about 10 times too small, as if it were in nm: give it in Å, pixel_size_angstrom 0.39"),
        ("39", "about 100 times too large, as if it were in pm: give it in Å, pixel_size_angstrom 0.39"),
        ("3.9", "about 10 times too large, as if its decimal point had slipped"),
    ],
    ids=["nm", "pm", "a decimal point"],
)
def test_a_pixel_size_in_another_unit_is_told(given, told, image, tmp_path, capsys):
    np.save(tmp_path / "frame.npy", image)
    words = ["analyse", str(tmp_path / "frame.npy"), *CONTEXT, "--pixel-size-angstrom", given]
    assert main([*words, "--out", str(tmp_path / "maps")]) == 2
    message = " ".join(capsys.readouterr().err.split())
    assert told in message
    assert "(--pixel-size-angstrom of `analyse`)" in message


def square(edge=192):
    wave = np.cos(np.arange(edge) * 2 * np.pi / 10)
    return 10 + wave[:, None] + wave + np.random.default_rng(3).normal(scale=0.1, size=(edge, edge))


def flat(edge=96):
    return np.full((edge, edge), 7.0)


BAD = {
    "constant": (lambda image: flat(), [], "constant"),
    "all NaN": (lambda image: np.full((96, 96), np.nan), [], "NaN"),
    "an area of NaN": (lambda image: np.where(np.tri(192) > 0, image, np.nan), [], "NaN"),
    "a negative": (lambda image: -image, [], "found holes"),
    "saturated": (lambda image: np.minimum(image, np.percentile(image, 70)), [], "saturated"),
    "tiny": (lambda image: image[:20, :20], [], "at least 32"),
    "colour": (lambda image: np.stack([image] * 3, axis=2), [], "colour"),
    "stack": (lambda image: np.stack([image] * 9), [], "grey image"),
    "no lattice": (lambda image: np.random.default_rng(1).poisson(9, (128, 128)), [], "lattice"),
    "square lattice": (lambda image: square(), [], "square lattice"),
    "another lattice": (lambda image: image, ["--pixel-size-angstrom", "0.29"], "cannot be this lattice"),
    "host of other contrast": (lambda image: image, ["--host", "MoTe2"], "hardly fits"),
    "energy": (lambda image: image, ["--energy-kev", "200"], "60, 80, 100"),
    "dopant": (lambda image: image, ["--dopant", "Re"], "left out"),
}


@pytest.mark.parametrize(("make", "words", "told"), BAD.values(), ids=BAD)
def test_bad_input_is_explained_and_leaves_nothing(make, words, told, image, tmp_path, capsys):
    np.save(tmp_path / "frame.npy", make(image))
    out = tmp_path / "maps"
    assert main(["analyse", str(tmp_path / "frame.npy"), *CONTEXT, *words, "--out", str(out)]) == 2
    assert told in " ".join(capsys.readouterr().err.split())
    assert not out.exists()


def test_what_the_context_lacks_is_listed_with_its_options(image, tmp_path, capsys):
    np.save(tmp_path / "frame.npy", image)
    words = ["analyse", str(tmp_path / "frame.npy"), "--host", "WSe2", "--energy-kev", "80"]
    assert main([*words, "--out", str(tmp_path / "maps")]) == 2
    told = " ".join(capsys.readouterr().err.split())
    assert "--dopant" in told
    assert "--detector" in told
    assert "--energy-kev" not in told


def test_a_detector_that_the_evidence_contradicts_is_flagged(image, tmp_path, capsys):
    np.save(tmp_path / "frame.npy", image)
    out = str(tmp_path / "maps")
    words = ["analyse", str(tmp_path / "frame.npy"), *CONTEXT, "--tables-only", "--json", "--out", out]
    assert main(words) == 0
    assert "context_contradicted" not in capsys.readouterr().out
    assert main([*words, "--detector", "HAADF"]) == 0
    (summary,) = json.loads(capsys.readouterr().out)["images"]
    assert "context_contradicted" in [flag["kind"] for flag in summary["flags"]]
