"""Apache Kafka from Maven, KRaft: one node, or three of which one may be killed."""

from __future__ import annotations

import base64
import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import uuid
from collections.abc import AsyncIterator, Mapping
from functools import cache
from pathlib import Path

from aiokafka import TopicPartition  # type: ignore[import-untyped]
from aiokafka.admin import AIOKafkaAdminClient, NewTopic, RecordsToDelete  # type: ignore[import-untyped]
from aiokafka.errors import KafkaError  # type: ignore[import-untyped]

from services.common import (
    ENVIRONMENT,
    Process,
    cannot_be_had,
    free_port,
    give,
    install,
    new_folder,
    run_apart,
    service_user,
    wait_until,
)

POM = Path(__file__).with_name("kafka-pom.xml")
PACKAGES = ("default-jre-headless", "maven")
SESSION_MS = 2_000
"""After so long without a heartbeat a node counts as dead and its partitions move; Kafka's default is 9 s."""
JAVA = ("-Xms64m", "-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto")
QUIET = "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"


@cache
def _libraries() -> Path | str:
    """The folder of jars, fetched once and kept; or why there is none."""
    if not all(map(shutil.which, ("java", "mvn"))) and (why := install(PACKAGES)):
        return f"Java or Maven: {why}"
    version = re.findall(r"<version>([\d.]+)</version>", POM.read_text("utf-8"))[1]
    owner = "" if os.geteuid() == 0 else f"-{os.getuid()}"
    place = Path("/var/tmp") / f"ioc-services-kafka-{version}{owner}"
    if place.exists():
        return place
    making = Path(tempfile.mkdtemp(prefix=f"{place.name}.", dir=place.parent))
    try:
        shutil.copy(POM, making / "pom.xml")
        done = subprocess.run(
            ["mvn", "-q", "-B", "dependency:copy-dependencies", "-DoutputDirectory=libs", "-DincludeScope=runtime"],
            cwd=making, capture_output=True, text=True, check=False, timeout=300,
        )  # fmt: skip
        if done.returncode:
            return f"mvn failed: {done.stdout[-300:]}{done.stderr[-300:]}"
        # The nodes run as another user.
        making.chmod(0o755)
        try:
            making.rename(place)
        except OSError:
            # Another run was first.
            assert (place / "libs").is_dir()
        return place
    except subprocess.TimeoutExpired:
        return "mvn took more than 300 s"
    finally:
        shutil.rmtree(making, ignore_errors=True)


class Node:
    """One broker and controller that a test may kill and start again on its ports."""

    def __init__(self, number: int, folder: Path, classpath: str) -> None:
        self.port, self.controller_port, self.secure_port = free_port(), free_port(), free_port()
        self.number = number
        self.folder = folder
        self._java = ["java", *JAVA, QUIET, "-cp", classpath]
        self._process: Process | None = None

    def format(self, cluster: str, more: list[str]) -> subprocess.Popen[bytes]:
        """Begin to prepare its data folder."""
        return subprocess.Popen(
            [*self._java, "kafka.tools.StorageTool", "format", "-t", cluster, "-c", self.properties, *more],
            env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **service_user(),
        )  # fmt: skip

    @property
    def properties(self) -> Path:
        """Its settings."""
        return self.folder / f"{self.number}.properties"

    @property
    def running(self) -> bool:
        """Whether its process lives."""
        return self._process is not None and self._process.running

    def start(self) -> None:
        """Start it; it answers a second or two later."""
        self._process = Process(
            [*self._java, "kafka.Kafka", self.properties], self.folder / f"{self.number}.log", signal.SIGTERM
        )

    def kill(self) -> None:
        """End it as a crash would."""
        assert self._process is not None
        self._process.kill()
        self._process = None

    def stop(self) -> None:
        """Clean shutdown."""
        if self._process is not None:
            self._process.stop()
            self._process = None

    def listens(self) -> bool:
        """Whether its port is open."""
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def said(self) -> str:
        """The end of its log."""
        return self._process.said() if self._process is not None else "not running"


