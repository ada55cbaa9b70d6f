"""Rules changed under a running `ioc run`: by its folder, by a post, and through a kill."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from support.instance import Instance, until
from support.packs import limit_rule, write_pack

from ioc.model import Role

LEVEL = "disaster/lao_cai/level"


def rules(limit: object) -> str:
    return yaml.safe_dump({"rules": [limit_rule("flood", {1: limit})]}, allow_unicode=True)  # type: ignore[dict-item]


def test_the_folder_is_watched_and_posted_rules_outlive_a_kill(
    tmp_path: Path, new_instance: Callable[..., Instance]
) -> None:
    folder = write_pack(tmp_path / "pack", [LEVEL], [limit_rule("flood", {1: 80.0})])
    instance = new_instance("a", folder, "")
    instance.add_user("lan", "Lan", Role.ADMIN)
    instance.start()
    client = instance.login("lan")

    def now() -> dict[str, Any]:
        answer: dict[str, Any] = client.get("/api/v1/rules").json()
        return answer

    def limit() -> float:
        return float(next(r for r in now()["items"] if r["id"] == "flood")["levels"][0]["limit"])

    assert (limit(), now()["origin"]) == (80.0, "folder")
    (folder / "rules" / "all.yaml").write_text(rules(81.0), "utf-8")
    until(lambda: limit() == 81.0, 15, "the folder's new limit")
    (folder / "rules" / "all.yaml").write_text(rules("eighty"), "utf-8")
    until(lambda: now()["folder_faults"], 15, "word of the fault")
    assert limit() == 81.0

    refused = client.post("/api/v1/rules", json={"files": {"rules/a.yaml": rules("x")}})
    assert (refused.status_code, refused.json()["faults"][0]["file"]) == (422, "rules/a.yaml")
    body = {"files": {"rules/a.yaml": rules(85.0)}}
    tried = client.post("/api/v1/rules", params={"dry_run": 1}, json=body).json()
    assert (tried["diff"]["counts"]["rules_changed"], limit()) == (1, 81.0)
    posted = client.post("/api/v1/rules", json=body).json()
    assert (posted["version"], limit()) == (tried["version"], 85.0)

    instance.kill()
    (folder / "rules" / "all.yaml").write_text(rules(70.0), "utf-8")
    instance.start()
    about = now()
    assert (about["version"], about["origin"], about["actor"]) == (posted["version"], "posted", "lan")
    assert about["folder_differs"]
    assert limit() == 85.0
    assert [v["origin"] for v in client.get("/api/v1/rules/versions").json()["items"]] == [
        "posted", "folder", "folder",
    ]  # fmt: skip
    client.post("/api/v1/rules", params={"source": "folder"}).raise_for_status()
    assert (limit(), now()["origin"]) == (70.0, "folder")
