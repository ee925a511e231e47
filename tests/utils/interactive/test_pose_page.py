"""The page's file, and the page in Chromium."""

import time
from dataclasses import replace
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from cvf_tests.pages import decoded, open_browser, page_data, parse_page

from lib.utils.drawing.vis import SIDE_COLORS, Skeleton
from lib.utils.errors import InputError
from lib.utils.interactive import pose_page
from lib.utils.interactive.pose_page import FramePictures, Measure, PosePage, page_rig, spread, write_pose_page

HOSTILE = "</script><script>document.title='taken'</script>&amp;"
SKELETON = Skeleton(("root", "lhip", "rhip", "neck"), ((0, 1), (0, 2), (0, 3)), ("middle", "left", "right", "middle"))
NUM_FRAMES = 12
WORST = 7  # by the first measure
LEAST = 4  # by the second
WH = (80, 60)
REPORT = """# Heading

Text with **bold** and <i>no markup</i>.

| joint | error |
| ----- | ----: |
| root  |   3.0 |
| lhip  |  20.0 |
| rhip  |     - |
| **mean** | 11.5 |

![figure](figure.png)
"""


def make_page(**changes):
    """Return a page of 12 frames of a person who walks along x, with 2 cameras."""
    base = np.array([[0, 0, 900], [0, 150, 850], [0, -150, 850], [0, 0, 1500.0]])
    pose = base + np.arange(NUM_FRAMES)[:, None, None] * [50.0, 0, 0]
    pose[2, 3] = np.nan
    cameras = SimpleNamespace(
        R=np.array([[[0, -1, 0], [0, 0, -1], [1, 0, 0]], [[0, 1, 0], [0, 0, -1], [-1, 0, 0]]], float),
        T=np.array([[-4000, 0, 1200], [4000, 0, 1200.0]]),
        f=np.full((2, 2), 100.0),
        c=np.full((2, 2), (40.0, 30.0)),
    )
    errors = np.full((NUM_FRAMES, 4), 10.0)
    errors[WORST] = 50
    errors[0, 3] = 12
    errors[0, 0] = 8
    views = np.full((NUM_FRAMES, 4), 2.0)
    views[LEAST] = 1
    page = PosePage(
        title=f"title {HOSTILE}",
        facts=[HOSTILE],
        skeleton=SKELETON,
        pose_world=pose,
        gt_world=np.nan_to_num(pose) + 30,
        labels=[f"frame {frame}" for frame in range(NUM_FRAMES)],
        rigs=[page_rig([HOSTILE, "b"], cameras, np.full((2, 2), WH))],
        rig=np.zeros(NUM_FRAMES, int),
        measures=[
            Measure("error", "mm", errors.mean(1), 0, 50, "note", errors),
            Measure("views", "", views.mean(1), 2, 0, "note", views),
        ],
        report=REPORT,
        picture_wh=[WH, WH],
        rate=100.0,
    )
    return replace(page, **changes)


def make_pictures(frames, kinds=("single-view", "fused")):
    """Return gray pictures with joints in a row; the heatmap of joint j has its peak at (3 + j, 5)."""
    joints = np.stack([10.0 + 15 * np.arange(4), np.full(4, 30.0)], -1)[None].repeat(2, 0)
    heatmaps = np.zeros((2, 4, 12, 16))
    for joint in range(4):
        heatmaps[:, joint, 5, 3 + joint] = 0.5
    return [
        FramePictures(
            frame=frame,
            images=[np.full((WH[1], WH[0], 3), 100, np.uint8)] * 2,
            joints=joints,
            notes=[HOSTILE, "note"],
            gt_joints=joints + 2,
            detections=joints,
            kept=np.array([[True, True, True, False]] * 2),
            heatmaps=dict.fromkeys(kinds, heatmaps),
            heatmap_to_picture=np.broadcast_to([[5.0, 0, 0], [0, 5.0, 0]], (2, 2, 3)),
        )
        for frame in frames
    ]


def test_write_pose_page_text_of_the_data_stays_text(tmp_path):
    path = tmp_path / "report.html"
    assert write_pose_page(path, make_page(), make_pictures([0, WORST])) == 2
    parsed = parse_page(path)
    assert parsed.elements.count("script") == 3  # data, three.js, page.js
    data = page_data(path)
    assert data["rigs"][0][0]["name"] == HOSTILE
    assert data["facts"] == [HOSTILE]
    assert data["pictures"][1]["views"][0]["note"] == HOSTILE
    assert data["report"] == REPORT
    assert not [name for name in parsed.elements if name in ("link", "img", "iframe")][1:]  # one link: the empty icon


