"""What all tests share: pytester, and how to hand the plugin to a pytest that runs inside a test."""

from importlib import metadata

import pytest

from parity.switches import allow_channels_first

allow_channels_first()

pytest_plugins = ["pytester"]


@pytest.fixture
def plugin_options() -> tuple[str, ...]:
    """The options with which a pytest run inside a test has parity's plugin: none where it is installed."""
    installed = metadata.entry_points(group="pytest11", name="parity")
    return () if installed else ("-p", "parity.pytest_plugin")
