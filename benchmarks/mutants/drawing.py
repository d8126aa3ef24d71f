"""Which mutants are tried, and on which kinds: those of which some case reaches the changed function."""

import random
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.mutants.cases import on_cases
from benchmarks.mutants.enumerating import FILES, PACKAGE, Mutant


def reached(count: int = 12) -> dict[str, set[tuple[str, str]]]:
    """By kind, the functions of the converters' files that building its cases reaches, as (file, name)."""
    from parity.building import built
    from parity.errors import ConversionError
    from parity.layers import every_kind

    files = {str(path): path.relative_to(PACKAGE).as_posix() for pattern in FILES for path in PACKAGE.glob(pattern)}
    found: dict[str, set[tuple[str, str]]] = {}
    functions: set[tuple[str, str]] = set()

    def see(frame: Any, event: str, _: Any) -> None:
        if event == "call" and frame.f_code.co_filename in files:
            functions.add((files[frame.f_code.co_filename], frame.f_code.co_qualname))

    for kind in every_kind():
        functions.clear()

        def build(case: Any) -> None:
            for data_format in kind.formats:  # noqa: B023 - it is called before the next
                sys.setprofile(see)
                try:
                    built(case.module, case.given, case.layouts, data_format)
                except ConversionError:
                    pass
                finally:
                    sys.setprofile(None)

        on_cases(kind.name, build, count)
        found[kind.name] = set(functions)
    return found


def kinds_of(mutant: Mutant, found: Mapping[str, set[tuple[str, str]]]) -> list[str]:
    """The kinds whose cases reach the changed function; of what is in none, those that reach its file."""
    name = mutant.function

    def reaches(function: tuple[str, str]) -> bool:
        file, qualified = function
        plain = qualified.replace(".<locals>", "").partition(".<")[0]
        return file == mutant.file and (not name or plain == name or plain.startswith(f"{name}."))

    return [kind for kind, functions in found.items() if any(map(reaches, functions))]


def drawn(count: int, seed: int, among: Sequence[Mutant]) -> list[Mutant]:
    """That many mutants, of every way in turn, no two of one way in one function while there are others."""
    generator = random.Random(seed)
    by_way: dict[str, list[Mutant]] = defaultdict(list)
    for mutant in generator.sample(among, len(among)):
        by_way[mutant.way].append(mutant)
    ways = generator.sample(sorted(by_way), len(by_way))
    chosen: list[Mutant] = []
    taken: set[tuple[str, str, str]] = set()
    while len(chosen) < min(count, len(among)):
        for way in ways:
            waiting = by_way[way]
            fresh = [each for each in waiting if (each.way, each.file, each.function) not in taken] or waiting
            if fresh and len(chosen) < count:
                mutant = fresh[0]
                chosen.append(mutant)
                waiting.remove(mutant)
                taken.add((mutant.way, mutant.file, mutant.function))
    return chosen
