from __future__ import annotations

import json
import pickle
import shutil
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from cvf_tests.annotations import load_h36m
from cvf_tests.raw_h36m import SIDE, RawWorld, marked_number, write_raw, write_video

from lib.dataset.groups import group_views
from lib.dataset.prepare import h36m_clips
from lib.dataset.prepare.h36m_clips import ImageSettings
from lib.dataset.prepare.h36m_preparation import PrepareSettings, prepare_h36m
from lib.dataset.prepare.h36m_report import h36m_report
from lib.dataset.storage.record_writer import Clip
from lib.multiviews.cameras import project, world_to_camera
from lib.utils.errors import InputError
from lib.utils.files.image_store import read_image
from lib.utils.joints import H36M_17, to_union

RECORDINGS = [(subject, 2, subaction) for subject in (1, 9) for subaction in (1, 2)]
NUM_POSES = 7
# a frame more, a frame less, or as many as poses
LENGTHS = {((1, 2, 1), 1): NUM_POSES + 1, ((9, 2, 2), 0): NUM_POSES - 1, ((9, 2, 2), 3): NUM_POSES + 2}


@pytest.fixture(scope="module")
def rendered(tmp_path_factory) -> RawWorld:
    """Rendered videos, some with a frame more or less than poses."""
    folder = tmp_path_factory.mktemp("raw")
    return write_raw(folder, RECORDINGS, NUM_POSES, lambda key, camera: LENGTHS.get((key, camera), NUM_POSES))


@pytest.fixture(scope="module")
def prepared(rendered, tmp_path_factory):
    """(ROOT, result)"""
    root = tmp_path_factory.mktemp("prepared")
    return root, prepare_h36m(root, settings(rendered.folder), workers=2)


@pytest.fixture
def plain(tmp_path) -> RawWorld:
    """One subject, gray videos with frame numbers."""
    return write_raw(tmp_path / "raw", RECORDINGS[2:], 5, render=False)


def settings(raw: Path, **changes) -> PrepareSettings:
    images = ImageSettings(**{key: changes.pop(key) for key in ("step", "as_zip", "jpeg_quality") if key in changes})
    subjects = changes.pop("subjects", tuple(int(path.name[1:]) for path in raw.glob("S*")) or (9,))
    return PrepareSettings(raw, raw / "metadata.xml", subjects, (2,), images, **changes)


def num_frames(recording) -> int:
    return NUM_POSES - 1 if recording == (9, 2, 2) else NUM_POSES


def records_of(root: Path, subset: str, suffix: str = "") -> list[dict]:
    return pickle.loads((root / f"h36m/annot/h36m_{subset}{suffix}.pkl").read_bytes())


def test_prepare_h36m_positions_and_cameras_equal_the_synthetic_world(prepared, rendered):
    root, _ = prepared
    for subset, subject in (("train", 1), ("validation", 9)):
        records = records_of(root, subset)
        expected = [(subject, 2, subaction) for subaction in (1, 2)]
        assert len(records) == 4 * sum(map(num_frames, expected))
        for record in records:
            recording = record["subject"], record["action"], record["subaction"]
            joints = rendered.joints_world[recording][record["image_id"] - 1]
            camera = rendered.worlds[subject].cameras[record["camera_id"]]
            np.testing.assert_allclose(record["joints_2d"], project(joints, camera)[0], atol=1e-9)
            in_camera = world_to_camera(joints, camera)
            for key, factor in (("joints_3d_camera", 1), ("joints_3d", 1), ("joints_3d_universal", 1.1)):
                np.testing.assert_allclose(record[key], factor * in_camera, atol=1e-9)
            for key, value in rendered.worlds[subject].camera_records[record["camera_id"]].items():
                np.testing.assert_allclose(record["camera"][key], value, atol=1e-10)


