"""docs/gate.md works as printed: the steps of its workflow run, its policies are valid, and no key is left untold."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from documents import BIN, ROOT, blocks
from pydantic import BaseModel
from typer.testing import CliRunner

from parity import cli
from parity.gate.policy import Baseline, Policy, read_policy

PAGE = (ROOT / "docs" / "gate.md").read_text(encoding="utf-8")
FILES = {block.file: block.text for block in blocks(PAGE) if block.file}
WORKFLOW = yaml.safe_load(FILES["gate.yml"])
STEPS = WORKFLOW["jobs"]["gate"]["steps"]
INSTALL = "pip install -r requirements.txt"
"""The one step that is not run here: it would install what is installed."""


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository as the page has it: the pair, the policy, a release, and the record of the one before."""
    monkeypatch.chdir(tmp_path)
    for name, text in FILES.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    made = ["export", "mynet.py", "--to", "pb", "-o", "release", "--quiet"]
    judged = ["gate", "mynet.py", "--artifact", "release/mynet.pb", "--policy", "parity.toml"]
    for words in (made, [*judged, "--record", "release/last.json", "--no-isolate", "--quiet"]):
        done = CliRunner().invoke(cli.app, words, prog_name="parity", catch_exceptions=False)
        assert done.exit_code == 0, done.output
    return tmp_path


def step(words: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    """What GitHub does with the `run` of a step: bash, ended by the first command that fails."""
    environment = {
        **os.environ,
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "GITHUB_STEP_SUMMARY": str(folder / "summary.md"),
    }
    shell = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", words]
    return subprocess.run(shell, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)


def test_the_workflow_runs_as_printed(checkout: Path) -> None:
    """Every step that is a command is run, in order, as GitHub runs it; the summary and the files are there."""
    ran = [each["run"] for each in STEPS if "run" in each and each["run"] != INSTALL]
    assert len(ran) == 3
    for words in ran:
        done = step(words, checkout)
        assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
    assert (checkout / "summary.md").read_text().startswith("## parity gate: PASS")
    kept = next(each["with"]["path"] for each in STEPS if each.get("name") == "Keep what was found")
    names = {path.name for path in (checkout / kept).rglob("*") if path.is_file()}
    assert names == {"record.json", "gate.json", "gate.xml", "report.json", "report.html", "history.jsonl"}


def test_a_file_that_is_not_there_yet_stops_the_workflow(checkout: Path) -> None:
    """The check above can fail: with Git LFS's pointer in the place of the file, the gate's step ends with 3."""
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 4096\n"
    (checkout / "release" / "mynet.pb").write_text(pointer)
    done = step(next(each["run"] for each in STEPS if "gate mynet.py" in each.get("run", "")), checkout)
    assert done.returncode == 3
    assert "a pointer of Git LFS" in done.stderr


def test_the_workflow_is_one() -> None:
    """It asks for no more rights than to read, fetches large files, and keeps its findings whatever comes."""
    assert WORKFLOW["permissions"] == {"contents": "read"}
    used = [each["uses"] for each in STEPS if "uses" in each]
    assert [name.partition("@")[0] for name in used] == [
        "actions/checkout",
        "actions/setup-python",
        "actions/upload-artifact",
    ]
    assert STEPS[0]["with"] == {"lfs": True}
    assert STEPS[-1]["if"] == "always()"
    assert INSTALL in [each.get("run") for each in STEPS]
    assert set(WORKFLOW[True]) == {"pull_request", "push"}  # YAML takes `on` for true


def keys(model: type[BaseModel]) -> Iterator[str]:
    """Every key of a policy, of its tables too."""
    for name, field in model.model_fields.items():
        yield field.alias or name
        for kind in (field.annotation, *get_args(field.annotation)):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield from keys(kind)


def test_the_reference_of_policies_has_every_key(checkout: Path) -> None:
    """Both policies are valid; what is shown as the baseline's defaults are; no key that there is goes unmentioned."""
    read_policy(checkout / "parity.toml")
    every = read_policy(checkout / "every.toml").policy
    assert every.baseline == Baseline()
    told = set(words_of(PAGE))
    assert [key for key in keys(Policy) if key not in told] == []
    given: Any = every.model_dump(exclude_unset=True, by_alias=True)
    assert set(given) == {each for each in keys(Policy) if each in Policy.model_json_schema()["properties"]} - {"judge"}


def words_of(text: str) -> Iterator[str]:
    """The words of the page that could be keys."""
    for line in text.splitlines():
        yield from (
            line.replace("`", " ").replace("[", " ").replace("]", " ").replace(".", " ").replace(",", " ").split()
        )
