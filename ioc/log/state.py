"""The state of the stages as bytes: one canonical form, so that equal states have equal bytes and one hash.

A state is made of nested dicts and lists of str, int, float, bool, None and bytes, and numpy arrays. Pure.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Final

import msgspec
import numpy as np

_ARRAY: Final = 1
"""MessagePack's extension type for an array: (dtype, shape) in MessagePack, then its elements in C order."""


def _hook(value: object) -> msgspec.msgpack.Ext:
    if not isinstance(value, np.ndarray) or value.dtype.hasobject:
        raise TypeError(f"a state holds no {type(value).__name__}")
    head = msgspec.msgpack.encode((value.dtype.str, value.shape))
    return msgspec.msgpack.Ext(_ARRAY, bytes((len(head),)) + head + value.tobytes())


def _ext_hook(code: int, data: memoryview) -> Any:
    if code != _ARRAY:
        raise ValueError(f"unknown extension {code}")
    end = 1 + data[0]
    dtype, shape = msgspec.msgpack.decode(data[1:end], type=tuple[str, tuple[int, ...]])
    return np.frombuffer(data[end:], np.dtype(dtype)).reshape(shape).copy()


_ENCODER: Final = msgspec.msgpack.Encoder(enc_hook=_hook, order="deterministic")
_DECODER: Final = msgspec.msgpack.Decoder(ext_hook=_ext_hook)


def pack_state(state: Mapping[str, Any]) -> bytes:
    """The state's canonical bytes: keys in order, arrays with their types."""
    return _ENCODER.encode(state)


def unpack_state(data: bytes) -> dict[str, Any]:
    """The state again; its arrays are its own and may be written to. Raises ValueError for anything else."""
    try:
        state = _DECODER.decode(data)
    except (TypeError, IndexError) as error:
        raise ValueError(f"not a state: {error}") from error
    if not isinstance(state, dict):
        raise ValueError("not a state")
    return state


def state_hash(state: Mapping[str, Any]) -> str:
    """sha-256 in hex of the state's canonical bytes."""
    return hashlib.sha256(pack_state(state)).hexdigest()
