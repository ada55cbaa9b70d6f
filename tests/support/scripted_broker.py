"""An MQTT broker that says what a test wants it to say, in the pieces that the test wants, and then hangs up."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from support.mqtt_packets import CONNACK, suback


class ScriptedBroker:
    """`async with ScriptedBroker(protocol) as broker: broker.script = […]`.

    Each connection gets its CONNACK, the answer to its SUBSCRIBE and then the pieces of `script`, each as a write of
    its own; then the broker hangs up, once it has heard `hangs_up_after`. `heard` is what clients wrote, one entry a
    connection.
    """

    def __init__(
        self,
        protocol: str = "3.1.1",
        script: Sequence[bytes] = (),
        *,
        code: int = 1,
        hangs_up_after: bytes = b"",
    ) -> None:
        self.protocol = protocol
        self.script = script
        self.connack = CONNACK[protocol]
        self.code = code
        self.hangs_up_after = hangs_up_after
        self.heard: list[bytearray] = []

    async def __aenter__(self) -> ScriptedBroker:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard = bytearray()
        self.heard.append(heard)
        try:
            heard += await _packet(reader)
            writer.write(self.connack)
            while True:
                packet = await _packet(reader)
                heard += packet
                if packet[0] == 0x82:
                    break
            writer.write(suback(packet, self.protocol, self.code))
            for piece in self.script:
                writer.write(piece)
                await writer.drain()
                # The client, which runs in this loop, reads what it has so far.
                await asyncio.sleep(0)
            while self.hangs_up_after not in heard and (more := await reader.read(4096)):
                heard += more
            writer.write_eof()
            while more := await reader.read(4096):
                heard += more
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


async def _packet(reader: asyncio.StreamReader) -> bytes:
    """One packet of less than 16 KiB."""
    head = await reader.readexactly(2)
    if head[1] & 0x80:
        head += await reader.readexactly(1)
    length = (head[1] & 0x7F) | (head[2] << 7 if len(head) > 2 else 0)
    return head + await reader.readexactly(length)