def test_prepare_h36m_boxes_are_projected_squares_around_the_root(prepared):
    record = records_of(prepared[0], "train")[3]
    root_cam = record["joints_3d_camera"][0]
    camera = record["camera"]
    matrix = np.array([[camera["fx"][0], 0, camera["cx"][0]], [0, camera["fy"][0], camera["cy"][0]], [0, 0, 1]])
    (k1, k2, k3), (p1, p2) = camera["k"].ravel(), camera["p"].ravel()
    corners = np.array([root_cam + [-1000, -900, 0], root_cam + [1000, 1100, 0]])
    box = cv2.projectPoints(corners, np.zeros(3), np.zeros(3), matrix, np.array([k1, k2, p1, p2, k3]))[0].ravel()
    np.testing.assert_allclose(record["box"], box, atol=1e-6)
    np.testing.assert_allclose(record["center"], [(box[0] + box[2]) / 2, (box[1] + box[3]) / 2])
    np.testing.assert_allclose(record["scale"], [(box[2] - box[0]) / 200, (box[3] - box[1]) / 200])
    whole = records_of(prepared[0], "train", "_uncrop")[3]
    assert whole["center"] == (SIDE / 2, SIDE / 2)
    assert whole["scale"] == (SIDE / 200, SIDE / 200)
    np.testing.assert_array_equal(whole["joints_2d"], record["joints_2d"])


def test_prepare_h36m_images_are_the_frames_of_their_number(prepared, rendered):
    root, _ = prepared
    seen = 0
    for record in [*records_of(root, "train"), *records_of(root, "validation")]:
        image = cv2.imread(str(root / "h36m/images" / record["image"]))
        assert marked_number(image) == record["image_id"]
        recording = record["subject"], record["action"], record["subaction"]
        frame = rendered.images[recording, record["camera_id"]][record["image_id"] - 1]
        assert cv2.PSNR(image, frame) > 25
        seen += 1
    assert seen == len(list((root / "h36m/images").glob("*/*.jpg")))


def test_prepare_h36m_arrays_equal_the_pickles(prepared, rendered):
    root, _ = prepared
    for crop in (True, False):
        annotations = load_h36m(root, "validation", crop)
        assert annotations.reopen is not None
        (root / "h36m/annot/aside").mkdir()
        for folder in (root / "h36m/annot").glob("*.arrays"):
            shutil.move(folder, root / "h36m/annot/aside")
        plain = load_h36m(root, "validation", crop)
        for folder in (root / "h36m/annot/aside").iterdir():
            shutil.move(folder, root / "h36m/annot")
        (root / "h36m/annot/aside").rmdir()
        assert plain.reopen is None
        for name in ("image", "joints_img", "center", "scale"):
            np.testing.assert_array_equal(getattr(annotations, name), getattr(plain, name))
        np.testing.assert_array_equal(annotations.labels3d.pose_cam, plain.labels3d.pose_cam)
    groups = group_views(annotations, "error")
    assert groups.shape == (2 * NUM_POSES - 1, 4)
    world = annotations.labels3d.pose_world(groups[:, 2])
    expected = np.concatenate([rendered.joints_world[key][: num_frames(key)] for key in RECORDINGS[2:]])
    np.testing.assert_allclose(world, expected, atol=1e-2)
    pixels, _ = project(expected[:, None], annotations.labels3d.cameras[annotations.labels3d.camera_idx[groups]])
    np.testing.assert_allclose(
        annotations.joints_img[groups][:, :, to_union(np.ones((1, 17)), H36M_17)[0] > 0], pixels, atol=1e-3
    )


def test_h36m_report_lists_clips_and_files(prepared):
    root, result = prepared
    lengths = {one.clip: one.lengths for one in result.clips if one.lengths[0] != one.lengths[1]}
    assert {(clip.subject, clip.subaction, clip.camera_id): pair for clip, pair in lengths.items()} == {
        (1, 1, 1): (NUM_POSES + 1, NUM_POSES),
        (9, 2, 0): (NUM_POSES - 1, NUM_POSES),
        (9, 2, 3): (NUM_POSES + 2, NUM_POSES),
    }
    text = h36m_report(result, root)
    assert f"| S1      |          2 |     {2 * NUM_POSES} |     {8 * NUM_POSES} |" in text
    assert f"| s_09_act_02_subact_02_ca_01 |            {NUM_POSES - 1} |     {NUM_POSES} |" in text
    assert "| 2 Directions |" in text
    assert "h36m/annot/h36m_train_uncrop.arrays" in text
    assert "not the projections" not in text
    assert max(one.distance_px for one in result.clips) < 1e-6
    summary = json.loads((root / "h36m/annot/prepare_h36m.json").read_text())
    assert summary["num_images"]["s_09_act_02_subact_02_ca_02"] == NUM_POSES - 1
    assert summary["step"] == 1


