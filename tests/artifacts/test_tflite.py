"""The engine of `.tflite` files: what it reads in one, and that a piece of it computes what the whole does."""

import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from parity.artifacts.program import DYNAMIC, FLOAT16, FLOAT32, INT8, Program, Step
from parity.artifacts.tflite import engine as engine_file
from parity.artifacts.tflite.cut import packed
from parity.artifacts.tflite.engine import TFLite
from parity.artifacts.tflite.file import read
from parity.axes import Array
from parity.errors import ArtifactError, PairError
from parity.export import FORMATS, served, write
from parity.frameworks import keras, quiet, tf, torch

FORMS = ("tflite", "tflite-fp16", "tflite-dynamic", "tflite-int8")
SHAPE = (1, 11, 17, 3)
"""Odd and unequal, so that nothing fits by luck."""

pytest.importorskip("ai_edge_litert")


def small() -> Any:
    """Branches that read one value, a concatenation, an activation that is fused, one that is not; two outputs."""
    keras.utils.set_random_seed(3)
    image = keras.Input(SHAPE[1:], name="image")
    stem = keras.layers.Conv2D(5, 3, padding="same", activation="relu", name="stem")(image)
    down = keras.layers.ZeroPadding2D(((1, 2), (2, 1)), name="pad")(stem)
    down = keras.layers.Conv2D(31, 3, strides=2, bias_initializer="random_normal", name="down")(down)
    down = keras.layers.LeakyReLU(negative_slope=0.1, name="leaky")(down)
    deep = keras.layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2, name="deep")(stem)
    deep = keras.layers.MaxPooling2D(2, padding="same", name="pool")(deep)
    joined = keras.layers.Concatenate(name="join")([down, deep])
    up = keras.layers.Conv2DTranspose(7, 4, strides=2, padding="same", name="up")(joined)
    head = keras.layers.Dense(4, activation="softmax", name="head")(keras.layers.GlobalAveragePooling2D()(joined))
    return keras.Model(image, {"up": up, "head": head}, name="small")


def noise(seed: int, shape: tuple[int, ...] = SHAPE) -> Array:
    """An input."""
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """The network as a file of each form."""
    folder, model = tmp_path_factory.mktemp("tflite"), small()
    samples = [{"image": noise(seed)} for seed in range(8)]
    found = {form: folder / f"{form}.tflite" for form in FORMS}
    for form, path in found.items():
        write(FORMATS[form], served(model), path, samples)
    return found


@pytest.fixture(scope="module")
def engines(files: Mapping[str, Path]) -> Mapping[str, TFLite]:
    """The engine of each."""
    return {form: TFLite(path) for form, path in files.items()}


def shaped(engine: TFLite, shape: tuple[int, ...] = SHAPE) -> Program:
    """The program for the inputs of the tests."""
    return engine.shaped(dict.fromkeys(engine.program.inputs.values(), shape))


def every(engine: TFLite, array: Array) -> dict[str, Array]:
    """The input and every value that is computed from it."""
    given = dict.fromkeys(engine.program.inputs.values(), array)
    tensors = [step.outputs[0] for step in shaped(engine, array.shape).steps]
    return {**given, **engine.watched(given, tensors)}


def step_of(program: Program, op: str) -> Step:
    """The only step of its kind."""
    (found,) = [step for step in program.steps if step.op == op]
    return found


# -- reading -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("form", "precision"), list(zip(FORMS, (FLOAT32, FLOAT16, DYNAMIC, INT8), strict=True)))
def test_the_precision_is_that_of_the_files_own_numbers(
    engines: Mapping[str, TFLite], form: str, precision: str
) -> None:
    """Float32, float16 weights, int8 weights, int8 throughout: by what is stored, not by a name."""
    assert engines[form].program.precision == precision


@pytest.mark.parametrize("form", FORMS)
def test_constants_stand_for_the_weights(engines: Mapping[str, TFLite], form: str) -> None:
    """The kernel of a convolution is read as real numbers, as near to Keras's as half a step of the format."""
    program = engines[form].program
    step = next(s for s in program.steps if s.op == "CONV_2D" and program.shapes[s.outputs[0]][-1] == 31)
    kernel = small().get_layer("down").get_weights()[0].transpose(3, 0, 1, 2)
    grid = program.grids.get(step.inputs[1])
    step_size = grid.scale.reshape(-1, 1, 1, 1) if grid else np.abs(kernel) * (2**-10 if "fp16" in form else 0)
    assert program.constants[step.inputs[1]].dtype == np.float32
    assert (np.abs(program.constants[step.inputs[1]] - kernel) <= step_size / 2 + 1e-7).all()


