import tomllib

import pytest

from agent.settings import Rules, Settings, rules_of
from agent.settings_file import load_settings, parse_flag, template
from drivers.contract.errors import InputError


def test_without_any_source_the_defaults_count():
    assert load_settings(None) == Settings()


def test_the_template_explains_every_field_and_is_the_defaults(tmp_path):
    text = template()
    for section, info in Settings.model_fields.items():
        assert f"[{section}]" in text
        for field, about in type(info.default).model_fields.items():
            assert about.description, (section, field)
            assert f"# {about.description}\n# {field} = " in text
    (tmp_path / "columnist.toml").write_text(text)
    assert load_settings(tmp_path / "columnist.toml") == Settings()


def test_a_byte_order_mark_does_no_harm(tmp_path):
    (tmp_path / "columnist.toml").write_text('[context]\nhost = "MoS2"\n', encoding="utf-8-sig")
    assert load_settings(tmp_path / "columnist.toml").context.host == "MoS2"


def test_a_tilde_is_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    text = '[session]\nfolder = "~/sessions"\n[source]\nkeys = "~/keys"\n[publish]\nkeys = "a~b"\n'
    (tmp_path / "columnist.toml").write_text(text)
    settings = load_settings(tmp_path / "columnist.toml")
    assert settings.session.folder == str(tmp_path / "home" / "sessions")
    assert (settings.source.keys, settings.publish.keys) == (str(tmp_path / "home" / "keys"), "a~b")


def test_the_template_with_all_of_it_uncommented_is_sound(tmp_path):
    lines = template().splitlines()
    path = tmp_path / "columnist.toml"
    path.write_text(
        "\n".join(line.removeprefix("# ") if line.split()[2:3] == ["="] else line for line in lines)
    )
    settings = load_settings(path)
    assert (settings.context.host, settings.goals.defect) == ("WSe2", "dopant")


def test_the_template_with_its_defaults_uncommented_is_the_defaults():
    lines = template().splitlines()
    kept = [
        line.removeprefix("# ")
        for line in lines
        if (" = " in line and not line.endswith("# an example: not set") and line.split()[2:3] == ["="])
        or line[:1] == "["
    ]
    tree = tomllib.loads("\n".join(kept))
    flags = {
        f"{section}.{field}": value for section, fields in tree.items() for field, value in fields.items()
    }
    assert len(flags) > 25
    assert load_settings(None, {}, flags) == Settings()


def test_flags_count_above_the_environment_above_the_file(tmp_path):
    path = tmp_path / "columnist.toml"
    path.write_text('[policy]\nmode = "observe"\nentropy_nats = 0.2\nsettle_frames = 5\n')
    settings = load_settings(
        path,
        {"COLUMNIST_POLICY_MODE": "advise", "COLUMNIST_POLICY_ENTROPY_NATS": "0.3", "HOME": "/"},
        {"policy.mode": "auto", "session.folder": None},
    )
    assert (settings.policy.mode, settings.policy.entropy_nats, settings.policy.settle_frames) == (
        "auto",
        0.3,
        5,
    )


def test_lists_and_whole_numbers_are_read(tmp_path):
    path = tmp_path / "columnist.toml"
    path.write_text('[limits]\nenergies_kev = [60, 80.0]\ndetectors = ["HAADF"]\n')
    assert load_settings(path).limits.energies_kev == (60.0, 80.0)


