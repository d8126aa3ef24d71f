"""A pair in a process of its own, so that an engine that takes its process down leaves a report all the same.

    supervisor   starts the process, asks it for one input after another, notices how it ends
    worker       the process: loads the pair, verifies what it is asked for, writes down every step before it begins
    journal      what is written down, as lines of a file that outlives the process
    endings      how a process ended, in words: signals, exit codes, memory
    remains      the report of what a process had found when it died
    together     whether both engines can be loaded into one process
    source       a pair in this process or in one of its own, alike to whoever asks for reports

The supervising process imports no engine.
"""

from parity.isolation.source import Source, opened
from parity.isolation.supervisor import Isolated, Limits, ProcessDiedError

__all__ = ["Isolated", "Limits", "ProcessDiedError", "Source", "opened"]
