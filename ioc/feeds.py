"""The sources of one instance, as its settings name them."""

from __future__ import annotations

from ioc.config import Config, Kafka, Mqtt
from ioc.ingest.broker import Broker
from ioc.ingest.decoder import Decoder
from ioc.ingest.http import Given, HttpSource
from ioc.ingest.kafka import KafkaSource
from ioc.ingest.mqtt import MqttSource
from ioc.ingest.source import Source
from ioc.model import SourceState
from ioc.pipeline import Pipeline
from ioc.spine import Spine

MQTT = "mqtt"
KAFKA = "kafka"
HTTP = "http"


def sources(config: Config, pipeline: Pipeline, spine: Spine) -> list[Source]:
    """Every feed that is switched on, not yet running; the log is told of those that come, and of those that went."""
    made: list[Source] = []
    if config.mqtt.url:
        made.append(
            _mqtt(config.mqtt, pipeline, spine, decoder(config, spine, config.mqtt.payload_bytes_max))
        )
    if config.kafka.addresses:
        of_kafka = decoder(config, spine, config.kafka.payload_bytes_max)
        made.append(_kafka(config.kafka, pipeline, spine, of_kafka))
    made.append(_http(config, pipeline, spine, decoder(config, spine, config.http.body_bytes_max)))
    names = {source.name for source in made}
    for state in list(pipeline.sources.values()):
        if state.source not in names:
            detail = "no longer in the settings"
            spine.offer(SourceState(state.source, False, state.generation, detail, withdrawn=True))
    for source in made:
        if source.name not in pipeline.sources:
            # Else a feed that never comes up would be missed by nobody.
            spine.offer(SourceState(source.name, False, 0, "not connected yet"))
    return made


def decoder(config: Config, spine: Spine, payload_bytes_max: int) -> Decoder:
    """Of payloads of the native convention up to this size."""
    register = spine.register if config.verdict.auto_register else None
    return Decoder(spine.pipeline.numbers, payload_bytes_max, register)


def _generation(pipeline: Pipeline, name: str) -> int:
    known = pipeline.sources.get(name)
    return known.generation if known else 0


def _mqtt(mqtt: Mqtt, pipeline: Pipeline, spine: Spine, decoder: Decoder) -> MqttSource:
    broker = Broker(
        host=mqtt.host,
        port=mqtt.port,
        transport=mqtt.transport,
        path=mqtt.path,
        tls=mqtt.tls,
        ca_file=str(mqtt.ca_file) if mqtt.ca_file else None,
        cert_file=str(mqtt.cert_file) if mqtt.cert_file else None,
        key_file=str(mqtt.key_file) if mqtt.key_file else None,
        username=mqtt.username,
        password=mqtt.password.get_secret_value(),
        client_id=mqtt.client_id,
        topics=mqtt.topics,
        qos=mqtt.qos,
        keepalive_s=mqtt.keepalive_s,
        protocol=mqtt.protocol,
        session_expiry_s=mqtt.session_expiry_s,
        packet_bytes_max=mqtt.packet_bytes_max,
        fast=mqtt.fast,
    )
    return MqttSource(MQTT, broker, decoder=decoder, sink=spine, generation=_generation(pipeline, MQTT))


def _http(config: Config, pipeline: Pipeline, spine: Spine, decoder: Decoder) -> HttpSource:
    given = Given(
        sink=spine,
        decoder=decoder,
        receipts=pipeline.receipts,
        token_of=pipeline.accounts.token_of,
        writable=lambda: spine.writable,
        crowded=lambda: spine.crowded,
        now_us=spine.now_us,
        registers=config.verdict.auto_register,
    )
    return HttpSource(
        HTTP,
        given,
        body_bytes_max=config.http.body_bytes_max,
        body_timeout_s=config.http.body_timeout_s,
        requests_max=config.http.requests_max,
        generation=_generation(pipeline, HTTP),
    )


def _kafka(kafka: Kafka, pipeline: Pipeline, spine: Spine, decoder: Decoder) -> KafkaSource:
    return KafkaSource(
        KAFKA,
        brokers=kafka.addresses,
        topics=kafka.topics,
        pattern=kafka.pattern,
        group=kafka.group,
        start=kafka.start,
        security=kafka.security,
        mechanism=kafka.mechanism,
        username=kafka.username,
        password=kafka.password.get_secret_value(),
        ca_file=str(kafka.ca_file) if kafka.ca_file else None,
        cert_file=str(kafka.cert_file) if kafka.cert_file else None,
        key_file=str(kafka.key_file) if kafka.key_file else None,
        payload_bytes_max=kafka.payload_bytes_max,
        decoder=decoder,
        sink=spine,
        offsets=lambda: pipeline.offsets.get(KAFKA, {}),
        generation=_generation(pipeline, KAFKA),
    )
