"""Short names of metrics for tables and axes; the full title is for tooltips."""

import re

from core.metrics.registry import METRICS

NEAREST = "nearest"  # how what was made from the model alone is paired, see core.leakage.pairing
ACRONYMS = frozenset({"mse", "mae", "psnr", "ssim", "ms", "gmsd", "lpips", "dists", "dino", "clip", "fid", "kid"})
SPELT = {"haarpsi": "HaarPSI", "dreamsim": "DreamSim", "semsim": "SemSim", "vits16": "ViT-S/16", "vitb32": "ViT-B/32"}


def short_name(name: str) -> str:
    """ "PSNR", "MS-SSIM", "LPIPS alex 224" from a metric's name; any other name with spaces for underscores."""
    words = [word.upper() if word in ACRONYMS else SPELT.get(word, word) for word in name.split("_")]
    return " ".join(words).replace("MS SSIM", "MS-SSIM")


def arrow(name: str) -> str:
    """↑ where higher means more leakage, ↓ where lower does, "" for a diagnostic or a metric not known here."""
    record = METRICS.get(name)
    if record is None or record.diagnostic:
        return ""
    return "↑" if record.direction == "higher" else "↓"


def unit(name: str) -> str:
    """The metric's unit, "" without one."""
    record = METRICS.get(name)
    return record.unit if record else ""


def nearest_words(cost: str) -> str:
    """How a reconstruction of an attack on the model alone came by its original; cost: the metric that was used."""
    return f"paired with the nearest original of its class (by {short_name(cost)})"


def without_loss(status: str) -> str:
    """How an attack ended, without the loss that it ended at: for people who must not know how well it fits."""
    return re.sub(r",? loss \S+", "", status)
