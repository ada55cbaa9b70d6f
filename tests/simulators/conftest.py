"""The province's series as the simulators read them."""

from __future__ import annotations

from pathlib import Path

import pytest

from simulators.catalog import Series, read

LAO_CAI = Path(__file__).resolve().parents[2] / "packs" / "lao-cai"


@pytest.fixture(scope="session")
def province() -> tuple[Series, ...]:
    return read(LAO_CAI)


@pytest.fixture(scope="session")
def by_id(province: tuple[Series, ...]) -> dict[str, Series]:
    return {series.id: series for series in province}
