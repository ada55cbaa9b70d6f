"""`Input`: what the log holds. Nothing else may change state."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal

from ioc.model.batch import Batch
from ioc.model.command import Command
from ioc.model.event import Event

PAYLOAD_KEPT_BYTES = 64 * 1024
"""How much of a rejected payload the log keeps; `Rejected.length` has the full length."""


@dataclass(frozen=True, slots=True)
class Message:
    """Bytes from a source, at the edge only. `ack` is its handle, or None where nothing need be acknowledged."""

    source: str
    topic: str
    payload: bytes
    received_us: int
    retained: bool = False
    ack: Any = None


class Reason(StrEnum):
    """Why a payload, or one item of it, could not be taken."""

    TOPIC = "topic"
    UNKNOWN_SERIES = "unknown_series"
    NOT_ALLOWED = "not_allowed"
    NOT_UTF8 = "not_utf8"
    NOT_JSON = "not_json"
    DUPLICATE_KEY = "duplicate_key"
    WRONG_TYPE = "wrong_type"
    NOT_FINITE = "not_finite"
    BAD_TIME = "bad_time"
    BAD_QUALITY_WORD = "bad_quality_word"
    TOO_LARGE = "too_large"
    TOO_FAR_AHEAD = "too_far_ahead"
    TOO_MANY_FAULTS = "too_many_faults"
    DECODER_FAILED = "decoder_failed"


@dataclass(frozen=True, slots=True)
class Rejected:
    """What could not be decoded. `payload` is cut at PAYLOAD_KEPT_BYTES; `item` is the index in an array, or -1."""

    source: str
    topic: str
    reason: Reason
    detail: str
    received_us: int
    payload: bytes
    length: int
    item: int = -1
    retained: bool = False


@dataclass(frozen=True, slots=True)
class SourceState:
    """A source came or went; `generation` counts its connections."""

    source: str
    connected: bool
    generation: int
    detail: str = ""
    withdrawn: bool = False
    """It was taken out of the settings: nothing is expected of it any more."""


@dataclass(frozen=True, slots=True)
class SeriesAdded:
    """Series ids `{domain}/{station}/{quantity}` and the numbers they bear for ever."""

    items: tuple[tuple[int, str], ...]
    auto: bool = False


@dataclass(frozen=True, slots=True)
class PackLoaded:
    """Rules, registry and every setting a verdict depends on; the bytes lie in the log's `blob` under `hash`.

    `origin` is `folder`, or `posted` for rules that somebody sent in place of the folder's.
    """

    hash: str
    name: str
    origin: Literal["folder", "posted"] = "folder"
    actor: str = ""
    """Login name of who brought it in; empty where the machine itself found the folder changed."""
    actor_name: str = ""


@dataclass(frozen=True, slots=True)
class SystemFact:
    """Something about the centre itself: `name` is `disk_low`, `clock_step`, …; `asset` what it is about."""

    name: str
    asset: str
    active: bool
    value: float
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Tick:
    """A deadline was due."""


Body = Batch | Rejected | Command | Event | PackLoaded | SeriesAdded | SourceState | SystemFact | Tick


@dataclass(frozen=True, slots=True)
class Input:
    """One record of the log.

    `number` is unbroken from 1; `now_us` is the core's time, which never falls; `origin` is the source's offsets
    or connection generation, as text.
    """

    number: int
    now_us: int
    body: Body
    origin: str = ""
