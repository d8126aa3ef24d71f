"""What a verification was asked for, in words from a command line or from pytest, checked before any run.

The command and the pytest plugin ask for the same things in the same words, so the words are read here, once.
Whatever is wrong with a request is said in one sentence, with the value, before a framework is imported or a
file written.
"""

import math
import os
import re
import shlex
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from parity.artifacts.shipped import modes_of
from parity.errors import ReportFolderError, UsageError
from parity.files import place_of
from parity.history import HISTORY_FILE
from parity.models import Settings, is_own
from parity.pairs import Input, Pair
from parity.render.progress import Show, silent
from parity.report import Report, merge
from parity.runners.taps import MODES
from parity.tolerance import NoiseFloor, Policy, Tolerance, policy_from

if TYPE_CHECKING:
    from parity.verification import Verifier

REPORT_DIR = Path("reports")
REPORT_FILE = "report.json"
GRAD = "--grad"
"""The option of `parity verify` that has gradients compared as well."""
EXPORTS = ("model-explorer", "tensorboard")
"""The forms in which a report is written for other programs."""
ENGINES = ("torch", "tensorflow", "keras")


@dataclass(frozen=True, kw_only=True)
class Options:
    """A request as its words came in: the options of `parity verify`, or the `--parity-*` options of pytest.

    None or empty means "not given". `size` is text such as "704x448"; `modes` may hold commas. Each of `shapes` is text
    such as "1,3,64,96" or "mask=1,7", `range` such as "0,255".
    """

    inputs: Sequence[str] = ()
    images: Sequence[str | Path] | None = None
    size: str | None = None
    modes: Sequence[str] = ()
    data_format: str | None = None
    checkpoint: str | Path | None = None
    seed: int | None = None
    port: str | Path | None = None
    shapes: Sequence[str] = ()
    range: str | None = None
    limit: int | None = None
    map: str | Path | None = None
    rtol: float | None = None
    atol: float | None = None
    report_dir: str | Path | None = None
    isolate: bool | None = None
    timeout: float | None = None
    against: str | Path | None = None
    grad: bool | None = None
    export: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """A request that makes sense: which pair, on what, in which modes, judged how, reported where.

    `isolate` says that the pair gets a process of its own; `timeout` is how many seconds a step of it may take.
    `audited` says that the SHA-256 of its inputs and of the reference's weights is wanted. `exports` names the forms in
    which the report is written besides.
    """

    name: str
    settings: Settings = field(default_factory=Settings)
    modes: tuple[str, ...] = MODES
    policy: Policy = field(default_factory=NoiseFloor)
    report_dir: Path = REPORT_DIR
    isolate: bool = False
    timeout: float | None = None
    gradients: bool = False
    audited: bool = False
    exports: tuple[str, ...] = ()

    @classmethod
    def of(cls, name: str, options: Options) -> "RunSettings":
        """The settings that `options` ask for. Raises UsageError, with the value, where they make none."""
        return cls(
            name=name,
            settings=_model_settings(options),
            modes=_modes(options),
            policy=policy_from(options.rtol, options.atol),
            report_dir=Path(options.report_dir) if options.report_dir is not None else REPORT_DIR,
            isolate=bool(options.isolate) or options.timeout is not None,
            timeout=_seconds(options.timeout),
            gradients=bool(options.grad),
            exports=parse_exports(options.export),
        )

    def words(self) -> dict[str, str]:
        """The settings in force as words for headers and reports; what was left to the model says so."""
        settings = self.settings
        weights = "the pair's own" if is_own(self.name) else f"seed {settings.seed}"
        weights = f"checkpoint {settings.checkpoint}" if settings.checkpoint else weights
        weights = f"those of {settings.against}" if settings.against else weights
        return {
            "model": self.name,
            "inputs": ", ".join(self._input_names()) or "the model's own",
            "size": by(settings.size) if settings.size else "the model's own",
            "modes": ", ".join(self.modes),
            "format": settings.data_format,
            "weights": weights,
            **({"port": str(settings.port)} if settings.port else {}),
            **({"map": str(settings.map)} if settings.map else {}),
            **({"against": str(settings.against)} if settings.against else {}),
            "policy": str(self.policy),
            **({"gradients": "compared, and one step in training mode"} if self.gradients else {}),
        }

    def command(self) -> str:
        """The `parity verify` that asks for the same, but for inputs and modes."""
        settings, usual = self.settings, Settings()
        words = ["parity", "verify", self.name]
        if settings.images:
            words += ["--images", *map(str, settings.images)]
        if settings.size:
            words += ["--size", by(settings.size)]
        if settings.data_format != usual.data_format:
            words += ["--data-format", settings.data_format]
        if settings.checkpoint:
            words += ["--checkpoint", str(settings.checkpoint)]
        if settings.seed != usual.seed:
            words += ["--seed", str(settings.seed)]
        if settings.port:
            words += ["--port", str(settings.port)]
        if settings.map:
            words += ["--map", str(settings.map)]
        if settings.against:
            words += ["--against", str(settings.against)]
        for name, shape in settings.shapes.items():
            words += ["--shape", f"{name}={_listed(shape)}" if name else _listed(shape)]
        if settings.values:
            words += [f"--range={settings.values[0]:g},{settings.values[1]:g}"]
        if isinstance(self.policy, Tolerance):
            words += ["--rtol", f"{self.policy.rtol:g}", "--atol", f"{self.policy.atol:g}"]
        return shlex.join([*words, *([GRAD] if self.gradients else [])])

    def verifier(self, pair: Pair) -> "Verifier":
        """The pair made ready to be verified under the policy in force."""
        from parity.verification import Verifier

        return Verifier(pair, self.policy, gradients=self.gradients)

    def verify(self, verifier: "Verifier", given: Input, inputs: Sequence[Input], show: Show = silent) -> Report:
        """The verification of one of the pair's `inputs`, in every mode, with these settings on record."""
        report = verifier.report(given, self.modes, show)
        return replace(report, settings={**report.settings, **self.on_record(inputs), **_in_modes(report)})

    def on_record(self, inputs: Sequence[Input]) -> dict[str, str]:
        """What a report of these inputs says of the settings in force."""
        words = {**self.words(), "inputs": ", ".join(f"{each.name} {size_of(each)}" for each in inputs)}
        del words["size"]
        return {**words, "command": self.command()}

    def _input_names(self) -> list[str]:
        images = [" and ".join(map(str, self.settings.images))] if self.settings.images else []
        return [*self.settings.inputs, *images]


