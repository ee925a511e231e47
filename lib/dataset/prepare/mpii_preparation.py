"""Preparation of MPII: from its annotation file to the original JSON files, gt_valid.mat and a report."""

import zipfile
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from lib.dataset.mpii import GT_FILE, find_mpii, write_gt
from lib.dataset.prepare.mpii_mat import MpiiImage, MpiiPerson, read_release
from lib.dataset.prepare.mpii_report import TEST, TRAIN, TRAINVAL, VALID, LeftOut, Subsets, mpii_report
from lib.dataset.prepare.mpii_split import find_people, read_valid_list
from lib.utils.errors import InputError
from lib.utils.files.atomic import read_bytes, write_bytes
from lib.utils.files.image_store import missing_images, open_images
from lib.utils.files.json_file import write_json

REPORT_FILE = "prepare_mpii.md"
_ZIP_COMMENT = b"made by prepare_mpii.py"  # identifies an images.zip of this script
_NO_BOX = "no position or no scale"
_NO_JOINT = "no annotated joint"
_NOT_SEPARATE = "too close to others (--single-person)"
_NO_IMAGE = "image missing (--allow-missing)"


@dataclass(frozen=True)
class MpiiSettings:
    """Input and extent of the preparation.

    Attributes:
        mat: mpii_human_pose_v1_u12_1.mat.
        root: receives mpii/annot and, with `as_zip`, mpii/images.zip.
        valid_list: list of validation images or people; None = no split.
        single_person: keep only the people listed in RELEASE.single_person.
        images: folder of the images, None = ROOT/mpii/images.
        as_zip: write the images to ROOT/mpii/images.zip.
        allow_missing: leave out people whose image is missing.
        force: replace annotation files and images.zip of other programs; without a list, remove an earlier split.
    """

    mat: Path
    root: Path
    valid_list: Path | None = None
    single_person: bool = False
    images: Path | None = None
    as_zip: bool = False
    allow_missing: bool = False
    force: bool = False


def prepare_mpii(settings: MpiiSettings) -> str:
    """Write annot/{trainval,test}.json and, with a list, annot/{train,valid}.json and gt_valid.mat.

    All input is checked before the first file is written. Each file is replaced atomically.

    Returns:
        The report as Markdown, which is also written to annot/prepare_mpii.md.

    Raises:
        InputError: a file is missing or damaged; images are missing; a subset is empty; files of another program or an
            earlier split would be replaced.
    """
    folder = find_mpii(settings.root) or settings.root / "mpii"
    outdated = _outdated_split(folder / "annot", settings)
    if not settings.force:
        _refuse_existing(folder, outdated, settings)
    if settings.images is not None and not settings.as_zip:
        raise InputError(f"--images: valid only with --zip; without it the images are read from {folder / 'images'}")
    release = read_release(settings.mat)
    chosen = None
    if settings.valid_list is not None:
        entries = read_valid_list(settings.valid_list, [image.name for image in release])
        chosen = find_people(entries, release, settings.valid_list)
    subsets, left_out = select_people(release, settings.single_person)
    images_dir = settings.images or folder / "images"
    missing = _missing_images(images_dir, subsets, settings)
    if missing:
        subsets, left_out = select_people(release, settings.single_person, missing)
    if chosen is not None:
        subsets = split(subsets, chosen)
    empty = [name for name in subsets if name != TEST and not subsets[name]]
    if empty:
        raise InputError(f"{settings.mat}: no person is left for {empty[0]}.json")
    report = mpii_report(subsets, left_out, missing, chosen)
    if settings.as_zip:
        with open_images(folder, as_zip=True, comment=_ZIP_COMMENT) as store:
            for name in tqdm(_image_names(subsets), desc="images.zip", unit="image", disable=None, leave=False):
                store.add(name, read_bytes(images_dir / name))
    _write_annotations(folder / "annot", subsets)
    for path in outdated:
        path.unlink()
    write_bytes(folder / "annot" / REPORT_FILE, f"{report}\n".encode())
    return report


def _outdated_split(annot: Path, settings: MpiiSettings) -> list[Path]:
    """Return the files of an earlier split, which do not match a new trainval.json."""
    split_files = [] if settings.valid_list is not None else [f"{TRAIN}.json", f"{VALID}.json", GT_FILE]
    return [annot / name for name in split_files if (annot / name).is_file()]


