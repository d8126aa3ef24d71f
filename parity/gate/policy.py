"""What a release is held to, read from a TOML file: one table for each thing, and a reason for each exception.

    [inputs]                      what the artifact is run on
    names = ["noise", "ramp"]     as for --input
    seeds = [0, 1]                noise is drawn once from each
    sizes = ["704x448"]           all inputs are made in each
    files = ["inputs"]            arrays and pictures, or folders of them
    pairs = ["validation"]        folders of pairs of pictures

    [limits]                      what the task asks for
    end_point_error = { mean = 0.01, max = 0.1 }

    [tolerances."conv6*"]
    floors = 12
    why = "deep layers are noisier on the runner's CPU"

    [[waivers]]
    layer = "predict_flow6"
    why = "rounded on purpose, see the decision of 2026-09"
    expires = 2027-01-31

A key that is not known is refused: a misspelt limit would be no limit.
"""

import difflib
import hashlib
import os
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from parity.errors import UsageError
from parity.tolerance import NoiseFloor, Tolerance
from parity.tolerance import Policy as Judgement

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Words = Annotated[str, Field(min_length=1, pattern=r"\S")]

KEYS = {"epe_mean": "end_point_error.mean", "epe_max": "end_point_error.max", "rmse": "rmse", "max_abs": "max_abs"}
"""What a limit of the task is called in a policy, by the name of the figure in `parity.report.Deviation`."""
MAX_RATIO = NoiseFloor.max_ratio / NoiseFloor.rmse_ratio
"""How much wider the greatest difference is limited than the RMSE, in noise floors."""


