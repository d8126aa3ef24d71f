"""The port of a pair as files that ship: each is written, put through the gate, and only then takes its name.

A file is made in a folder of its own beside its place. What passes is moved into place, with its record; what does not
is left nowhere, unless it is asked for. So no file under its name is half-written, or was not verified.
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from parity.errors import ExportError, ParityError, UsageError
from parity.export.formats import Format
from parity.export.samples import Sample, samples
from parity.export.serving import Served, served
from parity.export.writing import write
from parity.files import place_of, write_whole
from parity.gate.record import Record
from parity.gate.running import Asked, Ready
from parity.isolation.digests import described, digest_of_weights
from parity.models import load
from parity.pairs import Input, Pair
from parity.render.progress import Show, part, silent
from parity.report import merge
from parity.settings import Options, RunSettings

FOLDER = Path("exports")
"""Where files go if nobody says so."""

FAILED = "failed"
"""The folder inside, for what does not pass, where it is kept."""

WORKSHOP = ".export."
"""What the folder begins with in which a file is made."""

RECORD = ".record.json"
"""What a file's record has behind the file's name."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What is asked for: the formats of a pair's port, and the folder that they go to.

    `options` choose the pair, its weights and its inputs, as in `parity verify`; a port of theirs is the `.keras` file
    that is exported. `force` overwrites what is there; `keep_failed` keeps what does not pass in FAILED.
    """

    name: str
    formats: tuple[Format, ...]
    options: Options
    folder: Path = FOLDER
    force: bool = False
    keep_failed: bool = False

    def ensure_possible(self, pair: str) -> None:
        """Raise before anything is made: ExportError where a package is missing, UsageError for places that are taken
        or cannot be written."""
        for form in self.formats:
            form.ensure_installed()
        for place in (self.folder / form.file_name(pair) for form in self.formats):
            for taken in (place, record_of(place)):
                if taken.exists() and not self.force:
                    raise UsageError(f"{taken} exists; --force overwrites it")
                if not taken.is_dir() or taken == record_of(place):
                    place_of(taken)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.folder):
                pass
        except OSError as error:
            raise UsageError(f"cannot write files to {self.folder}: {error.strerror or error}") from error


@dataclass(frozen=True, kw_only=True)
class Exported:
    """What came of one format: the place of the file, or `why` there is none; its record, where it was verified."""

    form: Format
    place: Path | None = None
    record: Record | None = None
    why: str = ""

    @property
    def exit_code(self) -> int:
        """0 it passed, 1 it did not, 3 it could not be made or verified."""
        return ParityError.exit_code if self.record is None else self.record.result.exit_code


def record_of(file: Path) -> Path:
    """Where the record of a file is."""
    return file.with_name(f"{file.name}{RECORD}")


def export(wanted: Wanted, show: Show = silent) -> Iterator[Exported]:
    """Make, verify and place each format, one after the other; one that fails does not stop the others.

    Raises UsageError for what makes no sense, and whatever loading the pair raises: then nothing was written.
    """
    wanted.ensure_possible(file_stem(wanted.name))
    show(f"loading {wanted.name}", 0.0)
    port = _Port.of(wanted)
    for index, form in enumerate(wanted.formats):
        yield _exported(port, form, part(show, index, len(wanted.formats)))


def file_stem(name: str) -> str:
    """What files of a pair are called: the last part of where it is, without its ending.

    >>> file_stem("flownet"), file_stem("pkg.module:pair"), file_stem("folder/parity_net.py")
    ('flownet', 'pair', 'parity_net')
    """
    place, _, attr = name.rpartition(":")
    return attr if place else Path(name).stem if name.endswith(".py") else name.rpartition(".")[2]


@dataclass(frozen=True, kw_only=True)
class _Port:
    """A port that is filled and can be exported, with what every format needs of it."""

    wanted: Wanted
    pair: Pair
    inputs: Sequence[Input]
    served: Served
    calibration: Sequence[Sample]
    weights: str
    verifiers: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, wanted: Wanted) -> "_Port":
        """Load the pair, fill its port, and find out how it is called."""
        settings = RunSettings.of(wanted.name, wanted.options)
        pair, inputs = load(wanted.name, settings.settings)
        if not inputs:
            raise UsageError(f"{wanted.name} has no inputs; what is exported is verified on some")
        verifier = settings.verifier(pair)
        model, example, names = verifier.port_call(inputs[0])
        ready = served(model, example, names=list(names.values()))
        arrays = [ready.feed(verifier.port_call(each)[1].arrays) for each in inputs]
        return cls(
            wanted=wanted,
            pair=verifier.pair,
            inputs=inputs,
            served=ready,
            calibration=samples(arrays, settings.settings.seed),
            weights=digest_of_weights(verifier.pair.reference),
        )

    def write(self, form: Format, file: Path) -> str:
        """Write the file; what has to be said about it. A batch of any size is tried first, where the format has it."""
        if not form.fixed:
            try:
                write(form, replace(self.served, free=True), file, self.calibration)
            except ExportError:
                if form.word == "keras":
                    raise
                _remove(file)
            else:
                return ""
        write(form, self.served, file, self.calibration)
        return "" if form.fixed else "for batches of one size: the port cannot be traced for any"

    def verified(self, file: Path, show: Show) -> Record:
        """Put the file through the gate, on the pair's inputs: its record."""
        asked = Asked(
            name=self.wanted.name, artifact=file, options=replace(self.wanted.options, port=None), isolate=False
        )
        ready = Ready.of(asked)
        (settings,) = ready.settings
        pair = replace(self.pair, port=str(file), transfer=False)
        verifier = settings.verifier(pair)
        reports = [
            settings.verify(verifier, given, self.inputs, part(show, index, len(self.inputs)))
            for index, given in enumerate(self.inputs)
        ]
        facts = [described(given, audited=True) for given in self.inputs]
        return ready.record(merge(reports), facts, self.weights)


