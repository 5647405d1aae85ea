"""Which tests run when nobody asks for a marked set."""

from __future__ import annotations

import pytest


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Takes out the tests marked `real`, on real weights and engines, unless `-m` asks for them."""
    if "real" in config.getoption("markexpr"):
        return
    marked = [item for item in items if item.get_closest_marker("real")]
    if marked:
        config.hook.pytest_deselected(items=marked)
        items[:] = [item for item in items if item not in marked]