def _refuse_existing(folder: Path, outdated: Sequence[Path], settings: MpiiSettings) -> None:
    """Raise an InputError if files of another program would be replaced or an earlier split become outdated."""
    annot = folder / "annot"
    archive = folder / "images.zip"
    foreign = []
    if not (annot / REPORT_FILE).is_file():
        foreign = [path for path in (*sorted(annot.glob("*.json")), annot / GT_FILE) if path.is_file()]
    if settings.as_zip and archive.is_file() and not _is_ours(archive):
        foreign.append(archive)
    if foreign:
        raise InputError(
            f"{foreign[0]}: exists and was not made by this script; choose another --root, or --force to replace it"
        )
    if outdated:
        names = ", ".join(path.name for path in outdated)
        raise InputError(
            f"{outdated[0]}: made by an earlier call with --valid-list, does not match the new {TRAINVAL}.json; "
            f"give --valid-list again, or --force to remove {names}"
        )


def _is_ours(archive: Path) -> bool:
    try:
        with zipfile.ZipFile(archive) as file:
            return file.comment == _ZIP_COMMENT
    except (OSError, zipfile.BadZipFile):
        return False


def select_people(
    release: Sequence[MpiiImage], single_person: bool, missing: Collection[str] = ()
) -> tuple[Subsets, LeftOut]:
    """Select the people that become records.

    Args:
        release: all images.
        single_person: leave out people close to others.
        missing: names of missing images; people in them are left out.

    Returns:
        The people of TRAINVAL and TEST in the order of the file, and the number of people left out of each, by reason.

    Raises:
        InputError: `single_person`, but the file does not state it.
    """
    missing = set(missing)
    subsets: Subsets = {TRAINVAL: [], TEST: []}
    left_out: LeftOut = {}
    for image in release:
        subset = TRAINVAL if image.is_train else TEST
        for person in image.people:
            reason = _reason(person, image.is_train, single_person, missing)
            if reason is None:
                subsets[subset].append(person)
            else:
                left_out.setdefault(reason, Counter())[subset] += 1
    return subsets, left_out


def _reason(person: MpiiPerson, is_train: bool, single_person: bool, missing: set[str]) -> str | None:
    """Return the reason to leave out a person, or None."""
    if person.center is None or person.scale is None:
        return _NO_BOX
    if is_train and not person.annotated.any():
        return _NO_JOINT
    if single_person and person.is_separate is None:
        raise InputError("--single-person: the file has no RELEASE.single_person")
    if single_person and not person.is_separate:
        return _NOT_SEPARATE
    return _NO_IMAGE if person.image in missing else None


def split(subsets: Subsets, chosen: Sequence[MpiiPerson]) -> Subsets:
    """Split TRAINVAL into VALID, the chosen people in their order, and TRAIN, all others."""
    usable = set(subsets[TRAINVAL])
    validation = set(chosen)
    train = [person for person in subsets[TRAINVAL] if person not in validation]
    return {TRAIN: train, VALID: [person for person in chosen if person in usable], **subsets}


def _image_names(subsets: Subsets) -> list[str]:
    """Return the unique image names in the order of the people."""
    return list(dict.fromkeys(person.image for name in (TRAINVAL, TEST) for person in subsets[name]))


def _missing_images(images_dir: Path, subsets: Subsets, settings: MpiiSettings) -> list[str]:
    """Return the missing images; an InputError if they are not allowed."""
    names = _image_names(subsets)
    packed = not settings.as_zip and not images_dir.is_dir() and Path(f"{images_dir}.zip").is_file()
    bar = tqdm(names, desc="looking for images", unit="image", disable=None, leave=False)
    missing = missing_images(images_dir, bar, "zip" if packed else "jpg")
    if missing and not settings.allow_missing:
        where = f"{images_dir}.zip" if packed else images_dir
        raise InputError(
            f"{where}: {len(missing)} of {len(names)} images are missing, the first is '{missing[0]}'; "
            "--allow-missing leaves out the people in them"
        )
    return missing


def _write_annotations(annot: Path, subsets: Subsets) -> None:
    for name, people in subsets.items():
        write_json(annot / f"{name}.json", [make_record(person, name != TEST) for person in people], indent=None)
    if VALID in subsets:
        valid = subsets[VALID]
        annotated = np.stack([person.annotated for person in valid])
        write_gt(annot / GT_FILE, _stored_joints(valid), annotated, np.stack([person.head_box for person in valid]))


def _stored_joints(people: Sequence[MpiiPerson]) -> np.ndarray:
    joints = np.stack([person.joints for person in people])
    return np.where(np.isnan(joints), -1.0, joints)  # (M, 16, 2)


def make_record(person: MpiiPerson, with_joints: bool) -> dict[str, Any]:
    """Make the record of a person, in image px from 1.

    Args:
        person: with center and scale.
        with_joints: for training. Joints without annotation are at -1; `head_box` is None without a box.
    """
    record = {"image": person.image, "center": person.center, "scale": person.scale}
    if with_joints:
        has_box = np.isfinite(person.head_box).all()
        record |= {
            "joints": _stored_joints([person])[0],
            "joints_vis": person.annotated.astype(int),
            "head_box": person.head_box if has_box else None,
        }
    return record
