"""The log: JSON lines by structlog, bound to the session; nothing global is configured."""

import logging
from typing import TextIO

import structlog
from structlog.typing import FilteringBoundLogger


def open_log(stream: TextIO, level: str, session: str) -> FilteringBoundLogger:
    """Return a logger that writes one JSON object a line.

    Parameters
    ----------
    stream : file
        Where to write; flushed after every line.
    level : str
        ``"debug"``, ``"info"``, ``"warning"`` or ``"error"``.
    session : str
        Bound to every line.
    """
    logger = structlog.wrap_logger(
        structlog.WriteLogger(stream),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
    )
    bound: FilteringBoundLogger = logger.bind(session=session)
    return bound