class Table(BaseModel):
    """A table of a policy: its keys are known, and its values are not guessed at."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Inputs(Table):
    """What the artifact is run on; without any of these, on the pair's own inputs.

    `names` are inputs by name, as for --input ("noise", "motorcycle", a probe); `seeds` draw noise once each, whatever
    seed the weights are from; `sizes` are width and height in pixels ("704x448"), and all inputs are made in each.
    `files` are .npz, .npy and picture files, or folders of them; `pairs` are folders of pairs of pictures, two by two
    in the order of their names; both from the policy's folder on. Of each folder of pairs at most the first `most` are
    taken.
    """

    names: list[Words] = []
    seeds: list[Annotated[int, Field(ge=0, lt=2**32)]] = []
    sizes: list[Words] = []
    files: list[Words] = []
    pairs: list[Words] = []
    most: Annotated[int, Field(ge=1)] | None = None

    @model_validator(mode="after")
    def _each_once(self) -> "Inputs":
        for name in ("names", "seeds", "sizes", "files", "pairs"):
            values = getattr(self, name)
            if name in self.model_fields_set and not values:
                raise ValueError(f"{name} = [] asks for nothing; leave it out")
            for value in values:
                if values.count(value) > 1:
                    raise ValueError(f"{name} has {value!r} more than once")
        return self


class Runs(Table):
    """How it is run. `modes` are for a .keras file ("eager", "graph", "xla"): any other artifact has one of its own.

    A step that takes longer than `timeout` seconds is ended, and the artifact is not verified.
    """

    modes: list[Words] = []
    timeout: Positive | None = None


class Fixed(Table):
    """A fixed tolerance for all layers in place of the noise floor: |actual - expected| <= atol + rtol * |expected|."""

    rtol: NotNegative
    atol: NotNegative
    why: Words


class LayerTolerance(Table):
    """What a layer may be off, and `why`.

    Either `floors`, a number of noise floors that its RMSE may be (8 without a policy; its greatest difference may be
    four times as many), or `rtol` and `atol`: |actual - expected| <= atol + rtol * |expected|.
    """

    why: Words
    floors: Positive | None = None
    rtol: NotNegative | None = None
    atol: NotNegative | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> "LayerTolerance":
        if (self.floors is None) == (self.rtol is None) or (self.rtol is None) != (self.atol is None):
            raise ValueError("give either floors, or rtol and atol")
        return self

    def judgement(self) -> Judgement:
        """The tolerance as layers are judged by it."""
        if self.floors is not None:
            return NoiseFloor(rmse_ratio=self.floors, max_ratio=self.floors * MAX_RATIO, why=self.why)
        return Tolerance(rtol=self.rtol or 0.0, atol=self.atol, why=self.why)


class Waiver(Table):
    """A layer that may be at fault, or uncompared, up to and including the day on which this `expires`.

    `layer` is a name, of either side, or of an output; `*` in it stands for anything. With `floors` it may be off by so
    many noise floors and no more. What follows from a waived fault is waived with it, but no limit of the task is.
    """

    layer: Words
    why: Words
    expires: date
    floors: Positive | None = None


class EndPointError(Table):
    """The length of the difference of two flow vectors, in pixels: its `mean` over a map, its `max`."""

    mean: NotNegative | None = None
    max: NotNegative | None = None

    def bounds(self) -> dict[str, float]:
        """What is limited, by the name of the figure in `parity.report.Deviation`, and to what."""
        found = {"epe_mean": self.mean, "epe_max": self.max}
        return {name: bound for name, bound in found.items() if bound is not None}


class Limit(Table):
    """What the task allows an output to be off, against the reference's, in the output's own units.

    `rmse` is the root of the mean square of the difference, `max_abs` the greatest; `end_point_error` is for maps of
    two channels.
    """

    end_point_error: EndPointError = EndPointError()
    rmse: NotNegative | None = None
    max_abs: NotNegative | None = None

    def bounds(self) -> dict[str, float]:
        """What is limited, by the name of the figure in `parity.report.Deviation`, and to what."""
        found = {"rmse": self.rmse, "max_abs": self.max_abs}
        return {**self.end_point_error.bounds(), **{name: each for name, each in found.items() if each is not None}}


class Limits(Limit):
    """The limits of every output, and in `outputs` those of single ones by their names, which come before these."""

    outputs: dict[str, Limit] = {}

    def of(self, output: str) -> dict[str, float]:
        """What is limited of an output, and to what."""
        return {**self.bounds(), **(self.outputs[output].bounds() if output in self.outputs else {})}


class Artifact(Table):
    """What the file may be. `allow` names operations, or a .keras file's layers, that are refused otherwise, since they
    touch more than numbers; and "no-delegate", that a .tflite file may be one which TFLite's default delegate refuses.

    With more than `size_mb` megabytes (of 10^6 bytes) it fails; with more than `load_mb` it is not even loaded.
    """

    allow: list[Words] = []
    size_mb: Positive | None = None
    load_mb: Positive | None = None


class Growth(Table):
    """What is worse than in the last release: more than `growth` times as far off, and above `ignore_below` floors."""

    growth: Annotated[float, Field(ge=1, allow_inf_nan=False)] = 2.0
    ignore_below: NotNegative = 4.0


class Quantised(Growth):
    """The same for layers of low precision, whose floor is what the steps of their numbers do: no engine's arithmetic
    comes near that, so that less is worse."""

    growth: Annotated[float, Field(ge=1, allow_inf_nan=False)] = 1.3
    ignore_below: NotNegative = 1.5


class Baseline(Growth):
    """What may have become worse since the last release, within all tolerances.

    A layer, or an output, fails where its error in noise floors is more than `growth` times what it was, and more than
    `ignore_below` floors. Below four floors the arithmetic of one machine differs from another's by as much: with and
    without oneDNN the layers of FlowNet2-SD are 0.3 to 3.8 floors off, one of them 2.7 times as far, or 8 times where a
    map has two values only. Where all releases are verified on one machine, less can be asked for. `quantised` is the
    same for layers of low precision. `versions` says whether the engines must be the "same" as then, or may be "any";
    `gone` whether a layer that is no longer compared is to "fail", or to be told only.
    """

    quantised: Quantised = Quantised()
    versions: Literal["same", "any"] = "same"
    gone: Literal["fail", "tell"] = "fail"


class Policy(Table):
    """A whole policy; each table may be left out. `schema` is the version of this form."""

    schema_: Annotated[Literal[1], Field(alias="schema")] = 1
    inputs: Inputs = Inputs()
    run: Runs = Runs()
    judge: Fixed | None = None
    tolerances: dict[str, LayerTolerance] = {}
    waivers: list[Waiver] = []
    limits: Limits = Limits()
    artifact: Artifact = Artifact()
    baseline: Baseline = Baseline()

    @model_validator(mode="after")
    def _floors_need_noise(self) -> "Policy":
        counted = [name for name, tolerance in self.tolerances.items() if tolerance.floors is not None]
        if self.judge and counted:
            raise ValueError(
                f"tolerances.{counted[0]} is in noise floors, which [judge] with rtol and atol does without"
            )
        return self

    def judgements(self) -> dict[str, Judgement]:
        """The tolerances of single layers, by patterns of their names."""
        return {name: tolerance.judgement() for name, tolerance in self.tolerances.items()}


@dataclass(frozen=True, kw_only=True)
class InForce:
    """The policy of a run: where it is from ("" for the defaults), its whole text, and what it says."""

    file: str = ""
    text: str = ""
    policy: Policy = field(default_factory=Policy)

    @property
    def digest(self) -> str:
        """SHA-256 of the text."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    def says(self) -> dict[str, Any]:
        """What it says, defaults and all, as JSON has it."""
        return self.policy.model_dump(mode="json", by_alias=True)

    def path(self, written: str) -> str:
        """A path of the policy's, which counts from its folder, as it is reached from the current one."""
        return os.path.normpath(Path(self.file).parent / written)


