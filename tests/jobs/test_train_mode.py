"""A job whose BatchNorm would see one value a channel is refused before anything is stored."""

from dataclasses import replace

import pytest

from core.errors import UserError
from core.images.load import load_images
from core.jobs.compose import AttackRequest, check
from core.jobs.payloads import AttackJob
from core.jobs.plan import check_payload
from core.leakage.threat import ThreatModel
from core.models.spec import ModelSpec

SPEC = ModelSpec("resnet18", 10)  # 32×32: its last maps have one pixel


def test_one_small_image_in_train_mode() -> None:
    prepared = tuple(load_images("lfw", spec=SPEC, limit=2))
    request = AttackRequest(SPEC, "resnet18", None, "lfw", prepared, "dlg")
    check(request)
    with pytest.raises(UserError, match="2 images an update"):
        check(replace(request, threat=ThreatModel(batchnorm="train")))
    check(replace(request, threat=ThreatModel(batchnorm="train", batch_size=2)))
    job = AttackJob(SPEC, (1, 2), ("a", "b"), "dlg", {}, ThreatModel(batchnorm="train"))
    with pytest.raises(UserError, match="2 images an update"):
        check_payload(job)
    check_payload(replace(job, threat=ThreatModel(batchnorm="train", batch_size=2)))
