"""A record can be audited: it is the same for the same run, and shows that it, or the artifact, was changed."""

import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from gate_made import TODAY, made, policy, record
from typer.testing import CliRunner

from parity.cli import app
from parity.errors import GateRecordError, UsageError
from parity.gate.facts import Facts, _sum_of, facts_of
from parity.gate.policy import Artifact
from parity.gate.record import Record, differences, read_record, seal_of
from parity.gate.results import as_json

WAIVER = '[[waivers]]\nlayer = "conv1.0"\nwhy = "decided"\nexpires = 2026-12-31\n'


def kept(folder: Path, found: Record | None = None) -> Path:
    """The file of a record."""
    path = folder / "record.json"
    path.write_text((found or record()).sealed(), encoding="utf-8")
    return path


def of_file(folder: Path, **about: str) -> tuple[Record, Path]:
    """A record of a run on an artifact that is there."""
    artifact = folder / "net.pb"
    artifact.write_bytes(b"as verified")
    facts = Facts(
        path=str(artifact),
        kind="pb",
        sha256="4a5e7e0e8a5f4a1e" if about.get("wrong") else sum_of_text(b"as verified"),
        size=11,
        files={"net.pb": sum_of_text(b"as verified")},
    )
    made_of = record()
    return replace(made_of, result=replace(made_of.result, artifact=facts)), artifact


def sum_of_text(data: bytes) -> str:
    """SHA-256, by the library."""
    return hashlib.sha256(data).hexdigest()


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    """Every figure, also one that JSON has no number for, and the policy's whole text."""
    in_force = policy(tmp_path, WAIVER)
    found = record(made(faulty=["conv1.0"]), in_force)
    assert read_record(kept(tmp_path, found)) == found
    assert found.policy.text == WAIVER
    assert found.policy.says["baseline"]["growth"] == 2.0


def test_the_file_is_json_for_any_program(tmp_path: Path) -> None:
    """Infinities and NaN are words in it, since JSON has no numbers for them; read back, they are numbers again."""

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    figures = {"max_abs": math.inf, "gain": -math.inf, "relative": math.nan}
    whole = record()
    check = replace(whole.result.checks[0], figures=figures)
    found = replace(whole, result=replace(whole.result, checks=(check,)))
    for text in (found.sealed(), as_json(found.result)):
        assert json.loads(text, parse_constant=refuse)
    again = read_record(kept(tmp_path, found)).result.checks[0].figures
    assert (again["max_abs"], again["gain"]) == (math.inf, -math.inf)
    assert again["relative"] != again["relative"]


def test_two_runs_differ_in_their_time_only(tmp_path: Path) -> None:
    """Byte by byte: every line but that of `made` is the same."""
    first, second = (replace(record(), made=f"2026-11-2{day}T00:00:00+00:00").sealed() for day in (5, 6))
    lines = zip(first.splitlines(), second.splitlines(), strict=True)
    assert [ours.strip().split(":")[0] for ours, theirs in lines if ours != theirs] == ['"made"']


def test_a_record_has_what_an_auditor_asks_for() -> None:
    """Sums, versions, the processor and its features, threads, switches, the policy, the verdict."""
    says = json.loads(record().sealed())
    assert says["result"]["artifact"]["sha256"] == "ab" * 32
    assert says["inputs"][0]["sha256"] == "cd" * 32
    assert says["weights"] == "ef" * 32
    assert {"python", "numpy", "torch", "tensorflow"} <= says["versions"].keys()
    assert {"processor", "features", "cores", "threads"} <= says["machine"].keys()
    assert says["policy"]["sha256"] == sum_of_text(b"")
    assert says["result"]["verdict"] == "pass"
    assert len(says["seal"]) == 64


@pytest.mark.parametrize("change", [("verdict", "fail", "pass"), ("threads", None, "999"), ("weights", None, "00")])
def test_a_record_that_was_changed_is_refused(tmp_path: Path, change: tuple[str, str | None, str]) -> None:
    """Whatever was changed: the seal does not fit any more."""
    path = kept(tmp_path, record(made(faulty=["conv1.0"])))
    says = json.loads(path.read_bytes())
    name, was, now = change
    place = {"verdict": says["result"], "threads": says["machine"], "weights": says}[name]
    assert was is None or place[name] == was
    place[name] = now
    path.write_text(json.dumps(says), encoding="utf-8")
    with pytest.raises(GateRecordError, match="was changed since it was written: its seal does not fit"):
        read_record(path)


