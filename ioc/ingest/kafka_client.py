"""What aiokafka is told of security, and what it tells."""

from __future__ import annotations

import contextlib
import logging
import ssl
from collections.abc import Iterator
from typing import Any, Final

import structlog

from ioc.errors import ConfigError

_PROTOCOLS: Final = {
    "plaintext": "PLAINTEXT",
    "tls": "SSL",
    "sasl_plaintext": "SASL_PLAINTEXT",
    "sasl_tls": "SASL_SSL",
}

log = structlog.get_logger()


def security_settings(
    security: str,
    mechanism: str,
    username: str,
    password: str,
    ca_file: str | None,
    cert_file: str | None,
    key_file: str | None,
) -> dict[str, Any]:
    """Arguments for any of aiokafka's clients. Raises ConfigError for a file that cannot be used."""
    try:
        context = ssl.create_default_context(cafile=ca_file) if security.endswith("tls") else None
        if context is not None and cert_file:
            context.load_cert_chain(cert_file, key_file)
    except OSError as error:
        files = ", ".join(filter(None, (ca_file, cert_file, key_file)))
        raise ConfigError(f"kafka: a certificate cannot be used ({files}): {error}") from error
    return {
        "security_protocol": _PROTOCOLS[security],
        "ssl_context": context,
        "sasl_mechanism": mechanism,
        "sasl_plain_username": username,
        "sasl_plain_password": password,
    }


class ClientLog(logging.Handler):
    """What aiokafka says, each sentence once between two changes: while a broker is away it repeats them by the second."""

    def __init__(self, source: str) -> None:
        super().__init__(logging.WARNING)
        self.last = ""
        self._source = source
        self._said: set[str] = set()

    @contextlib.contextmanager
    def attached(self) -> Iterator[None]:
        """In place of what would print it."""
        logger = logging.getLogger("aiokafka")
        passes_on, logger.propagate = logger.propagate, False
        logger.addHandler(self)
        try:
            yield
        finally:
            logger.removeHandler(self)
            logger.propagate = passes_on

    def begin_anew(self) -> None:
        """Something changed: what it says from here on is new."""
        self._said.clear()
        self.last = ""

    def emit(self, record: logging.LogRecord) -> None:
        """Once for each sentence, whatever stands in its gaps."""
        self.last = record.getMessage()
        if record.msg not in self._said:
            self._said.add(str(record.msg))
            log.warning(
                "the Kafka client says", source=self._source, said=self.last, exc_info=record.exc_info
            )
