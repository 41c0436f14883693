import ast
import json

import pytest

from agent.__main__ import main
from agent.commands.bench import _FOLDER, _names


@pytest.mark.parametrize("folder", ["agent", "benchmarks", "drivers", "models", "sim_microscope"])
def test_messages_are_never_changed_without_being_checked(folder):
    copies = [
        str(path) for path in (_FOLDER.parent / folder).rglob("*.py") if "model_copy" in path.read_text()
    ]
    assert copies == []


@pytest.mark.parametrize("name", _names())
def test_every_benchmark_that_is_listed_can_be_run(name):
    tree = ast.parse((_FOLDER / f"{name}.py").read_text())
    taken = [
        [argument.arg for argument in node.args.args]
        for node in tree.body
        if isinstance(node, ast.FunctionDef) and node.name == "main"
    ]
    assert taken in ([[]], [["words"]])


def test_help_behind_the_name_of_one_without_options_tells_what_it_measures(capsys):
    assert main(["bench", "value", "--help"]) == 0
    assert capsys.readouterr().out.startswith("How fast candidates for the next scan are weighed.")


_TOLD = """
def main():
    figures = {"weigh_ms": 21.5, "rows": [{"seed": 1}], "part": {"growth": 0.07}, "note": "[a]", "gpu": None}
    return figures | {"limits": {"weigh_ms": 50.0}, "met": {"weigh_ms": MET}}, MET
"""


@pytest.mark.parametrize(("met", "word", "status"), [(True, "yes", 0), (False, "no", 1)])
def test_figures_come_as_a_table_and_as_json_only_if_asked_for(
    tmp_path, monkeypatch, capsys, met, word, status
):
    monkeypatch.setattr("agent.commands.bench._FOLDER", tmp_path)
    (tmp_path / "made_up.py").write_text(_TOLD.replace("MET", str(met)))
    assert main(["bench", "made_up"]) == status
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert rows == [
        ["name", "figure", "limit", "met"],
        ["weigh_ms", "21.5", "50", word],
        ["rows", "1", "rows,", "which", "--json", "prints"],
        ["part.growth", "0.07"],
        ["note", "[a]"],
        ["gpu", "-"],
    ]
    for words in (["--json", "made_up"], ["made_up", "--json"]):
        assert main(["bench", *words]) == status
        assert json.loads(capsys.readouterr().out)["met"] == {"weigh_ms": met}


@pytest.mark.parametrize("words", [("maps", "--frames"), ("damage", "--seeds"), ("loop", "--jobs")])
def test_no_frames_at_all_are_refused_before_anything_is_made(words, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["bench", *words, "0"])
    assert ended.value.code == 2
    assert "expected a whole number of at least 1, found '0'" in capsys.readouterr().err