@pytest.mark.parametrize(("form", "stored"), list(zip(FORMS, ("float32", "float16", "int8", "int8"), strict=True)))
def test_the_stored_type_of_a_weight_is_known(engines: Mapping[str, TFLite], form: str, stored: str) -> None:
    """A constant that the file unpacks first is known under the unpacked name, with the type that it is stored in."""
    program = engines[form].program
    step = next(s for s in program.steps if s.op == "CONV_2D" and program.shapes[s.outputs[0]][-1] == 31)
    assert program.dtypes[step.inputs[1]] == stored
    assert all(each.op == "DEQUANTIZE" for each in program.folded)
    assert bool(program.folded) == (form == "tflite-fp16")


def test_a_fused_activation_is_a_setting_of_its_step(engines: Mapping[str, TFLite]) -> None:
    """The converter makes one operator of a convolution and its ReLU; the step says so in words."""
    found = [s.attributes["fusedActivationFunction"] for s in engines["tflite"].program.steps if s.op == "CONV_2D"]
    assert sorted(found) == ["NONE", "RELU"]


def test_steps_are_called_by_keras_scopes(engines: Mapping[str, TFLite]) -> None:
    """Every step is called by the scope of its layer, an output's too, which the file calls otherwise."""
    names = [step.name for step in engines["tflite"].program.steps]
    for layer in ("stem", "down", "leaky", "deep", "pool", "join", "up", "head"):
        assert any(f"/{layer}" in name for name in names), layer
    assert len(set(names)) == len(names)


def test_inputs_and_outputs_have_the_names_of_the_signature(engines: Mapping[str, TFLite]) -> None:
    """Inputs and outputs are called as the file's user calls them."""
    program = engines["tflite"].program
    assert set(program.inputs) == {"image"}
    assert set(program.outputs) == {"up", "head"}


def test_tensors_of_one_name_get_numbers(files: Mapping[str, Path]) -> None:
    """Names in a file need not differ; the second of one name has a number behind it."""
    flat = read(files["tflite"].read_bytes(), "file")
    flat.graph.tensors[2].name = flat.graph.tensors[1].name
    doubled = read(packed(flat.model), "file")
    assert doubled.names[2] == f"{doubled.names[1]}#2"
    assert len(set(doubled.names)) == len(doubled.names)


# -- running -----------------------------------------------------------------------------------------------------------