def _in_modes(report: Report) -> dict[str, str]:
    """The modes that a report is of: a file that ships has one of its own, whatever others are asked for."""
    return {"modes": ", ".join(dict.fromkeys(run.mode for run in report.runs))} if report.runs else {}


def _modes(options: Options) -> tuple[str, ...]:
    """The modes that are asked for; of a file in the port's place that has an engine of its own, its only one."""
    port = Path(options.port) if options.port is not None else None
    if port is None or not port.exists():
        return parse_modes(options.modes)
    own = modes_of(port, MODES)
    return (
        own if own != MODES and list(_distinct(options.modes)) == [*own] else modes_of(port, parse_modes(options.modes))
    )


def _model_settings(options: Options) -> Settings:
    seed = 0 if options.seed is None else options.seed
    if not 0 <= seed < 2**32:
        raise UsageError(f"seed={seed}: a seed must be 0 or more, and less than 2**32")
    return Settings(
        inputs=_distinct(options.inputs),
        images=_two_images(options.images),
        size=parse_size(options.size) if options.size is not None else None,
        data_format=options.data_format or Settings().data_format,
        checkpoint=Path(options.checkpoint) if options.checkpoint is not None else None,
        seed=seed,
        port=Path(options.port) if options.port is not None else None,
        shapes=parse_shapes(options.shapes),
        values=parse_range(options.range) if options.range is not None else None,
        limit=_positive(options.limit),
        map=Path(options.map) if options.map is not None else None,
        against=Path(options.against) if options.against is not None else None,
    )


def parse_exports(words: Iterable[str]) -> tuple[str, ...]:
    """The forms that `words` name (each may hold commas). Raises UsageError, saying the one that is not known, or that
    needs a package which is not there.

    >>> parse_exports(["model-explorer"])
    ('model-explorer',)
    """
    names = _distinct(words)
    unknown = [name for name in names if name not in EXPORTS]
    if unknown:
        raise UsageError(f"a report cannot be exported as {unknown[0]!r}; the known forms are {', '.join(EXPORTS)}")
    if "tensorboard" in names and find_spec("tensorboard") is None:
        raise UsageError("TensorBoard is not installed; pip install 'parity[tensorboard]'")
    return names


def parse_shapes(words: Iterable[str]) -> dict[str, tuple[int, ...]]:
    """The shapes that `words` give, by the name of the input, "" where it has none. Raises UsageError, saying the word.

    >>> parse_shapes(["1,3,64,96", "mask=1,7"])
    {'': (1, 3, 64, 96), 'mask': (1, 7)}
    """
    shapes: dict[str, tuple[int, ...]] = {}
    for word in words:
        name, _, sizes = word.strip().rpartition("=")
        if not re.fullmatch(r"[1-9][0-9]{0,8}([,x][1-9][0-9]{0,8})*", sizes):
            raise UsageError(f"shape {word!r} is not a list of sizes, such as 1,3,64,96 or mask=1,7")
        if name in shapes:
            raise UsageError(f"shape {word!r}: there is one for {name or 'the input'} already")
        shapes[name] = tuple(int(size) for size in re.split("[,x]", sizes))
    return shapes


def parse_range(text: str) -> tuple[float, float]:
    """(low, high) of text such as "0,255". Raises UsageError, saying the text, where it is no range.

    >>> parse_range("-1,1")
    (-1.0, 1.0)
    """
    low, _, high = text.partition(",")
    try:
        values = float(low), float(high)
    except ValueError:
        raise UsageError(f"range {text!r} is not LOW,HIGH, such as 0,255") from None
    if not all(map(math.isfinite, values)) or values[0] >= values[1]:
        raise UsageError(f"range {text!r}: low must be less than high, and both finite")
    return values


