import argparse
import stat

import pytest
from zmq.auth import load_certificate

from drivers.bridge import Bridge, Options
from drivers.commands.keys import add_arguments, run
from drivers.contract.errors import InputError
from drivers.fake import FakeMicroscope
from drivers.keys import Guard, allow, entries, forget, is_loopback, make_own, own, read_keys, trust


@pytest.fixture
def folder(tmp_path):
    make_own(tmp_path / "keys")
    return tmp_path / "keys"


def test_the_secret_key_is_its_owners_alone_and_pyzmq_reads_it(folder):
    assert stat.S_IMODE((folder / "own.key_secret").stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    pair = own(folder)
    assert load_certificate(folder / "own.key_secret") == (pair.public, pair.secret)
    assert load_certificate(folder / "own.key") == (pair.public, None)
    assert pair.secret.decode() not in repr(pair)


def test_a_secret_key_that_others_may_read_is_refused(folder):
    (folder / "own.key_secret").chmod(0o644)
    with pytest.raises(InputError, match="expected mode 600, found 644"):
        own(folder)


def test_a_pair_is_not_made_twice(folder):
    with pytest.raises(InputError, match="is there already"):
        make_own(folder)


def test_who_is_allowed_is_listed_and_may_be_forgotten(folder, tmp_path):
    one, other = (make_own(tmp_path / name).public.decode() for name in ("one", "other"))
    allow(folder, "control", "operator", one)
    allow(folder, "listen", "viewer", other)
    assert [(entry.name, entry.access) for entry in entries(folder)] == [
        ("operator", "control"),
        ("viewer", "listen"),
    ]
    guard = Guard(folder)
    assert (guard.access_of(one), guard.access_of(other)) == ("control", "listen")
    with pytest.raises(InputError, match="operator may control already"):
        allow(folder, "listen", "again", one)
    forget(folder, "operator")
    assert guard.access_of(one) is None
    with pytest.raises(InputError, match="there are: viewer"):
        forget(folder, "operator")


@pytest.mark.parametrize("name", ["../own", "a/b", "", ".hidden", "x" * 65], ids=repr)
def test_a_name_that_could_be_a_path_is_refused(folder, name):
    with pytest.raises(InputError, match="expected a name"):
        allow(folder, "listen", name, own(folder).public.decode())


@pytest.mark.parametrize("key", ["", "x", "~" * 40, "é" * 40, "a" * 41, "#" * 40], ids=repr)
def test_what_is_no_key_is_refused(folder, key):
    with pytest.raises(InputError, match="expected a public key"):
        trust(folder, key)


def test_where_no_server_is_named_its_key_is_asked_for(folder):
    with pytest.raises(InputError, match="columnist keys trust"):
        read_keys(folder)


def test_a_file_that_is_no_key_lets_nobody_in(folder, tmp_path):
    allow(folder, "control", "operator", make_own(tmp_path / "one").public.decode())
    guard = Guard(folder)
    (folder / "control" / "broken.key").write_text("curve\npublic-key\n")
    assert guard.access_of(own(tmp_path / "one").public.decode()) is None
    with pytest.raises(InputError, match=r"broken\.key: expected a key"):
        Guard(folder)


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "192.168.1.5", "microscope-pc", "127.0.0.1.example.org", "*", "::1", "[::1]"]
)
def test_a_bridge_that_others_reach_needs_keys(host):
    assert not is_loopback(host)
    with pytest.raises(InputError, match="columnist keys make"):
        Bridge(FakeMicroscope(), Options(host=host, port=0))


@pytest.fixture
def parser():
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser


def test_no_key_that_we_make_is_taken_for_an_option(tmp_path, monkeypatch):
    pairs = [(b"-" + b"1" * 39, b"2" * 40), (b"3" * 40, b"4" * 40)]
    monkeypatch.setattr("zmq.curve_keypair", lambda: pairs.pop(0))
    assert make_own(tmp_path / "keys").public == b"3" * 40


def test_a_key_of_other_software_that_begins_with_a_dash_is_allowed_and_trusted(parser, folder):
    key = "-" + "1" * 39
    for words in (("allow", "viewer"), ("trust",)):
        assert run(parser.parse_args([*words, "--folder", str(folder), "--", key])) == 0
    assert Guard(folder).access_of(key) == "listen"
    assert read_keys(folder).server == key.encode()


def test_the_command_makes_allows_and_lists(parser, tmp_path, capsys):
    folder = ("--folder", str(tmp_path / "keys"))
    key = make_own(tmp_path / "viewer").public.decode()
    for words in (("make",), ("allow", "viewer", key), ("list",)):
        assert run(parser.parse_args([*words, *folder])) == 0
    said = capsys.readouterr().out
    assert f"own      {own(tmp_path / 'keys').public.decode()}" in said
    assert f"listen   {key} viewer" in said
    assert own(tmp_path / "keys").secret.decode() not in said
