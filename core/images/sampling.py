"""Taking pictures of a data set: draws, lists, originals and training images, under one name. No torch."""

from core.images.chosen import TrainingImages, load_choice, training_images
from core.images.datasets import input_of
from core.images.drawing import check_same, choose, class_places, fix, in_part
from core.images.lists import read_list, write_list

__all__ = [
    "TrainingImages",
    "check_same",
    "choose",
    "class_places",
    "fix",
    "in_part",
    "input_of",
    "load_choice",
    "read_list",
    "training_images",
    "write_list",
]
