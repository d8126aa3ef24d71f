"""What can go wrong before or around a comparison; values that differ are data in a Report, never an exception.

ParityError                 exit 3: could not verify
├── UsageError              exit 2: the request itself is wrong (unknown model, bad option, bad size)
│   ├── UnknownModelError   no model of that name; the message lists the known ones
│   ├── InputError          an image or array that cannot serve as an input
│   ├── ReportFolderError   the folder for the report cannot be written
│   └── ReportFileError     a file that should be a report, and is none or not a whole one
├── CheckpointError         a weights file that cannot be read safely or does not fit the network
├── WeightError             weights that do not fit the port: unused, missing, ill-shaped
├── MapError                a layer map that names taps which do not exist
├── PairError               a reference or port that cannot be run as a pair
│   └── RefusedInputError   a port that refuses what it is given
├── ArtifactError           a file that ships which is broken, foreign, or does what no network needs
├── UserCodeError           the code that defines or builds a pair has failed
├── RecordingError          a recording that cannot be written, or read as what it should be
├── GateRecordError         a record of a gate's run that is none, or was changed since it was written
├── ConversionError         torch modules that have no exact counterpart in Keras, each named with its reason
│   └── BuilderError        a builder that fails, or makes something of other sizes than torch does
├── ExportError             a port that cannot be exported, or a file of it that cannot be written
└── RepairError             a repaired copy that cannot be written
"""


class ParityError(Exception):
    """Root of every error parity raises on purpose; `exit_code` is what the command line ends with."""

    exit_code = 3


class UsageError(ParityError):
    """The request itself is wrong: nothing was run."""

    exit_code = 2


class UnknownModelError(UsageError):
    """No model of that name."""


class InputError(UsageError):
    """An image or array that cannot serve as an input."""


class ReportFolderError(UsageError):
    """The folder for the report cannot be written."""


class ReportFileError(UsageError):
    """A file that should be a report, and is none, or not a whole one, or of another schema."""


class CheckpointError(ParityError):
    """A weights file that cannot be read safely, or does not fit the network."""


class WeightError(ParityError):
    """Weights that do not fit the port: unused, missing or ill-shaped ones, all named at once."""


class MapError(ParityError):
    """A layer map that names taps which do not exist."""


class PairError(ParityError):
    """A reference or port that cannot be run as a pair."""


class RefusedInputError(PairError):
    """A port that refuses what it is given; the message has what it says."""


class ArtifactError(ParityError):
    """A file that ships which cannot be verified: broken, of no known format, or asking for more than to compute."""


class UserCodeError(ParityError):
    """The code that defines or builds a pair has failed; the message has its exception and the line of its file."""


class RecordingError(ParityError):
    """A recording that cannot be written, or is not of what is asked for, not whole, or of another schema."""


class GateRecordError(ParityError):
    """A record of a gate's run that cannot be read as one, or was changed since it was written."""


class RepairError(ParityError):
    """A repaired copy that cannot be written, or is not what was verified once it is."""


class ConversionError(ParityError):
    """Torch modules or calls that have no exact counterpart in Keras; the message names each, and why."""


class BuilderError(ConversionError):
    """A builder that fails where it refuses nothing, or makes something of other sizes than torch does."""


class ExportError(ParityError):
    """A port that cannot be exported to a format, or a file that cannot be written or is not what it was made of."""


def first_line(error: BaseException) -> str:
    """The first line of what an error says, or its type where it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