def test_h36m_report_other_calibration_is_reported(plain, tmp_path):
    text = (plain.folder / "metadata.xml").read_text()
    cx = repr(float(plain.worlds[9].camera_records[1]["cx"][0]))
    assert text.count(cx) == 1
    (plain.folder / "metadata.xml").write_text(text.replace(cx, repr(float(cx) + 3)))
    result = prepare_h36m(tmp_path / "root", settings(plain.folder))
    assert max(one.distance_px for one in result.clips) == pytest.approx(3, abs=1e-6)
    assert "**S9: the 2D joints are not the projections of the 3D joints" in h36m_report(result, tmp_path / "root")


@pytest.mark.parametrize("step", [2, 3, 5, 9])
def test_prepare_h36m_step_selects_every_nth_frame(plain, tmp_path, step):
    prepare_h36m(tmp_path / "root", settings(plain.folder, step=step))
    records = records_of(tmp_path / "root", "validation")
    assert {record["image_id"] for record in records} == set(range(1, 6, step))
    for record in records:
        image = cv2.imread(str(tmp_path / "root/h36m/images" / record["image"]))
        assert marked_number(image) == record["image_id"]
    assert len(list((tmp_path / "root/h36m/images").glob("*/*.jpg"))) == len(records)


def test_prepare_h36m_zip_and_jpeg_quality(rendered, prepared, tmp_path):
    prepare_h36m(tmp_path, settings(rendered.folder, as_zip=True, jpeg_quality=30))
    assert {path.name for path in (tmp_path / "h36m").iterdir()} == {"images.zip", "annot", "prepared"}
    records = records_of(tmp_path, "validation")
    for record in records:
        assert marked_number(read_image(tmp_path / "h36m/images", record["image"], "zip")) == record["image_id"]
    with zipfile.ZipFile(tmp_path / "h36m/images.zip") as archive:
        assert archive.testzip() is None
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}
        size = archive.getinfo(f"images/{records[0]['image']}").file_size
    assert size < 0.5 * (prepared[0] / "h36m/images" / records[0]["image"]).stat().st_size  # there with quality 95


def numbers_in_zip(root: Path) -> list[int]:
    """Return the frame numbers of the annotated images; read_image() would keep the archive open."""
    with zipfile.ZipFile(root / "h36m/images.zip") as archive:
        data = [archive.read(f"images/{record['image']}") for record in records_of(root, "validation")]
    return [marked_number(cv2.imdecode(np.frombuffer(image, np.uint8), cv2.IMREAD_COLOR)) for image in data]


def killed_after(monkeypatch, num_clips: int) -> None:
    """End the process before it places the labels of a clip."""
    original = h36m_clips._place
    count = iter(range(100))

    def place(task):
        if next(count) < num_clips:
            return original(task)
        with monkeypatch.context() as patch:
            patch.setattr(h36m_clips.os, "replace", lambda source, target: (_ for _ in ()).throw(KeyboardInterrupt))
            return original(task)

    monkeypatch.setattr(h36m_clips, "_place", place)


@pytest.mark.parametrize("as_zip", [False, True])
def test_prepare_h36m_interrupted_work_is_resumed(plain, tmp_path, monkeypatch, as_zip):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    wanted = settings(plain.folder, as_zip=as_zip)
    prepare_h36m(whole, wanted)
    with monkeypatch.context() as patch:
        killed_after(patch, 3)
        with pytest.raises(KeyboardInterrupt):
            prepare_h36m(parts, wanted)
    assert not (parts / "h36m/annot").exists()
    # what SIGKILL leaves: images without labels, and a half-written clip
    (parts / "h36m/.parts/s_09_act_02_subact_02_ca_03").mkdir(parents=True)
    (parts / "h36m/.parts/s_09_act_02_subact_02_ca_03/labels.npz").write_bytes(b"half")
    if as_zip:
        (parts / "h36m/prepared/s_09_act_02_subact_02_ca_04.zip").write_bytes(b"half")
    else:
        (parts / "h36m/images/s_09_act_02_subact_02_ca_04").mkdir()
    again = []
    with monkeypatch.context() as patch:
        original = h36m_clips.prepare_clip
        patch.setattr(h36m_clips, "prepare_clip", lambda task: again.append(task.clip) or original(task))
        prepare_h36m(parts, wanted)
    assert len(again) == 8 - 3
    files = {path.relative_to(whole) for path in whole.rglob("*") if path.is_file()}
    assert {path.relative_to(parts) for path in parts.rglob("*") if path.is_file()} == files
    for name in files:
        if name.name != "meta.json":  # it holds the time of the pickle
            assert (parts / name).read_bytes() == (whole / name).read_bytes(), name


