"""Who may connect, and as what: CURVE keys in a folder, and a guard that lets nobody else in.

A folder of keys holds ``own.key_secret`` (mode 600) and ``own.key``, the pair of whoever runs here; under
``control/`` and ``listen/`` the public keys of those who may command, and of those who may only hear; and
``server.key``, the public key of the bridge or agent that is connected to from here.  The files are those
of pyzmq (ZPL), so other programs can read them.
"""

import contextlib
import os
import re
import stat
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import zmq
from zmq.auth import load_certificate
from zmq.auth.thread import ThreadAuthenticator
from zmq.utils import z85

from drivers.contract.errors import InputError

Access = Literal["control", "listen"]

#: What a socket lets in: those who may command alone, or both.
CONTROL_DOMAIN, LISTEN_DOMAIN = "columnist-control", "columnist-listen"

#: A connection that has not shown its key after this is closed [ms].
_HANDSHAKE_MS = 5000

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


@dataclass(frozen=True)
class KeyPair:
    """A public key, and its secret half; both as ZeroMQ writes them (Z85, 40 characters)."""

    public: bytes
    secret: bytes = field(repr=False)


@dataclass(frozen=True)
class Entry:
    """A key that is allowed something."""

    name: str
    access: Access
    public: str


def make_own(folder: Path) -> KeyPair:
    """Make the pair of whoever runs here.

    Raises
    ------
    InputError
        If there is one already: whoever knows it would be locked out.
    """
    path = folder / "own.key_secret"
    public, secret = zmq.curve_keypair()
    while public.startswith(b"-"):  # one in 85: a command line takes it for an option
        public, secret = zmq.curve_keypair()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise InputError(
            f"{path} is there already; name another folder, or remove it, and hand the new own.key to all "
            "who know the old one"
        ) from None
    with os.fdopen(handle, "w", encoding="ascii") as file:
        file.write(_text(public, secret))
    (folder / "own.key").write_text(_text(public), encoding="ascii")
    return KeyPair(public, secret)


def allow(folder: Path, access: Access, name: str, public: str) -> Path:
    """Put somebody's public key on the list of those who may command, or only listen.

    Raises
    ------
    InputError
        If the name or the key is none, or the name is taken.
    """
    if not _NAME.fullmatch(name):
        raise InputError(f"expected a name of letters, digits, _ . and -, found {name!r}")
    for entry in entries(folder):
        if entry.name == name or entry.public == public:
            raise InputError(
                f"{entry.name} may {entry.access} already with the key {entry.public}; `columnist keys "
                "forget` takes it off the list"
            )
    path = folder / access / f"{name}.key"
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.write_text(_text(_checked(public)), encoding="ascii")
    return path


def forget(folder: Path, name: str) -> None:
    """Take a key off the lists; its connections end when they are made anew.

    Raises
    ------
    InputError
        If no such name is listed.
    """
    for entry in entries(folder):
        if entry.name == name:
            (folder / entry.access / f"{name}.key").unlink()
            return
    known = ", ".join(entry.name for entry in entries(folder)) or "none"
    raise InputError(f"no key {name!r} in {folder}; there are: {known}")


