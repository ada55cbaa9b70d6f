"""`ioc-simulate`: a province's stations as test telemetry, over MQTT or into files."""

from __future__ import annotations

import os
import signal
import sys
import threading
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from simulators import archive
from simulators.catalog import CatalogError, Series, duration_us, read, read_rules
from simulators.faults import Fault, Kind
from simulators.fleet import Fleet
from simulators.publisher import Broker, Publisher, Refused, Unreachable
from simulators.scene import Scene
from simulators.storm import Storm
from simulators.story import Story

PACK = Path(__file__).resolve().parent.parent / "packs" / "lao-cai"
BATCH_FROM = 2_000.0
"""Readings a second beyond which those of one series share a message."""
DAY_US = 86_400_000_000
WRITE_FROM = "2024-09-06T00:00:00+07:00"
"""The day before Yagi reached Vietnam."""

_TEXT = {
    "vi": {
        "start": "Mô phỏng {count} chuỗi dữ liệu → {host}:{port} (Ctrl-C để dừng)",
        "connected": "Đã kết nối {detail}",
        "lost": "Mất kết nối: {detail}. Đang thử lại…",
        "unreachable": "Không kết nối được {detail}. Đang thử lại…",
        "refused": "Máy chủ MQTT từ chối: {detail}. Kiểm tra tên và mật khẩu trong --mqtt-url.",
        "absent": "Không có máy chủ MQTT nào trả lời tại {detail}.",
        "written": "Đã ghi {rows} giá trị, {events} sự kiện thật vào {folder}",
        "done": "Đã gửi {readings} giá trị trong {messages} thông điệp",
    },
    "en": {
        "start": "Simulating {count} series → {host}:{port} (Ctrl-C to stop)",
        "connected": "Connected to {detail}",
        "lost": "Connection lost: {detail}. Trying again…",
        "unreachable": "Cannot reach {detail}. Trying again…",
        "refused": "The MQTT broker refuses: {detail}. Check user and password in --mqtt-url.",
        "absent": "No MQTT broker answered at {detail}.",
        "written": "Wrote {rows} readings and {events} true events to {folder}",
        "done": "Sent {readings} readings in {messages} messages",
    },
}

app = typer.Typer(add_completion=False, rich_markup_mode=None)


class Lang(StrEnum):
    """Language of what this command prints."""

    VI = "vi"
    EN = "en"


