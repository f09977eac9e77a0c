"""What a recipe must not ask for, said before anything is computed. Imports no torch."""

from __future__ import annotations

import re

import numpy as np

from core.errors import UserError
from core.images.policies import parse
from core.models.catalogue import CATALOGUE, IMPRINT, check_spec, check_train_mode
from core.models.spec import ModelSpec
from core.models.training.privacy import LEAST_NOISE
from core.models.training.recipe import Recipe

GROUPNORM = "-gn"  # ends the name of an architecture's variant with GroupNorm
WITH_MOMENTUM = ("sgd", "rmsprop")


def check_recipe(recipe: Recipe, spec: ModelSpec, count: int, device: str | None = None) -> None:
    """Raise UserError for a recipe that contradicts itself, the model, the `count` training images or the device.

    device: "cpu", "cuda", …; None: not known yet.
    """
    if spec.architecture == IMPRINT:
        raise UserError("An imprint is what an attack builds around a victim; train the model behind it.")
    check_spec(spec)
    Recipe.from_dict(recipe.to_dict())  # every value within its own limits, however the recipe was made
    if count < 1:
        raise UserError("There is no image to train on; choose a data set with a training part.")
    if recipe.batch_size > count:
        raise UserError(
            f"A step of {recipe.batch_size:,} images needs as many, but only {count:,} are there to train on; "
            "lower batch_size, or take more images."
        )
    _check_optimiser(recipe)
    _check_data(recipe, spec)
    _check_kept(recipe)
    if recipe.defence == "dp-sgd":
        _check_private(recipe, spec)
    else:
        check_train_mode(spec, recipe.batch_size)
    if recipe.precision == "fp16" and device is not None and not device.startswith("cuda"):
        raise UserError("fp16 needs a CUDA GPU; on this device take fp32 or bf16.")


def check_images(spec: ModelSpec, images: np.ndarray, labels: np.ndarray, which: str) -> None:
    """Raise UserError for images that are not (N, H, W, C) uint8 of the model's size, or labels it has no class for."""
    wanted = (len(labels), spec.height, spec.width, spec.channels)
    if not len(labels) and which != "training":
        return
    if images.dtype != np.uint8 or images.shape != wanted:
        raise UserError(
            f"The {which} images must be 8-bit of shape {wanted} for this model, not {images.dtype} of {images.shape}."
        )
    if labels.dtype != np.int64 or labels.min() < 0 or labels.max() >= spec.num_classes:
        raise UserError(
            f"The {which} labels must be whole numbers from 0 to {spec.num_classes - 1} for this model; "
            f"{labels.min()} to {labels.max()} came."
        )


def _check_optimiser(recipe: Recipe) -> None:
    if recipe.learning_rate == 0:
        raise UserError("With a learning rate of 0 nothing is learned; take one above 0, such as 0.1.")
    unasked = (0.0, Recipe().momentum)  # who only picks another optimiser need not know that it has no momentum
    if recipe.optimiser not in WITH_MOMENTUM and recipe.momentum not in unasked:
        raise UserError(
            f"momentum is a setting of {' and '.join(WITH_MOMENTUM)}, and {recipe.optimiser} has none, so a momentum "
            f"of {recipe.momentum:g} would do nothing; leave it out, or set it to 0."
        )
    if recipe.schedule == "one-cycle" and recipe.warmup > 0:
        raise UserError("one-cycle rises at the start by itself; set warmup to 0, or take another schedule.")


def _check_data(recipe: Recipe, spec: ModelSpec) -> None:
    if recipe.policies:
        parse(recipe.policies)
        if spec.channels not in (1, 3):
            raise UserError(f"ATS policies change grey or colour pictures, not ones of {spec.channels} channels.")
    if recipe.defence == "prune" and recipe.prune == 0:
        raise UserError("Pruning a share of 0 is no defence; take a share above 0, such as 0.7, or defence none.")
    if recipe.defence == "gaussian" and recipe.noise == 0:
        raise UserError("Gaussian noise of 0 is no defence; take noise above 0, such as 0.001, or defence none.")


def _check_kept(recipe: Recipe) -> None:
    parts = recipe.keep_epochs.replace(",", " ").split()
    wrong = [part for part in parts if not re.fullmatch("[0-9]{1,6}", part)]
    if wrong:
        raise UserError(f"keep_epochs is a row of epochs such as 1,10,50, not {recipe.keep_epochs[:60]!r}.")
    outside = [part for part in parts if not 1 <= int(part) <= recipe.epochs]
    if outside:
        raise UserError(
            f"keep_epochs names epoch {outside[0]}, but the training has epochs 1 to {recipe.epochs}; leave it out."
        )


def _check_private(recipe: Recipe, spec: ModelSpec) -> None:
    architecture = CATALOGUE[spec.architecture]
    if architecture.batchnorm:
        other = spec.architecture + GROUPNORM
        instead = f"take {other if other in CATALOGUE else 'one with GroupNorm, such as convnet-gn or resnet20-4-gn'}"
        raise UserError(
            f"DP-SGD needs gradients of single images, and {architecture.title} mixes the images of a batch by "
            f"BatchNorm; {instead}."
        )
    if recipe.mixup > 0:
        raise UserError(
            "Mixup puts two images into one gradient, so DP-SGD's ε would no longer speak of one image; set mixup to 0."
        )
    if recipe.dp_noise < LEAST_NOISE:
        raise UserError(f"DP-SGD with so little noise promises nothing; take a dp_noise of at least {LEAST_NOISE:g}.")
    if recipe.precision != "fp32":
        raise UserError(f"DP-SGD clips in fp32; {recipe.precision} would round the norms: set precision to fp32.")