@pytest.mark.parametrize("where", ["before", "after"])
def test_prepare_h36m_interrupted_packing_is_repeated(plain, tmp_path, monkeypatch, where):
    root = tmp_path / "root"

    replace, unlink = h36m_clips.os.replace, Path.unlink

    def killed_before(source, target):
        if target == root / "h36m/images.zip":
            raise KeyboardInterrupt
        replace(source, target)

    def killed_after(path, missing_ok=False):
        if path.parent == root / "h36m/prepared":
            raise KeyboardInterrupt
        unlink(path, missing_ok)

    with monkeypatch.context() as patch:
        if where == "before":
            patch.setattr(h36m_clips.os, "replace", killed_before)
        else:
            patch.setattr(Path, "unlink", killed_after)
        with pytest.raises(KeyboardInterrupt):
            prepare_h36m(root, settings(plain.folder, as_zip=True))
    assert (root / "h36m/images.zip").exists() == (where == "after")
    prepare_h36m(root, settings(plain.folder, as_zip=True))
    assert numbers_in_zip(root) == [1, 2, 3, 4, 5] * 8
    assert not list((root / "h36m/prepared").glob("*.zip"))


def test_prepare_h36m_missing_archive_of_finished_clips_is_named(plain, tmp_path):
    root = tmp_path / "root"
    prepare_h36m(root, settings(plain.folder, as_zip=True))
    (root / "h36m/images.zip").unlink()
    with pytest.raises(InputError, match=r"images\.zip: images are missing or damaged"):
        prepare_h36m(root, settings(plain.folder, as_zip=True))


@pytest.mark.parametrize("as_zip", [False, True])
def test_prepare_h36m_folder_of_an_earlier_version_needs_force(plain, tmp_path, as_zip):
    folder = tmp_path / "root/h36m"
    (folder / "prepared").mkdir(parents=True)
    (folder / "prepared/s_09_act_02_subact_01_ca_01.npz").write_bytes(b"PK")
    (folder / "prepare_h36m.jsonl").write_text('{"settings": {"step": 1, "jpeg_quality": 95, "as_zip": true}}\n')
    (folder / "images.zip.partial").write_bytes(b"PK")
    with pytest.raises(InputError, match=r"^.*prepare_h36m\.jsonl: prepared by an earlier version .*--force"):
        prepare_h36m(tmp_path / "root", settings(plain.folder, as_zip=as_zip))
    prepare_h36m(tmp_path / "root", settings(plain.folder, as_zip=as_zip, force=True))
    images = "images.zip" if as_zip else "images"
    assert {path.name for path in folder.iterdir()} == {images, "annot", "prepared"}
    assert len(records_of(tmp_path / "root", "validation")) == 40


def test_prepare_h36m_subjects_one_after_another(tmp_path):
    raw = write_raw(tmp_path / "raw", RECORDINGS, 3, render=False)
    root = tmp_path / "root"
    prepare_h36m(root, settings(raw.folder, subjects=(9,)))
    assert not (root / "h36m/annot/h36m_train.pkl").exists()
    shutil.rmtree(raw.folder / "S9")  # the disk is small
    result = prepare_h36m(root, settings(raw.folder, subjects=(1,)))
    assert len(records_of(root, "train")) == len(records_of(root, "validation")) == 24
    assert {one.clip.subject for one in result.clips} == {1, 9}
    shutil.rmtree(raw.folder)
    files = {path: path.read_bytes() for path in root.rglob("*.pkl")}
    again = prepare_h36m(root, settings(raw.folder, subjects=(1, 9)))  # nothing is left to do, and nothing is needed
    assert h36m_report(again, root) == h36m_report(result, root)
    assert {path: path.read_bytes() for path in root.rglob("*.pkl")} == files