@app.command()
def simulate(
    mqtt_url: Annotated[
        str, typer.Option(envvar="IOC_SIMULATE_MQTT_URL", help="mqtt://user:password@host:port, or mqtts://…")
    ] = "mqtt://127.0.0.1:1883",
    pack: Annotated[Path, typer.Option(help="Folder of the pack whose stations speak.")] = PACK,
    rate: Annotated[
        float, typer.Option(min=0, help="Readings a second over all; 0 = by their intervals.")
    ] = 0.0,
    speed: Annotated[
        float, typer.Option(min=0.001, help="Time factor of daily rhythms and intervals.")
    ] = 1.0,
    seed: Annotated[int, typer.Option(help="One seed, one time: one value.")] = 1,
    story: Annotated[
        bool, typer.Option("--story/--no-story", help="A flood in the first two minutes.")
    ] = False,
    storm: Annotated[
        bool, typer.Option("--storm/--no-storm", help="Rain, floods, outages and faults of several days.")
    ] = False,
    storm_at: Annotated[
        str, typer.Option(help="When it begins: RFC 3339, or -30h, +2h from the start. Live: at the start.")
    ] = "",
    write: Annotated[
        Path | None, typer.Option(help="No broker: series.csv.gz, events.jsonl, truth.json into this folder.")
    ] = None,
    from_: Annotated[
        str, typer.Option("--from", help="With --write: RFC 3339; the storm begins a day later.")
    ] = WRITE_FROM,
    to: Annotated[
        str, typer.Option(help="With --write: RFC 3339. Default: a day after the storm, or a week.")
    ] = "",
    interval: Annotated[str, typer.Option(help="With --write: how often every series speaks.")] = "10min",
    fault: Annotated[
        list[str] | None,
        typer.Option(help=f"kind[:station[/quantity]], from +10 s on; kinds: {', '.join(Kind)}. Repeatable."),
    ] = None,
    duration: Annotated[float, typer.Option(min=0, help="Seconds; 0 = until stopped.")] = 0.0,
    batch: Annotated[
        bool | None,
        typer.Option("--batch/--no-batch", help="Arrays of readings. Default: above 2,000 a second."),
    ] = None,
    until_stdin_closes: Annotated[
        bool, typer.Option("--until-stdin-closes", help="End when the starting process does.")
    ] = False,
    ca_file: Annotated[Path | None, typer.Option(help="CA certificate for mqtts.")] = None,
    lang: Annotated[Lang, typer.Option(help="Language of messages.")] = Lang.VI,
) -> None:
    """Trạm mô phỏng qua MQTT / Simulated stations over MQTT.

    Example:  ioc-simulate --story --fault silence:sa_pa --fault spike:lao_cai/pm25

    A storm in two hours:  ioc-simulate --storm --speed 60 --rate 200

    The same as files, with what really happened:  ioc-simulate --storm --write FOLDER
    """
    text = _TEXT[lang]
    try:
        broker = Broker.parse(mqtt_url)
        faults = [Fault.parse(word) for word in fault or []]
        series = read(pack)
        _matched(faults, series)
        if storm_at:
            _moment(storm_at, 0)
        if write is not None:
            if story:
                raise ValueError("--write writes a storm or calm; the --story is for the wall alone")
            begin_us = _moment(from_, 0)
            made = Storm(seed, _moment(storm_at, begin_us) if storm_at else begin_us + DAY_US, series)
            last_us = made.end_us if storm else begin_us + 7 * DAY_US
            end_us = _moment(to, begin_us) if to else last_us
            if end_us <= begin_us:
                raise ValueError("--to must be later than --from")
            rows, events = archive.write(
                write,
                Scene(seed, begin_us, storm=made if storm else None, faults=faults),
                made if storm else None,
                series,
                read_rules(pack),
                seed=seed,
                from_us=begin_us,
                to_us=end_us,
                interval_us=duration_us(interval),
            )
            print(text["written"].format(rows=rows, events=events, folder=write), flush=True)
            return
    except (ValueError, CatalogError, OSError) as error:
        _stop(str(error))

    def make(start_us: int) -> Fleet:
        told = Story(seed, {s.id for s in series}) if story else None
        joined = rate > BATCH_FROM if batch is None else batch
        return Fleet(
            series,
            seed=seed,
            start_us=start_us,
            story=told,
            storm=Storm(seed, _moment(storm_at or "+0s", start_us), series) if storm else None,
            faults=faults,
            rate=rate,
            speed=speed,
            batch=joined,
        )

    last = ""

    def notice(kind: str, detail: str) -> None:
        # A broker that stays away is reported once, not at every attempt.
        nonlocal last
        if kind != last:
            print(
                text[kind].format(detail=detail),
                file=sys.stdout if kind == "connected" else sys.stderr,
                flush=True,
            )
        last = kind

    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    if until_stdin_closes:
        threading.Thread(target=_end_with_stdin, args=(stop,), daemon=True).start()
    print(text["start"].format(count=len(series), host=broker.host, port=broker.port), flush=True)
    try:
        publisher = Publisher(broker, notice, str(ca_file) if ca_file else None)
        sent = publisher.run(make, stop, duration)
    except Refused as error:
        _stop(text["refused"].format(detail=error))
    except Unreachable as error:
        _stop(text["absent"].format(detail=error), code=1)
    except OSError as error:
        _stop(str(error))
    print(text["done"].format(readings=sent.readings, messages=sent.messages), flush=True)


def main() -> None:
    """Entry point of `ioc-simulate` and `python -m simulators`."""
    app(prog_name="ioc-simulate")


def _matched(faults: list[Fault], series: tuple[Series, ...]) -> None:
    for fault in faults:
        if not any(fault.matches(s) for s in series):
            raise ValueError(
                f"fault {fault.kind}: the pack has no series at {fault.station}/{fault.quantity or '*'}"
            )


def _moment(text: str, start_us: int) -> int:
    """RFC 3339 with its zone, or a time from the start on. Raises ValueError."""
    if text[:1] in ("+", "-"):
        return start_us + (-1 if text[0] == "-" else 1) * (0 if text[1:] == "0s" else duration_us(text[1:]))
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise ValueError(f"{text!r} is no moment; write 2024-09-07T00:00:00+07:00, -30h or +2h")
    return round(moment.timestamp() * 1_000_000)


def _end_with_stdin(stop: threading.Event) -> None:
    # Not sys.stdin: its buffer, locked by a thread that still reads, aborts the interpreter at its end.
    while os.read(0, 4096):
        pass
    stop.set()


def _stop(reason: str, code: int = 2) -> NoReturn:
    print(reason, file=sys.stderr)
    raise typer.Exit(code)
