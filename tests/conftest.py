"""Which tests run when nobody asks for a marked set, and how property tests draw."""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

# The short form of a property test draws the same examples every time; the long form (`LMQLC_LONG=1`) looks for new ones.
settings.register_profile("short", derandomize=True)
if not os.environ.get("LMQLC_LONG"):
    settings.load_profile("short")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Takes out the tests marked `real`, on real weights and engines, unless `-m` asks for them."""
    if "real" in config.getoption("markexpr"):
        return
    marked = [item for item in items if item.get_closest_marker("real")]
    if marked:
        config.hook.pytest_deselected(items=marked)
        items[:] = [item for item in items if item not in marked]