@pytest.mark.parametrize("as_zip", [False, True])
def test_prepare_h36m_later_subject_equals_one_call(tmp_path, as_zip):
    raw = write_raw(tmp_path / "raw", RECORDINGS, 3, render=False)
    root, at_once = tmp_path / "root", tmp_path / "at_once"
    for subject in (9, 1):
        prepare_h36m(root, settings(raw.folder, as_zip=as_zip, subjects=(subject,)))
    prepare_h36m(at_once, settings(raw.folder, as_zip=as_zip))
    for subset in ("train", "validation"):
        names = [record["image"] for record in records_of(root, subset)]
        assert names == [record["image"] for record in records_of(at_once, subset)]
        for name in names:
            read_image(root / "h36m/images", name, "zip" if as_zip else "jpg")


def test_prepare_h36m_foreign_annotation_needs_force(plain, tmp_path):
    root = tmp_path / "root"
    (root / "h36m/annot").mkdir(parents=True)
    (root / "h36m/annot/h36m_train.pkl").write_bytes(b"precious")
    with pytest.raises(InputError, match=r"h36m_train\.pkl: exists and was not made by this .*--force"):
        prepare_h36m(root, settings(plain.folder))
    assert [path.name for path in (root / "h36m").iterdir()] == ["annot"]
    prepare_h36m(root, settings(plain.folder, force=True))
    assert len(records_of(root, "validation")) == 40


def test_prepare_h36m_damaged_labels_are_named(plain, tmp_path):
    prepare_h36m(tmp_path / "root", settings(plain.folder))
    (tmp_path / "root/h36m/prepared/s_09_act_02_subact_02_ca_02.npz").write_bytes(b"PK")
    with pytest.raises(InputError, match=r"s_09_act_02_subact_02_ca_02\.npz: missing or damaged"):
        prepare_h36m(tmp_path / "root", settings(plain.folder))
    assert len(records_of(tmp_path / "root", "validation")) == 40


def test_prepare_h36m_other_settings_are_refused(plain, tmp_path):
    prepare_h36m(tmp_path / "root", settings(plain.folder))
    with pytest.raises(InputError, match="expected step 1 of an earlier call, received 5"):
        prepare_h36m(tmp_path / "root", settings(plain.folder, step=5))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


