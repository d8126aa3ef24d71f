"""The formats that a port can be exported to, by the words that a user asks for them with."""

import difflib
import importlib.util
from collections.abc import Iterable
from dataclasses import dataclass

from parity.errors import ExportError, UsageError


@dataclass(frozen=True, kw_only=True)
class Format:
    """A kind of file: `word` asks for it, `suffix` ends its name.

    `needs` are the modules that write and run it, and `extra` the extra of parity that has them. `fixed` says that it
    is written for one size of batch.
    """

    word: str
    suffix: str
    what: str
    needs: tuple[str, ...] = ()
    extra: str = ""
    fixed: bool = False

    def file_name(self, pair: str) -> str:
        """What the file of a pair is called.

        >>> FORMATS["tflite-int8"].file_name("flownet")
        'flownet.int8.tflite'
        """
        return f"{pair}{self.suffix}"

    def ensure_installed(self) -> None:
        """Raise ExportError unless what the format needs is installed."""
        missing = [name for name in self.needs if importlib.util.find_spec(name) is None]
        if missing:
            raise ExportError(
                f"{self.word} needs {missing[0]}, which is not installed: pip install 'parity[{self.extra}]'"
            )


_TFLITE = ("ai_edge_litert", "flatbuffers")

_ALL = (
    Format(word="pb", suffix=".pb", what="a frozen graph"),
    Format(word="saved_model", suffix=".saved_model", what="a SavedModel, which is a folder"),
    Format(word="keras", suffix=".keras", what="a Keras file"),
    Format(word="tflite", suffix=".tflite", what="TFLite in float32", needs=_TFLITE, extra="tflite", fixed=True),
    Format(
        word="tflite-fp16",
        suffix=".fp16.tflite",
        what="TFLite with weights in float16",
        needs=_TFLITE,
        extra="tflite",
        fixed=True,
    ),
    Format(
        word="tflite-dynamic",
        suffix=".dynamic.tflite",
        what="TFLite with weights in int8",
        needs=_TFLITE,
        extra="tflite",
        fixed=True,
    ),
    Format(
        word="tflite-int8",
        suffix=".int8.tflite",
        what="TFLite in int8, weights and activations",
        needs=_TFLITE,
        extra="tflite",
        fixed=True,
    ),
    Format(word="onnx", suffix=".onnx", what="ONNX", needs=("onnx", "onnxruntime", "tf2onnx"), extra="onnx"),
)

FORMATS = {each.word: each for each in _ALL}
"""Every format by its word, in the order in which they are listed."""


def known(words: Iterable[str]) -> tuple[Format, ...]:
    """The formats that words name (each may hold commas), each once. Raises UsageError for others, and for none.

    >>> [each.word for each in known(["pb,onnx", "pb"])]
    ['pb', 'onnx']
    """
    given = list(dict.fromkeys(part.strip() for word in words for part in word.split(",") if part.strip()))
    for word in given:
        if word not in FORMATS:
            near = difflib.get_close_matches(word, FORMATS, n=1)
            hint = f"; did you mean {near[0]!r}? The" if near else "; the"
            raise UsageError(f"no format is called {word!r}{hint} formats are {', '.join(FORMATS)}")
    if not given:
        raise UsageError(f"no format given; the formats are {', '.join(FORMATS)}")
    return tuple(FORMATS[word] for word in given)
