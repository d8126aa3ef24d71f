"""One file per engine, all giving the same thing: named taps, their values, and the output of a run."""
