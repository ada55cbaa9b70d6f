from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ioc.log.state import pack_state, state_hash, unpack_state


def example() -> dict[str, Any]:
    return {
        "book": {"alarms": [{"id": "a", "value": 1.5, "acked": None}], "next": 2**61},
        "blob": b"\x00\xff",
        "marks": np.array([1, -(2**63)], np.int64),
        "bad": np.array([[True], [False]]),
        "nan": np.array([np.nan, -0.0]),
        "scalar": np.array(3, np.uint16),
        "none": np.zeros((0, 3), np.int32),
        "names": np.array(["a", "lào cai"]),
    }


def test_a_state_comes_back_with_its_arrays_types_and_shapes() -> None:
    back = unpack_state(pack_state(example()))
    for name, value in example().items():
        if isinstance(value, np.ndarray):
            assert back[name].dtype == value.dtype and back[name].shape == value.shape
            assert back[name].tobytes() == value.tobytes()
            assert back[name].flags.writeable
        else:
            assert back[name] == value


def test_the_order_in_which_keys_came_does_not_matter() -> None:
    turned = {name: example()[name] for name in reversed(example())}
    turned["book"] = dict(reversed(list(turned["book"].items())))
    assert pack_state(turned) == pack_state(example())
    assert state_hash(turned) == state_hash(example())


def test_a_view_of_an_array_equals_its_copy() -> None:
    columns = np.arange(12).reshape(3, 4)
    assert state_hash({"a": columns.T}) == state_hash({"a": columns.T.copy()})


@pytest.mark.parametrize(
    "change",
    [
        {"nan": np.array([np.nan, 0.0])},
        {"marks": np.array([1, 2**63], np.uint64)},
        {"blob": b""},
        {"more": 1},
    ],
    ids=["sign of zero", "type", "bytes", "key"],
)
def test_any_difference_changes_the_hash(change: dict[str, Any]) -> None:
    assert state_hash(example() | change) != state_hash(example())


@pytest.mark.parametrize(
    "value", [object(), np.array([object()]), {1, 2}.__iter__()], ids=["object", "objects", "iterator"]
)
def test_what_is_no_state_is_refused(value: Any) -> None:
    with pytest.raises(TypeError):
        pack_state({"a": value})


@pytest.mark.parametrize(
    "data", [b"", b"\xc0", b"\x91\x01", b"\x81\xa1a\xd4\x07\x00", b"\x81\xa1a\xc7\x00\x01"]
)
def test_bytes_that_are_no_state_are_a_value_error(data: bytes) -> None:
    with pytest.raises(ValueError):
        unpack_state(data)
