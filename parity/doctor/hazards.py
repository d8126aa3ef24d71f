"""The known hazards: each a function that looks at the facts, and says how it is here and what to do."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from parity.doctor.facts import ENGINES, Facts

OK, WARN, PROBLEM = "ok", "warn", "problem"
GIB, MIB = 1 << 30, 1 << 20
LITTLE_MEMORY, LITTLE_SHARED = 4 * GIB, 256 * MIB
"""Less available memory, or less shared memory, than this is warned of."""


@dataclass(frozen=True, kw_only=True)
class Hazard:
    """One hazard as it is here: OK, WARN, or PROBLEM where parity cannot verify with it; `todo` may be ""."""

    name: str
    status: str
    what: str
    todo: str = ""


@dataclass(frozen=True, kw_only=True)
class Seen:
    """How a hazard is here: its status, what is so, and what to do."""

    status: str
    what: str
    todo: str = ""


def engines(facts: Facts) -> Seen:
    """Whether each engine can be imported, and all of them in parity's order."""
    missing = [name for name in ENGINES if facts.imports.get(name)]
    if missing:
        why = "; ".join(f"{name}: {facts.imports[name]}" for name in missing)
        return Seen(
            status=PROBLEM,
            what=f"cannot be imported: {why}",
            todo=f"pip install {' '.join(missing)}, in the versions of constraints.txt",
        )
    if facts.broken:
        return Seen(
            status=PROBLEM,
            what=f"each can be imported, together they fail: {facts.broken}",
            todo="install the versions of constraints.txt into an environment of their own",
        )
    return Seen(status=OK, what="torch, tensorflow and keras can be imported together")


def two_llvms(facts: Facts) -> Seen:
    """Whether importing triton after TensorFlow ends the process: each brings an LLVM of its own."""
    if facts.after_tensorflow is None:
        return Seen(status=OK, what="triton is not installed, so there is one LLVM only")
    if not facts.after_tensorflow:
        return Seen(status=OK, what="triton can be imported after tensorflow")
    return Seen(
        status=WARN,
        what=f"importing triton after tensorflow ends the process ({facts.after_tensorflow})",
        todo="parity imports triton first; in your own code too: triton or torch._dynamo before tensorflow",
    )


def bias_axis(facts: Facts) -> Seen:
    """Whether this Keras adds a bias along the width where that is as large as the number of filters."""
    wrong = facts.measures.get("bias_axis")
    if wrong is None:
        return _unknown()
    if not wrong:
        return Seen(status=OK, what="Keras adds the bias of a channels_first convolution along the channels")
    return Seen(
        status=WARN,
        what=f"with channels_first, where width == filters, Keras adds the bias along the width ({', '.join(wrong)})",
        todo="use channels_last, or use_bias=False and add the bias by hand; parity names the layers",
    )


def onednn(facts: Facts) -> Seen:
    """Whether a channels_first convolution can run on this CPU as things are."""
    refused = facts.measures.get("channels_first")
    if refused is None:
        return _unknown()
    switch = facts.switches.get("TF_ENABLE_ONEDNN_OPTS", "not set")
    if refused:
        return Seen(
            status=WARN,
            what=f"no channels_first convolution on this CPU: oneDNN is off (TF_ENABLE_ONEDNN_OPTS {switch})",
            todo="set TF_ENABLE_ONEDNN_OPTS=1 before TensorFlow loads; --data-format channels_first does so",
        )
    return Seen(status=OK, what=f"channels_first convolutions run (TF_ENABLE_ONEDNN_OPTS {switch})")


def tf32(facts: Facts) -> Seen:
    """Whether a GPU may round to TensorFloat-32, whose noise is a thousand times that of float32."""
    found = facts.measures.get("tf32")
    if found is None:
        return _unknown()
    loose = [name for name in ("torch", "tensorflow") if found[name]]
    if not found["gpu"]:
        return Seen(status=OK, what="there is no GPU, so nothing is rounded to TF32")
    if not loose:
        return Seen(status=OK, what="there is a GPU, and neither engine rounds to TF32 on it")
    return Seen(
        status=WARN,
        what=f"on the GPU, {' and '.join(loose)} may round to TF32: errors near 1e-3",
        todo="set NVIDIA_TF32_OVERRIDE=0, or verify on the CPU with CUDA_VISIBLE_DEVICES=-1",
    )


def backend(facts: Facts) -> Seen:
    """Whether Keras runs on TensorFlow."""
    running = facts.measures.get("keras_settings", {}).get("backend", facts.switches.get("KERAS_BACKEND", "tensorflow"))
    if running != "tensorflow":
        return Seen(
            status=PROBLEM,
            what=f"Keras runs on {running} (KERAS_BACKEND); parity verifies ports on TensorFlow",
            todo="unset KERAS_BACKEND, or set it to tensorflow",
        )
    stated = facts.keras_file.get("backend", "tensorflow")
    if stated != "tensorflow":
        return Seen(
            status=WARN,
            what=f"keras.json says {stated}; parity runs Keras on tensorflow all the same, your own code does not",
            todo="set the backend in keras.json to tensorflow, or KERAS_BACKEND=tensorflow where the port is made",
        )
    return Seen(status=OK, what="Keras runs on tensorflow")


