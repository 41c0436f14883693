import math

import drivers.command_book
from drivers.command_book import CommandBook
from drivers.contract.instrument import BlankBeam, CommandOutcome, CommandRequest, Refocus, SwitchEnergy
from drivers.fake import FakeMicroscope


def book():
    return CommandBook("s-1", FakeMicroscope().capabilities(), grace_s=1.0)


def request(id="req-1", command=None, session="s-1"):
    return CommandRequest(session=session, id=id, command=command or Refocus(), timeout_s=5.0)


def outcome(id="req-1", status="confirmed"):
    return CommandOutcome(id=id, status=status)


def test_a_command_is_handed_on_once_and_everybody_who_asked_hears_of_its_end():
    commands = book()
    assert commands.ask(b"a", "controller", request(), 0.0) == "hand on"
    assert commands.ask(b"b", "controller", request(), 0.0) == "wait"
    assert commands.finish(outcome()) == {b"a", b"b"}
    assert commands.ask(b"c", "controller", request(), 0.0) == outcome()


def test_a_second_end_counts_for_nothing():
    commands = book()
    commands.ask(b"a", "controller", request(), 0.0)
    commands.finish(outcome(status="timed_out"))
    assert commands.finish(outcome()) == set()
    assert commands.ask(b"a", "controller", request(), 0.0).status == "timed_out"
    assert commands.finish(outcome("never-asked")) == set()


def test_a_command_is_overdue_past_its_time_and_the_grace():
    commands = book()
    commands.ask(b"a", "controller", request(), 10.0)
    assert commands.deadlines_s() == [16.0]
    assert commands.overdue(15.9) == []
    assert commands.overdue(16.0) == commands.overdue(math.inf) == [request()]


def test_what_must_not_be_is_refused_with_the_reason():
    commands = book()
    reader = commands.ask(b"a", "reader", request(), 0.0)
    assert "reader sends no commands" in reader.reason
    yesterday = commands.ask(b"a", "controller", request(session="s-0"), 0.0)
    assert "for the session s-0" in yesterday.reason
    beyond = commands.ask(b"a", "controller", request(command=SwitchEnergy(energy_kev=300.0)), 0.0)
    assert "300 keV is not among" in beyond.reason
    commands.ask(b"a", "controller", request(), 0.0)
    other = commands.ask(b"a", "controller", request(command=BlankBeam()), 0.0)
    assert "another command had this id" in other.reason
    assert {one.status for one in (reader, yesterday, beyond, other)} == {"refused"}


def test_memory_of_old_commands_is_bounded(monkeypatch):
    monkeypatch.setattr(drivers.command_book, "REMEMBERED", 2)
    commands = book()
    for number in range(5):
        commands.ask(b"a", "controller", request(f"req-{number}"), 0.0)
        commands.finish(outcome(f"req-{number}"))
    assert commands.ask(b"a", "controller", request("req-4"), 0.0) == outcome("req-4")
    assert len(commands._asked) == 2
    repeated = commands.ask(b"a", "controller", request("req-0"), 0.0)
    assert repeated.status == "refused", "it was carried out, though its outcome is forgotten"
    assert "carried out long ago" in repeated.reason
