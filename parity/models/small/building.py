"""What the ports of the small networks are built with, as a team would write it by hand."""

from typing import Any

from parity.frameworks import keras


def named(name: str, tensor: Any) -> Any:
    """`tensor`, its operation renamed: Keras numbers them per process, a layer map needs names that stay."""
    tensor._keras_history.operation.name = name
    return tensor


def padded(name: str, x: Any, padding: int) -> Any:
    """Zeros on all four sides: at stride 2 `same` would pad one side only."""
    return keras.layers.ZeroPadding2D(padding, name=f"{name}_pad")(x)


def convolution(name: str, x: Any, filters: int, *, stride: int = 1, **options: Any) -> Any:
    """A 3x3 convolution padded by 1, as torch pads it."""
    if stride == 1:
        return keras.layers.Conv2D(filters, 3, padding="same", name=name, **options)(x)
    return keras.layers.Conv2D(filters, 3, strides=stride, name=name, **options)(padded(name, x, 1))
