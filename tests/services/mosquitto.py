"""mosquitto 2.0.21 from the unpacked tree, set up the way `deploy/` sets it: no limit on what is in flight or queued."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from services.common import (
    ENVIRONMENT,
    Daemon,
    Process,
    cannot_be_had,
    free_port,
    give,
    new_folder,
    service_user,
    tree,
    wait_until,
)


class Mosquitto(Daemon):
    """One broker that a test may take away and bring back on the same port.

    `users` maps names to passwords and shuts anonymous clients out; `tls` serves mqtts with a certificate for
    127.0.0.1 and localhost that `ca_file` vouches for, and `ask_certificate` lets only those in who show one from there,
    as `cert_file` with `key_file` is; `websockets` speaks MQTT through them; `more` are further lines of its
    configuration.
    """

    def __init__(
        self,
        *,
        users: Mapping[str, str] | None = None,
        tls: bool = False,
        ask_certificate: bool = False,
        websockets: bool = False,
        more: Sequence[str] = (),
    ) -> None:
        self._tree = tree("mosquitto")
        self._folder = new_folder(in_memory=True)
        self.port = free_port()
        self.tls = tls
        self.websockets = websockets
        self.users = dict(users or {})
        self.ca_file = self._folder / "ca.pem"
        self.cert_file = self._folder / "client.pem"
        self.key_file = self._folder / "client.key"
        try:
            self._write_config(ask_certificate, more)
            self.start()
        except BaseException:
            self.close()
            raise

    @property
    def url(self) -> str:
        """Where it listens."""
        scheme = "ws" if self.websockets else "mqtt"
        return f"{scheme}{'s' if self.tls else ''}://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it and wait until it listens."""
        program = self._tree / "usr" / "sbin" / "mosquitto"
        process = Process(
            [program, "-c", self._folder / "mosquitto.conf"], self._folder / "log", signal.SIGTERM
        )
        self._process = process

        def listens() -> bool:
            assert process.running, process.said()
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", self.port)) == 0

        wait_until(listens, 10.0, "mosquitto listens")

    def log(self) -> str:
        """Everything it has said."""
        return (self._folder / "log").read_text("utf-8", "replace")

    def _write_config(self, ask_certificate: bool, more: Sequence[str]) -> None:
        lines = [
            f"listener {self.port} 127.0.0.1",
            *(["protocol websockets"] if self.websockets else []),
            f"allow_anonymous {'false' if self.users else 'true'}",
            "persistence true",
            f"persistence_location {self._folder}/",
            "max_inflight_messages 0",
            "max_queued_messages 10000000",
            "max_queued_bytes 0",
            "log_dest stderr",
        ]
        if self.users:
            lines.append(f"password_file {self._passwords()}")
        if self.tls:
            self._make_certificates()
            lines += [f"certfile {self._folder}/server.pem", f"keyfile {self._folder}/server.key"]
        if ask_certificate:
            lines += [f"cafile {self.ca_file}", "require_certificate true"]
        # A later line of the same name counts.
        (self._folder / "mosquitto.conf").write_text("\n".join([*lines, *more, ""]))
        give(self._folder / "mosquitto.conf")

    def _passwords(self) -> Path:
        path = self._folder / "passwords"
        program = self._tree / "usr" / "bin" / "mosquitto_passwd"
        path.touch(0o600)
        give(path)
        for name, password in self.users.items():
            subprocess.run(
                [program, "-b", path, name, password],
                check=True,
                capture_output=True,
                env=ENVIRONMENT,
                **service_user(),
            )
        return path

    def _make_certificates(self) -> None:
        if shutil.which("openssl") is None:
            cannot_be_had("mosquitto with TLS", "there is no openssl")
        folder = self._folder
        key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
        _openssl(
            folder, "req", "-x509", *key, "-subj", "/CN=IOC test CA", "-keyout", "ca.key", "-out", "ca.pem",
            "-addext", "keyUsage=critical,keyCertSign,cRLSign",
        )  # fmt: skip
        _openssl(
            folder, "req", "-x509", *key, "-subj", "/CN=127.0.0.1", "-CA", "ca.pem", "-CAkey", "ca.key",
            "-keyout", "server.key", "-out", "server.pem",
            "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost",
            "-addext", "basicConstraints=critical,CA:FALSE",
        )  # fmt: skip
        _openssl(
            folder, "req", "-x509", *key, "-subj", "/CN=monitor", "-CA", "ca.pem", "-CAkey", "ca.key",
            "-keyout", "client.key", "-out", "client.pem", "-addext", "basicConstraints=critical,CA:FALSE",
        )  # fmt: skip
        for name in ("server.key", "server.pem", "ca.pem"):
            give(folder / name)


def _openssl(folder: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)
