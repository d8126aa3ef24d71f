"""What can be changed: each way in which converters go wrong, as a rewriting of one expression (see docs/causes.md)."""

import ast
from collections.abc import Iterator, Mapping, Sequence

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
