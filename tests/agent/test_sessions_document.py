import re
from pathlib import Path

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "sessions.md"


def test_the_document_reads_a_session_without_columnist(recorded, monkeypatch, capsys):
    (program,) = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    monkeypatch.chdir(recorded)
    names: dict[str, object] = {}
    exec(program, names)
    names["facts"].close()
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("{'session': 'bridge-1', 'sequence': 0} ")
