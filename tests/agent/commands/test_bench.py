import ast

import pytest

from agent.__main__ import main
from agent.commands.bench import _FOLDER, _names


@pytest.mark.parametrize("name", _names())
def test_every_benchmark_that_is_listed_can_be_run(name):
    tree = ast.parse((_FOLDER / f"{name}.py").read_text())
    assert "main" in [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]


def test_help_behind_the_name_of_one_without_options_tells_what_it_measures(capsys):
    assert main(["bench", "value", "--help"]) == 0
    assert capsys.readouterr().out.startswith("How fast candidates for the next scan are weighed.")
