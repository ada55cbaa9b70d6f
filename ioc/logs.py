"""How the process speaks of itself: one line an event, for people on a terminal and as JSON elsewhere."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import TextIO

import structlog


def configure(to: Path | None = None) -> None:
    """Log to standard error, or to a file (mode 0600)."""
    stream: TextIO = sys.stderr
    if to is not None:
        to.touch(mode=0o600, exist_ok=True)
        stream = to.open("a", encoding="utf-8", buffering=1)
    people = stream.isatty()
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer() if people else structlog.processors.JSONRenderer(ensure_ascii=False)
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.StackInfoRenderer(),
            *([] if people else [structlog.processors.format_exc_info]),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.WriteLoggerFactory(stream),
    )
    logging.basicConfig(level=logging.WARNING, stream=stream, force=True)
