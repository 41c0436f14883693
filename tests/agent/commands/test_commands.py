import argparse
import importlib.util
import json

import pytest
import zmq

from agent import diagnosis
from agent.__main__ import main
from agent.commands import run
from agent.commands.listen import line_of
from agent.events import FrameSpoiled, SessionEnding
from agent.listening import Heard, Listener
from agent.settings import Settings
from agent.settings_file import load_settings
from drivers.contract.messages import Rejected
from sim_microscope.commands import serve


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """A folder without settings."""
    monkeypatch.chdir(tmp_path)


def test_config_init_writes_the_defaults_and_not_over_what_is_there(tmp_path, capsys):
    assert main(["config", "init"]) == 0
    assert load_settings(tmp_path / "columnist.toml") == Settings()
    assert main(["config", "init"]) == 2
    assert "--force" in capsys.readouterr().err
    assert main(["config", "init", "--force"]) == 0


def test_doctor_finds_nothing_bad_where_all_is_well(capsys):
    words = [f"publish.{name}=tcp://127.0.0.1:0" for name in ("maps", "snapshot", "control")]
    words += ["source.connect=tcp://127.0.0.1:9"]
    assert main(["doctor", "--json", *(word for each in words for word in ("--set", each))]) == 0
    findings = {finding["subject"]: finding for finding in json.loads(capsys.readouterr().out)}
    assert {"settings", "packages", "weights", "device", "kernels", "disk", "ports"} <= findings.keys()
    assert findings["weights"]["verdict"] == "good"
    assert findings["instrument"]["verdict"] == "warning"
    assert "--simulate" in findings["instrument"]["remedy"]


def test_doctor_names_what_is_wrong_and_how_to_mend_it(capsys, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with zmq.Context() as context, context.socket(zmq.PUB) as taken:
        port = taken.bind_to_random_port("tcp://127.0.0.1")
        words = [
            f"publish.maps=tcp://127.0.0.1:{port}",
            "analysis.network=mlp-none",
            "analysis.device=cuda:99",
            "session.folder=file/below",
            "source.connect=tcp://127.0.0.1:9",
        ]
        status = main(["doctor", "--json", *(word for each in words for word in ("--set", each))])
    assert status == 1
    findings = {finding["subject"]: finding for finding in json.loads(capsys.readouterr().out)}
    bad = {subject for subject, finding in findings.items() if finding["verdict"] == "bad"}
    assert bad == {"weights", "device", "disk", "ports"}
    assert findings["instrument"]["verdict"] == "warning"
    assert all(findings[subject]["remedy"] for subject in (*bad, "instrument"))


def test_doctor_names_two_sockets_that_have_one_address(capsys):
    with zmq.Context() as context, context.socket(zmq.PUB) as probe:
        port = probe.bind_to_random_port("tcp://127.0.0.1")
    words = [f"publish.{name}=tcp://127.0.0.1:{port}" for name in ("maps", "control")]
    words += ["publish.snapshot=tcp://127.0.0.1:0"]
    assert main(["doctor", "--json", *(word for each in words for word in ("--set", each))]) == 1
    findings = {finding["subject"]: finding for finding in json.loads(capsys.readouterr().out)}
    assert findings["ports"]["verdict"] == "bad"
    assert "set publish.control to another address" in findings["ports"]["seen"]


@pytest.mark.parametrize("name", ["jinja2", "matplotlib", "rsciio", "scipy"])
def test_doctor_names_a_package_that_is_not_installed(name, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda wanted: None if wanted == name else find(wanted))
    finding = diagnosis._packages(Settings())
    assert (finding.verdict, finding.seen) == ("bad", f"not installed: {name}")


def test_doctor_stops_at_settings_that_are_wrong(capsys):
    assert main(["doctor", "--set", "policy.moed=auto"]) == 1
    assert "did you mean 'mode'" in capsys.readouterr().out


def test_orders_to_nobody_say_so(capsys):
    for words in (["requests"], ["approve", "r1"], ["deny", "r1"], ["mode", "auto"], ["stop"]):
        assert main([*words, "--at", "tcp://127.0.0.1:9", "--timeout", "0.05"]) == 2
        assert "no agent answers" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["requests"], ["mode", "auto"], ["stop"], ["listen"]], ids=" ".join)
def test_an_address_that_is_none_is_said_so(words, capsys):
    assert main([*words, "--at", "foo"]) == 2
    assert "expected an address such as tcp://127.0.0.1:5880, found 'foo'" in capsys.readouterr().err


WAITS = {
    "requests": ["requests", "--timeout"],
    "stop": ["stop", "--timeout"],
    "listen": ["listen", "--timeout"],
    "serve watch": ["serve", "watch", ".", "--stable-s"],
}


@pytest.mark.parametrize("wait", ["nan", "-1", "1e9", "soon"])
@pytest.mark.parametrize("words", WAITS.values(), ids=WAITS)
def test_a_wait_that_is_none_is_said_so(words, wait, capsys):
    with pytest.raises(SystemExit) as ended:
        main([*words[:-1], f"{words[-1]}={wait}"])
    assert ended.value.code == 2
    assert f"{words[-1]}: expected seconds from 0 to 86400, found {wait!r}" in capsys.readouterr().err


@pytest.mark.parametrize("number", ["0", "-3", "few"])
def test_a_number_of_messages_that_never_comes_is_said_so(number, capsys):
    with pytest.raises(SystemExit) as error:
        main(["listen", "--count", number, "--timeout", "0"])
    assert error.value.code == 2
    assert f"expected a whole number of at least 1, found '{number}'" in capsys.readouterr().err


