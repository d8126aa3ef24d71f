"""Every mutant that there could be: the converters' files read, and each expression rewritten in every way."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import parity
from benchmarks.mutants.rewriting import changes

PACKAGE = Path(parity.__file__).parent
FILES = ("building/*.py", "converters/*.py")
CONVERTS = (b"\n@builds(", b"\n@register(")
"""What a file of converters has in it; what the others do, all kinds share."""


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
