"""Bridge and agent as processes of their own, over real sockets on the loopback."""

import os
import re
import shutil
import signal
import struct
import time

import numpy as np
import pytest
import zmq

from agent.recording import Recording

pytestmark = pytest.mark.system

#: Bytes of a column's record, and where its class and entropy lie in it, from `docs/wire-agent.md` alone.
RECORD, CLASS, ENTROPY = 49, 17, 38


def test_frames_of_a_bridge_become_maps_that_a_plain_client_reads(bridge, start_agent, listen):
    rules = ("policy.rule=entropy", "policy.entropy_nats=0", "policy.settle_frames=1")
    words = ("--mode", "advise", *(word for rule in rules for word in ("--set", rule)))
    agent = start_agent("--connect", bridge, "--no-report", "--set", "policy.when_behind=every", *words)
    listener = listen(agent)
    listener.until(lambda heard: len(heard.get("map", [])) > 16 and "request" in heard)

    envelope, raw = listener.heard["map"][-1]
    count = envelope["columns"]["count"]
    assert len(raw) == count * RECORD > 0
    classes = [raw[record * RECORD + CLASS] for record in range(count)]
    assert set(classes) <= set(range(5))
    entropies = [struct.unpack_from("<f", raw, record * RECORD + ENTROPY)[0] for record in range(count)]
    assert sum(entropies) / count == pytest.approx(envelope["body"]["mean_entropy_nats"], rel=1e-4, abs=1e-6)
    numbers = [envelope["number"] for envelope, _ in listener.heard["map"]]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))

    # the operator approves from another terminal, and the instrument confirms
    (request,) = [body for body in listener.bodies("request") if body["status"] == "proposed"]
    assert request["wish"]["figures"][0]["unit"] == "nats"
    answer = agent.order(kind="approve", request=request["id"])
    assert answer["said"] == ["request r1 is approved", "request r1 is sent"]
    listener.until(lambda heard: any(e["body"]["status"] == "confirmed" for e, _ in heard["request"]))
    assert "no request r7" in agent.order(kind="deny", request="r7")["said"][0]
    assert not agent.order(kind="dance")["ok"]
    listener.until(lambda heard: listener.detector() == "MAADF")

    # whoever joins late gets the last of everything, also of what was refused
    late = listen(agent)
    late.last()
    assert late.heard["map"][0][0]["number"] > 1
    assert late.bodies("session")[0]["kind"] == "session_opened"
    assert "NaN" in late.bodies("rejection")[0]["reason"]
    assert late.bodies("rejection")[0]["remedy"]

    assert agent.order(kind="stop")["ok"]
    out, _ = agent.process.communicate(timeout=30)
    assert agent.process.returncode == 0, out
    assert "the operator stopped the session" in out

    with Recording(agent.session) as recording:
        entries = list(recording.entries())
    told = [action for entry in entries for action in entry.actions if action.kind == "reject_frame"]
    assert [action.frame.sequence for action in told] == [12, 14]
    assert "60" in told[0].reason
    assert told[0].is_quarantined
    assert entries[-1].event.kind == "session_ending"
    assert not entries[-1].event.is_aborted
    mapped = [entry.event.frame.sequence for entry in entries if entry.event.kind == "frame_mapped"]
    assert mapped[:14] == [*range(12), 13, 15]


def test_it_stops_cleanly_when_told_to_by_a_signal(bridge, start_agent):
    agent = start_agent("--connect", bridge, "--no-report")
    time.sleep(0.5)
    status, out, errors = agent.end(signal.SIGINT)
    assert status == 0, errors
    assert "stopped by SIGINT" in out
    assert "Traceback" not in errors


