"""Who reads from a bridge, who controls, and who sets the pace."""

import secrets
from collections.abc import Iterator
from dataclasses import dataclass

from drivers.contract.errors import WireError
from drivers.contract.header import WIRE_VERSIONS
from drivers.contract.messages import Hello, Role
from drivers.flow import Subscription

#: A client that got its welcome says something within a few milliseconds, the ones in this repository at
#: least; after this [s] without a word its control is free for another.
UNHEARD_S = 1.0

#: Clients that are let in at a time.
MOST_CLIENTS = 256


@dataclass
class Client:
    """A client that was let in; the identities are ZeroMQ's names for its two connections."""

    token: str
    name: str
    role: Role
    max_frame_bytes: int
    control: bytes
    heard_s: float
    let_in_s: float
    key: str = ""
    data: bytes | None = None
    subscription: Subscription | None = None
    has_welcome: bool = False
    """Whether anything but a hello came from it, so that it must have had the welcome."""


class Roster:
    """The clients of a bridge; one of them controls at most."""

    def __init__(self) -> None:
        self._by_identity: dict[bytes, Client] = {}
        self._by_token: dict[str, Client] = {}
        self._awaits_controller = False

    def __iter__(self) -> Iterator[Client]:
        return iter(tuple(self._by_identity.values()))

    def let_in(
        self, identity: bytes, hello: Hello, now_s: float, key: str = "", *, may_control: bool = True
    ) -> tuple[Client, int]:
        """Let a client in, or let one in again that asks for another role.

        Parameters
        ----------
        identity : bytes
        hello : Hello
        now_s : float
        key : str
            The public key that it has shown.
        may_control : bool
            Whether that key may; without it, it reads.

        Returns
        -------
        client : Client
        version : int
            Of the wire, as agreed.

        Raises
        ------
        WireError
            If it speaks no version that is spoken here, or too many are here already.
        """
        version = next((version for version in hello.versions if version in WIRE_VERSIONS), None)
        if version is None:
            raise WireError(
                f"the bridge speaks the wire versions {', '.join(map(str, WIRE_VERSIONS))}, "
                f"the client {', '.join(map(str, hello.versions))}",
                "bring both to the same release",
            )
        before = self._by_token.get(hello.replaces or "")
        if before is not None and before.control != identity and before.key == key:
            self.forget(before)
        client = self._by_identity.get(identity)
        if client is None and len(self._by_identity) >= MOST_CLIENTS:
            raise WireError(
                f"{len(self._by_identity)} clients are here, which are as many as are let in",
                "end some of them; who gives no sign of life is forgotten after some seconds",
            )
        is_wanted = hello.role == "controller" and may_control
        if is_wanted:
            self._forget_unheard(identity, now_s)
        is_taken = any(one.role == "controller" for one in self if one is not client)
        role: Role = "controller" if is_wanted and not is_taken else "reader"
        if client is None:
            token = secrets.token_hex(16)
            client = Client(token, hello.client, role, hello.max_frame_bytes, identity, now_s, now_s, key)
            self._by_identity[identity] = self._by_token[token] = client
        client.role, client.heard_s = role, now_s
        return client, version

    def sender(self, identity: bytes, now_s: float) -> Client:
        """Return the client that sent something on the control socket.

        Raises
        ------
        WireError
            If it was not let in, or was forgotten.
        """
        client = self._by_identity.get(identity)
        if client is None:
            raise WireError("expected a hello first: this bridge does not know the sender", "send a hello")
        client.heard_s, client.has_welcome = now_s, True
        return client

    def holder(self, token: str, now_s: float, key: str = "") -> Client:
        """Return the client that a token was given to.

        Raises
        ------
        WireError
            If there is none, or it showed another key.
        """
        client = self._by_token.get(token)
        if client is None or client.key != key:
            raise WireError("this bridge does not know the token", "send a hello on the control socket first")
        client.heard_s, client.has_welcome = now_s, True
        return client

    def subscribe(self, client: Client, data: bytes, subscription: Subscription) -> None:
        """Note that a client asks for frames."""
        client.data, client.subscription = data, subscription
        self._awaits_controller |= client.role == "controller"

    def leave(self, client: Client) -> None:
        """Let a client go that said so; a controller that does gives the pace up too."""
        if client.role == "controller":
            self._awaits_controller = False
        self.forget(client)

    def forget(self, client: Client) -> None:
        """Let a client go that vanished; nothing that it has not safe is given up for its sake."""
        self._by_identity.pop(client.control, None)
        self._by_token.pop(client.token, None)

    def forget_silent(self, since_s: float) -> None:
        """Forget everybody of whom nothing was heard since then."""
        for client in self:
            if client.heard_s < since_s:
                self.forget(client)

    def _forget_unheard(self, identity: bytes, now_s: float) -> None:
        """Forget a controller that has said nothing but hello for a while, if another asks for control.

        Its welcome was probably lost, and this is the same client on another connection: without its token it
        cannot say so, and would only read until its former self's lease ends.
        """
        for client in self:
            is_unheard = not client.has_welcome and now_s - client.let_in_s >= UNHEARD_S
            if client.role == "controller" and is_unheard and client.control != identity:
                self.forget(client)

    def pace(self) -> int | None:
        """Sequence number below which frames are safe with whoever sets the pace; None leaves it as it is.

        The controller does.  Where there was none the fastest reader does, so that no reader can stop the
        instrument alone; after one has vanished nobody does.
        """
        subscribed = [(client.role, client.subscription) for client in self if client.subscription]
        controllers = [one.acknowledged for role, one in subscribed if role == "controller"]
        if controllers or self._awaits_controller:
            return max(controllers, default=None)
        return max((one.acknowledged for _, one in subscribed), default=None)
