"""What HTTP requests under an Idempotency-Key brought: one that is sent twice is taken once, through every crash.

The log itself bears the keys: the origin of each record of such a request is its receipt, which follows from the token
and the key, with a digest of its body. A stage: told records and the time.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from ioc.model import Batch, Body

KEPT_US: Final = 24 * 3600 * 1_000_000
KEPT_MAX: Final = 100_000
_ORIGIN: Final = re.compile(r"http#([0-9a-f]{24}):([0-9a-f]{16})")


class Receipt(NamedTuple):
    """One request: when its first record was taken, the digest of its body, and how many readings it brought."""

    at_us: int
    digest: str
    accepted: int


def receipt_of(token: str, key: str) -> str:
    """The receipt of what a token sends under a key, always the same."""
    return hashlib.sha256(f"{token}\n{key}".encode()).hexdigest()[:24]


def digest_of(body: bytes) -> str:
    """Tells one body from another."""
    return hashlib.sha256(body).hexdigest()[:16]


def origin_of(receipt: str, digest: str = "") -> str:
    """The origin of a request's records; without a digest it is never recognised again."""
    return f"http#{receipt}:{digest}" if digest else f"http#{receipt}"


class Receipts:
    """Requests by receipt, for a day and within a bound; the oldest go first."""

    def __init__(self) -> None:
        self._kept: dict[str, Receipt] = {}

    def find(self, receipt: str, now_us: int) -> Receipt | None:
        """What came under this receipt, while it is remembered."""
        kept = self._kept.get(receipt)
        return kept if kept is not None and now_us - kept.at_us < KEPT_US else None

    def feed(self, origin: str, body: Body, now_us: int) -> None:
        """One record with an origin; those of other sources are passed over."""
        match = _ORIGIN.fullmatch(origin)
        if match is None:
            return
        receipt, digest = match.groups()
        readings = len(body) if isinstance(body, Batch) else 0
        kept = self.find(receipt, now_us)
        if kept is not None:
            self._kept[receipt] = kept._replace(accepted=kept.accepted + readings)
            return
        self._kept.pop(receipt, None)
        self._kept[receipt] = Receipt(now_us, digest, readings)
        # `now` never falls, so the order of insertion is the order of age.
        while len(self._kept) > KEPT_MAX or now_us - next(iter(self._kept.values())).at_us >= KEPT_US:
            del self._kept[next(iter(self._kept))]

    def state(self) -> list[list[Any]]:
        """Every receipt, oldest first."""
        return [[receipt, *kept] for receipt, kept in self._kept.items()]

    def restore(self, state: Sequence[Sequence[Any]]) -> None:
        """Back to what `state` gave."""
        self._kept = {receipt: Receipt(*kept) for receipt, *kept in state}
