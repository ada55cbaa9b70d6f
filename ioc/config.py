"""Settings: `ioc.toml` and the environment (`IOC_MQTT__URL=…`) → frozen settings."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator
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


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Mqtt(_Model):
    """The broker that sensors publish to."""

    url: str = "mqtt://127.0.0.1:1883"
    """`mqtt://host:port` or `mqtts://host:port`."""
    username: str = ""
    password: SecretStr = SecretStr("")
    ca_file: Path | None = None
    """CA for mqtts; the system's by default."""
    client_id: str = "ioc-monitor"
    """Names the persistent session; one per instance."""
    topics: tuple[str, ...] = ("ioc/v1/#",)
    qos: Literal[0, 1] = 1
    keepalive_s: Annotated[int, Field(ge=1, le=3600)] = 20
    payload_bytes_max: Annotated[int, Field(ge=16)] = 256 * 1024

    @field_validator("url")
    @classmethod
    def _url(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in ("mqtt", "mqtts") or not parts.hostname:
            raise ValueError("must look like mqtt://host:1883 or mqtts://host:8883")
        return value

    @property
    def host(self) -> str:
        """Host name of `url`."""
        return urlsplit(self.url).hostname or ""

    @property
    def port(self) -> int:
        """Port of `url`, or MQTT's default."""
        parts = urlsplit(self.url)
        return parts.port or (8883 if parts.scheme == "mqtts" else 1883)

    @property
    def tls(self) -> bool:
        """Whether the connection is encrypted."""
        return self.url.startswith("mqtts:")


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
    verdict: VerdictSettings = VerdictSettings()
    mqtt: Mqtt = Mqtt()
    database: Database = Database()
    web: Web = Web()
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
