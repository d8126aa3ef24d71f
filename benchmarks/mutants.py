"""Faults planted in the converters themselves: does `pytest --model layers` find them? `python -m benchmarks mutants`.

A mutant is a copy of the package with one expression of one function changed, in the ways in which converters go wrong
(see docs/causes.md): kernel axes, pads, strides, groups, biases, epsilons, gates, corners, slopes, ceil_mode and the
like. Which are planted is drawn from all there could be by a seed, as many of each way as can be. Each is run with the
default settings of `pytest --model layers -x`, restricted to the kinds of which some case reaches the changed function;
it is killed where that fails. One that survives is compared with the original on many more cases, bit by bit: where
every output is the same in every case, it is called the same in effect, and not counted; so nobody decides which that
are. Exits with 1 where one survives, or fewer than were asked for could be tried.
"""

import argparse
import ast
import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

import parity

PACKAGE = Path(parity.__file__).parent
FILES = ("building/*.py", "converters/*.py")
CONVERTS = (b"\n@builds(", b"\n@register(")
"""What a file of converters has in it; what the others do, all kinds share."""
CASES, CASES_OF_ONE = 800, 100
"""How many cases a survivor is compared with the original on in all, and of each kind at least."""
TIMEOUT = 1800
SHOWN = 8


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """One change: where, which way of going wrong it stands for, and the text before and after."""

    file: str
    function: str
    line: int
    way: str
    start: int
    end: int
    before: str
    after: str

    def source(self, text: bytes) -> bytes:
        """The file's text with the change; it stays as many lines long as it was, or Python parses it all the same."""
        return text[: self.start] + self.after.encode() + text[self.end :]


@dataclass(frozen=True, kw_only=True)
class Result:
    """What came of a mutant: `verdict` is killed, survived, or same; `by` what killed it, or on what it differs."""

    mutant: Mutant
    kinds: Sequence[str]
    verdict: str
    by: str
    seconds: float


# -- what can be changed ----------------------------------------------------------------------------------------------

Change = tuple[str, ast.AST, str]
"""The way, the node to be replaced, and what replaces it."""


def changes(node: ast.AST, parents: Sequence[ast.AST]) -> Iterator[Change]:
    """Every change of one node, in the ways in which converters go wrong."""
    for way in (_axes, _order, _arithmetic, _comparison, _keywords, _attributes, _numbers, _negative_one):
        yield from way(node, parents)


def _axes(node: ast.AST, parents: Sequence[ast.AST]) -> Iterator[Change]:
    """kernel-axes: two axes of what a pattern gives change places."""
    if not (isinstance(node, ast.Constant) and isinstance(node.value, str) and " -> " in node.value):
        return
    left, _, right = node.value.partition(" -> ")
    axes = right.split()
    for i in range(len(axes) - 1):
        if "(" not in axes[i] + axes[i + 1] and ")" not in axes[i] + axes[i + 1] and "..." not in axes[i : i + 2]:
            other = [*axes[:i], axes[i + 1], axes[i], *axes[i + 2 :]]
            yield "kernel-axes", node, repr(f"{left} -> {' '.join(other)}")
    if "(" in right:
        inside = right[right.index("(") + 1 : right.index(")")]
        turned = " ".join(reversed(inside.split()))
        yield "kernel-reshape", node, repr(f"{left} -> {right.replace(inside, turned)}")


def _order(node: ast.AST, parents: Sequence[ast.AST]) -> Iterator[Change]:
    """What stands in a row changes places: gates, the two sides of a pad, gamma and beta, what is joined."""
    if not isinstance(node, (ast.Tuple, ast.List)) or not isinstance(node.ctx, ast.Load) or len(node.elts) < 2:
        return
    if any(isinstance(parent, (ast.Subscript, ast.comprehension, ast.For)) for parent in parents[-1:]):
        return
    if any(isinstance(each, ast.Starred) for each in node.elts[:2]):
        return
    first, second, *rest = (ast.unparse(each) for each in node.elts)
    if first == second:
        return
    opened, closed = "()" if isinstance(node, ast.Tuple) else "[]"
    numbers = all(isinstance(each, ast.Constant) and isinstance(each.value, int) for each in node.elts)
    of_gates = numbers and bool(parents) and "GATES" in ast.unparse(parents[-1])
    way = "gate-order" if of_gates else "axes" if numbers else "padding" if len(node.elts) == 2 else "weight-order"
    yield way, node, f"{opened}{', '.join([second, first, *rest])}{closed}"


