"""Errors that a user can mend: each says what was expected, what was seen, and how to go on."""


class InputError(ValueError):
    """Something given from outside cannot be used; the message says why and what is possible."""


class UnknownMaterialError(InputError):
    """An element, host or dopant that the project has no data for."""


class MissingKernelError(InputError):
    """An energy, species or annulus that the kernel table does not hold."""
