"""Connections to PostgreSQL in which every time is an int of microseconds since 1970, and what it means to be cut off."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import asyncpg

from ioc.errors import StoreUnavailable
from ioc.storage.rows import EPOCH_US, FIRST_US, LAST_US

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]
else:
    # The stubs know a type parameter that the class itself does not.
    Connection = asyncpg.Connection

AWAY: Final = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.InternalClientError,
    asyncpg.InterfaceError,
)
"""What being cut off from a database looks like: gone, starting, stopping, full, or not letting us in."""


def _encode(us: int) -> tuple[int]:
    return (min(max(us, FIRST_US), LAST_US) - EPOCH_US,)


def _decode(pg_us: tuple[int]) -> int:
    return pg_us[0] + EPOCH_US


async def times_as_us(connection: Any) -> None:
    """Make `timestamptz` an int of microseconds in this connection, which holds every year and no float."""
    await connection.set_type_codec(
        "timestamptz", schema="pg_catalog", encoder=_encode, decoder=_decode, format="tuple"
    )


async def connect(dsn: str, *, timeout_s: float = 10.0) -> Connection:
    """One connection; raises StoreUnavailable."""
    with unavailable():
        connection: Connection = await asyncpg.connect(
            dsn, timeout=timeout_s, server_settings={"application_name": "ioc"}
        )
        try:
            await times_as_us(connection)
        except BaseException:
            connection.terminate()
            raise
        return connection


@contextmanager
def unavailable() -> Iterator[None]:
    """Turn what being cut off looks like into StoreUnavailable."""
    try:
        yield
    except AWAY as error:
        raise StoreUnavailable(reason(error)) from error


def reason(error: BaseException) -> str:
    """One line for people; never a password, which no driver message holds."""
    told = " ".join(str(error).split())
    return told[:300] or type(error).__name__
