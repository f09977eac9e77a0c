"""Image-steps a second on a small machine, for stores that have not measured their own."""

MEASURED_ON = "measured by us on 2 busy CPU cores; yours may differ"
COLD_SECONDS = 8.0  # the first worker imports torch and builds the model
UNKNOWN_RATE = 3.0

# (architecture, attack) -> (image-steps a second, share of the allowed iterations used); by benchmarks/rates.py.
RATES: dict[tuple[str, str], tuple[float, float]] = {
    ("lenet", "dlg"): (92.0, 0.28),  # the demo, as the runner ran it
    ("lenet", "idlg"): (207.0, 0.28),
    ("lenet", "inverting-gradients"): (254.0, 1.0),
    ("mlp", "dlg"): (19.0, 1.0),
    ("mlp", "idlg"): (34.0, 1.0),
    ("mlp", "inverting-gradients"): (17.0, 1.0),
}
