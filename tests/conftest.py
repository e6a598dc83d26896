"""The fixtures, which lie in helpers/shared_fixtures.py, are loaded only where tests are run.

The process that deals tests out to workers runs none: it need not wait for torch.
"""

import pytest

pytest.register_assert_rewrite("shared_fixtures")


def pytest_sessionstart(session: pytest.Session) -> None:
    plugins = session.config.pluginmanager
    if not plugins.hasplugin("dsession"):
        plugins.import_plugin("shared_fixtures")