NO_RUN: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "a verdict that its checks do not make": (
        lambda says: says["result"].update(verdict="pass"),
        "it says 'pass', and its checks make that 'fail'",
    ),
    "no checks": (lambda says: says["result"].update(checks=[]), "make that 'not verified'"),
    "another word": (lambda says: says["result"].update(verdict="great"), "it says 'great'"),
    "a waiver for ever": (lambda says: says["policy"]["says"].update(waivers=[{"layer": "x"}]), "is no waiver"),
}


@pytest.mark.parametrize("change", NO_RUN)
def test_a_record_that_no_run_writes_is_refused(tmp_path: Path, change: str) -> None:
    """Although its seal fits: whoever changes a record can seal it anew."""
    path = kept(tmp_path, record(made(faulty=["conv1.0"])))
    says = json.loads(path.read_bytes())
    changed, sentence = NO_RUN[change]
    changed(says)
    path.write_text(json.dumps({**says, "seal": seal_of(says)}), encoding="utf-8")
    with pytest.raises(GateRecordError, match=sentence):
        read_record(path)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"kind": "another"}', "\x00\x01"])
def test_what_is_no_record_is_refused(tmp_path: Path, text: str) -> None:
    """Empty, cut short, or another file: one sentence with its name."""
    path = tmp_path / "record.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(GateRecordError, match=r"record\.json is no record of a gate"):
        read_record(path)


