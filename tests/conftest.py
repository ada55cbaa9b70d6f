"""What every test may use; the real services come from `services.plugin`."""

from __future__ import annotations

import importlib.util

if importlib.util.find_spec("services") and importlib.util.find_spec("services.plugin"):
    pytest_plugins = ["services.plugin"]
