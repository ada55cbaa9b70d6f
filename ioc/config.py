"""Settings: `ioc.toml` and the environment (`IOC_MQTT__URL=…`) → frozen settings."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from ioc.errors import ConfigError
from ioc.pack import Settings as VerdictSettings

PACKS = Path(__file__).resolve().parent.parent / "packs"
"""The packs that ship with the product."""


_MQTT_PORTS = {"mqtt": 1883, "mqtts": 8883, "ws": 80, "wss": 443}


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Mqtt(_Model):
    """The broker that sensors publish to."""

    url: str = "mqtt://127.0.0.1:1883"
    """`mqtt://host:port`, `mqtts://…` with TLS, `ws://host:port/path` and `wss://…` through a websocket; empty for none."""
    username: str = ""
    password: SecretStr = SecretStr("")
    ca_file: Path | None = None
    """CA for mqtts and wss; the system's by default."""
    cert_file: Path | None = None
    """Our own certificate (PEM), where the broker asks for one."""
    key_file: Path | None = None
    """Its key, unless it stands in the same file."""
    client_id: Annotated[str, Field(min_length=1)] = "ioc-monitor"
    """Names the persistent session; one per instance."""
    topics: Annotated[tuple[str, ...], Field(min_length=1)] = ("ioc/v1/#",)
    qos: Literal[0, 1] = 1
    protocol: Literal["3.1.1", "5"] = "3.1.1"
    session_expiry_s: Annotated[int, Field(ge=60, le=0xFFFFFFFF)] = 14 * 86_400
    """How long the broker keeps the session while we are away; MQTT 5 only. The highest number is for ever."""
    keepalive_s: Annotated[int, Field(ge=1, le=3600)] = 20
    payload_bytes_max: Annotated[int, Field(ge=16)] = 256 * 1024
    packet_bytes_max: Annotated[int, Field(ge=1024, le=0xFFFFFFF)] = 4 << 20
    """A larger packet ends the connection before it is taken; keep the broker's own limit below."""
    fast: bool = True
    """Whether messages are taken from the socket under paho, or one by one from paho itself."""

    @field_validator("qos", mode="before")
    @classmethod
    def _qos(cls, value: Any) -> Any:
        return int(value) if value in ("0", "1") else value

    @field_validator("url")
    @classmethod
    def _url(cls, value: str) -> str:
        if not value:
            return value
        parts = urlsplit(value)
        if parts.scheme not in _MQTT_PORTS or not parts.hostname:
            raise ValueError(
                "must look like mqtt://host:1883, mqtts://host:8883, ws://host/mqtt or wss://host/mqtt"
            )
        if parts.username is not None or parts.password is not None:
            raise ValueError("names no user: put user and password into mqtt.username and mqtt.password")
        return value

    @field_validator("topics")
    @classmethod
    def _topics(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for topic in value:
            levels = topic.split("/")
            wild = any(("#" in level or "+" in level) and len(level) > 1 for level in levels)
            if not topic or "\0" in topic or wild or "#" in levels[:-1]:
                raise ValueError(
                    f"{topic!r} is no topic filter: + stands for one level, # for all at the end"
                )
        return value

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.key_file and not self.cert_file:
            raise ValueError("a key_file needs its cert_file")
        if self.packet_bytes_max < self.payload_bytes_max + 1024:
            raise ValueError("packet_bytes_max must be above payload_bytes_max by 1024 and more")
        return self

    @property
    def host(self) -> str:
        """Host name of `url`."""
        return urlsplit(self.url).hostname or ""

    @property
    def port(self) -> int:
        """Port of `url`, or the usual one."""
        parts = urlsplit(self.url)
        return parts.port or _MQTT_PORTS[parts.scheme]

    @property
    def transport(self) -> Literal["tcp", "websockets"]:
        """What MQTT runs over."""
        return "websockets" if self.url.startswith("ws") else "tcp"

    @property
    def path(self) -> str:
        """Path of the websocket."""
        return urlsplit(self.url).path or "/mqtt"

    @property
    def tls(self) -> bool:
        """Whether the connection is encrypted."""
        return self.url.startswith(("mqtts:", "wss:"))


class Database(_Model):
    """PostgreSQL for history; empty for none."""

    dsn: SecretStr = SecretStr("")
    keep_days: Annotated[float, Field(ge=0)] = 0.0
    """Readings older than this are dropped; 0 keeps them. The journal is always kept."""


class Web(_Model):
    """The one port of pages, REST and websockets."""

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8080
    public_url: str = ""
    """How browsers reach it, when a proxy stands before; requests from other origins are refused."""


class Http(_Model):
    """Readings by `POST /api/v1/readings`; open to whoever has a token of scope `readings`."""

    body_bytes_max: Annotated[int, Field(ge=1024, le=64 << 20)] = 8 << 20
    """Of one request, unpacked; beyond, 413."""
    body_timeout_s: Annotated[float, Field(gt=0, le=600)] = 30.0
    """How long a request's body may take to arrive; beyond, 408."""
    requests_max: Annotated[int, Field(ge=1)] = 32
    """Requests under way at once, at most half of them of one token; beyond, 429."""


class Kafka(_Model):
    """Kafka as a feed; without brokers there is none."""

    brokers: str = ""
    """`host:port,host:port`: some of the cluster's, it tells the others."""
    topics: tuple[str, ...] = ()
    pattern: str = ""
    """A regular expression; topics whose whole name it matches are read too, also those that come later."""
    group: Annotated[str, Field(min_length=1)] = "ioc-monitor"
    """The consumer group; its members share the partitions."""
    start: Literal["earliest", "latest"] = "earliest"
    """Where a partition begins that neither our log nor the group knows."""
    security: Literal["plaintext", "tls", "sasl_plaintext", "sasl_tls"] = "plaintext"
    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"
    username: str = ""
    password: SecretStr = SecretStr("")
    ca_file: Path | None = None
    """CA of the brokers' certificates; the system's by default."""
    cert_file: Path | None = None
    """Our own certificate (PEM), where the brokers ask for one."""
    key_file: Path | None = None
    """Its key, unless it stands in the same file."""
    payload_bytes_max: Annotated[int, Field(ge=16)] = 1 << 20

    @field_validator("brokers")
    @classmethod
    def _brokers(cls, value: str) -> str:
        for broker in filter(None, value.split(",")):
            host, _, port = broker.strip().rpartition(":")
            if not host or not port.isdecimal():
                raise ValueError("must look like host:9092,host:9092")
        return value

    @field_validator("pattern")
    @classmethod
    def _pattern(cls, value: str) -> str:
        try:
            re.compile(value)
        except re.error as error:
            raise ValueError(f"is no regular expression: {error}") from error
        return value

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.brokers and not self.topics and not self.pattern:
            raise ValueError("brokers are named, but neither topics nor a pattern")
        if self.brokers and self.security.startswith("sasl") and not self.username:
            raise ValueError(f"security = {self.security!r} needs a username")
        if self.key_file and not self.cert_file:
            raise ValueError("a key_file needs its cert_file")
        return self

    @property
    def addresses(self) -> list[str]:
        """The brokers, one by one."""
        return [broker.strip() for broker in self.brokers.split(",") if broker.strip()]


class LogSettings(_Model):
    """The log's folder is `data/log`."""

    segment_bytes: Annotated[int, Field(ge=64 * 1024)] = 256 << 20
    retention_days: Annotated[float, Field(gt=0)] = 90.0
    checkpoint_records: Annotated[int, Field(ge=1)] = 50_000
    disk_low_bytes: Annotated[int, Field(ge=0)] = 1 << 30


class Config(BaseSettings):
    """One instance of the monitor."""

    model_config = SettingsConfigDict(
        env_prefix="IOC_", env_nested_delimiter="__", frozen=True, extra="forbid"
    )

    data: Path = Path("ioc-data")
    pack: Path = PACKS / "lao-cai"
    watch_pack: bool = True
    """Whether a change of the pack's files is taken up by itself, within some seconds."""
    verdict: VerdictSettings = VerdictSettings()
    mqtt: Mqtt = Mqtt()
    database: Database = Database()
    web: Web = Web()
    http: Http = Http()
    kafka: Kafka = Kafka()
    log: LogSettings = LogSettings()
    queue_rows_max: Annotated[int, Field(ge=1)] = 200_000
    """Readings that may wait for the log; beyond, QoS 0 is shed and counted, QoS 1 waits at the broker."""


def read(file: Path | None, **given: Any) -> Config:
    """The settings of one instance; relative paths count from the file. Raises ConfigError naming the key."""
    values: dict[str, Any] = {}
    if file is not None:
        try:
            values = tomllib.loads(file.read_text("utf-8"))
        except OSError as error:
            raise ConfigError(f"{file}: cannot be read: {error.strerror}") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigError(f"{file}: not TOML: {error}") from error
        for key in ("data", "pack"):
            if isinstance(values.get(key), str):
                values[key] = file.parent / values[key]

    class FromFile(Config):
        """The environment counts more than the file, so that secrets need not stand in it."""

        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,
            file_secret_settings: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return init_settings, env_settings, InitSettingsSource(settings_cls, values)

    try:
        return FromFile(**given)
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(str(part) for part in fault["loc"])
        reason = fault["msg"].removeprefix("Value error, ")
        raise ConfigError(f"{file or 'settings'}: {where}: {reason}") from error