def _arithmetic(node: ast.AST, parents: Sequence[ast.AST]) -> Iterator[Change]:
    """padding, output-crop, spatial-shift: off by one, or on the wrong side."""
    if not isinstance(node, ast.BinOp) or _is_about_shapes_only(node):
        return
    left, right = ast.unparse(node.left), ast.unparse(node.right)
    if isinstance(node.op, (ast.Add, ast.Sub)):
        other = "-" if isinstance(node.op, ast.Add) else "+"
        yield "padding", node, f"({left} {other} ({right}))"
        if isinstance(node.right, ast.Constant) and node.right.value == 1:
            yield "off-by-one", node, f"({left})"
    if isinstance(node.op, ast.FloorDiv):
        yield "off-by-one", node, f"(-(-({left}) // ({right})))"
    if isinstance(node.op, (ast.Mult, ast.Div)):
        yield "scale", node, f"({left})"


def _is_about_shapes_only(node: ast.BinOp) -> bool:
    return any(isinstance(each, (ast.List, ast.Tuple, ast.JoinedStr)) for each in (node.left, node.right)) or (
        isinstance(node.left, ast.Constant) and isinstance(node.left.value, str)
    )


def _comparison(node: ast.AST, parents: Sequence[ast.AST]) -> Iterator[Change]:
    """A boundary that is on the other side."""
    if isinstance(node, ast.Compare) and len(node.ops) == 1:
        others = {ast.Lt: "<=", ast.LtE: "<", ast.Gt: ">=", ast.GtE: ">"}
        other = others.get(type(node.ops[0]))
        if other:
            yield "boundary", node, f"({ast.unparse(node.left)} {other} {ast.unparse(node.comparators[0])})"


KEYWORDS: Mapping[str, tuple[str, str]] = {
    "strides": ("stride-dilation", "1"),
    "dilation_rate": ("stride-dilation", "1"),
    "groups": ("kernel-layout", "1"),
    "use_bias": ("bias-missing", "False"),
    "epsilon": ("norm-epsilon", "1e-3"),
    "negative_slope": ("activation-slope", "0.3"),
    "alpha": ("activation-slope", "1.0"),
    "approximate": ("activation-kind", "not ({})"),
    "include_pad": ("pooling", "not ({})"),
    "reset_after": ("gate-order", "not ({})"),
    "go_backwards": ("gate-order", "not ({})"),
    "output_padding": ("output-crop", "None"),
    "constant_values": ("padding", "1.0"),
    "scale": ("weight-order", "not ({})"),
    "center": ("weight-order", "not ({})"),
}
"""Keyword arguments, the way in which they go wrong, and how; {} is what they were."""


def _keywords(node: ast.AST, parents: Sequence[ast.AST]) -> Iterator[Change]:
    if isinstance(node, ast.keyword) and node.arg in KEYWORDS:
        way, other = KEYWORDS[node.arg]
        yield way, node.value, other.replace("{}", ast.unparse(node.value))
    if isinstance(node, ast.keyword) and node.arg in ("axis", "axes"):
        yield "reduction-axis", node.value, f"_mutated_axis({ast.unparse(node.value)})"


ATTRIBUTES: Mapping[str, tuple[str, str]] = {
    "align_corners": ("resize-grid", "(not {})"),
    "ceil_mode": ("pooling", "(not {})"),
    "count_include_pad": ("pooling", "(not {})"),
    "divisor_override": ("pooling", "None"),
    "eps": ("norm-epsilon", "1e-3"),
    "negative_slope": ("activation-slope", "({} * 1.002)"),
    "alpha": ("activation-slope", "({} * 1.01)"),
    "beta": ("activation-slope", "({} * 1.01)"),
    "approximate": ("activation-kind", "('none' if {} != 'none' else 'tanh')"),
    "groups": ("kernel-layout", "1"),
    "num_groups": ("norm-statistics", "1"),
    "dilation": ("stride-dilation", "_mutated_sizes({}, 1)"),
    "stride": ("stride-dilation", "_mutated_sizes({}, 1)"),
    "output_padding": ("output-crop", "_mutated_sizes({}, 0)"),
    "padding": ("padding", "_mutated_pads({})"),
    "padding_mode": ("padding", "'zeros'"),
    "bidirectional": ("gate-order", "(not {})"),
    "norm_first": ("wrong-input", "(not {})"),
    "batch_first": ("spurious-transpose", "(not {})"),
    "dim": ("reduction-axis", "({} - 1)"),
    "upscale_factor": ("channel-permutation", "({} + 1)"),
    "min_val": ("activation-kind", "({} * 1.01)"),
    "max_val": ("activation-kind", "({} * 1.01)"),
    "lambd": ("activation-kind", "({} * 1.01)"),
    "threshold": ("activation-kind", "({} * 1.01)"),
    "scale_factor": ("resize-grid", "None"),
}
"""Settings of torch's layers, the way in which they go wrong, and how; {} is what they were."""


