"""Report of the preparation of MPII, as Markdown."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from lib.dataset.mpii import GT_FILE
from lib.dataset.prepare.mpii_mat import MpiiPerson
from lib.utils.joints import MPII_16
from lib.utils.tables import markdown_table

TRAINVAL = "trainval"  # names of the JSON files
TEST = "test"
TRAIN = "train"
VALID = "valid"

Subsets = dict[str, list[MpiiPerson]]  # name of the JSON file -> people
LeftOut = dict[str, Counter]  # reason -> number of people of TRAINVAL and of TEST


def mpii_report(
    subsets: Subsets, left_out: LeftOut, missing: Sequence[str], chosen: Sequence[MpiiPerson] | None
) -> str:
    """Report the people in each file, the people left out and the number of annotated joints.

    Args:
        subsets: people of each file.
        left_out: number of people left out, by reason.
        missing: missing images.
        chosen: people on the validation list, None without a list.
    """
    parts = ["# MPII annotations", _people_table(subsets)]
    if chosen is None:
        parts.append(
            f"{TRAIN}.json, {VALID}.json and {GT_FILE} were not written: MPII's file has no training/validation "
            "split; --valid-list names the images or people for validation."
        )
    else:
        parts += _split_notes(subsets, len(chosen))
    parts += ["## People left out", _left_out_table(left_out), "## Annotated joints", _joint_table(subsets)]
    parts.append(f"Missing images: {len(missing)}" + (f", the first is {missing[0]}." if missing else "."))
    return "\n\n".join(parts)


def _split_notes(subsets: Subsets, num_chosen: int) -> list[str]:
    num_valid = len(subsets[VALID])
    notes = []
    if num_chosen > num_valid:
        notes.append(f"{num_chosen - num_valid} of the {num_chosen} people on the validation list are left out below.")
    images = {person.image for person in subsets[VALID]}
    shared = sum(person.image in images for person in subsets[TRAIN])
    if shared:
        notes.append(f"{shared} people of {TRAIN}.json are in images of {VALID}.json with other people.")
    return notes


def _people_table(subsets: Subsets) -> str:
    rows = []
    for name, people in subsets.items():
        num_boxes = sum(bool(np.isfinite(person.head_box).all()) for person in people)
        num_images = len({person.image for person in people})
        rows.append([f"{name}.json", len(people), num_images, None if name == TEST else num_boxes])
    return markdown_table(["file", "people", "images", "head boxes"], rows)


def _left_out_table(left_out: LeftOut) -> str:
    if not left_out:
        return "None."
    rows = [[reason, counts[TRAINVAL], counts[TEST]] for reason, counts in left_out.items()]
    return markdown_table(["reason", "training images", "test images"], rows)


def _joint_table(subsets: Subsets) -> str:
    names = [name for name in subsets if name != TEST]
    counts = np.stack([np.sum([person.annotated for person in subsets[name]], axis=0) for name in names], 1)
    rows = [[joint, *row] for joint, row in zip(MPII_16.names, counts.tolist(), strict=True)]
    return markdown_table(["joint", *(f"{name}.json" for name in names)], rows)
