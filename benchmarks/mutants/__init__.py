"""Faults planted in the converters themselves: does `pytest --model layers` find them? `python -m benchmarks mutants`.

A mutant is a copy of the package with one expression of one function changed, in the ways in which converters go wrong
(see docs/causes.md): kernel axes, pads, strides, groups, biases, epsilons, gates, corners, slopes, ceil_mode and the
like. Which are planted is drawn from all there could be by a seed, as many of each way as can be. Each is run with the
default settings of `pytest --model layers -x`, restricted to the kinds of which some case reaches the changed function;
it is killed where that fails. One that survives is compared with the original on many more cases: where every output
is the same bit by bit it is the same in effect, and where the two, run in float64, are the same to a few of float64's
roundings it only rounds otherwise. Neither counts, another is tried in its place, and nobody decides which that are.
Exits with 1 where one survives, or fewer than were asked for could be tried.
"""
