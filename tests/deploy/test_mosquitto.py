"""`deploy/mosquitto.conf`, its accounts and rights, as a real mosquitto of the composed version understands them."""

from __future__ import annotations

import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from services.common import (
    ENVIRONMENT,
    Process,
    free_port,
    give,
    new_folder,
    service_user,
    tree,
    wait_until,
)

pytestmark = pytest.mark.services

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
TOPIC = "ioc/v1/disaster/lao_cai/water_level"
PASSWORDS = {"ioc": "reads", "gateway": "writes"}


class Broker:
    """The deployed broker, moved to a free port and a folder of its own."""

    def __init__(self) -> None:
        self.tree = tree("mosquitto")
        self.folder = new_folder(in_memory=True)
        self.port = free_port()
        for name in ("data", "run", "config"):
            (self.folder / name).mkdir(mode=0o700)
        moved = {
            "/mosquitto/data/": f"{self.folder}/data/",
            "/run/mosquitto/": f"{self.folder}/run/",
            "listener 1883": f"listener {self.port} 127.0.0.1",
        }
        text = (DEPLOY / "mosquitto.conf").read_text("utf-8")
        for given, here in moved.items():
            assert given in text
            text = text.replace(given, here)
        (self.folder / "config/mosquitto.conf").write_text(text, "utf-8")
        shutil.copy(DEPLOY / "mosquitto.acl", self.folder / "config")
        self.script = str(shutil.copy(DEPLOY / "mosquitto-start.sh", self.folder))
        for path in self.folder.rglob("*"):
            give(path)
        self.process = self._start()

    def _start(self) -> Process:
        programs = f"{self.tree}/usr/bin:{self.tree}/usr/sbin:{ENVIRONMENT['PATH']}"
        return Process(
            ["/usr/bin/env", f"PATH={programs}",
             f"IOC_MQTT_PASSWORD={PASSWORDS['ioc']}", f"IOC_GATEWAY_PASSWORD={PASSWORDS['gateway']}",
             "/bin/sh", self.script, self.folder / "config", self.folder / "run"],
            self.folder / "log", signal.SIGTERM,
        )  # fmt: skip

    def restart(self) -> None:
        """Stop it cleanly, start it anew."""
        self.process.stop()
        self.process = self._start()
        self.wait()

    def wait(self) -> None:
        """Until it is healthy, by what the compose file's health check asks."""
        question = ["-t", "$SYS/broker/uptime", "-C", "1", "-W", "3"]
        wait_until(lambda: self.ask("mosquitto_sub", "ioc", *question)[0] == 0, 15.0, "the broker is healthy")

    def ask(self, program: str, user: str, *args: str, given: str = "") -> tuple[int, str]:
        """Exit code and output of mosquitto_sub or mosquitto_pub as one of the accounts; `?` has none."""
        login = [] if user == "?" else ["-u", user, "-P", PASSWORDS.get(user, "wrong")]
        done = subprocess.run(
            [self.tree / "usr/bin" / program, "-h", "127.0.0.1", "-p", str(self.port), *login, *args],
            input=given, capture_output=True, text=True, env=ENVIRONMENT, timeout=30, check=False, **service_user(),
        )  # fmt: skip
        return done.returncode, done.stdout

    def log(self) -> str:
        """Everything it has said."""
        return (self.folder / "log").read_text("utf-8", "replace")

    def close(self) -> None:
        """Stop it and remove its data."""
        self.process.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


@pytest.fixture
def broker() -> Iterator[Broker]:
    running = Broker()
    try:
        running.wait()
        yield running
    finally:
        running.close()


def test_the_configuration_gives_no_warning(broker: Broker) -> None:
    said = broker.log().lower()
    assert "warning" not in said
    assert "error" not in said


def test_all_that_gateways_send_while_the_monitor_is_away_waits_for_it(broker: Broker) -> None:
    """More than mosquitto would keep by default, over a restart of the broker."""
    count = 3_000
    session = ["-i", "monitor", "-c", "-q", "1", "-t", "ioc/v1/#"]
    assert broker.ask("mosquitto_sub", "ioc", *session, "-E")[0] == 0
    lines = "".join(f"{n}\n" for n in range(count))
    assert broker.ask("mosquitto_pub", "gateway", "-q", "1", "-t", TOPIC, "-l", given=lines)[0] == 0
    broker.restart()
    code, got = broker.ask("mosquitto_sub", "ioc", *session, "-C", str(count), "-W", "15")
    assert code == 0
    assert got == lines


def test_nobody_gets_in_without_the_right_password(broker: Broker) -> None:
    for user in ("?", "someone"):
        code, _ = broker.ask("mosquitto_pub", user, "-q", "1", "-t", TOPIC, "-m", "1")
        assert code == 5, user


def test_the_monitor_cannot_write_and_a_gateway_cannot_listen(broker: Broker) -> None:
    broker.ask("mosquitto_pub", "ioc", "-q", "1", "-r", "-t", TOPIC, "-m", "forged")
    broker.ask("mosquitto_pub", "gateway", "-q", "1", "-r", "-t", "elsewhere", "-m", "forged")
    broker.ask("mosquitto_pub", "gateway", "-q", "1", "-r", "-t", f"{TOPIC}_2", "-m", "true")
    _, seen = broker.ask("mosquitto_sub", "ioc", "-t", "#", "-C", "1", "-W", "5", "-v")
    assert seen.strip() == f"{TOPIC}_2 true"
    code, heard = broker.ask("mosquitto_sub", "gateway", "-t", "ioc/v1/#", "-C", "1", "-W", "1", "-v")
    assert code
    assert not heard


def test_passwords_lie_hashed_and_for_the_broker_alone(broker: Broker) -> None:
    accounts = broker.folder / "run/passwords"
    assert accounts.stat().st_mode & 0o077 == 0
    text = accounts.read_text("utf-8")
    assert not any(f":{password}" in text for password in PASSWORDS.values())