def _attributes(node: ast.AST, parents: Sequence[ast.AST]) -> Iterator[Change]:
    of_layer = isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "layer"
    if of_layer and isinstance(node, ast.Attribute) and node.attr in ATTRIBUTES:
        way, other = ATTRIBUTES[node.attr]
        yield way, node, other.replace("{}", ast.unparse(node))


def _numbers(node: ast.AST, parents: Sequence[ast.AST]) -> Iterator[Change]:
    """activation-kind, scale: a coefficient that is slightly another."""
    if isinstance(node, ast.Constant) and isinstance(node.value, float) and node.value not in (0.0, float("inf")):
        yield "scale", node, repr(node.value * 1.001)


def _negative_one(node: ast.AST, parents: Sequence[ast.AST]) -> Iterator[Change]:
    """kernel-flip: what is turned round stays as it was."""
    if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in ("flip", "reversed") and node.args:
        yield "kernel-flip", node, ast.unparse(node.args[0])


HELPER = """

def _mutated_axis(axis):
    \"\"\"The axis before it, which for the first is the next.\"\"\"
    if isinstance(axis, (tuple, list)):
        return type(axis)(_mutated_axis(each) for each in axis)
    return axis - 1 if axis > 1 or axis < 0 else axis + 1


def _mutated_sizes(sizes, size):
    \"\"\"That size along every axis.\"\"\"
    return type(sizes)(size for _ in sizes) if isinstance(sizes, (tuple, list)) else size


def _mutated_pads(pads):
    \"\"\"Each pad larger by one; where there is a word for it, the other.\"\"\"
    if isinstance(pads, str):
        return "valid" if pads == "same" else "same"
    return type(pads)(pad + 1 for pad in pads) if isinstance(pads, (tuple, list)) else pads + 1
"""
"""What a changed file has at its end, for changes that call it."""


def mutants(package: Path = PACKAGE) -> Iterator[Mutant]:
    """Every mutant that there could be, file by file."""
    for pattern in FILES:
        for path in sorted(package.glob(pattern)):
            text = path.read_bytes()
            if any(mark in text for mark in CONVERTS):
                yield from _of_file(path.relative_to(package).as_posix(), text)


def _of_file(file: str, text: bytes) -> Iterator[Mutant]:
    starts = [0]
    for line in text.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    for function, node, parents in _walked(ast.parse(text)):
        for way, changed, after in changes(node, parents):
            assert isinstance(changed, ast.expr)
            assert changed.end_lineno is not None
            assert changed.end_col_offset is not None
            start = starts[changed.lineno - 1] + changed.col_offset
            end = starts[changed.end_lineno - 1] + changed.end_col_offset
            made = Mutant(
                file=file,
                function=function,
                line=changed.lineno,
                way=way,
                start=start,
                end=end,
                before=" ".join(text[start:end].decode().split()),
                after=after,
            )
            if _means_another(text, made):
                yield made


def _means_another(text: bytes, mutant: Mutant) -> bool:
    """Whether Python reads the changed file, and reads something else."""
    try:
        return ast.dump(ast.parse(mutant.source(text))) != ast.dump(ast.parse(text))
    except SyntaxError:
        return False


