"""The sources of one instance, as its settings name them."""

from __future__ import annotations

from ioc.config import Config, Mqtt
from ioc.ingest.decoder import Decoder
from ioc.ingest.mqtt import MqttSource
from ioc.ingest.source import Source
from ioc.pipeline import Pipeline
from ioc.spine import Spine

MQTT = "mqtt"


def sources(config: Config, pipeline: Pipeline, spine: Spine, decoder: Decoder) -> list[Source]:
    """Every feed that is switched on, not yet running."""
    return [_mqtt(config.mqtt, pipeline, spine, decoder)]


def _generation(pipeline: Pipeline, name: str) -> int:
    known = pipeline.sources.get(name)
    return known.generation if known else 0


def _mqtt(mqtt: Mqtt, pipeline: Pipeline, spine: Spine, decoder: Decoder) -> MqttSource:
    return MqttSource(
        MQTT,
        host=mqtt.host,
        port=mqtt.port,
        tls=mqtt.tls,
        ca_file=str(mqtt.ca_file) if mqtt.ca_file else None,
        username=mqtt.username,
        password=mqtt.password.get_secret_value(),
        client_id=mqtt.client_id,
        topics=mqtt.topics,
        qos=mqtt.qos,
        keepalive_s=mqtt.keepalive_s,
        decoder=decoder,
        sink=spine,
        generation=_generation(pipeline, MQTT),
    )
