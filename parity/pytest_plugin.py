"""The options and hooks of `pytest --model NAME`. Everything else is imported when a model is asked for.

Without `--model` nothing here does anything, and pytest starts no slower: parity.plugin is not even imported.
"""

from typing import Any

import pytest

LAYERS = "layers"
"""In place of a pair: every kind of layer there is."""

_OPTIONS: dict[str, dict[str, Any]] = {
    "--parity-input": {
        "action": "append",
        "metavar": "NAME",
        "help": "an input, such as noise, or a file, or a folder; repeatable",
    },
    "--parity-images": {
        "nargs": 2,
        "metavar": ("LEFT", "RIGHT"),
        "help": "two pictures of your own as an input",
    },
    "--parity-size": {"metavar": "WxH", "help": "width and height in pixels, such as 704x448"},
    "--parity-mode": {
        "action": "append",
        "metavar": "MODE",
        "help": "eager, graph or xla; repeatable, or with commas; all if not given",
    },
    "--parity-data-format": {"metavar": "FORMAT", "help": "channels_last (default) or channels_first"},
    "--parity-checkpoint": {"metavar": "FILE", "help": "the reference's weights: .pth.tar or .safetensors"},
    "--parity-port": {"metavar": "FILE", "help": "a .keras file to judge in place of the pair's own port"},
    "--parity-artifact": {"metavar": "FILE", "help": "a file that is to go out: verify it, held to the gate's policy"},
    "--parity-policy": {"metavar": "TOML", "help": "what the artifact is held to; the defaults without one"},
    "--parity-baseline": {"metavar": "FILE", "help": "the gate's record of the last release: nothing may have grown"},
    "--parity-record": {"metavar": "FILE", "help": "where the gate's record goes; beside the report by default"},
    "--parity-map": {"metavar": "FILE", "help": "which layer answers to which, as `parity map` writes it"},
    "--parity-against": {"metavar": "FILE", "help": "a recording, as `parity record` writes it, in place of its side"},
    "--parity-shape": {
        "action": "append",
        "metavar": "[NAME=]N,C,...",
        "help": "an input's shape in the reference's layout; repeatable",
    },
    "--parity-range": {"metavar": "LOW,HIGH", "help": "the values your network expects, such as 0,255"},
    "--parity-limit": {"type": int, "metavar": "N", "help": "only the first N files of a folder"},
    "--parity-seed": {"type": int, "metavar": "N", "help": "for noise, and weights without a checkpoint"},
    "--parity-rtol": {"type": float, "metavar": "R", "help": "a fixed tolerance instead of the noise floor"},
    "--parity-atol": {"type": float, "metavar": "A", "help": "the absolute part of the fixed tolerance"},
    "--parity-grad": {"action": "store_true", "help": "one test per layer and input more, of their gradients"},
    "--parity-isolate": {"action": "store_true", "help": "verify in a process of its own; if it dies, report the rest"},
    "--parity-timeout": {"type": float, "metavar": "SECONDS", "help": "end a step that takes longer; isolates as well"},
    "--parity-examples": {
        "type": int,
        "metavar": "N",
        "help": "cases of each kind with --model layers; 25 by default",
    },
    "--parity-export": {
        "action": "append",
        "metavar": "FORM",
        "help": "also write model-explorer or tensorboard files beside the report; repeatable",
    },
    "--parity-report-dir": {"metavar": "DIR", "help": "where NAME/report.json goes; reports by default"},
}
"""Everything but --model, with what argparse is told about it."""


def _dest(option: str) -> str:
    return option.removeprefix("--").replace("-", "_")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add --model and the --parity-* options, each None where it is not given."""
    group = parser.getgroup("parity", "parity: verify a port, one test per layer and per input and mode")
    group.addoption(
        "--model",
        dest="parity_model",
        metavar="NAME",
        help="the pair to verify: a name that `parity models` lists, pkg.module:attr, or file.py:attr; or `layers`, "
        "every kind of layer that can be converted",
    )
    for option, told in _OPTIONS.items():
        group.addoption(option, dest=_dest(option), default=None, **told)


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """Before a conftest.py can import an engine, and another one after it, import them in the order that works."""
    model = early_config.known_args_namespace.parity_model
    if model is not None and any((early_config.invocation_params.dir).glob("conftest.py")):
        from parity.models import engines_first, names
        from parity.switches import allow_channels_first

        if model == LAYERS:
            allow_channels_first()
        if model not in names():
            engines_first()


def pytest_configure(config: pytest.Config) -> None:
    """With --model, take over what is collected; without, refuse options that would have no effect."""
    given = {_dest(option).removeprefix("parity_"): config.getoption(_dest(option)) for option in _OPTIONS}
    model = config.getoption("parity_model")
    if model is None:
        idle = [option for option in _OPTIONS if config.getoption(_dest(option)) is not None]
        if idle:
            raise pytest.UsageError(f"{idle[0]} given without --model; say which pair with --model NAME")
        return
    if model == LAYERS:
        from parity.plugin.layers import LayersSession

        config.pluginmanager.register(LayersSession.of(config, given), "parity-layers")
        return
    if given.pop("examples") is not None:
        raise pytest.UsageError(f"--parity-examples has no meaning with --model {model}; it is for --model {LAYERS}")
    from parity.plugin.session import ModelSession

    config.pluginmanager.register(ModelSession.of(config, model, given), "parity-model")