def _walked(tree: ast.Module) -> Iterator[tuple[str, ast.AST, list[ast.AST]]]:
    """Every node that computes something, the function that it is in ("" for none), and what it is within."""

    def walk(node: ast.AST, function: str, parents: list[ast.AST]) -> Iterator[tuple[str, ast.AST, list[ast.AST]]]:
        if isinstance(node, (ast.Raise, ast.JoinedStr, ast.arguments)) or _only_refuses(node):
            return
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            name = f"{function}.{node.name}" if function else node.name
            for child in node.body:
                yield from walk(child, name, [*parents, node])
            return
        if isinstance(node, ast.AnnAssign):
            children: list[ast.AST] = [node.value] if node.value else []
        elif isinstance(node, ast.Assign) and not function and not _is_upper(node):
            return
        else:
            children = list(ast.iter_child_nodes(node))
        yield function, node, parents
        for child in children:
            yield from walk(child, function, [*parents, node])

    yield from walk(tree, "", [])


def _only_refuses(node: ast.AST) -> bool:
    """A condition under which nothing but an error comes: what is refused has tests of its own."""
    return isinstance(node, ast.If) and all(isinstance(each, ast.Raise) for each in node.body) and not node.orelse


def _is_upper(node: ast.Assign) -> bool:
    return all(isinstance(target, ast.Name) and target.id.isupper() for target in node.targets)


# -- who reaches what -------------------------------------------------------------------------------------------------


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

        _on_cases(kind.name, build, count)
        found[kind.name] = set(functions)
    return found