def trust(folder: Path, public: str) -> Path:
    """Note the public key of the bridge or agent that is connected to from here."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / "server.key"
    path.write_text(_text(_checked(public)), encoding="ascii")
    return path


def entries(folder: Path) -> Iterator[Entry]:
    """Yield the keys that are allowed something, by name.

    Raises
    ------
    InputError
        If a file is no key.
    """
    accesses: tuple[Access, ...] = ("control", "listen")
    for access in accesses:
        for path in sorted((folder / access).glob("*.key")):
            yield Entry(path.stem, access, _read(path)[0].decode())


def own(folder: Path) -> KeyPair:
    """Read the pair of whoever runs here.

    Raises
    ------
    InputError
        If there is none, or others may read it.
    """
    path = folder / "own.key_secret"
    if not path.is_file():
        raise InputError(f"expected {path}, found none; `columnist keys make --folder {folder}` makes it")
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        raise InputError(
            f"{path}: expected mode 600, found {mode:o}: others may have read it; make a new one, or, if "
            f"nobody did, `chmod 600 {path}`"
        )
    public, secret = _read(path)
    if secret is None:
        raise InputError(f"{path}: expected a secret key, found a public one; copy the right file there")
    return KeyPair(public, secret)


def server_key(folder: Path) -> bytes:
    """Read the public key of who is connected to.

    Raises
    ------
    InputError
        If there is none.
    """
    path = folder / "server.key"
    if not path.is_file():
        raise InputError(
            f"expected {path}, the public key of what is connected to, found none; ask for its own.key, and "
            f"`columnist keys trust --folder {folder} 'KEY'`"
        )
    return _read(path)[0]


@dataclass(frozen=True)
class ClientKeys:
    """What a socket shows that connects, and whom it expects."""

    pair: KeyPair
    server: bytes

    def show(self, socket: "zmq.Socket[Any]") -> None:
        """Set a socket up, before it connects."""
        socket.curve_publickey, socket.curve_secretkey = self.pair.public, self.pair.secret
        socket.curve_serverkey = self.server


def read_keys(folder: Path) -> ClientKeys:
    """Read what is needed to connect.

    Raises
    ------
    InputError
        If a key is missing, or others may read the secret one.
    """
    return ClientKeys(own(folder), server_key(folder))


class Guard:
    """Lets those in whose keys are in a folder; they are looked up at every connection.

    Parameters
    ----------
    folder : Path

    Raises
    ------
    InputError
        If the folder has no pair of its own, or a file in it is no key.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._pair = own(folder)
        tuple(entries(folder))

    @contextlib.contextmanager
    def watching(self, context: "zmq.Context[Any]") -> Iterator[None]:
        """Answer the handshakes of a context's sockets while the block runs."""
        authenticator = ThreadAuthenticator(context)
        authenticator.start()
        try:
            for domain in (CONTROL_DOMAIN, LISTEN_DOMAIN):
                authenticator.configure_curve_callback(domain, credentials_provider=self)
            yield
        finally:
            authenticator.stop()

    def protect(self, socket: "zmq.Socket[Any]", domain: str) -> None:
        """Have a socket, before it is bound, let only keys of this domain in."""
        socket.curve_server = True
        socket.curve_publickey, socket.curve_secretkey = self._pair.public, self._pair.secret
        socket.setsockopt_string(zmq.ZAP_DOMAIN, domain)
        socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)  # nobody, rather than anybody, while nothing watches
        socket.setsockopt(zmq.HANDSHAKE_IVL, _HANDSHAKE_MS)

    def callback(self, domain: str, key: bytes) -> bool:
        """Say whether a key, in Z85, may connect (pyzmq asks by this name)."""
        access = self.access_of(key.decode())
        return access == "control" or (access == "listen" and domain == LISTEN_DOMAIN)

    def access_of(self, public: str) -> Access | None:
        """What whoever holds a key may do; None is nothing."""
        try:
            return next((entry.access for entry in entries(self._folder) if entry.public == public), None)
        except InputError:  # a file that is no key was put there since: until it is mended nobody comes in
            return None


def check_reach(host: str, folder: Path | None, option: str) -> None:
    """Raise `InputError` unless only this machine reaches an address, or there are keys."""
    if folder is None and not is_loopback(host):
        raise InputError(
            f"other machines may reach {host}, and whoever connects could move the instrument: expected "
            f"127.0.0.1, or keys ({option}; `columnist keys make` makes them)"
        )


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address; of IPv4, for no other is listened on."""
    return host == "localhost" or re.fullmatch(r"127(\.\d{1,3}){3}", host) is not None


def _text(public: bytes, secret: bytes | None = None) -> str:
    lines = ["metadata", "curve", f'    public-key = "{public.decode()}"']
    if secret is not None:
        lines.append(f'    secret-key = "{secret.decode()}"')
    return "\n".join(lines) + "\n"


def _checked(public: str) -> bytes:
    """Return a key if it is one."""
    try:
        if len(public) != 40 or len(z85.decode(public.encode("ascii"))) != 32:
            raise ValueError
    except (ValueError, KeyError, struct.error):
        raise InputError(f"expected a public key of 40 characters (Z85), found {public[:60]!r}") from None
    return public.encode("ascii")


def _read(path: Path) -> tuple[bytes, bytes | None]:
    try:
        if path.stat().st_size > 4096:
            raise ValueError("longer than any key")
        public, secret = load_certificate(path)
    except (OSError, ValueError, IndexError) as error:
        raise InputError(f"{path}: expected a key ({error}); make it with `columnist keys`") from None
    _checked(public.decode("utf-8", "replace"))
    if secret is not None:
        _checked(secret.decode("utf-8", "replace"))
    return public, secret
