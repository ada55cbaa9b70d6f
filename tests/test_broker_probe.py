"""What `ioc doctor` finds out of a broker, on a real one with safe settings and with its defaults."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from services.mosquitto import Mosquitto

from ioc import doctor
from ioc.broker_probe import MESSAGES, probe
from ioc.config import Config, Mqtt
from ioc.doctor import Result
from ioc.publish import Publisher

pytestmark = [pytest.mark.services]

DEFAULTS = ("max_inflight_messages 20", "max_queued_messages 1000")


def findings(broker: Mosquitto, qos: int = 1) -> dict[str, doctor.Finding]:
    config = Config(data=Path("nowhere"), mqtt=Mqtt(url=broker.url, qos=1 if qos else 0))
    return {finding.en: finding for finding in doctor._broker(config)}


def test_a_broker_that_is_set_up_well_keeps_everything(mosquitto: Mosquitto) -> None:
    with Publisher(mosquitto.url) as publisher:
        found = probe(publisher)
    assert (found.sent, found.arrived) == (MESSAGES, MESSAGES)
    assert found.in_flight == MESSAGES
    assert findings(mosquitto)["Broker keeps messages"].result is Result.GOOD


def test_the_defaults_of_mosquitto_lose_messages_and_the_doctor_says_how_many(
    new_mosquitto: Callable[..., Mosquitto],
) -> None:
    broker = new_mosquitto(more=DEFAULTS)
    with Publisher(broker.url) as publisher:
        found = probe(publisher)
    assert found.in_flight == 20
    # The queue, the window, and what is published while the first acknowledgements make room.
    assert 1_020 <= found.arrived < MESSAGES
    told = findings(broker)["Broker keeps messages"]
    assert told.result is Result.BAD
    assert "were LOST" in told.detail
    assert "max_queued_messages" in told.detail


def test_a_small_window_loses_nothing_but_is_told(new_mosquitto: Callable[..., Mosquitto]) -> None:
    broker = new_mosquitto(more=("max_inflight_messages 20",))
    told = findings(broker)["Broker keeps messages"]
    assert told.result is Result.DOUBT
    assert "max_inflight_messages" in told.detail


def test_qos_0_is_told_as_a_setting_that_loses(mosquitto: Mosquitto) -> None:
    assert findings(mosquitto, qos=0)["QoS"].result is Result.DOUBT
