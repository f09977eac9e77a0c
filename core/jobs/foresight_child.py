"""The process that makes the first updates of a run and measures them: `python -m core.jobs.foresight_child KEY.shard`.

The answer is KEY.json beside it: {"norms": [...], "kept": [...]}, null where not finite, or {"problem": sentence}. The
shard's file is removed.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from core.errors import UserError
from core.jobs.packing import unpack
from core.jobs.plan import ShardPlan
from core.jobs.results import finite
from core.leakage.threat import ThreatModel
from core.models.spec import ModelSpec

LONGEST = 120  # seconds


def main() -> None:
    """Measure, and write the answer."""
    asked = Path(sys.argv[1])
    signal.alarm(LONGEST)
    os.nice(5)
    try:
        answer = measure(asked.read_bytes())
    except UserError as error:
        answer = {"problem": str(error)}
    except (RuntimeError, ValueError, ArithmeticError, LookupError, TypeError) as error:  # as a shard would end
        answer = {"problem": f"{type(error).__name__}: {error}"[:300]}
    draft = asked.with_suffix(".draft")
    draft.write_text(json.dumps(answer, allow_nan=False))
    draft.replace(asked.with_suffix(".json"))
    asked.unlink(missing_ok=True)


def measure(data: bytes) -> dict[str, Any]:
    """Norm of each update as it is shared, and its cosine with the same update without its defences."""
    import torch

    from core.jobs.compute import build_victim
    from core.leakage.victim import observe

    header, arrays = unpack(data)
    torch.set_num_threads(int(header["threads"]))
    spec, threat = ModelSpec.from_json(header["spec"]), ThreatModel.from_dict(header["threat"])
    positions = ShardPlan.from_json(header["role"], header["plan"]).targets
    model = build_victim(spec, arrays)
    images = torch.from_numpy(arrays["images"]).permute(0, 1, 4, 2, 3).float() / 255.0
    labels = torch.from_numpy(arrays["labels"])
    seed = header["seed"]
    shared, facts = observe(model, spec, images, labels, threat, seed=seed, positions=positions)
    norms = [finite(norm) for norm in facts.gradient_norm]
    if not threat.defences:
        return {"norms": norms, "kept": [1.0] * len(norms)}
    bare, _ = observe(model, spec, images, labels, replace(threat, defences=()), seed=seed, positions=positions)
    ours, theirs = (
        np.concatenate([g.flatten(1).double().numpy() for g in seen.gradients.values()], axis=1)
        for seen in (shared, bare)
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        cosine = (ours * theirs).sum(1) / np.linalg.norm(ours, axis=1) / np.linalg.norm(theirs, axis=1)
    return {"norms": norms, "kept": [finite(value) for value in cosine]}


if __name__ == "__main__":
    main()