def test_the_whole_file_computes_what_keras_does(engines: Mapping[str, TFLite]) -> None:
    """A float32 file gives Keras's values, to float32's rounding."""
    array = noise(1)
    made = engines["tflite"].whole({engines["tflite"].program.inputs["image"]: array})
    expected = {value.shape: np.asarray(value) for value in small()(array).values()}
    for value in made.values():
        np.testing.assert_allclose(value, expected[value.shape], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("form", FORMS)
def test_watching_changes_nothing(engines: Mapping[str, TFLite], form: str) -> None:
    """The outputs of a watched run are those of the file as it ships, bit for bit."""
    engine = engines[form]
    given = {tensor: noise(1) for tensor in engine.program.inputs.values()}
    whole = engine.whole(given)
    watched = engine.watched(given, list(whole))
    assert all(np.array_equal(whole[name], watched[name]) for name in whole)


@pytest.mark.parametrize("form", FORMS)
def test_a_piece_computes_what_the_whole_does(engines: Mapping[str, TFLite], form: str) -> None:
    """Each step alone, given what it reads in a watched run, gives what it gave there, bit for bit."""
    engine = engines[form]
    values = every(engine, noise(2))
    for step in shaped(engine).steps:
        known = {name: values[name] for name in step.inputs if name in values}
        assert np.array_equal(engine.part(known, step.outputs[0]), values[step.outputs[0]]), step


def test_a_piece_may_be_many_steps(engines: Mapping[str, TFLite]) -> None:
    """From one value that two branches read to where they meet again, and further: as in the whole run."""
    engine = engines["tflite"]
    values = every(engine, noise(3))
    stem = next(s for s in engine.program.steps if s.op == "CONV_2D").outputs[0]
    for op in ("CONCATENATION", "TRANSPOSE_CONV", "SOFTMAX"):
        end = step_of(engine.program, op).outputs[0]
        assert np.array_equal(engine.part({stem: values[stem]}, end), values[end])


def test_a_piece_runs_on_other_values_than_the_files(engines: Mapping[str, TFLite]) -> None:
    """A strided convolution of the file, given values of another size, is torch's."""
    engine = engines["tflite"]
    step = next(s for s in engine.program.steps if s.op == "CONV_2D" and engine.program.shapes[s.outputs[0]][-1] == 31)
    pad = engine.program.shapes[step.inputs[0]]
    array = noise(4, (2, 9, 13, int(pad[-1] or 0)))
    kernel, bias = (engine.program.constants[name] for name in step.inputs[1:])
    padding = step.attributes["padding"]
    assert padding == "VALID"
    expected = torch.nn.functional.conv2d(
        torch.tensor(array.transpose(0, 3, 1, 2)),
        torch.tensor(kernel.transpose(0, 3, 1, 2)),
        torch.tensor(bias),
        stride=2,
    ).numpy()
    made = engine.part({step.inputs[0]: array}, step.outputs[0])
    np.testing.assert_allclose(made, expected.transpose(0, 2, 3, 1), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("form", FORMS)
def test_constants_can_be_others_in_a_piece(engines: Mapping[str, TFLite], form: str) -> None:
    """With twice the kernel and no bias, a convolution gives twice what it gives without bias."""
    engine = engines[form]
    step = next(s for s in engine.program.steps if s.op == "CONV_2D" and engine.program.shapes[s.outputs[0]][-1] == 31)
    kernel, bias = (engine.program.constants[name] for name in step.inputs[1:])
    known = {step.inputs[0]: every(engine, noise(5))[step.inputs[0]]}
    half = engine.part(known, step.outputs[0], {step.inputs[1]: kernel / 2, step.inputs[2]: np.zeros_like(bias)})
    without = engine.part(known, step.outputs[0], {step.inputs[2]: np.zeros_like(bias)})
    assert np.corrcoef(half.reshape(-1), without.reshape(-1))[0, 1] > 0.999
    assert np.linalg.norm(half) == pytest.approx(np.linalg.norm(without) / 2, rel=0.02)
    assert not np.array_equal(engine.part(known, step.outputs[0]), without), "the file's own stay as they are"


def test_values_of_an_int8_file_are_real_numbers(engines: Mapping[str, TFLite]) -> None:
    """Every value of an int8 file is read as what its stored number stands for, as near to Keras's as steps allow."""
    engine, array = engines["tflite-int8"], noise(6)
    values, program = every(engine, array), engine.program
    stem = next(s for s in program.steps if s.op == "CONV_2D").outputs[0]
    model = small()
    expected = np.asarray(keras.Model(model.input, model.get_layer("stem").output)(array))
    assert values[stem].dtype == np.float32
    assert np.sqrt(np.mean((values[stem] - expected) ** 2)) < 2 * float(program.grids[stem].scale[0])
    assert len(np.unique(values[stem])) <= 256


def test_sizes_follow_from_the_input(engines: Mapping[str, TFLite]) -> None:
    """For inputs of known sizes every size is known, and arithmetic of sizes is no step but a constant."""
    engine = engines["tflite"]
    program = shaped(engine)
    assert all(None not in shape for shape in program.shapes.values())
    assert {"SHAPE", "PACK"} & {step.op for step in program.steps} == set()
    sizes = step_of(program, "TRANSPOSE_CONV").inputs[0]
    assert tuple(program.constants[sizes]) == program.shapes[step_of(program, "TRANSPOSE_CONV").outputs[0]]


def test_an_open_batch_can_be_any(tmp_path: Path) -> None:
    """A file whose batch is open runs on any, again and again; its pieces too."""
    write(FORMATS["tflite"], served(small(), free=True), tmp_path / "open.tflite")
    engine = TFLite(tmp_path / "open.tflite")
    single = [list(engine.whole({engine.program.inputs["image"]: noise(n)}).values()) for n in range(3)]
    together = engine.whole({engine.program.inputs["image"]: np.concatenate([noise(n) for n in range(3)])})
    for place, value in enumerate(together.values()):
        np.testing.assert_allclose(value, np.concatenate([one[place] for one in single]), rtol=1e-5, atol=1e-6)


def test_sizes_that_the_file_computes_are_known(tmp_path: Path) -> None:
    """Where height and width are open too, a transposed convolution's size is computed in the file: it is the real one,
    for every input."""
    image = keras.Input((None, None, 3), name="image")
    value = keras.layers.Conv2DTranspose(4, 4, strides=2, padding="same")(image)
    model = keras.Model(image, keras.layers.Conv2D(2, 3, padding="same")(value))
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    with warnings.catch_warnings(), quiet():
        warnings.simplefilter("ignore")  # the converter's own
        (tmp_path / "open.tflite").write_bytes(converter.convert())
    engine = TFLite(tmp_path / "open.tflite")
    for shape in ((2, 9, 14, 3), (1, 5, 7, 3)):
        program = shaped(engine, shape)
        batch, height, width, _ = shape
        sizes = [program.shapes[step.outputs[0]] for step in program.steps]
        assert sizes == [(batch, 2 * height, 2 * width, 4), (batch, 2 * height, 2 * width, 2)]
        values = every(engine, noise(1, shape))
        assert [values[step.outputs[0]].shape for step in program.steps] == sizes


def test_another_size_than_the_files_is_refused_with_both(engines: Mapping[str, TFLite]) -> None:
    """A file of one size says which, and what it was given."""
    with pytest.raises(PairError, match=r"takes \(1, 11, 17, 3\) at 'image', not \(1, 12, 17, 3\)"):
        shaped(engines["tflite"], (1, 12, 17, 3))


def test_what_needs_more_than_is_known_is_refused(engines: Mapping[str, TFLite]) -> None:
    """A piece that also depends on something else says on what."""
    program = engines["tflite"].program
    join = step_of(program, "CONCATENATION")
    with pytest.raises(PairError, match="also needs"):
        engines["tflite"].part({join.inputs[0]: np.zeros((1, 6, 9, 31), np.float32)}, join.outputs[0])


def test_pieces_are_kept_up_to_a_size(engines: Mapping[str, TFLite], monkeypatch: pytest.MonkeyPatch) -> None:
    """A piece that is asked for again is the same interpreter; when the kept ones grow too large the oldest goes."""
    engine, made = engines["tflite"], []
    values = every(engine, noise(7))
    first, second = [step for step in shaped(engine).steps if step.op == "CONV_2D"]
    build: Callable[..., Any] = engine_file._interpreter
    monkeypatch.setattr(engine_file, "_interpreter", lambda *args, **kwargs: made.append(1) or build(*args, **kwargs))
    monkeypatch.setattr(engine, "_pieces", engine_file._Pieces())

    def run(step: Step) -> None:
        engine.part({step.inputs[0]: values[step.inputs[0]]}, step.outputs[0])

    run(first)
    run(first)
    assert len(made) == 1
    monkeypatch.setattr(engine_file, "KEPT", 1)
    run(second)
    run(first)
    assert len(made) == 3


# -- what is no such file ----------------------------------------------------------------------------------------------


def broken(path: Path) -> Iterator[tuple[str, bytes]]:
    """Files that are wrong in one way each, and what is said of them."""
    content = path.read_bytes()

    def changed(change: Callable[[Any], None]) -> bytes:
        flat = read(content, "file")
        change(flat.model)
        return packed(flat.model)

    yield "not a whole TFLite file", content[: len(content) // 2]
    yield "not a whole TFLite file", b""
    yield "not a whole TFLite file", b"\x00" * 1000
    yield "reads or makes tensor 999", changed(lambda m: _first(m.subgraphs[0].operators[0], "inputs", 999))
    yield "its values in part 888", changed(lambda m: setattr(m.subgraphs[0].tensors[1], "buffer", 888))
    yield "has an operator of kind 77", changed(lambda m: setattr(m.subgraphs[0].operators[0], "opcodeIndex", 77))
    yield "of the unknown type 99", changed(lambda m: setattr(m.subgraphs[0].tensors[0], "type", 99))
    yield "bytes, not", changed(lambda m: _first(m.subgraphs[0].tensors[2], "shape", 3))
    yield "makes nothing", changed(lambda m: setattr(m.subgraphs[0], "outputs", None))


def _first(of: Any, name: str, value: int) -> None:
    setattr(of, name, np.array([value, *getattr(of, name)[1:]], np.int32))


def test_what_is_no_whole_file_is_refused(files: Mapping[str, Path], tmp_path: Path) -> None:
    """A file that is broken is one sentence, which says what is wrong, and is never run."""
    for said, content in broken(files["tflite"]):
        path = tmp_path / "broken.tflite"
        path.write_bytes(content)
        with pytest.raises(ArtifactError, match=said) as refused:
            TFLite(path)
        assert "\n" not in str(refused.value)
