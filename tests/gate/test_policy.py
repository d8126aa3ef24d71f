"""A policy is read as it is written, and what it cannot mean is refused in one sentence."""

from datetime import date
from pathlib import Path

import pytest
from gate_made import policy

from parity.errors import UsageError
from parity.gate.policy import Policy, read_policy
from parity.tolerance import NoiseFloor, Tolerance

WHOLE = """
schema = 1

[inputs]
names = ["noise", "ramp"]
seeds = [0, 7]
sizes = ["64x96"]
files = ["inputs"]
pairs = ["validation"]
most = 3

[run]
modes = ["graph"]
timeout = 60

[tolerances."conv6*"]
floors = 12
why = "deep layers"

[tolerances.cat]
rtol = 1e-3
atol = 1e-5
why = "joined after rounding"

[[waivers]]
layer = "predict_flow"
why = "decided in September"
expires = 2027-01-31
floors = 100

[limits]
end_point_error = { mean = 0.01, max = 0.1 }
rmse = 0.5

[limits.outputs."output[1]"]
max_abs = 2

[artifact]
allow = ["ReadFile"]
size_mb = 200
load_mb = 4000

[baseline]
growth = 1.5
ignore_below = 4
versions = "any"
gone = "tell"
"""


def test_every_key_is_read(tmp_path: Path) -> None:
    """What is written in each table is what the policy says."""
    found = policy(tmp_path, WHOLE).policy
    assert (found.inputs.names, found.inputs.seeds, found.inputs.most) == (["noise", "ramp"], [0, 7], 3)
    assert (found.run.modes, found.run.timeout) == (["graph"], 60)
    assert found.waivers[0].expires == date(2027, 1, 31)
    assert found.limits.of("output[0]") == {"epe_mean": 0.01, "epe_max": 0.1, "rmse": 0.5}
    assert found.limits.of("output[1]") == {"epe_mean": 0.01, "epe_max": 0.1, "rmse": 0.5, "max_abs": 2.0}
    assert (found.artifact.allow, found.artifact.size_mb, found.artifact.load_mb) == (["ReadFile"], 200, 4000)
    assert (found.baseline.growth, found.baseline.versions, found.baseline.gone) == (1.5, "any", "tell")


def test_tolerances_are_in_floors_or_fixed(tmp_path: Path) -> None:
    """A tolerance in floors judges by the noise floor, four times as wide for the greatest difference."""
    found = policy(tmp_path, WHOLE).policy.judgements()
    assert found["conv6*"] == NoiseFloor(rmse_ratio=12, max_ratio=48, why="deep layers")
    assert found["cat"] == Tolerance(rtol=1e-3, atol=1e-5, why="joined after rounding")


def test_no_policy_is_the_defaults() -> None:
    """Without a file the defaults are in force: no limit of the task, no exception."""
    found = read_policy(None)
    assert (found.file, found.text, found.policy) == ("", "", Policy())
    assert found.policy.limits.of("output") == {}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[limit]\nrmse = 1", "there is no key limit; did you mean limits?"),
        ("[limits]\nend_point_eror = {mean = 1}", "no key limits.end_point_eror; did you mean end_point_error?"),
        ("[limits]\nend_point_error = {meen = 1}", "no key limits.end_point_error.meen; did you mean mean?"),
        ('[limits.outputs."output[1]"]\nrms = 1', "no key limits.outputs.output[1].rms; did you mean rmse?"),
        ("[artifact]\nxyzzy = 1", "no key artifact.xyzzy; the keys there are allow, size_mb, load_mb"),
        (
            '[[waivers]]\nlayer = "a"\nexpires = 2027-01-31',
            "waivers.1.why is missing: an exception must say its reason",
        ),
        ('[[waivers]]\nlayer = "a"\nwhy = " "\nexpires = 2027-01-31', "waivers.1.why = ' '"),
        ('[[waivers]]\nlayer = "a"\nwhy = "b"', "waivers.1.expires is missing"),
        (
            '[[waivers]]\nlayer = "a"\nwhy = "b"\nexpires = "soon"',
            "waivers.1.expires = 'soon': input should be a valid",
        ),
        ("[tolerances.a]\nfloors = 9", "tolerances.a.why is missing"),
        ('[tolerances.a]\nwhy = "b"', "tolerances.a: give either floors, or rtol and atol"),
        ('[tolerances.a]\nwhy = "b"\nrtol = 1', "tolerances.a: give either floors, or rtol and atol"),
        ('[tolerances.a]\nwhy = "b"\nfloors = -1', "tolerances.a.floors = -1: input should be greater than 0"),
        ("[limits]\nrmse = nan", "limits.rmse = nan"),
        ("[limits]\nrmse = true", "limits.rmse = True"),
        ("[baseline]\ngrowth = 0.5", "baseline.growth = 0.5"),
        ("[inputs]\nseeds = [-1]", "inputs.seeds.1 = -1"),
        ("[inputs]\nnames = 'noise'", "inputs.names = 'noise'"),
        ("[inputs]\nnames = []", "inputs: names = [] asks for nothing; leave it out"),
        ("[inputs]\nseeds = [3, 0, 3]", "inputs: seeds has 3 more than once"),
        ('[inputs]\nfiles = ["a", "a"]', "inputs: files has 'a' more than once"),
        ("schema = 2", "schema = 2: input should be 1"),
        ("rmse =", "is not TOML"),
    ],
)
def test_what_no_policy_can_say_is_refused(tmp_path: Path, text: str, sentence: str) -> None:
    """A misspelt key, a missing reason, a value that means nothing: the key and the value are in the sentence."""
    with pytest.raises(UsageError) as refused:
        policy(tmp_path, text)
    assert sentence in str(refused.value)
    assert "parity.toml" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_floors_and_a_fixed_tolerance_do_not_go_together(tmp_path: Path) -> None:
    """Where nothing runs in float64 there is no floor to count in."""
    text = '[judge]\nrtol = 1e-3\natol = 1e-4\nwhy = "a"\n[tolerances.conv]\nfloors = 9\nwhy = "b"'
    with pytest.raises(UsageError, match=r"tolerances.conv is in noise floors"):
        policy(tmp_path, text)


def test_a_policy_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """The sentence has the file."""
    with pytest.raises(UsageError, match=r"none\.toml: No such file"):
        read_policy(tmp_path / "none.toml")


def test_paths_count_from_the_policy(tmp_path: Path) -> None:
    """A folder that a policy names lies beside it, wherever the command is called."""
    assert policy(tmp_path, WHOLE).path("validation") == str(tmp_path / "validation")
