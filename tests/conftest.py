"""What all tests share: pytester, and how to hand the plugin to a pytest that runs inside a test."""

from importlib import metadata

import pytest

from parity.switches import allow_channels_first

pytest_plugins = ["pytester"]


def pytest_configure(config: pytest.Config) -> None:
    """Let the suite's channels_first tests run on any CPU; a verification of a model from here runs as anywhere."""
    if not config.getoption("--model", None):
        allow_channels_first()


@pytest.fixture
def plugin_options() -> tuple[str, ...]:
    """The options with which a pytest run inside a test has parity's plugin: none where it is installed."""
    installed = metadata.entry_points(group="pytest11", name="parity")
    return () if installed else ("-p", "parity.pytest_plugin")
