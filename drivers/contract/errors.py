"""Errors that a user can mend: each says what was expected, what was seen, and how to go on."""


def shown(text: object) -> str:
    r"""A path or other text as every file, terminal and message takes it; what is no UTF-8 as ``\udcff``."""
    return str(text).encode("utf-8", "backslashreplace").decode()


class InputError(ValueError):
    """Something given from outside cannot be used; the message says why and what is possible."""


class UnknownMaterialError(InputError):
    """An element, host or dopant that the project has no data for."""


class MissingKernelError(InputError):
    """An energy, species or annulus that the kernel table does not hold."""


class WireError(InputError):
    """Something on the wire cannot be used; whoever reads it goes on with the next message.

    Parameters
    ----------
    reason : str
        What was expected and what was seen.
    remedy : str
        What whoever sent it can do.
    """

    def __init__(self, reason: str, remedy: str) -> None:
        super().__init__(f"{reason}; {remedy}")
        self.reason = reason
        self.remedy = remedy


class WireVersionError(WireError):
    """A message of a wire version that is not spoken here."""


class MessageError(WireError):
    """A message that is garbled, of an unknown kind, or out of the contract."""


class EnvelopeError(MessageError):
    """Parts that are too few or too long, or a topic that does not fit its message."""


class FrameTooLargeError(WireError):
    """A frame of more bytes than may be taken."""


class FrameLengthError(WireError):
    """Pixels that are cut short, or longer than their header says."""


class ChecksumError(WireError):
    """Bytes that are not those that were sent."""


class PixelError(WireError):
    """Pixels that no detector gives: NaN, infinite or negative."""


class SequenceError(WireError):
    """A frame that was repeated, skipped or put out of order."""


class CommandRefusedError(InputError):
    """An instrument does not carry a command out, and has not begun to."""
