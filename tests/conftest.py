"""The fixtures, which lie in helpers/shared_fixtures.py, are loaded only where tests are run.

The process that deals tests out to workers runs none: it need not wait for torch.
"""

import pytest

pytest.register_assert_rewrite("shared_fixtures")


def pytest_sessionstart(session: pytest.Session) -> None:
    plugins = session.config.pluginmanager
    if not plugins.hasplugin("dsession"):
        plugins.import_plugin("shared_fixtures")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest first, or all cores but one wait for it in the end."""
    items.sort(key=minutes, reverse=True)


def minutes(item: pytest.Item) -> float:
    """What a test says that it takes: `@pytest.mark.slow(minutes=2)`."""
    slow = item.get_closest_marker("slow")
    return slow.kwargs.get("minutes", 0) if slow else 0
