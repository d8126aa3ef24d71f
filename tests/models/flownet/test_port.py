"""The port is the article's, line by line, and what it adds to it is right."""

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from parity.axes import DATA_FORMATS, move
from parity.errors import PairError
from parity.frameworks import keras, tf
from parity.models.flownet.port import build_port

ADDED = [
    "frames",
    "rough_mean",
    "whole_mean",
    "rest",
    "mean_of_rows",
    "mean_of_columns",
    "mean_of_frames",
    "mean",
    "centred",
    "normalised",
    "first_frame",
    "second_frame",
    "joined_frames",
    "flow_scale",
]
MODES: dict[str, Callable[[Any], Callable[[Any], Any]]] = {
    "eager": lambda model: model,
    "graph": tf.function,
    "xla": lambda model: tf.function(model, jit_compile=True),
}


def table(model: Any) -> list[dict[str, Any]]:
    """A functional model's layers as the article prints them; shapes in channels_first."""
    return [
        {
            "name": layer.name,
            "class": type(layer).__name__,
            "output_shape": list(layer.output.shape),
            "params": layer.count_params(),
            "inbound": [
                tensor._keras_history.operation.name for node in layer._inbound_nodes for tensor in node.input_tensors
            ],
        }
        for layer in model.layers
    ]


def test_table_is_the_articles(article_table: list[dict[str, Any]]) -> None:
    """All 59 lines agree: names, classes, order, output shapes, parameters and what each layer reads."""
    assert table(build_port(512, 512, "channels_first", whole=False)) == article_table


def test_channels_last_moves_only_axes(article_table: list[dict[str, Any]]) -> None:
    """In channels_last every line is the article's but for the channels, which come last."""
    moved = [{**row, "output_shape": [row["output_shape"][axis] for axis in (0, 2, 3, 1)]} for row in article_table]
    assert table(build_port(512, 512, "channels_last", whole=False)) == moved


def test_table_shows_a_difference(article_table: list[dict[str, Any]]) -> None:
    """The comparison with the article can fail: a port of another size is not its port."""
    assert table(build_port(512, 448, "channels_first", whole=False)) != article_table


@pytest.fixture(scope="module", params=sorted(DATA_FORMATS))
def full_size(request: pytest.FixtureRequest) -> tuple[str, Any]:
    """A data format, and the whole port in it at 704x448 pixels."""
    return request.param, build_port(448, 704, request.param)


def test_whole_port_adds_what_the_article_lacks(
    full_size: tuple[str, Any], article_table: list[dict[str, Any]]
) -> None:
    """The whole port has the article's layers and parameters, and the operations before and after them."""
    port = full_size[1]
    names = [operation.name for operation in port.operations]
    assert [name for name in names if name not in ADDED] == [row["name"] for row in article_table[1:]]
    assert [name for name in names if name in ADDED] == ADDED
    assert port.count_params() == 45_371_666


def test_names_are_the_same_in_every_build(full_size: tuple[str, Any], pair_of_networks: tuple[Any, Any]) -> None:
    """Keras's counters, which go on for the life of a process, leave no trace in the names."""
    first, second = full_size[1], pair_of_networks[1]
    assert [op.name for op in first.operations] == [op.name for op in second.operations]


def test_shapes_follow_the_data_format(full_size: tuple[str, Any]) -> None:
    """Frames go in and flow comes out in the port's own layout, for any number of samples."""
    data_format, port = full_size
    last = data_format == "channels_last"
    assert port.input.shape == ((None, 2, 448, 704, 3) if last else (None, 3, 2, 448, 704))
    assert port.output.shape == ((None, 448, 704, 2) if last else (None, 2, 448, 704))


@pytest.mark.parametrize("mode", MODES)
def test_mean_is_as_exact_as_float32_can_say(full_size: tuple[str, Any], mode: str) -> None:
    """At the full size the mean over both frames is within 2 ulps of float64, however the port is run."""
    generator = np.random.default_rng(0)
    noise = generator.integers(0, 256, (1, 3, 2, 448, 704)).astype(np.float32)
    slope = np.linspace(0, 255, 448, dtype=np.float32)[:, np.newaxis] * np.ones_like(noise)
    frames = np.concatenate([noise, slope, np.full_like(noise, 127.3)])
    exact = frames.astype(np.float64).mean(axis=(2, 3, 4))
    data_format, port = full_size
    mean = MODES[mode](keras.Model(port.input, port.get_layer("mean").output))
    given = np.ascontiguousarray(move(frames, "NCTHW", DATA_FORMATS[data_format][5]))
    assert ulps(mean(tf.constant(given)).numpy().reshape(3, 3), exact) <= 2


def test_mean_added_up_in_one_go_is_not() -> None:
    """The limit on the mean can fail: adding the values one after the other in float32 is far outside it."""
    values = np.random.default_rng(0).integers(0, 256, 2 * 448 * 704).astype(np.float32)
    one_by_one = np.cumsum(values, dtype=np.float32)[-1] / np.float32(values.size)
    assert ulps(np.array([one_by_one]), np.array([values.mean(dtype=np.float64)])) > 20


def ulps(actual: Any, expected: Any) -> float:
    """The greatest difference, in float32 units in the last place of the expected value."""
    spacing = np.spacing(np.abs(expected).astype(np.float32)).astype(np.float64)
    return float(np.max(np.abs(actual.astype(np.float64) - expected) / spacing))


def test_six_channels_are_both_frames_centred(pair_of_networks: tuple[Any, Any]) -> None:
    """What conv0 reads is RGB of the first frame, then of the second, less the mean of both, over 255."""
    frames = np.random.default_rng(3).uniform(0, 255, (2, 2, 64, 128, 3)).astype(np.float32)
    port = pair_of_networks[1]
    joined = keras.Model(port.input, port.get_layer("joined_frames").output)(frames).numpy()
    exact = frames.astype(np.float64)
    centred = (exact - exact.mean(axis=(1, 2, 3), keepdims=True)) / 255.0
    expected = np.concatenate([centred[:, 0], centred[:, 1]], axis=-1)
    np.testing.assert_allclose(joined, expected, rtol=0, atol=1e-6)


# Keras 3.15 copies its variables in a way that NumPy 2 deprecates.
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_saved_port_loads_without_parity(tmp_path: Path, pair_of_networks: tuple[Any, Any]) -> None:
    """A .keras file of the port has only Keras's own classes, keeps every name, and gives the same flow."""
    port = pair_of_networks[1]
    port.save(tmp_path / "port.keras")
    with zipfile.ZipFile(tmp_path / "port.keras") as archive:
        assert b"parity" not in archive.read("config.json")
    loaded = keras.saving.load_model(tmp_path / "port.keras", safe_mode=True)
    frames = np.random.default_rng(1).uniform(0, 255, (1, 2, 64, 128, 3)).astype(np.float32)
    assert [op.name for op in loaded.operations] == [op.name for op in port.operations]
    np.testing.assert_array_equal(loaded(frames).numpy(), port(frames).numpy())


@pytest.mark.parametrize(("height", "width"), [(100, 128), (64, 0), (-64, 64), (64, 96)])
def test_other_sizes_are_refused(height: int, width: int) -> None:
    """A size that the encoder cannot halve six times is refused with both values."""
    with pytest.raises(PairError, match=f"height={height}, width={width}"):
        build_port(height, width)


def test_other_formats_are_refused() -> None:
    """A data format that Keras does not know is refused, and the known ones are named."""
    with pytest.raises(PairError, match="'NHWC'; give one of channels_first, channels_last"):
        build_port(64, 64, "NHWC")