BAD = {
    "field": ("[policy]\n\nentropy_nat = 0.2\n", ["line 3", "policy.entropy_nat", "mean 'entropy_nats'"]),
    "section": ("[polcy]\nmode = 'auto'\n", ["line 1", "mean [policy]"]),
    "other section": ("[session]\nmode = 'auto'\n", ["line 2", "belongs into [policy]"]),
    "no section": ("mode = 'auto'\n", ["line 1", "outside any section", "[policy]"]),
    "value": ("[policy]\nmode = 'full'\n", ["line 2", "'observe', 'advise' or 'auto'", "'full'"]),
    "volts": (
        "[context]\nenergy_kev = 80000.0\n",
        ["line 2", "context.energy_kev: 80000 keV: looks like volts", "80, not 80000"],
    ),
    "host": ("[context]\nhost = 'Unobtainium'\n", ["line 2", "context.host", "WSe2", "'Unobtainium'"]),
    "dopant": (
        "[context]\nhost = 'WSe2'\ndopant = 'W'\n",
        ["line 3", "context.dopant", '"none" or one of Ti', "dopants of WSe2"],
    ),
    "dopant of another host": (
        "[context]\nhost = 'WSe2'\ndopant = 'Re'\n",
        ["line 3", "context.dopant", "dopants of WSe2"],
    ),
    "detector": ("[context]\ndetector = '100-20'\n", ["line 2", "HAADF, MAADF or INNER-OUTER in mrad"]),
    "bridge": ("[source]\nconnect = 'http://x:5'\n", ["line 2", "tcp://127.0.0.1:5555", "'http://x:5'"]),
    "kind": ("[analysis]\nthreads = '2'\n", ["line 2", "valid integer", "'2'"]),
    "nan": ("[watch]\nno_frame_s = nan\n", ["line 2", "finite"]),
    "control for all the world": (
        "[publish]\ncontrol = 'tcp://0.0.0.0:5882'\n",
        ["line 2", "an address of this machine alone", "0.0.0.0"],
    ),
    "an address of IPv6": (
        "[publish]\nmaps = 'tcp://[::1]:5880'\n",
        ["line 2", "an address of this machine alone", "127.0.0.1"],
    ),
    "a port that there is not": (
        "[publish]\nmaps = 'tcp://127.0.0.1:70000'\n",
        ["line 2", "publish.maps: expected a port of 1 to 65535, or 0 for any free one, found 70000"],
    ),
    "syntax": ("[policy\n", ["not TOML", "line 1"]),
    "nonsense": ("[policy]\nzzz = 1\n", ["[policy] knows mode"]),
    "a description of micrographs": (
        "[context]\nhost = 'WSe2'\n[[frame]]\nfile = 'a.dm4'\n",
        ["this describes micrographs", "--config", "columnist config init"],
    ),
    "a file for analyse": (
        "[context]\nhost = 'WSe2'\n[analysis]\nmodel = 'mlp-simple'\n",
        ["for `columnist analyse --config`", "columnist config init"],
    ),
    "section of no fields": ("policy = 3\n", ["outside any section"]),
}


@pytest.mark.parametrize(("text", "told"), BAD.values(), ids=BAD)
def test_a_mistake_in_the_file_is_named_with_its_line(text, told, tmp_path):
    path = tmp_path / "columnist.toml"
    path.write_text(text)
    with pytest.raises(InputError) as error:
        load_settings(path)
    for words in told:
        assert words in str(error.value)


def test_a_mistake_in_the_environment_is_named_with_its_variable():
    with pytest.raises(InputError, match=r"COLUMNIST_POLICY_MOOD.*did you mean 'mode'"):
        load_settings(None, {"COLUMNIST_POLICY_MOOD": "auto"})


def test_a_file_that_is_not_there_names_the_command_that_writes_one(tmp_path):
    with pytest.raises(InputError, match="columnist config init"):
        load_settings(tmp_path / "none.toml")


def test_a_flag_is_read_as_toml_or_text():
    assert parse_flag("policy.entropy_nats=0.2") == ("policy.entropy_nats", 0.2)
    assert parse_flag("policy.mode=auto") == ("policy.mode", "auto")
    with pytest.raises(InputError, match=r"SECTION\.FIELD=VALUE"):
        parse_flag("auto")


def test_all_that_decisions_rest_on_is_taken_over_from_the_settings():
    """A limit that got lost on the way would limit nothing."""
    flags = {
        "context.host": "WSe2",
        "policy.mode": "auto",
        "limits.dose_e_per_a2": 5.0,
        "goals.entropy_nats": 0.2,
        "watch.no_frame_s": 7.0,
        "source.command_timeout_s": 9.0,
        "session.max_maps": 4,
    }
    settings = load_settings(None, flags=flags)
    rules = rules_of(settings, end_with_source=True)
    for section in ("context", "policy", "limits", "goals", "watch"):
        assert getattr(rules, section) == getattr(settings, section) != getattr(Rules(), section), section
    assert (rules.command_timeout_s, rules.max_maps, rules.end_with_source) == (9.0, 4, True)