DAMAGE = {
    "no video": (lambda raw: raw.path("Videos", (9, 2, 2), 1).unlink(), r"Action2 1\.55011271\.mp4: missing"),
    "no poses": (lambda raw: raw.path("D3_Positions_mono", (9, 2, 2), 1).unlink(), r"55011271\.cdf: missing"),
    "cut CDF": (
        lambda raw: cut(raw.path("D2_Positions", (9, 2, 2), 1)),
        r"D2_Positions.*not a CDF file with 'Pose', or truncated",
    ),
    "cut video": (lambda raw: cut(raw.path("Videos", (9, 2, 2), 1)), r"55011271\.mp4: (not a video|has no )"),
    "other video": (
        lambda raw: write_video(raw.path("Videos", (9, 2, 2), 1), [np.zeros((32, 32, 3), np.uint8)] * 40),
        r"55011271\.mp4: has 40 frames, its poses 5: another video, or truncated",
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_prepare_h36m_damaged_recordings_stop_it_or_are_left_out(plain, tmp_path, damage):
    change, message = DAMAGE[damage]
    change(plain)
    with pytest.raises(InputError, match=rf"^1 recordings are .*{message}.*--keep-going") as caught:
        prepare_h36m(tmp_path / "root", settings(plain.folder))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "root/h36m/annot").exists()
    result = prepare_h36m(tmp_path / "root", settings(plain.folder, keep_going=True))
    assert list(result.left_out) == [(9, 2, 2)]
    assert {record["subaction"] for record in records_of(tmp_path / "root", "validation")} == {1}
    assert "## Left out\n\n- S9 Directions 2:" in h36m_report(result, tmp_path / "root")


def break_off(monkeypatch) -> None:
    """Let a video of the recording (9, 2, 2) end early while it is read."""

    class Broken(h36m_clips.VideoReader):
        def frames(self, *words):
            for number, image in super().frames(*words):
                if self.path.endswith("Action2 1.58860488.mp4") and number == 3:
                    return
                yield number, image

    monkeypatch.setattr(h36m_clips, "VideoReader", Broken)


@pytest.mark.parametrize("as_zip", [False, True])
def test_prepare_h36m_video_ends_early_clip_is_an_error(plain, tmp_path, monkeypatch, as_zip):
    break_off(monkeypatch)
    wanted = settings(plain.folder, as_zip=as_zip)
    with pytest.raises(InputError, match=r"damaged; the others are finished; .*58860488\.mp4: ends before frame 4"):
        prepare_h36m(tmp_path / "root", wanted)
    finished = Clip(9, 2, 2, 3)
    assert (tmp_path / f"root/h36m/prepared/{finished.stem}.npz").exists()
    assert not (tmp_path / "root/h36m/images.zip").exists()
    data_format = "zip" if as_zip else "jpg"
    result = prepare_h36m(tmp_path / "root", settings(plain.folder, as_zip=as_zip, keep_going=True))
    assert list(result.left_out) == [(9, 2, 2)]
    assert not (tmp_path / "root/h36m/.parts").exists()
    for record in records_of(tmp_path / "root", "validation"):
        read_image(tmp_path / "root/h36m/images", record["image"], data_format)


@pytest.mark.parametrize("end", ["damaged", "Ctrl-C", "disk full"])
def test_prepare_h36m_failing_later_call_keeps_the_archive(plain, tmp_path, monkeypatch, end):
    root = tmp_path / "root"
    aside = shutil.move(plain.path("Videos", RECORDINGS[3], 0), tmp_path)
    prepare_h36m(root, settings(plain.folder, as_zip=True, keep_going=True))
    shutil.move(aside, plain.path("Videos", RECORDINGS[3], 0))
    with monkeypatch.context() as patch:
        if end == "damaged":
            break_off(patch)
        elif end == "Ctrl-C":
            killed_after(patch, 1)
        else:
            patch.setattr(h36m_clips, "_place", lambda _: (_ for _ in ()).throw(OSError("disk full")))
        with pytest.raises((InputError, KeyboardInterrupt)):
            prepare_h36m(root, settings(plain.folder, as_zip=True))
    assert numbers_in_zip(root) == [1, 2, 3, 4, 5] * 4
    prepare_h36m(root, settings(plain.folder, as_zip=True))
    assert numbers_in_zip(root) == [1, 2, 3, 4, 5] * 8


def test_prepare_h36m_missing_frame_is_named(plain, tmp_path, monkeypatch):
    class Gap(h36m_clips.VideoReader):
        def frames(self, *words):
            return (pair for pair in super().frames(*words) if pair[0] != 2)

    monkeypatch.setattr(h36m_clips, "VideoReader", Gap)
    with pytest.raises(InputError, match=r"mp4: lacks frame 3; the next one is 4"):
        prepare_h36m(tmp_path / "root", settings(plain.folder))


def test_prepare_h36m_nothing_usable_is_refused(plain, tmp_path):
    shutil.rmtree(plain.folder / "S9")
    with pytest.raises(InputError, match="2 recordings cannot be used, and there are no others"):
        prepare_h36m(tmp_path / "root", settings(plain.folder, subjects=(9,), keep_going=True))


def test_prepare_h36m_folders_of_download_tools_are_found(plain, tmp_path):
    for folder in (plain.folder / "S9/MyPoseFeatures").iterdir():
        folder.rename(plain.folder / f"S9/Poses_{folder.name}")
    shutil.rmtree(plain.folder / "S9/Poses_D3_Positions_mono_universal")  # not everybody has it
    prepare_h36m(tmp_path / "root", settings(plain.folder))
    records = records_of(tmp_path / "root", "validation")
    assert len(records) == 40
    assert "joints_3d_universal" not in records[0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"subjects": (2,)}, "--subjects: expected some of 1, 5, 6, 7, 8, 9, 11, received 2"),
        ({"subjects": ()}, "--subjects: .* received none"),
        ({"step": 0}, "--step: expected at least 1, received 0"),
        ({"jpeg_quality": 101}, "--jpeg-quality: expected 1 to 100, received 101"),
    ],
)
def test_prepare_h36m_settings_out_of_range_are_refused(tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        prepare_h36m(tmp_path / "root", settings(tmp_path, **changes))
    assert not (tmp_path / "root").exists()
