"""The local socket by which `ioc user` and `ioc token` speak to the running instance.

The socket lies in the data folder with mode 0600: who may read the log may manage the accounts. One line of JSON
each way: a Command, and its Answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

from ioc.errors import IocError, LogWriteFailed
from ioc.model import COMMANDS, Answer, Command, Outcome, Verdict

NAME = "control.sock"
LINE_BYTES_MAX = 64 * 1024
TIMEOUT_S = 15.0


async def serve(folder: Path, submit: Callable[[Command], Awaitable[Outcome]]) -> asyncio.Server:
    """Answer commands until the returned server is closed."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(TIMEOUT_S):
                line = await reader.readline()
                try:
                    outcome = await submit(COMMANDS.validate_json(line))
                    reply = outcome.answer or Answer(verdict=Verdict.DONE)
                except ValueError as error:
                    reply = Answer(verdict=Verdict.REFUSED, reason=f"not a command: {error}")
                except LogWriteFailed as error:
                    reply = Answer(verdict=Verdict.REFUSED, reason=str(error))
                writer.write(reply.model_dump_json().encode() + b"\n")
                await writer.drain()
        except (TimeoutError, ConnectionError, ValueError):
            pass  # nobody to tell: they left, or sent a line without an end
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    with contextlib.suppress(FileNotFoundError):
        (folder / NAME).unlink()
    with _short(folder) as path:
        server = await asyncio.start_unix_server(answer, path, limit=LINE_BYTES_MAX)
    (folder / NAME).chmod(0o600)
    return server


def ask(folder: Path, command: Command) -> Answer | None:
    """The running instance's answer, or None if none runs."""
    with _short(folder) as path, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as link:
        link.settimeout(TIMEOUT_S)
        try:
            link.connect(path)
        except (FileNotFoundError, ConnectionRefusedError):
            return None
        link.sendall(command.model_dump_json().encode() + b"\n")
        data = b""
        while not data.endswith(b"\n"):
            part = link.recv(LINE_BYTES_MAX)
            if not part:
                raise IocError("the running instance closed the control socket without an answer")
            data += part
    return Answer.model_validate(json.loads(data))


@contextlib.contextmanager
def _short(folder: Path) -> Iterator[str]:
    """The socket's path; a folder's own descriptor stands for it where a path would exceed the 108 bytes allowed."""
    path = str(folder / NAME)
    if len(path.encode()) < 100:
        yield path
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{descriptor}/{NAME}"
    finally:
        os.close(descriptor)
