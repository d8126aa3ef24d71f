"""A pair in a process of its own, so that an engine that takes its process down leaves a report all the same.

    supervisor   starts processes, asks them for one input after another, notices how they end
    process      one process, seen from outside; worker, from inside
    relay        how the reference's values, and its calls, reach the port's process
    journal      what is written down, as lines of a file that outlives the process
    endings      how a process ended, in words: signals, exit codes, memory
    remains      the report of what a process had found when it died
    together     whether both engines can be loaded into one process
    source       a pair in this process or in one of its own, alike to whoever asks for reports

The supervising process imports no engine.
"""

from parity.isolation.process import Limits
from parity.isolation.source import Source, opened
from parity.isolation.supervisor import Isolated, ProcessDiedError

__all__ = ["Isolated", "Limits", "ProcessDiedError", "Source", "opened"]
