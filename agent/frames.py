"""How the agent names a frame."""

from typing import Annotated

from pydantic import Field

from drivers.contract.context import Message


class FrameRef(Message):
    """A frame of the instrument's session, by its number there."""

    session: str
    sequence: Annotated[int, Field(ge=0)]

    def __str__(self) -> str:
        return f"frame {self.sequence} of {self.session}"