@pytest.mark.parametrize(("option", "name"), [("--share=2", "share"), ("--by-s=nan", "by_s")])
def test_a_fault_that_cannot_be_is_said_so(option, name, capsys):
    assert main(["faults", "tcp://127.0.0.1:9", "--kind", "delay", option]) == 2
    assert f"columnist faults: {name}: Input should be" in capsys.readouterr().err


def test_an_answer_to_a_request_that_does_not_wait_is_an_error(capsys, monkeypatch):
    answer = {"ok": True, "done": False, "said": ["there is no request r9; nothing is done"]}
    monkeypatch.setattr("agent.commands.order.send_order", lambda *words, **options: answer)
    for words in (["approve", "r9"], ["deny", "r9"]):
        assert main(words) == 1
        assert "there is no request r9" in capsys.readouterr().err


def test_listening_to_nobody_says_where_and_ends_when_told_to(capsys):
    assert main(["listen", "--at", "tcp://127.0.0.1:9", "--timeout", "0.05"]) == 1
    assert "listening at tcp://127.0.0.1:9; nothing comes unless an agent" in capsys.readouterr().err


def test_messages_that_were_missed_are_told_beside_the_lines_of_json(capsys, monkeypatch):
    heard = Heard("mode", {"topic": "mode", "number": 4, "body": {}}, b"", gap=3)
    monkeypatch.setattr(Listener, "messages", lambda self, timeout_s: iter([heard]))
    assert main(["listen", "--json", "--at", "tcp://127.0.0.1:9"]) == 0
    captured = capsys.readouterr()
    assert [json.loads(line) for line in captured.out.splitlines()] == [heard.envelope]
    assert "(3 messages of mode were missed)" in captured.err


@pytest.mark.parametrize(
    ("detector", "has"),
    [("HAADF", ["HAADF", "MAADF"]), ("35-120", ["HAADF", "MAADF", "ADF 35-120 mrad"])],
)
def test_a_simulated_microscope_has_the_detector_that_is_asked_for(detector, has):
    parser = argparse.ArgumentParser()
    run.add_arguments(parser)
    simulated = argparse.ArgumentParser()
    serve.add_arguments(simulated)
    words = run.simulator_options(parser.parse_args(["--simulate", "--detector", detector]))
    settings = serve.build_settings(simulated.parse_args(words))
    assert [one.name for one in settings.detectors] == has
    assert settings.active == (has[-1] if len(has) > 2 else detector,)


def test_at_the_end_every_frame_that_came_was_mapped_skipped_or_rejected(make):
    refused = Rejected(
        session=make.SESSION, sequence=1, fault="InputError", reason="cut short", remedy="copy it again"
    )
    repeated = make.frame_seen(0)
    ending = SessionEnding(at_s=20.0, reason="", is_aborted=False, wall_time="")
    events = [
        *(make.opened(when_behind="every"), make.link_made(), make.frame_seen(0), make.frame_mapped(0)),
        *(FrameSpoiled(at_s=2.0, rejected=refused), repeated, make.frame_seen(3), make.frame_seen(4), ending),
    ]
    state, _ = make.run_through(events)
    summary = run.summary_of(state.counts)
    assert summary == "5 came: 1 mapped, 2 skipped, 2 rejected; 0 dropped, 1 missing; 1000 columns"


LINES = {
    "map": (
        {
            "frame": {"sequence": 7},
            "settled": {
                "context": {
                    "specimen": {"host": "WSe2", "dopant": "Ti"},
                    "energy_kev": 80.0,
                    "detector": {"name": "HAADF"},
                }
            },
            "counts": {"x2": 9, "vac1": 1},
            "columns": 10,
            "mean_entropy_nats": 0.0123,
            "flags": [{"kind": "lost_rows", "message": "2 lines"}, {"kind": "spikes", "message": "1 pixel"}],
        },
        "map 3: frame 7, WSe2-Ti 80 keV HAADF, 10 columns (9 x2, 1 vac1), 0.012 nats, 120 ms; flags: "
        "lost_rows, spikes",
    ),
    "request": (
        {"id": "r1", "status": "failed", "outcome": "refused", "wish": {"reason": "Because."}},
        "request 3: r1 failed: refused. Because.",
    ),
    "rejection": ({"frame": None, "reason": "NaN", "remedy": "mend"}, "rejection 3: a message: NaN; mend"),
    "heartbeat": (
        {"mode": "auto", "link": "up", "fps": 2.0, "frames": {"seen": 4}},
        "heartbeat 3: auto, link up, 2.0 maps/s; 4 seen",
    ),
    "mode": ({"kind": "announce_mode", "mode": "auto"}, "mode 3: mode auto"),
}


@pytest.mark.parametrize("topic", LINES)
def test_what_is_heard_is_a_line(topic):
    body, line = LINES[topic]
    assert line_of({"topic": topic, "number": 3, "body": body, "latency_s": {"total": 0.12}}) == line


def test_run_refuses_what_makes_no_sense(capsys):
    assert main(["run", "--connect", "tcp://127.0.0.1:9", "--", "--host", "WSe2"]) == 2
    assert "without --simulate" in capsys.readouterr().err
    for speed in ("-3", "nan"):
        assert main(["run", "--replay", "none", "--speed", speed]) == 2
        assert f"expected --speed of 0 (full speed) or more, found {speed}" in capsys.readouterr().err
    assert main(["run", "--config", "none.toml"]) == 2
    assert "columnist config init none.toml" in capsys.readouterr().err


def test_a_map_of_an_undoped_specimen_names_no_dopant():
    body, line = LINES["map"]
    settled = {"context": body["settled"]["context"] | {"specimen": {"host": "WSe2", "dopant": None}}}
    told = line_of(
        {"topic": "map", "number": 3, "body": body | {"settled": settled}, "latency_s": {"total": 0.12}}
    )
    assert told == line.replace("WSe2-Ti", "WSe2")