def test_a_watched_folder_of_odd_names_is_gone_on_with_after_a_kill(picture, start_agent, tmp_path_factory):
    folder = tmp_path_factory.mktemp("watched")
    shutil.copy(picture, folder / os.fsdecode(b"bad\xff.npy"))
    cut = folder / os.fsdecode(b"cut\xff.npy")
    cut.write_bytes(b"\x93NUMPY")
    os.utime(cut, (1.0, 1.0))  # so that it comes first
    context = ("--host", "WSe2", "--dopant", "none", "--energy-kev", "80", "--detector", "HAADF")
    words = ("--watch", str(folder), "--present", "--plain", "--no-report", *context)

    def run_until_mapped(*more):
        agent = start_agent(*words, *more)
        said = ""
        while not re.search(r"^map \d+:", said, re.MULTILINE):
            line = agent.process.stdout.readline()
            assert line, agent.process.communicate()
            said += line
        return agent, said

    agent, _ = run_until_mapped()
    agent.end(signal.SIGKILL)
    shutil.copy(picture, folder / os.fsdecode(b"more\xff.npy"))
    agent, said = run_until_mapped("--continue")
    assert "the agent was restarted, and goes on" in said
    assert agent.end()[0] == 0
    with Recording(agent.session) as recording:  # there is one session only
        entries = list(recording.entries())
    files = [entry.event.header.frame.file for entry in entries if entry.event.kind == "frame_mapped"]
    assert files == ["bad\\udcff.npy", "more\\udcff.npy"]
    rejected = [
        action.reason for entry in entries for action in entry.actions if action.kind == "reject_frame"
    ]
    assert any("cut\\udcff.npy" in reason for reason in rejected)


def test_a_file_that_came_while_the_agent_was_away_is_read_when_it_goes_on(
    picture, start_agent, tmp_path_factory
):
    folder = tmp_path_factory.mktemp("watched")
    shutil.copy(picture, folder / "before.npy")
    context = ("--host", "WSe2", "--dopant", "none", "--energy-kev", "80", "--detector", "HAADF")
    words = ("--watch", str(folder), "--plain", "--no-report", *context)

    def wait_for(agent, pattern):
        while not re.search(pattern, line := agent.process.stdout.readline()):
            assert line, agent.process.communicate()

    agent = start_agent(*words)
    wait_for(agent, "in touch with")
    shutil.copy(picture, folder / "first.npy")
    wait_for(agent, r"^map 1:")
    agent.end(signal.SIGKILL)
    shutil.copy(picture, folder / "meanwhile.npy")
    agent = start_agent(*words, "--continue")
    wait_for(agent, "in touch with")
    shutil.copy(picture, folder / "last.npy")
    wait_for(agent, r"^map [23]:")
    assert agent.end()[0] == 0
    with Recording(agent.session) as recording:
        events = [entry.event for entry in recording.entries()]
    files = [event.header.frame.file for event in events if event.kind == "frame_mapped"]
    assert files[:2] == ["first.npy", "meanwhile.npy"]


def test_a_port_in_use_keeps_it_from_starting_and_names_the_remedy(columnist):
    with zmq.Context() as context, context.socket(zmq.PUB) as taken:
        port = taken.bind_to_random_port("tcp://127.0.0.1")
        result = columnist("run", "--set", f"publish.maps=tcp://127.0.0.1:{port}")
    assert result.returncode == 2
    assert f"{port} is in use" in result.stderr
    assert "publish.maps" in result.stderr


def test_a_typo_in_the_settings_keeps_it_from_starting_and_is_named(columnist, tmp_path):
    (tmp_path / "columnist.toml").write_text('[policy]\nmoed = "auto"\n')
    result = columnist("run")
    assert result.returncode == 2
    assert "line 2" in result.stderr
    assert "did you mean 'mode'" in result.stderr
    assert list(tmp_path.iterdir()) == [tmp_path / "columnist.toml"]


def test_a_recording_of_which_no_frame_can_be_used_ends_in_an_error_that_says_why(columnist, tmp_path):
    folder = tmp_path / "frames"
    folder.mkdir()
    np.save(folder / "haadf_1.npy", np.random.default_rng(1).random((48, 48)).astype(np.float32))
    sockets = [f"--set=publish.{name}=tcp://127.0.0.1:0" for name in ("maps", "snapshot", "control")]
    result = columnist("run", "--replay", str(folder), "--plain", *sockets)
    assert result.returncode == 1, result.stdout
    assert "no frame could be used" in result.stderr
    assert "host" in result.stderr