def _exported(port: _Port, form: Format, show: Show) -> Exported:
    """One format, from nothing to its place."""
    wanted = port.wanted
    place = wanted.folder / form.file_name(file_stem(wanted.name))
    try:
        with _workshop(wanted.folder) as folder:
            return _made(port, form, folder / place.name, place, show)
    except OSError as error:
        raise UsageError(f"cannot write {place}: {error.strerror or error}") from error


def _made(port: _Port, form: Format, file: Path, place: Path, show: Show) -> Exported:
    """Write a format to `file`, verify it, and put it in its place if it passes."""
    try:
        show(f"{form.word}: writing", 0.0)
        why = port.write(form, file)
        show(f"{form.word}: verifying", 0.3)
        record = port.verified(file, lambda text, done: show(f"{form.word}: {text}", 0.3 + 0.7 * done))
    except ParityError as error:
        return Exported(form=form, why=str(error).replace(str(file), str(place)))
    if record.result.exit_code:
        if not port.wanted.keep_failed:
            return Exported(form=form, record=_renamed(record, file, place), why=why)
        place = port.wanted.folder / FAILED / place.name
    record = _renamed(record, file, place)
    _put(file, place, record)
    return Exported(form=form, place=place, record=record, why=why)


@contextmanager
def _workshop(folder: Path) -> Iterator[Path]:
    """A folder beside the places of the files, gone afterwards; those that killed processes have left go now.

    A process holds a lock on its own for as long as it lives.
    """
    for left in folder.glob(f"{WORKSHOP}*"):
        with _locked(left) as dead:
            if dead:
                shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=WORKSHOP) as made, _locked(Path(made)):
        yield Path(made)


@contextmanager
def _locked(folder: Path) -> Iterator[bool]:
    """Hold the lock on a folder; False where another process has it, or there is none to have."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        yield False
        return
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
        else:
            yield True
    finally:
        os.close(handle)


def _put(file: Path, place: Path, record: Record) -> None:
    """Move a file to its place, and write its record: the record of an older file is gone before that file is."""
    place.parent.mkdir(parents=True, exist_ok=True)
    record_of(place).unlink(missing_ok=True)
    if place.is_dir() or file.is_dir():
        _remove_into(place, file.parent)
    os.replace(file, place if file.is_dir() or place.is_dir() else place_of(place))
    write_whole(record_of(place), record.sealed())


def _remove_into(place: Path, folder: Path) -> None:
    """Take away what is at a place, at once, into a folder that goes."""
    if place.exists():
        os.replace(place, folder / "before")


def _remove(file: Path) -> None:
    if file.is_dir():
        shutil.rmtree(file)
    else:
        file.unlink(missing_ok=True)


def _renamed(record: Record, file: Path, place: Path) -> Record:
    """The record of a file that is to be in another place."""

    def moved(text: str) -> str:
        return text.replace(str(file), str(place))

    result = record.result
    checks = tuple(replace(check, says=moved(check.says)) for check in result.checks)
    artifact = replace(result.artifact, path=str(place))
    result = replace(result, artifact=artifact, checks=checks, notes=tuple(map(moved, result.notes)))
    return replace(record, result=result, asked=_texts(record.asked, moved))


def _texts(words: Mapping[str, str], moved: Any) -> dict[str, str]:
    return {name: moved(text) for name, text in words.items()}
