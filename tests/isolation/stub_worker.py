"""A process without engines, which what is asked for ends; imported before its `main` is called."""

import os
import signal
import time

from parity.isolation import worker
from parity.isolation.journal import Ready
from parity.watch import Step, tell

START = (
    "import json, sys; sys.path[:] = json.loads(sys.argv.pop(1)); import stub_worker; "
    "from parity.isolation.worker import main; from pathlib import Path; main(Path(sys.argv.pop(1)))"
)
"""What a process is started with, in place of the usual."""


class Stub(worker.Worker):
    """Says that it is ready, and ends as the question asks."""

    def prepare(self) -> None:
        self.journal.write(Ready())

    def answer(self, question: worker.Question) -> str:
        tell(Step(side="port", doing="running 'bad'", mode="eager"))
        os.write(2, b"LLVM ERROR: no\n")
        end(question["how"])
        return "nothing"


def end(how: str) -> None:
    """End the process, or not."""
    if how == "abort":
        os.abort()
    if how == "exit":
        os._exit(7)
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "sleep":
        time.sleep(600)
    if how == "raise":
        raise ZeroDivisionError("one\ntwo")
    if how == "memory":
        bytearray(1 << 36)


worker.WORKERS["both"] = Stub
