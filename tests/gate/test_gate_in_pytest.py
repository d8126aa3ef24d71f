"""`pytest --model PAIR --parity-artifact FILE` is the gate, one test for each layer, output, limit and waiver."""

from pathlib import Path

import pytest

from parity.gate.record import read_record

POLICY = """
[limits]
rmse = 1.0
max_abs = 1e-9
[artifact]
size_mb = 1e-6
[[waivers]]
layer = "head"
why = "decided"
expires = 2020-01-31
[[waivers]]
layer = "hidden"
why = "decided"
expires = {}
"""


@pytest.fixture
def run(pytester: pytest.Pytester, plugin_options: tuple[str, ...]) -> object:
    """Pytest in this process, where the engines are loaded already."""

    def called(*words: str | Path) -> pytest.RunResult:
        common = ("-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:hypothesispytest", "-v")
        return pytester.runpytest_inprocess(*plugin_options, *common, "--model", "mlp", *map(str, words))

    return called


def test_each_thing_fails_in_its_own_test(run: object, pytester: pytest.Pytester, faulty: Path) -> None:
    """A layer at fault, a limit, a size, an expired waiver: each says so where it belongs, and the record has all."""
    (pytester.path / "parity.toml").write_text(POLICY.format("2020-01-31"))
    result = run("--parity-artifact", faulty, "--parity-policy", "parity.toml")  # type: ignore[operator]
    result.stdout.fnmatch_lines(
        [
            "*layer[[]conv] PASSED*",
            "*layer[[]hidden] FAILED*",
            "*network[[]noise-22x17-pb] FAILED*",
            "*limit[[]rmse-noise-22x17-pb] PASSED*",
            "*limit[[]max_abs-noise-22x17-pb] FAILED*",
            "*artifact[[]size] FAILED*",
            "*waiver[[]head] FAILED*",
            "*introduces*",
            "*output.max_abs is *, and 1.0e-9 is allowed*",
            "*the waiver of head expired on 2020-01-31*",
        ]
    )
    record = read_record(pytester.path / "reports" / "mlp" / "record.json")
    assert record.result.verdict == "fail"


def test_what_is_waived_is_skipped(run: object, pytester: pytest.Pytester, faulty: Path) -> None:
    """With the waiver's reason; what follows from it passes or is skipped with it, and nothing fails for it."""
    text = POLICY.format("2099-01-31").replace("1e-9", "1e9").replace("1e-6", "100").replace("2020", "2099")
    (pytester.path / "parity.toml").write_text(text)
    result = run("--parity-artifact", faulty, "--parity-policy", "parity.toml", "-rs")  # type: ignore[operator]
    assert result.ret == 0
    result.stdout.fnmatch_lines(["*layer[[]hidden] SKIPPED*", "*PASS: *may go out*"])
    result.stdout.fnmatch_lines(["*waived until 2099-01-31: decided*"])


def test_a_part_of_the_gate_leaves_no_record(
    run: object, pytester: pytest.Pytester, artifacts: dict[str, Path]
) -> None:
    """What was not asked for was not looked at: the record of an earlier run is removed, and there is no new one."""
    old = pytester.path / "reports" / "mlp" / "record.json"
    old.parent.mkdir(parents=True)
    old.write_text("PASS of an earlier run")
    seeds = pytester.path / "parity.toml"
    seeds.write_text("[inputs]\nseeds = [0, 1]\n")
    words = ("--parity-artifact", artifacts["pb"], "--parity-policy", seeds, "mlp::network[noise#1-22x17-pb]")
    result = run(*words)  # type: ignore[operator]
    assert result.ret == 0
    result.assert_outcomes(passed=1)
    assert not old.exists()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--parity-policy", "x.toml"), "--parity-policy given without --parity-artifact"),
        (("--parity-artifact", "none.pb"), "artifact none.pb: no such file"),
        (("--parity-artifact", "PB", "--parity-policy", "x.toml"), "policy x.toml: No such file"),
        (("--parity-artifact", "PB", "--parity-port", "y.keras"), "--parity-port has no effect with --parity-artifact"),
    ],
)
def test_wrong_use_stops_pytest(run: object, artifacts: dict[str, Path], words: tuple[str, ...], sentence: str) -> None:
    """With the sentence of the command, before anything is loaded."""
    result = run(*(str(artifacts["pb"]) if word == "PB" else word for word in words))  # type: ignore[operator]
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*{sentence}*"])
