"""What writing the page adds to a run of FlowNet2-SD at 448x704, and how large the page is.

For the faithful port, and for one whose conv3 has its kernel's height and width swapped: on noise and on the motorcycle
pair, in one mode and in three. The run is the verification alone, without loading the networks, so the share is rather
too large than too small. Run with `python -m benchmarks page`.
"""

import time

from rich.console import Console
from rich.table import Table

import parity
from parity.history import Past
from parity.models import load
from parity.render.html import page
from parity.settings import Options, RunSettings
from parity.verification import Verifier

SIZE, MODES = "704x448", (("eager",), ("eager", "graph", "xla"))


def main() -> None:
    """Print seconds of each run, of its page, the page's share of the run, and its size."""
    settings = RunSettings.of("flownet", Options(size=SIZE)).settings
    table = Table("port", "modes", "run s", "page s", "share", "page MB", "JSON MB", title=f"the page at {SIZE}")
    for port in ("faithful", "wrong"):
        pair, inputs = load("flownet", settings)
        if port == "wrong":
            pair = Verifier(pair).filled(inputs[0])
            layer = pair.port.get_layer("conv3")
            kernel, *others = layer.get_weights()
            layer.set_weights([kernel.transpose(1, 0, 2, 3), *others])
        for modes in MODES:
            begun = time.perf_counter()
            report = parity.verify(pair, inputs=inputs, modes=modes)
            ran = time.perf_counter() - begun
            history = [Past.of(report)] * 20
            begun = time.perf_counter()
            text = page(report, history)
            wrote = time.perf_counter() - begun
            sizes = len(text.encode()) / 1e6, len(report.to_json().encode()) / 1e6
            words = f"{ran:.1f}", f"{wrote:.2f}", f"{wrote / ran:.1%}", f"{sizes[0]:.2f}", f"{sizes[1]:.2f}"
            table.add_row(port, ", ".join(modes), *words)
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