class Kafka:
    """A cluster of `nodes`. Topics are made by the tests, never by asking for them.

    `users` maps names to passwords (SCRAM-SHA-512 and -256): each node then has a second listener with SASL and TLS
    (certificate for 127.0.0.1 and localhost that `ca_file` vouches for) beside the plain one.
    """

    def __init__(self, nodes: int = 1, *, users: Mapping[str, str] | None = None) -> None:
        found = _libraries()
        if isinstance(found, str):
            cannot_be_had("Apache Kafka", found)
        self._users = dict(users or {})
        self._folder = new_folder(in_memory=True)
        self.ca_file = self._folder / "ca.pem"
        self.nodes = [Node(n, self._folder, f"{found}/libs/*") for n in range(1, nodes + 1)]
        try:
            if self._users:
                self._make_certificates()
            self._format()
            self.start()
        except BaseException:
            self.close()
            raise

    @property
    def brokers(self) -> list[str]:
        """The plain listeners."""
        return [f"127.0.0.1:{node.port}" for node in self.nodes]

    @property
    def secure_brokers(self) -> list[str]:
        """The listeners with SASL and TLS."""
        return [f"127.0.0.1:{node.secure_port}" for node in self.nodes]

    def start(self) -> None:
        """Start the nodes that do not run and wait until every one of them answers."""
        for node in self.nodes:
            if not node.running:
                node.start()

        def answers() -> bool:
            for node in self.nodes:
                assert node.running, node.said()
            return all(map(Node.listens, self.nodes)) and run_apart(self._count()) == len(self.nodes)

        wait_until(answers, 60.0, "Kafka answers")

    def stop(self) -> None:
        """Take every broker away."""
        for node in self.nodes:
            node.stop()

    def close(self) -> None:
        """Kill the nodes (a clean stop of the last controllers takes long) and remove their data."""
        for node in self.nodes:
            if node.running:
                node.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def create_topic(self, name: str, partitions: int = 1, **settings: str) -> None:
        """A topic on every node, of which one may be missing (`min.insync.replicas`)."""
        run_apart(self._create(NewTopic(name, partitions, len(self.nodes), topic_configs=settings)))

    def delete_topic(self, name: str) -> None:
        """Away with it and its records."""
        run_apart(self._delete(name))

    def delete_records(self, topic: str, partition: int, before: int) -> None:
        """What retention does: everything before that offset is gone."""
        run_apart(self._delete_records(TopicPartition(topic, partition), before))

    async def _create(self, topic: NewTopic) -> None:
        async with self._admin() as admin:
            answer = await admin.create_topics([topic])
            assert all(error[1] == 0 for error in answer.topic_errors), answer

    async def _delete(self, name: str) -> None:
        async with self._admin() as admin:
            await admin.delete_topics([name])

    async def _delete_records(self, partition: TopicPartition, before: int) -> None:
        async with self._admin() as admin:
            await admin.delete_records({partition: RecordsToDelete(before_offset=before)})

    async def _count(self) -> int:
        """How many nodes are known to the first that answers."""
        with contextlib.suppress(KafkaError, OSError):
            async with self._admin() as admin:
                return len((await admin.describe_cluster())["brokers"])
        return 0

    @contextlib.asynccontextmanager
    async def _admin(self) -> AsyncIterator[AIOKafkaAdminClient]:
        admin = AIOKafkaAdminClient(bootstrap_servers=self.brokers, request_timeout_ms=10_000)
        try:
            await admin.start()
            yield admin
        finally:
            await admin.close()

    def _format(self) -> None:
        # An id that begins with a dash would be an option.
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=").replace("-", "0")
        more = [
            part
            for name, password in self._users.items()
            for kind in ("SCRAM-SHA-512", "SCRAM-SHA-256")
            for part in ("--add-scram", f"{kind}=[name={name},password={password}]")
        ]
        for node in self.nodes:
            node.properties.write_text("\n".join(f"{k}={v}" for k, v in self._settings(node).items()))
            give(node.properties)
        for formatting in [node.format(cluster, more) for node in self.nodes]:
            said, _ = formatting.communicate(timeout=60)
            assert formatting.returncode == 0, said.decode(errors="replace")

    def _settings(self, node: Node) -> dict[str, object]:
        count = len(self.nodes)
        plain = f"PLAINTEXT://127.0.0.1:{node.port}"
        settings: dict[str, object] = {
            "process.roles": "broker,controller",
            "node.id": node.number,
            "controller.quorum.voters": ",".join(
                f"{n.number}@127.0.0.1:{n.controller_port}" for n in self.nodes
            ),
            "listeners": f"{plain},CONTROLLER://127.0.0.1:{node.controller_port}",
            "advertised.listeners": plain,
            "controller.listener.names": "CONTROLLER",
            "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SECURE:SASL_SSL",
            "inter.broker.listener.name": "PLAINTEXT",
            "log.dirs": self._folder / str(node.number),
            "auto.create.topics.enable": "false",
            "min.insync.replicas": min(2, count),
            "default.replication.factor": count,
            "offsets.topic.replication.factor": count,
            "offsets.topic.num.partitions": 3,
            "transaction.state.log.replication.factor": count,
            "transaction.state.log.min.isr": min(2, count),
            "transaction.state.log.num.partitions": 3,
            "broker.session.timeout.ms": SESSION_MS,
            "broker.heartbeat.interval.ms": SESSION_MS // 4,
            "group.initial.rebalance.delay.ms": 0,
            "group.min.session.timeout.ms": 1_000,
        }
        if self._users:
            secure = f"SECURE://127.0.0.1:{node.secure_port}"
            settings |= {
                "listeners": f"{settings['listeners']},{secure}",
                "advertised.listeners": f"{plain},{secure}",
                "sasl.enabled.mechanisms": "SCRAM-SHA-512,SCRAM-SHA-256",
                "ssl.keystore.type": "PEM",
                "ssl.keystore.location": self._folder / "server.pem",
            }
            for kind in ("512", "256"):
                module = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
                settings[f"listener.name.secure.scram-sha-{kind}.sasl.jaas.config"] = module
        return settings

    def _make_certificates(self) -> None:
        if shutil.which("openssl") is None:
            cannot_be_had("Apache Kafka with TLS", "there is no openssl")
        key = ["-newkey", "rsa:2048", "-nodes", "-days", "2"]
        self._openssl(
            "req", "-x509", *key, "-subj", "/CN=IOC test CA", "-keyout", "ca.key", "-out", "ca.pem",
            "-addext", "keyUsage=critical,keyCertSign,cRLSign",
        )  # fmt: skip
        self._openssl(
            "req", "-x509", *key, "-subj", "/CN=127.0.0.1", "-CA", "ca.pem", "-CAkey", "ca.key",
            "-keyout", "server.key", "-out", "server.crt",
            "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost",
            "-addext", "basicConstraints=critical,CA:FALSE",
        )  # fmt: skip
        parts = [(self._folder / name).read_text() for name in ("server.key", "server.crt")]
        (self._folder / "server.pem").write_text("".join(parts))
        give(self._folder / "server.pem")

    def _openssl(self, *arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=self._folder, check=True, capture_output=True)