def test_write_pose_page_numbers_are_rounded_and_unknown_ones_null(tmp_path):
    page = make_page()
    values = page.measures[0].values.copy()
    values[3] = np.nan
    page = replace(page, measures=[replace(page.measures[0], values=values)])
    write_pose_page(tmp_path / "report.html", page, [])
    data = page_data(tmp_path / "report.html")
    assert data["poses"][3] == [[150, 0, 900], [150, 150, 850], [150, -150, 850], [150, 0, 1500]]
    assert data["poses"][2][3] is None
    assert data["measures"][0]["values"][3] is None
    assert data["pictures"] == []
    assert data["pictures_note"] == "Without images: joints of 0 of 12 frames."


def test_write_pose_page_pictures_and_heatmaps_are_what_was_given(tmp_path):
    write_pose_page(tmp_path / "report.html", make_page(), make_pictures([1]))
    data = page_data(tmp_path / "report.html")
    view = data["pictures"][0]["views"][1]
    assert np.abs(decoded(view["image"]).astype(int) - 100).max() <= 2
    width, height = data["heatmaps"]["tile"]
    tiles = decoded(view["heatmaps"]["fused"])[..., 0]
    for joint in range(4):
        tile = tiles[:height, joint * width : (joint + 1) * width]
        assert np.unravel_index(tile.argmax(), tile.shape) == (5, 3 + joint)
        assert tile.max() == pytest.approx(128, abs=12)
    # Canvas coordinates: the center of pixel (3, 5) is (3.5, 5.5); it lies at 5 * (3, 5) in pixel centers.
    a, b, c, d, e, f = view["heatmap_to_picture"]
    x, y = a * 3.5 + c * 5.5 + e, b * 3.5 + d * 5.5 + f
    assert (x - 0.5, y - 0.5) == (15, 25)


def test_write_pose_page_exceeding_the_limit_drops_every_second_picture(tmp_path, monkeypatch):
    path = tmp_path / "report.html"
    write_pose_page(path, make_page(), make_pictures(range(NUM_FRAMES)))
    whole = path.stat().st_size
    one = whole - (write_pose_page(path, make_page(), make_pictures(range(NUM_FRAMES - 1))), path.stat().st_size)[1]
    monkeypatch.setattr(pose_page, "MAX_BYTES", whole - 4 * one)
    count = write_pose_page(path, make_page(), make_pictures(range(NUM_FRAMES)), always=[WORST])
    data = page_data(path)
    assert [picture["frame"] for picture in data["pictures"]] == [0, 2, 4, 6, 7, 8, 10]
    assert count == 7
    assert path.stat().st_size <= pose_page.MAX_BYTES
    monkeypatch.setattr(pose_page, "MAX_BYTES", 1)
    assert write_pose_page(path, make_page(), make_pictures(range(3)), always=[0, 1, 2]) == 0


def test_pose_page_arrays_of_other_shapes_are_refused():
    with pytest.raises(InputError, match="gt_world"):
        make_page(gt_world=np.zeros((2, 4, 3)))
    with pytest.raises(InputError, match="labels"):
        make_page(labels=["one"])


@pytest.mark.parametrize(("values", "good", "bad", "worst"), [([1, 9, 3], 0, 5, 1), ([4, np.nan, 2], 4, 2, 2)])
def test_measure_worst_follows_the_direction_of_the_scale(values, good, bad, worst):
    assert Measure("name", "", np.array(values, float), good, bad, "note").worst() == worst


def test_spread_covers_the_range_and_keeps_chosen_frames():
    assert spread(101, 3, [7]) == [0, 7, 50, 100]
    assert spread(3, 10) == [0, 1, 2]


@pytest.fixture(scope="module")
def browser():
    with open_browser() as opened:
        yield opened


def near(image, side):
    """Count the pixels in the color of a side; shading changes their brightness."""
    color = SIDE_COLORS[side]
    hue = cv2.cvtColor(np.uint8([[color]]), cv2.COLOR_BGR2HSV)[0, 0, 0].astype(int)
    hsv = cv2.cvtColor(image, cv2.COLOR_BGR2HSV).astype(int)
    return int(((abs(hsv[..., 0] - hue) < 6) & (hsv[..., 1] > 120)).sum())


