"""What an instrument's driver complains of: told once while it lasts."""

import math
from dataclasses import dataclass

#: Seconds without a complaint until the same one is told again, and between any two that are told.
QUIET_S = 10.0


@dataclass
class Complaints:
    """Remembers what was told.

    Parameters
    ----------
    told : str
        What was told last; empty once it is over.
    told_s, heard_s : float
        When that was, and when there was a complaint last, on the agent's monotonic clock [s].
    """

    told: str = ""
    told_s: float = -math.inf
    heard_s: float = -math.inf

    def hear(self, complaint: str, at_s: float) -> str:
        """Return what is to be told of a sign of life; empty for nothing new.

        Parameters
        ----------
        complaint : str
            Empty where there is none.
        at_s : float
            When it came.
        """
        if at_s - self.heard_s >= QUIET_S:
            self.told = ""
        if not complaint:
            return ""
        self.heard_s = at_s
        if complaint == self.told or at_s - self.told_s < QUIET_S:
            return ""
        self.told, self.told_s = complaint, at_s
        return complaint
