"""One word of one file changes, and nothing else of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from ioc.promote import NotPromotable, in_folder, promoted

TEXT = """# Sông
rules:
  - id: other
    mode: shadow   # for a week
  - id: river   # the one
    title: {vi: "mode: shadow", en: shadow}
    mode: "shadow"  # since Monday
    kind: limit

  - {id: short, kind: limit, mode: shadow}
"""
FILES = {"pack.yaml": "id: x\n", "rules/a.yaml": "rules: []\n", "rules/b.yaml": TEXT}


def test_only_the_word_changes_and_comments_stay() -> None:
    name, text = promoted(FILES, "river")
    assert (name, text) == ("rules/b.yaml", TEXT.replace('mode: "shadow"  #', "mode: live  #"))
    assert promoted(FILES, "short")[1] == TEXT.replace("limit, mode: shadow", "limit, mode: live")


@pytest.mark.parametrize("rule", ["nothing", "calm"])
def test_a_rule_that_no_file_has_in_shadow_cannot_be_promoted(rule: str) -> None:
    with pytest.raises(NotPromotable, match="no file says"):
        promoted({**FILES, "rules/c.yaml": "rules:\n- {id: calm, kind: limit}\n"}, rule)


def test_a_rule_that_counts_already_cannot_be_promoted() -> None:
    with pytest.raises(NotPromotable, match="not in shadow"):
        promoted({"rules/c.yaml": "rules:\n- {id: calm, mode: live}\n"}, "calm")


def test_in_a_folder_one_file_is_replaced_whole(tmp_path: Path) -> None:
    (tmp_path / "rules").mkdir()
    for name in ("rules/a.yaml", "rules/b.yaml"):
        (tmp_path / name).write_text(FILES[name], "utf-8")
    (tmp_path / "rules/b.yaml").chmod(0o640)
    changed = in_folder(tmp_path, "river")
    assert changed.read_text("utf-8") == promoted(FILES, "river")[1]
    assert (changed.stat().st_mode & 0o777, sorted(p.name for p in changed.parent.iterdir())) == (
        0o640,
        ["a.yaml", "b.yaml"],
    )


def test_a_mode_that_other_rules_share_is_left_to_a_person() -> None:
    shared = "rules:\n- {id: one, mode: &m shadow}\n- {id: two, mode: *m}\n"
    with pytest.raises(NotPromotable, match="by hand"):
        promoted({"rules/c.yaml": shared}, "two")