def read_policy(file: Path | None) -> InForce:
    """The policy in a file; the defaults without one.

    Raises UsageError, in one sentence with the key and the value, for a file that is not there, is no TOML, or says
    something that no policy can say.
    """
    if file is None:
        return InForce()
    try:
        text = file.read_bytes().decode()
        says = tomllib.loads(text)
    except OSError as error:
        raise UsageError(f"policy {file}: {error.strerror or error}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"policy {file} is not TOML: {error}") from error
    try:
        return InForce(file=str(file), text=text, policy=Policy.model_validate(says))
    except ValidationError as error:
        raise UsageError(f"policy {file}: {'; '.join(_sentences(error))}") from None


def _sentences(error: ValidationError) -> Iterator[str]:
    """What is wrong, key by key."""
    for each in error.errors():
        where = ".".join(str(part + 1) if isinstance(part, int) else part for part in each["loc"])
        if each["type"] == "extra_forbidden":
            yield f"there is no key {where}{_near(each['loc'])}"
        elif each["type"] == "missing":
            yield f"{where} is missing{WHY if each['loc'][-1] == 'why' else ''}"
        elif each["type"] == "value_error":
            yield f"{where}: {each['ctx']['error']}" if where else str(each["ctx"]["error"])
        else:
            yield f"{where} = {each['input']!r}: {each['msg'][0].lower()}{each['msg'][1:]}"


WHY = ": an exception must say its reason"


def _near(loc: tuple[int | str, ...]) -> str:
    """The key that may have been meant, or those that there are."""
    table = _table(Policy, loc[:-1])
    known = [field.alias or name for name, field in table.model_fields.items()]
    near = difflib.get_close_matches(str(loc[-1]), known, n=1)
    return f"; did you mean {near[0]}?" if near else f"; the keys there are {', '.join(known)}"


def _table(table: type[Table], loc: tuple[int | str, ...]) -> type[Table]:
    """The table that a place in a policy is in."""
    if not loc:
        return table
    kind: Any = table.model_fields[str(loc[0])].annotation
    many = get_origin(kind) in (list, dict)
    inner: type[Table] = get_args(kind)[-1] if many else kind
    return _table(inner, loc[2:] if many else loc[1:])


def names_in(policy: Policy) -> Mapping[str, list[str]]:
    """The names of layers and outputs that a policy speaks of, by what it says of them."""
    return {
        "tolerances": list(policy.tolerances),
        "waivers": [waiver.layer for waiver in policy.waivers],
        "limits.outputs": list(policy.limits.outputs),
    }
