"""The README is run: its commands and its Python, against the output that it prints; how is in documents.py.

What is not run is listed below, each with its reason.
"""

import re
from importlib import metadata
from pathlib import Path

import pytest
import typer.main
from documents import ROOT, Block, BrokenReadmeError, blocks, check, commands, key_lines

from parity import cli, pytest_plugin
from parity.plugin.layers import TAKEN

README = (ROOT / "README.md").read_text(encoding="utf-8")

NOT_RUN = {
    "$ pip install ./parity": "it would change this environment",
    "$ parity init --name net --reference original.py:trained --port port.py:build --yes": "it is run in the tutorial",
}
"""The first line of each block marked `not-run`, and why it is."""


# --- the tests -----------------------------------------------------------------------------------------------

ALL = tuple(blocks(README))
RUN = [block for block in ALL if block.is_run]


@pytest.mark.parametrize("block", [pytest.param(block, id=f"line{block.line}") for block in RUN])
def test_a_block_does_what_the_readme_shows(block: Block, tmp_path: Path) -> None:
    """The block runs in an empty folder, ends with the exit code shown, and prints the lines shown."""
    try:
        check(block, tmp_path)
    except BrokenReadmeError:
        keras = metadata.version("keras")
        if "bias-axis" in block.text and f"keras {keras}," not in block.text:
            pytest.skip(f"Keras {keras} is another than the README's: it may add the bias along the channels")
        raise


def test_what_is_not_run_is_listed() -> None:
    """A block is left out only if it is marked so and listed here with a reason; no other mark exists."""
    assert {mark for block in ALL for mark in block.marks} <= {"not-run"}
    assert [block.text.splitlines()[0] for block in ALL if block not in RUN] == list(NOT_RUN)


def test_what_is_shown_is_run() -> None:
    """The README has a run that passes, one that fails, and the library's example, each with its output."""
    shown = [command for block in RUN if block.language == "console" for command in commands(block)]
    assert {command.code or 0 for command in shown if command.output} == {0, 1}
    assert [bool(block.output) for block in RUN if block.language == "python"] == [True]


def test_the_first_run_is_the_tutorials() -> None:
    """What the README shows of `parity init` is in the tutorial, word for word, where it is run."""
    (shown,) = (block.text for block in ALL if block not in RUN and block.text.startswith("$ parity"))
    assert shown in (ROOT / "docs/tutorial.md").read_text(encoding="utf-8")


def test_the_table_of_options_is_complete() -> None:
    """docs/pytest.md lists every option of the plugin and no other; `verify` has the same without the prefix, or else
    `gate` has; `--model layers` has one of its own, and docs/layers.md all that it takes."""
    rows = re.findall(r"^\| (`--.*?) \|", (ROOT / "docs/pytest.md").read_text(encoding="utf-8"), flags=re.M)
    listed = re.findall(r"`(--[a-z-]+)", " ".join(rows))
    assert sorted(listed) == sorted(plugin_options())
    of_layers = re.findall(
        r"^\| `(--parity-[a-z-]+)", (ROOT / "docs/layers.md").read_text(encoding="utf-8"), flags=re.M
    )
    assert sorted(of_layers) == sorted("--parity-" + name.replace("_", "-") for name in TAKEN)
    unprefixed = {option.replace("--parity-", "--") for option in plugin_options()} - {"--model", "--examples"}
    assert options_of("verify") - unprefixed == {"--layers", "--verbose", "--quiet"}
    assert unprefixed - options_of("verify") <= options_of("gate")


def plugin_options() -> set[str]:
    """The options of the pytest plugin."""
    return {"--model", *pytest_plugin._OPTIONS}


def options_of(command: str) -> set[str]:
    """The long options of a command of `parity`."""
    found = typer.main.get_command(cli.app).commands[command]  # type: ignore[attr-defined]
    return {option for parameter in found.params for option in parameter.opts if option.startswith("--")}


def test_the_links_lead_somewhere() -> None:
    """Every relative link names a file of the repository."""
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", README) if "://" not in link]
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


BROKEN = {
    "an exit code": "```console\n$ parity models\n$ echo $?\n1\n```\n",
    "an output": "```console\n$ parity models\nflownet3  another network\n```\n",
    "a command": "```console\n$ parity verfy flownet\n```\n",
    "an unknown program": "```console\n$ curl example\n```\n",
    "a target": "```console\n$ make verifi\n```\n",
    "an exception": '```python\nraise SystemExit("no")\n```\n',
    "a printed line": "```python\nprint(1)\n```\n\n```text\n2\n```\n",
    "an order": "```python\nprint('a'); print('b')\n```\n\n```text\nb\na\n```\n",
    "a language": "```bash\nls\n```\n",
}


@pytest.mark.parametrize("text", BROKEN.values(), ids=BROKEN)
def test_a_broken_block_is_caught(text: str, tmp_path: Path) -> None:
    """A README with a wrong exit code, output, command, target or example fails the check above."""
    (block,) = blocks(text)
    with pytest.raises(BrokenReadmeError):
        check(block, tmp_path)


def test_what_is_compared() -> None:
    """Measured numbers are left out; layers, causes, counts, limits and verdicts are not."""
    assert key_lines("finding   conv0.0  introduces 1.7e-1 (floor 1.5e-7, 1.2e6x)") == [
        "finding conv0.0 introduces # (floor #, #)"
    ]
    assert key_lines("  noise  xla   diverged   1.2e6x conv0.1   1.3e-1  same") == ["noise xla diverged"]
    versions = "  versions  python 3.11.7\n              numpy 2.4.6\n\n  30 of 30 weighted layers"
    assert key_lines(versions) == ["30 of 30 weighted layers"]
    assert key_lines("policy noise floor (RMSE 8x, maximum 32x)") == ["policy noise floor (RMSE 8x, maximum 32x)"]
    assert key_lines("finding conv0.0") != key_lines("finding conv0.1")
