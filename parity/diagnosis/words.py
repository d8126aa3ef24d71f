"""The port's layers in the words of its code."""

from typing import Any


def written(operation: Any, **settings: Any) -> str:
    """A layer as its author writes it: `Conv2D("conv4", strides=2, padding="same")`.

    An activation that was taken out of a layer is written as that layer.
    """
    if hasattr(operation, "built_into"):
        return str(operation.built_into)
    name = type(operation).__name__
    shown = [f'"{operation.name}"', *(f"{key}={value_in_words(value)}" for key, value in settings.items())]
    return f"{name}({', '.join(shown)})"


def value_in_words(value: Any) -> str:
    """A setting: equal pairs as one number, text in double quotes."""
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, (tuple, list)) and value and all(each == value[0] for each in value):
        return value_in_words(value[0])
    if isinstance(value, (tuple, list)):
        return f"({', '.join(map(value_in_words, value))})"
    return f"{value:g}" if isinstance(value, float) else str(value)


def settings_of(operation: Any) -> dict[str, Any]:
    """The configuration of an operation; empty for one without."""
    try:
        return dict(operation.get_config())
    except (AttributeError, NotImplementedError):
        return {}


def names_of_weights(operation: Any) -> tuple[str, ...]:
    """What Keras calls the weights of an operation, without the layer's name that `tf_keras` puts before it."""
    names = (str(weight.name) for weight in getattr(operation, "weights", ()))
    return tuple(name.rpartition("/")[2].partition(":")[0] for name in names)
