"""The options of `ioc backtest` with their words; apart from `command.py`, which brings the whole engine with it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Pack = Annotated[Path, typer.Argument(help="Thư mục quy tắc / Pack folder to try.")]
Since = Annotated[str, typer.Option("--from", help="Từ / From this moment on: 2024-09-01, or RFC 3339.")]
Until = Annotated[str, typer.Option("--to", help="Đến / Up to this moment.")]
Against = Annotated[
    Path | None, typer.Option(help="Bộ quy tắc để so / Pack folder to compare with: what would change.")
]
Data = Annotated[
    Path | None,
    typer.Option(help="CSV, CSV.gz, Parquet, hoặc thư mục / or a folder. Default: the settings' database."),
]
Labels = Annotated[Path | None, typer.Option(help="Những gì đã xảy ra / What really happened: a truth.json.")]
Tolerance = Annotated[
    str,
    typer.Option(
        help="Cảnh báo có thể cách sự kiện bao lâu / How far from its event an alarm may stand and be about it."
    ),
]
Rules = Annotated[str, typer.Option(help="Chỉ những quy tắc này / Only these rules: id,id.")]
AllRules = Annotated[
    bool, typer.Option("--all-rules", help="Cả quy tắc đang tắt / Disabled rules too, as if enabled.")
]
Pace = Annotated[
    str,
    typer.Option(
        help="pack | data: chờ mỗi chuỗi theo bộ quy tắc, hay theo nhịp của số liệu / how long a series is waited for: "
        "as the pack says, or as far as its readings lie apart (a history that was thinned)."
    ),
]
JsonFile = Annotated[
    Path | None, typer.Option("--json", help="Ghi toàn bộ kết quả / Write the whole result here.")
]
HtmlFile = Annotated[Path | None, typer.Option("--html", help="Ghi báo cáo / Write a page here.")]