def precision(facts: Facts) -> Seen:
    """Whether Keras makes its layers in float32."""
    settings = facts.measures.get("keras_settings")
    if settings is None:
        return _unknown()
    odd = {key: settings[key] for key in ("floatx", "policy") if settings[key] != "float32"}
    if odd:
        stated = ", ".join(f"{key} {value}" for key, value in odd.items())
        return Seen(
            status=WARN,
            what=f"Keras makes layers in another precision than float32: {stated}",
            todo='set "floatx" and "dtype_policy" in keras.json to float32, or say why with a tolerance',
        )
    return Seen(status=OK, what="Keras makes its layers in float32")


def legacy_keras(facts: Facts) -> Seen:
    """Whether `tf.keras` is another Keras than `keras`."""
    settings = facts.measures.get("keras_settings")
    if settings is None:
        return _unknown()
    if settings["tf_keras"].startswith("2"):
        return Seen(
            status=WARN,
            what=f"tf.keras is tf_keras {settings['tf_keras']}: its layers are not those of keras",
            todo="unset TF_USE_LEGACY_KERAS, unless the port is written for Keras 2",
        )
    return Seen(status=OK, what="tf.keras is keras")


def threads(facts: Facts) -> Seen:
    """Whether the engines have more threads than the container grants cores."""
    if facts.quota is not None and facts.threads > max(1.0, facts.quota):
        return Seen(
            status=WARN,
            what=f"{facts.threads} threads for each engine, but the container grants {facts.quota:g} cores",
            todo=f"set PARITY_THREADS={max(1, int(facts.quota))}",
        )
    return Seen(status=OK, what=f"{facts.threads} threads for each engine, on {facts.cores} cores")


def denormals(facts: Facts) -> Seen:
    """Whether the engines treat numbers below 1.2e-38 alike."""
    kept = facts.measures.get("denormals")
    if kept is None:
        return _unknown()
    if kept["torch"] != kept["tensorflow"]:
        flushing = "tensorflow" if kept["torch"] else "torch"
        return Seen(
            status=WARN,
            what=f"{flushing} makes numbers below 1.2e-38 zero, the other does not",
            todo="nothing, unless values are that small: then scale them, or torch.set_flush_denormal(True)",
        )
    return Seen(status=OK, what="both engines treat numbers below 1.2e-38 alike")


def repeatable(facts: Facts) -> Seen:
    """Whether an engine gives the same bits when it is run again."""
    same = facts.measures.get("repeatable")
    if same is None:
        return _unknown()
    if not same:
        return Seen(
            status=WARN,
            what="a convolution run twice does not give the same bits",
            todo="set TF_DETERMINISTIC_OPS=1, and torch.use_deterministic_algorithms(True) in the reference",
        )
    return Seen(status=OK, what="a convolution run twice gives the same bits")


def numpy_abi(facts: Facts) -> Seen:
    """Whether both engines exchange arrays with this NumPy."""
    taken = facts.measures.get("arrays")
    if taken is None and "engines" not in facts.measures:
        return _unknown()
    if not taken:
        return Seen(
            status=PROBLEM,
            what=f"an engine does not take the arrays of NumPy {facts.versions.get('numpy', '')}",
            todo="install the NumPy that the engines were built for: pip install -c constraints.txt numpy",
        )
    return Seen(status=OK, what="both engines take NumPy's arrays")


def memory(facts: Facts) -> Seen:
    """Whether there is memory for both networks and their activations."""
    if facts.memory is not None and facts.memory < LITTLE_MEMORY:
        return Seen(
            status=WARN,
            what=f"{facts.memory / GIB:.1f} GiB of memory are available",
            todo="choose a smaller --size: FlowNet2-SD at 704x448 takes about 3 GiB",
        )
    known = "unknown" if facts.memory is None else f"{facts.memory / GIB:.1f} GiB"
    return Seen(status=OK, what=f"memory available: {known}")


def shared_memory(facts: Facts) -> Seen:
    """Whether /dev/shm, through which isolated engines exchange arrays, is large enough."""
    if facts.shared is not None and facts.shared < LITTLE_SHARED:
        return Seen(
            status=WARN,
            what=f"/dev/shm has {facts.shared / MIB:.0f} MiB left",
            todo="run the container with --shm-size=1g",
        )
    known = "not there" if facts.shared is None else f"{facts.shared / GIB:.1f} GiB left"
    return Seen(status=OK, what=f"/dev/shm: {known}")


def _unknown() -> Seen:
    return Seen(status=WARN, what="not measured: the engines do not run together", todo="see engines")


HAZARDS: dict[str, Callable[[Facts], Seen]] = {
    "engines": engines,
    "two LLVMs": two_llvms,
    "bias axis": bias_axis,
    "oneDNN": onednn,
    "TF32": tf32,
    "Keras backend": backend,
    "precision": precision,
    "legacy Keras": legacy_keras,
    "threads": threads,
    "denormals": denormals,
    "repeatable": repeatable,
    "NumPy ABI": numpy_abi,
    "memory": memory,
    "shared memory": shared_memory,
}
"""Every hazard by the name that is printed, in that order."""


def hazards(facts: Facts) -> Iterator[Hazard]:
    """Each of the known hazards as it is here."""
    for name, look in HAZARDS.items():
        seen = look(facts)
        yield Hazard(name=name, status=seen.status, what=seen.what, todo=seen.todo)