@pytest.mark.parametrize(("wh", "columns"), [((50, 60), 2), ((30, 60), 4)])
def test_page_in_chromium_narrow_views_keep_their_names(browser, tmp_path, wh, columns):
    names = [f"cam{number:02d}" for number in range(1, 5)]
    camera = make_page().rigs[0][0]
    page = make_page(rigs=[[replace(camera, name=name) for name in names]], picture_wh=[wh] * 4)
    picture = FramePictures(
        0, [np.zeros((wh[1], wh[0], 3), np.uint8)] * 4, np.zeros((4, 4, 2)), ["16/17 kept, 20.1 px"] * 4
    )
    write_pose_page(tmp_path / "report.html", page, [picture])
    browser.open(tmp_path / "report.html")
    captions = "[...document.querySelectorAll('#pictures figcaption b')]"
    assert browser.run(f"{captions}.every((name) => name.scrollWidth <= name.clientWidth)")
    tops = browser.run(f"{captions}.map((name) => name.getBoundingClientRect().top)")
    assert tops.count(tops[0]) == columns
    assert browser.run("byId('pictures').scrollHeight <= byId('pictures').clientHeight")


def test_page_in_chromium_works_without_network(browser, tmp_path):
    """One test for everything, because starting the browser and opening a page take most of the time."""
    path = tmp_path / "a folder" / "report.html"
    path.parent.mkdir()
    pictures = [*make_pictures([0, 3, WORST]), *make_pictures([11], kinds=())]
    write_pose_page(path, make_page(), pictures)
    browser.open(path)
    assert browser.run("document.title") == f"title {HOSTILE}"
    assert browser.run("document.querySelectorAll('#pictures figcaption b')[0].textContent") == HOSTILE
    assert browser.text("label") == "frame 0 \u00b7 error 10 mm"

    far = browser.picture("canvas")
    browser.click("fit-person")
    scene = browser.picture("canvas")
    assert near(scene, "left") > near(far, "left")
    assert min(near(scene, side) for side in SIDE_COLORS) > 30
    browser.drag("canvas", 120, 40)
    assert (browser.picture("canvas") != scene).any()
    browser.click("fit-cameras")
    assert (browser.picture("canvas") == far).all()

    browser.click("worst")
    assert browser.text("label") == f"frame {WORST} \u00b7 error 50 mm"
    browser.click("next")
    assert browser.text("label").startswith("frame 11 ")  # the next one with pictures
    browser.click("show-pictured")
    browser.click("previous")
    assert browser.text("label").startswith("frame 10 ")
    browser.run("[slider.value = 4, slider.dispatchEvent(new Event('input'))]")
    browser.settle()
    assert browser.text("label").startswith("frame 4 ")
    browser.run("[byId('measure').value = 1, byId('measure').dispatchEvent(new Event('change'))]")
    browser.click("worst")
    assert browser.text("label") == f"frame {LEAST} \u00b7 views 1.0"
    browser.run("play(true)")
    give_up = time.monotonic() + 60  # a busy machine draws few frames per second
    while browser.run("state.playing") and time.monotonic() < give_up:
        browser.settle()
    browser.settle()  # the last frame may be shown after the last wait
    assert browser.text("label").startswith("frame 11 ")  # the end
    assert f"Nearest of 3 frames: frame {WORST}" in browser.text("heatmap-note")

    views = browser.picture("pictures")
    browser.click("show-joints")
    assert near(browser.picture("pictures"), "left") < near(views, "left")
    assert len(browser.driver.find_elements("css selector", "#maps canvas")) == 4
    peak = browser.run("document.querySelector('#maps figcaption span').textContent")
    assert float(peak.removeprefix("peak ")) == pytest.approx(0.5, abs=0.05)

    cells = "[...document.querySelectorAll('#tables table')].at(-1)"
    browser.run(f"{cells}.tHead.rows[0].cells[1].click()")
    order = f"[...{cells}.tBodies[0].rows].map((row) => row.cells[0].textContent)"
    assert browser.run(order) == ["lhip", "root", "rhip", "mean"]
    browser.run(f"{cells}.tHead.rows[0].cells[1].click()")
    assert browser.run(order) == ["root", "lhip", "rhip", "mean"]
    joints = "[...document.querySelectorAll('#tables table')][0]"
    browser.run(f"{joints}.tHead.rows[0].cells[1].click()")
    browser.run("show(0)")
    browser.settle()
    assert browser.run(f"{joints}.tBodies[0].rows[0].cells[0].textContent") == "neck"  # the largest error
    assert "<i>no markup</i>" in browser.text("tables")

    assert browser.messages() == []
    assert browser.requests() == [path.resolve().as_uri()]