def _on_cases(kind: str, see: Callable[[Any], None], count: int) -> None:
    """Have a function see that many cases of a kind, the same at every call."""
    from hypothesis import HealthCheck, Phase, given, seed, settings

    from parity.inputs.strategies import cases

    def draw(case: Any) -> None:
        see(case)

    usual = settings(
        max_examples=count,
        phases=[Phase.generate],
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    run: Callable[[], None] = usual(seed(20261126)(given(cases(kind))(draw)))
    run()


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


# -- running them -----------------------------------------------------------------------------------------------------


def tried(mutant: Mutant, kinds: Sequence[str]) -> Result:
    """A mutant under `pytest --model layers`, and where it survives, compared with the original."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="mutant-") as temporary:
        folder = Path(temporary)
        shutil.copytree(PACKAGE, folder / "parity", ignore=shutil.ignore_patterns("__pycache__"))
        path = folder / "parity" / mutant.file
        path.write_bytes(mutant.source(path.read_bytes()) + HELPER.encode())
        words = ["-m", "pytest", "--model", "layers", "-x", "-q", *(f"layers::{kind}" for kind in kinds)]
        try:
            done = _run(words, folder)
        except subprocess.TimeoutExpired:
            return Result(mutant=mutant, kinds=kinds, verdict="killed", by="no end", seconds=time.monotonic() - began)
        if done.returncode == 1:
            verdict, by = "killed", next(iter(_complaints(done.stdout)), "")
        elif done.returncode:
            # No test has failed: the package cannot even be imported, or no kind be collected.
            verdict, by = "killed", next(iter(reversed((done.stderr + done.stdout).strip().splitlines())), "")[:100]
        else:
            verdict, by = _in_effect(folder, kinds)
    return Result(mutant=mutant, kinds=kinds, verdict=verdict, by=by, seconds=time.monotonic() - began)


def _complaints(text: str) -> Iterator[str]:
    for line in text.splitlines():
        if line.startswith("layers / "):
            yield line.removeprefix("layers / ")
    yield "\n".join(text.splitlines()[-3:])


def _in_effect(folder: Path, kinds: Sequence[str]) -> tuple[str, str]:
    """Whether a survivor computes anything else at all, on many more cases: "same" where it does not."""
    outputs = []
    for where in (folder, PACKAGE.parent):
        try:
            done = _run(["-m", "benchmarks.mutants", "--digests", *kinds], where)
        except subprocess.TimeoutExpired:
            return "survived", "comparing has not ended"
        if done.returncode:
            return "survived", f"comparing ended with {done.stderr.strip()[-100:]}"
        outputs.append(json.loads(done.stdout.splitlines()[-1]))
    mutated, original = outputs
    other = [kind for kind in kinds if mutated[kind] != original[kind]]
    cases = sum(map(len, original.values()))
    return ("survived", f"differs on {', '.join(other)}") if other else ("same", f"bit for bit on {cases} cases")


def digests(kinds: Sequence[str]) -> dict[str, list[str]]:
    """By kind, what the port gives on many cases: a digest of every output's bytes, or what was raised."""
    from parity.layers import Trial, kind_called

    found: dict[str, list[str]] = {}
    for name in kinds:
        lines = found[name] = []

        def see(case: Any) -> None:
            for data_format in kind_called(name).formats:  # noqa: B023 - it is called before the next
                try:
                    outcomes = Trial(case, data_format).outcomes()
                    whole = b"".join(each.actual.tobytes() for each in outcomes.values())
                    lines.append(hashlib.sha256(whole).hexdigest()[:16])  # noqa: B023
                except Exception as error:
                    lines.append(type(error).__name__)  # noqa: B023

        _on_cases(name, see, max(CASES // len(kinds), CASES_OF_ONE))
    return found


def _run(words: Sequence[str], package: Path) -> subprocess.CompletedProcess[str]:
    """Python with the package that is in a folder, and with these benchmarks, in an empty folder."""
    path = os.pathsep.join([str(package), str(PACKAGE.parent)])
    environment = {**os.environ, "PYTHONPATH": path, "COLUMNS": "200", "PYTHONDONTWRITEBYTECODE": "1"}
    environment.pop("CI", None)
    with tempfile.TemporaryDirectory(prefix="mutant-run-") as folder:
        return subprocess.run(
            [sys.executable, *words],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
        )


# -- the command ------------------------------------------------------------------------------------------------------


def main() -> None:
    """Draw mutants, try them, print what came of each; exit 1 where one survives."""
    parser = argparse.ArgumentParser(prog="benchmarks mutants", description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="what is drawn (default 0)")
    parser.add_argument("--count", type=int, default=25, help="how many (default 25)")
    parser.add_argument("--jobs", type=int, default=2, help="how many at once (default 2)")
    parser.add_argument("--list", action="store_true", help="only list what would be drawn")
    parser.add_argument("--digests", nargs="+", metavar="KIND", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.digests:
        print(json.dumps(digests(options.digests)))
        return
    console = Console(width=max(100, Console().width))
    found = reached()
    possible = [(each, kinds_of(each, found)) for each in mutants()]
    under_fire = {each: kinds for each, kinds in possible if kinds}
    beyond = sorted({f"{each.file}:{each.function}" for each, kinds in possible if not kinds})
    chosen = drawn(2 * options.count, options.seed, list(under_fire))
    console.print(f"{options.count} of {len(under_fire)} possible mutants, seed {options.seed}", highlight=False)
    if beyond:
        names = ", ".join(beyond[:SHOWN]) + (f" and {len(beyond) - SHOWN} more" if len(beyond) > SHOWN else "")
        console.print(f"not drawn from, since no kind's cases reach them: {names}", highlight=False)
    if options.list:
        for each in chosen[: options.count]:
            console.print(f"{each.file}:{each.line} {each.way}: {each.before} -> {each.after}", highlight=False)
        return
    results: list[Result] = []
    waiting = iter(chosen)
    with ThreadPoolExecutor(options.jobs) as pool:
        running = {pool.submit(tried, each, under_fire[each]): each for each in islice(waiting, options.count)}
        while running:
            for done in wait(running, return_when=FIRST_COMPLETED).done:
                del running[done]
                results.append(done.result())
                print(_in_a_line(results[-1]), flush=True)
                if results[-1].verdict == "same":
                    # It is no mutant: another is tried in its place.
                    running |= {pool.submit(tried, each, under_fire[each]): each for each in islice(waiting, 1)}
    console.print(table(results))
    counts = {verdict: sum(each.verdict == verdict for each in results) for verdict in ("killed", "survived", "same")}
    print(json.dumps({**counts, "seed": options.seed, "seconds": round(sum(each.seconds for each in results))}))
    sys.exit(0 if counts["killed"] == options.count else 1)


def _in_a_line(result: Result) -> str:
    mutant = result.mutant
    return (
        f"{result.verdict:8} {mutant.file}:{mutant.line} {mutant.way}: {mutant.before} -> {mutant.after} | {result.by}"
    )


def table(results: Sequence[Result]) -> Table:
    """What was changed and what came of it."""
    shown = Table("where", "way", "before", "after", "of", "verdict", "by", "s", title="mutants of the converters")
    for result in results:
        mutant = result.mutant
        shown.add_row(
            f"{mutant.file}:{mutant.line}",
            mutant.way,
            mutant.before,
            mutant.after,
            f"{len(result.kinds)} kind{'s' if len(result.kinds) > 1 else ''}",
            result.verdict,
            result.by,
            f"{result.seconds:.0f}",
        )
    return shown


if __name__ == "__main__":
    main()