def test_half_a_record_is_none(tmp_path: Path) -> None:
    """Wherever it is cut."""
    whole = record().sealed()
    path = tmp_path / "record.json"
    for share in range(1, 20):
        path.write_text(whole[: len(whole) * share // 20], encoding="utf-8")
        with pytest.raises(GateRecordError):
            read_record(path)


def test_a_record_of_another_schema_is_refused(tmp_path: Path) -> None:
    """The sentence has both."""
    path = kept(tmp_path, replace(record(), schema=2))
    with pytest.raises(GateRecordError, match="has schema 2; this parity reads schema 1"):
        read_record(path)


def test_a_record_that_is_not_there_is_wrong_use(tmp_path: Path) -> None:
    """The request names a file that is not there."""
    with pytest.raises(UsageError, match=r"none\.json: No such file"):
        read_record(tmp_path / "none.json")


def test_an_artifact_that_is_as_it_was_does_not_differ(tmp_path: Path) -> None:
    """Nothing is listed on the same machine."""
    found, artifact = of_file(tmp_path)
    assert [each.what for each in differences(found, artifact, TODAY) if each.fails] == []


def test_an_artifact_that_was_changed_is_told(tmp_path: Path) -> None:
    """One byte is enough; so is a file that is gone."""
    found, artifact = of_file(tmp_path)
    artifact.write_bytes(b"as Verified")
    (told,) = [each for each in differences(found, artifact, TODAY) if each.fails]
    assert told.now == sum_of_text(b"as Verified")
    artifact.unlink()
    (told,) = [each for each in differences(found, artifact, TODAY) if each.fails]
    assert told.now == "not there"


def test_another_name_is_no_other_artifact(tmp_path: Path) -> None:
    """The sum decides; what the file is called now is told. Files beside it are found by their own names."""
    found, artifact = of_file(tmp_path)
    renamed = artifact.rename(tmp_path / "renamed.pb")
    told = [each for each in differences(found, renamed, TODAY) if "artifact" in each.what]
    assert [(each.then, each.now, each.fails) for each in told] == [("net.pb", "renamed.pb", False)]
    sums = {"net.pb": sum_of_text(b"as verified"), "weights.bin": sum_of_text(b"weights")}
    (tmp_path / "weights.bin").write_bytes(b"weights")
    facts = replace(found.result.artifact, sha256=_sum_of(sums), files=sums)
    found = replace(found, result=replace(found.result, artifact=facts))
    assert not [each for each in differences(found, renamed, TODAY) if each.fails]
    (tmp_path / "weights.bin").write_bytes(b"others")
    assert [each for each in differences(found, renamed, TODAY) if each.fails]


def test_a_file_more_in_a_folder_is_told(tmp_path: Path) -> None:
    """A SavedModel is all that is in its folder: what was put into it later is part of it now."""
    folder = tmp_path / "saved"
    (folder / "variables").mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(b"a graph")
    (folder / "variables" / "index").write_bytes(b"weights")
    sums = {"saved_model.pb": sum_of_text(b"a graph"), "variables/index": sum_of_text(b"weights")}
    facts = Facts(path=str(folder), kind="saved_model", sha256=_sum_of(sums), size=14, files=sums)
    found = replace(record(), result=replace(record().result, artifact=facts))
    assert not [each for each in differences(found, folder, TODAY) if each.fails]
    (folder / "variables" / "more").write_bytes(b"")
    assert [each for each in differences(found, folder, TODAY) if each.fails]
    (file,) = [each for each in differences(found, folder / "saved_model.pb", TODAY) if each.fails]
    assert file.now == "not there"


def test_what_else_differs_is_listed_and_fails_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A version, a switch, the policy's file, a waiver that has expired since."""
    in_force = policy(tmp_path, WAIVER)
    found = record(made(faulty=["conv1.0"]), in_force)
    found = replace(found, versions={**found.versions, "numpy": "1.0"})
    (tmp_path / "parity.toml").write_text("", encoding="utf-8")
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "0")
    told = {each.what: each for each in differences(found, tmp_path / "none", date(2027, 1, 1)) if not each.fails}
    assert {"numpy", "switch TF_ENABLE_ONEDNN_OPTS", "waiver of conv1.0"} <= told.keys()
    assert any(what.startswith("policy ") for what in told)


def test_the_sum_of_a_folder_is_that_of_its_list(tmp_path: Path) -> None:
    """As `sha256sum` lists its files, sorted; moving what is in a file to another changes it."""
    listed = f"{'a' * 64}  one\n{'b' * 64}  two/three\n"
    assert _sum_of({"two/three": "b" * 64, "one": "a" * 64}) == sum_of_text(listed.encode())
    assert _sum_of({"one": "a" * 64}) == "a" * 64


def test_the_facts_of_a_file_are_its_own(artifacts: dict[str, Path]) -> None:
    """Kind, size and sum of a small file of each kind, as the library has them."""
    for kind, path in artifacts.items():
        facts, data = facts_of(path, Artifact()), path.read_bytes()
        assert (facts.kind, facts.size, facts.sha256) == (kind, len(data), sum_of_text(data))


# -- the command ------------------------------------------------------------------------------------------------------


def checked(*words: str | Path) -> tuple[int, str]:
    """What `parity gate --check-record` ends with, and what it says."""
    done = CliRunner().invoke(app, ["gate", "--check-record", *map(str, words)])
    return done.exit_code, done.output


def test_a_record_that_holds_is_exit_0(tmp_path: Path) -> None:
    """And says so in its last line, within 80 columns."""
    found, _ = of_file(tmp_path)
    code, said = checked(kept(tmp_path, found))
    assert (code, said.splitlines()[-1]) == (0, "PASS: the artifact is the one that was verified, and it passed")
    assert all(len(line) <= 80 for line in said.splitlines() if "/" not in line)


def test_a_changed_artifact_is_exit_1(tmp_path: Path) -> None:
    """Where it lies now may be given."""
    found, artifact = of_file(tmp_path)
    path = kept(tmp_path, found)
    artifact.write_bytes(b"another")
    assert checked(path)[0] == 1
    artifact.unlink()
    moved = tmp_path / "moved.pb"
    moved.write_bytes(b"as verified")
    assert checked(path)[0] == 1
    code, said = checked(path, "--artifact", moved)
    assert (code, "name of the artifact: was net.pb, is moved.pb" in " ".join(said.split())) == (0, True)
    (tmp_path / "there").mkdir()
    same = tmp_path / "there" / "net.pb"
    same.write_bytes(b"as verified")
    assert checked(path, "--artifact", same)[0] == 0


def test_the_record_of_a_failure_is_exit_1(tmp_path: Path) -> None:
    """It is intact, and what it says is that the artifact fails."""
    found, _ = of_file(tmp_path)
    checks = record(made(faulty=["conv1.0"])).result.checks
    failed = replace(found, result=replace(found.result, verdict="fail", checks=checks))
    code, said = checked(kept(tmp_path, failed))
    assert (code, "FAIL: that is what the record says" in said) == (1, True)


def test_a_record_that_cannot_be_trusted_is_exit_3(tmp_path: Path) -> None:
    """Changed or broken: a sentence, no traceback."""
    path = kept(tmp_path)
    path.write_text(path.read_text().replace('"pass"', '"fail"'), encoding="utf-8")
    code, said = checked(path)
    assert (code, said.count("\n")) == (3, 1)
    assert checked(tmp_path / "none.json")[0] == 2


def test_a_record_of_another_pair_is_wrong_use(tmp_path: Path) -> None:
    """Where a pair is named it must be the record's."""
    code, said = checked(kept(tmp_path), "flownet")
    assert (code, "is of small, not of flownet" in said) == (2, True)
