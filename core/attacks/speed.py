"""What decides how quickly an attack computes, in numbers and names. Imports no torch."""

from typing import Any

from core.knobs import knob

PRECISIONS = ("auto", "float32", "tf32", "bf16")
# Most images a pass: on a CPU more at once only fills the caches (ConvNet made 2.4 image-steps a CPU second two at a
# time, 2.0 eight at a time); on a GPU more than fill the machine gain nothing, and free memory, which is measured,
# decides below that. (Parameters, CPU, GPU.)
AT_ONCE = ((100_000, 64, 1024), (1_000_000, 16, 512), (10_000_000, 2, 256), (float("inf"), 2, 64))
# Steps so short that a second thread costs more: the demo's audit took 31 s with one, 51 s with two.
ONE_THREAD = ("lenet",)


def precision_knob() -> Any:
    """The field `precision: str = precision_knob()` of an attack's config."""
    return knob(
        "auto",
        "Arithmetic of the products. auto: on a GPU the fastest whose gradients agree with float32 on this "
        "very problem, on a CPU float32.",
        choices=PRECISIONS,
    )


def most_at_once(parameters: int, kind: str) -> int:
    """Images a pass beyond which a device of this kind ("cpu", "cuda") gets no quicker; parameters: of the model."""
    _, cpu, gpu = next(row for row in AT_ONCE if parameters <= row[0])
    return gpu if kind == "cuda" else cpu


def useful_threads(architecture: str, threads: int) -> int:
    """The threads of `threads` that an attack on this architecture is quicker with; part of the shard, as the order of
    sums depends on it."""
    return 1 if architecture in ONE_THREAD else threads