def _positive(limit: int | None) -> int | None:
    if limit is not None and limit < 1:
        raise UsageError(f"limit={limit}: at least one file is needed")
    return limit


def _seconds(timeout: float | None) -> float | None:
    if timeout is not None and not 0 < timeout < math.inf:
        raise UsageError(f"timeout={timeout:g}: a step must be given more than 0 seconds")
    return timeout


def _listed(sizes: Iterable[int]) -> str:
    return ",".join(map(str, sizes))


def parse_size(text: str) -> tuple[int, int]:
    """(width, height) of text such as "704x448". Raises UsageError, saying the text, where it is none.

    >>> parse_size("704x448")
    (704, 448)
    """
    found = re.fullmatch(r"([0-9]{1,6})[xX]([0-9]{1,6})", text.strip())
    if not found:
        raise UsageError(f"size {text!r} is not WIDTHxHEIGHT in pixels, such as 704x448")
    width, height = int(found[1]), int(found[2])
    if min(width, height) < 1:
        raise UsageError(f"size {text!r}: width and height must be at least 1")
    return width, height


def parse_modes(words: Iterable[str]) -> tuple[str, ...]:
    """The modes that `words` name (each may hold commas), in the order of MODES; all if they name none.

    >>> parse_modes(["xla,eager"])
    ('eager', 'xla')
    """
    given = list(_distinct(words))
    unknown = [word for word in given if word not in MODES]
    if unknown:
        raise UsageError(f"unknown mode {unknown[0]!r}; the known ones are {', '.join(MODES)}")
    return tuple(mode for mode in MODES if mode in given) or MODES


def by(size: tuple[int, int]) -> str:
    """A (width, height) as it is written: "704x448"."""
    return f"{size[0]}x{size[1]}"


def size_of(given: Input) -> str:
    """The size of an input in words: "704x448" for images (the last two axes), "2x7" for anything flatter.

    Of several arrays each has its own, "96x64+2x7"; equal ones are counted, "2*96x64".
    """
    counted = Counter(_size(array.shape) for array in given.arrays.values())
    return "+".join(f"{count}*{size}" if count > 1 else size for size, count in counted.items())


def _size(shape: Sequence[int]) -> str:
    return by((shape[-1], shape[-2])) if len(shape) > 3 else "x".join(map(str, shape)) or "scalar"


def _distinct(words: Iterable[str]) -> tuple[str, ...]:
    split = (part.strip() for word in words for part in word.split(","))
    return tuple(dict.fromkeys(part for part in split if part))


def _two_images(paths: Sequence[str | Path] | None) -> tuple[Path, Path] | None:
    if not paths:
        return None
    if len(paths) != 2:
        raise UsageError(f"{len(paths)} images given; a pair is two, left and right")
    return Path(paths[0]), Path(paths[1])


def gathered(reports: Sequence[Report], unfinished: str = "") -> Report:
    """One report of several inputs' reports; `unfinished` says what is missing from it, and why."""
    report = merge(reports)
    return replace(report, settings={**report.settings, "unfinished": unfinished}) if unfinished else report


def report_folder(report_dir: Path, pair: str) -> Path:
    """Where the reports of a pair go: `reports/flownet`. A name from a module path stays one folder."""
    return report_dir / re.sub(r"[^\w.-]+", "_", pair)


def ensure_writable(folder: Path, what: Path | None = None) -> None:
    """Raise ReportFolderError unless `folder` can be written, or made. Leaves nothing behind.

    `what` is to be written there; without it, reports are.
    """
    existing = folder.absolute()
    while not os.path.lexists(existing):
        existing = existing.parent
    report = folder / REPORT_FILE
    for each in (report, report.with_suffix(".html"), folder / HISTORY_FILE):
        place_of(each)
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        raise ReportFolderError(f"cannot write {what or f'reports to {folder}'}: {error.strerror or error}") from error


def ensure_target(file: Path, source: Path | None, *, force: bool) -> None:
    """Raise UsageError unless `file` can be written as a new `.keras` file, and is not what it is made from."""
    if file.suffix != ".keras":
        raise UsageError(f"{file} is not named as a Keras file; give it the ending .keras")
    if source is not None and file.exists() and source.exists() and file.samefile(source):
        raise UsageError(f"{file} is the port itself, which is never touched; give another file")
    place_of(file)
    if file.exists() and not force:
        raise UsageError(f"{file} exists; --force overwrites it")
    ensure_writable(file.parent, file)


def engine_versions() -> dict[str, str]:
    """The versions of the engines as installed, without importing them."""
    versions = {}
    for engine in ENGINES:
        try:
            versions[engine] = metadata.version(engine)
        except metadata.PackageNotFoundError:
            versions[engine] = "not installed"
    return versions
