"""The reference, for the port's process: a recording in shared memory, whose calls the reference's process makes again.

The reference's process records an input into a file in memory (/dev/shm), the port's process maps it and judges against
it. A call on other values, which a recording cannot make, goes to the reference's process by a socket.
"""

import pickle
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, fields
from importlib.metadata import version
from multiprocessing.connection import Client, Connection, Listener
from pathlib import Path
from threading import Thread

from parity.axes import Array
from parity.errors import PairError
from parity.golden import REFERENCE
from parity.golden.file import written
from parity.golden.reference import RecordedCall, RecordedReference, Recording, ReferenceHeader
from parity.pairs import Input, Pair
from parity.render.progress import Show
from parity.runners.calls import Call
from parity.runners.torch_module import TorchModule

Ask = Callable[[str, Mapping[str, Array]], Array]


def record(reference: TorchModule, pair: Pair, given: Input, path: Path, show: Show) -> None:
    """Run the reference on an input, for the port's process to read. Raises RecordingError where there is no room."""
    with written(path) as (writer, text):
        recording = Recording(reference=reference, pair=pair, writer=writer)
        modules, run = recording.network(), recording.run(0, given, show)
        header = ReferenceHeader(
            side=REFERENCE,
            pair=pair.name,
            parity=version("parity"),
            versions={"torch": version("torch"), "numpy": version("numpy")},
            settings={},
            command="",
            weights=recording.weights,
            sums=writer.sums,
            modules=tuple(modules),
            functions=recording.functions,
            runs=(run,),
        )
        text.append(header.model_dump_json(by_alias=True))


@dataclass(frozen=True, kw_only=True)
class RelayedCall(RecordedCall):
    """A call that the reference's process can make again."""

    tap: str
    ask: Ask

    @property
    def repeatable(self) -> bool:
        """It can be made again."""
        return True

    def on_arrays(self, values: Mapping[str, Array]) -> Array:
        """The same call on other values. Raises PairError where the reference cannot make it."""
        return self.ask(self.tap, values)


class RelayedReference(RecordedReference):
    """The recording of one input after another; the file is gone as soon as it is mapped."""

    def __init__(self, path: Path, socket: Path) -> None:
        super().__init__(path)
        path.unlink()
        self._socket = socket
        self._connection: Connection | None = None

    @property
    def versions(self) -> Mapping[str, str]:
        """The version of torch, which runs beside."""
        return {"torch": self.header.versions["torch"]}

    def turn_to(self, path: Path) -> None:
        """From now on it is another recording of the same reference."""
        socket, connection = self._socket, self._connection
        vars(self).clear()
        self.__init__(path, socket)  # type: ignore[misc]
        self._connection = connection

    def calls(self, given: Input) -> Mapping[str, Call]:
        """How each tap was made in the run on an input; it can be made again."""
        return {name: self._relayed(name, call) for name, call in super().calls(given).items()}

    def _relayed(self, name: str, call: Call) -> RelayedCall:
        told = {each.name: getattr(call, each.name) for each in fields(call)}
        return RelayedCall(**told, tap=name, ask=self._ask)

    def _ask(self, tap: str, values: Mapping[str, Array]) -> Array:
        try:
            self._connection = self._connection or Client(str(self._socket))
            self._connection.send((tap, dict(values)))
            answer = self._connection.recv()
        except (OSError, EOFError) as error:
            raise PairError(f"the reference's process does not answer: {error}") from error
        if isinstance(answer, str):
            raise PairError(answer)
        array: Array = answer
        return array


@dataclass(frozen=True)
class Asked:
    """A call that the port's process asks for, and where the answer goes."""

    tap: str
    values: Mapping[str, Array]
    answer: Callable[[Array | str], None]


def listen(socket: Path, put: Callable[[Asked], None]) -> None:
    """Take what the port's process asks for, in a thread of its own."""
    listener = Listener(str(socket))

    def serve() -> None:
        while True:
            connection = listener.accept()
            Thread(target=_serve, args=(connection, put), daemon=True).start()

    Thread(target=serve, daemon=True).start()


def _serve(connection: Connection, put: Callable[[Asked], None]) -> None:
    with suppress(OSError, EOFError, pickle.UnpicklingError):
        while True:
            tap, values = connection.recv()
            put(Asked(tap, values, connection.send))
