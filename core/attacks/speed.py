"""What a user may choose of how an attack computes. Imports no torch."""

from typing import Any

from core.knobs import knob

PRECISIONS = ("auto", "float32", "tf32", "bf16")


def precision_knob() -> Any:
    """The field `precision: str = precision_knob()` of an attack's config."""
    return knob(
        "auto",
        "Arithmetic of the products. auto: on a GPU the fastest whose gradients agree with float32 on this "
        "very problem, on a CPU float32.",
        choices=PRECISIONS,
    )
