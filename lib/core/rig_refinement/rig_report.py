"""Report of a refined rig: Markdown, results.json and a figure of both rigs from above."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lib.core.own_cameras.recording import Recording
from lib.multiviews.cameras import Cameras
from lib.multiviews.rig.rig_parameters import CENTER, DRIFT, FOCAL, OFFSET, ROTATION
from lib.multiviews.rig.rig_refinement import RigRefinement
from lib.multiviews.rig.rig_verdict import NOT_TRUSTED, RIGHT
from lib.utils.drawing.agg import Figure, FigureCanvasAgg
from lib.utils.files.atomic import atomic_path, write_bytes
from lib.utils.files.json_file import write_json
from lib.utils.tables import markdown_table

if TYPE_CHECKING:
    from lib.core.rig_refinement.refine_recording import RefinedRecording

_ARROW_SHARE = 0.12  # length of a viewing direction, share of the rig's extent
_PERSON_POINTS = 2000
_COLORS = ("0.55", "C3")  # given and refined rig


def save_rig_report(path: Path, recording: Recording, result: RefinedRecording) -> None:
    """Write FILE.md, FILE.json and FILE.png next to the calibration FILE.toml."""
    found = result.verdict.refinement
    write_json(path.with_suffix(".json"), rig_results(recording, result))
    text = rig_report(recording, result)
    figure_path = path.with_suffix(".png")
    figure_path.unlink(missing_ok=True)
    if found is not None:
        save_figure(figure_path, recording.rig.names, result.given.cameras, found)
        text += f"\n\n![both rigs from above]({figure_path.name})"
    write_bytes(path.with_suffix(".md"), f"{text}\n".encode())


def rig_results(recording: Recording, result: RefinedRecording) -> dict[str, Any]:
    """Return the content of FILE.json: verdict, and per view errors, moves and clocks with standard deviations."""
    found, verdict = result.verdict.refinement, result.verdict
    summary: dict[str, Any] = {
        "verdict": verdict.kind,
        "reasons": list(verdict.reasons),
        "notes": list(verdict.notes),
        "frames": len(recording),
        "height_mm": result.height_mm,
        "scale": result.scale,
    }
    if found is not None:
        summary["change"] = {
            "chi2": found.change,
            "freedom": found.change_freedom,
            "shift_px": found.shift_px,
            "inflation": found.inflation,
        }
        summary["views"] = view_results(found, recording.rig.names)
    return summary


def view_results(found: RigRefinement, names: Sequence[str]) -> dict[str, dict[str, float]]:
    """Return per view errors, moves and clocks with standard deviations."""
    return {name: _view(found, view) for view, name in enumerate(names)}


def _view(found: RigRefinement, view: int) -> dict[str, Any]:
    step, sd = found.step[view], found.sd[view]
    return {
        "error_before_px": found.error_before[view],
        "error_after_px": found.error_after[view],
        "noise_px": found.noise_px[view],
        "inlier_share": found.inlier_share[view],
        "turned_deg": np.degrees(np.linalg.norm(step[ROTATION])),
        "turned_sd_deg": np.degrees(np.linalg.norm(sd[ROTATION])),
        "moved_mm": np.linalg.norm(step[CENTER]),
        "moved_sd_mm": np.linalg.norm(sd[CENTER]),
        "focal_percent": 100 * step[FOCAL],
        "focal_sd_percent": 100 * sd[FOCAL],
        "sync_offset_frames": step[OFFSET] - step[DRIFT] / 2,  # at the first frame
        "sync_offset_sd_frames": sd[OFFSET],
        "drift_frames": step[DRIFT],
        "drift_sd_frames": sd[DRIFT],
    }


def verdict_text(result: RefinedRecording) -> str:
    """Return the verdict in one sentence."""
    verdict = result.verdict
    if verdict.kind == NOT_TRUSTED:
        return "Not to be trusted: " + "; ".join(verdict.reasons) + "."
    if verdict.kind == RIGHT:
        found = verdict.refinement
        return (
            f"The rig is right: no camera differs from it by more than chance (chi squared {found.change:.0f}, "
            f"{found.change_freedom} degrees of freedom) or by enough to matter ({found.shift_px:.2f} px). "
            f"{'The calibration is copied unchanged' if result.scale == 1.0 else 'Only its scale is changed'}."
        )
    return f"The rig is refined: the given one misplaces joints by {verdict.refinement.shift_px:.1f} px."


def rig_report(recording: Recording, result: RefinedRecording) -> str:
    """Return the report as Markdown."""
    found = result.verdict.refinement
    parts = ["# Refined calibration", f"**{verdict_text(result)}**", *(f"- {note}" for note in result.verdict.notes)]
    if found is None:
        return "\n\n".join(parts)
    table = view_table(view_results(found, recording.rig.names))
    parts += ["## Cameras", table, _what_is_held(recording, result, found)]
    return "\n\n".join(parts)


_MEASURED = (  # heading, value, standard deviation, decimals
    ("turned (degrees)", "turned_deg", "turned_sd_deg", 3),
    ("moved (mm)", "moved_mm", "moved_sd_mm", 1),
    ("focal length (%)", "focal_percent", "focal_sd_percent", 2),
    ("sync offset (frames)", "sync_offset_frames", "sync_offset_sd_frames", 2),
    ("drift (frames)", "drift_frames", "drift_sd_frames", 2),
)


def view_table(views: Mapping[str, Mapping[str, float]]) -> str:
    """Format view_results() as Markdown, without columns of what was not estimated."""
    estimated = [column for column in _MEASURED if any(view[column[2]] > 0 for view in views.values())]
    rows = [
        [
            name,
            f"{view['error_before_px']:.2f}",
            f"{view['error_after_px']:.2f}",
            f"{100 * view['inlier_share']:.0f}",
            *(f"{view[value]:.{digits}f} ± {view[sd]:.{digits}f}" for _, value, sd, digits in estimated),
        ]
        for name, view in views.items()
    ]
    header = ["view", "error before (px)", "after (px)", "inliers (%)", *(column[0] for column in estimated)]
    return markdown_table(header, rows)


def _what_is_held(recording: Recording, result: RefinedRecording, found: RigRefinement) -> str:
    """Return what was estimated and what was not."""
    free = found.free.any(0)
    held = ["principal points", "lens distortion"]
    held += [] if free[FOCAL] else ["focal lengths"]
    held += [] if free[OFFSET] else ["sync (the frames are not consecutive)"]
    held += [] if free[DRIFT] or not free[OFFSET] else ["drift (the recording is short)"]
    held.append(f"clock of {recording.rig.names[0]}")
    scale = (
        f"the scale is {result.scale:.4f} of the given one, from the height of the person"
        if result.scale != 1.0
        else f"the scale is that of the given rig, with which the person is {result.height_mm / 1000:.2f} m tall"
    )
    return (
        "Errors are medians of the detections that fit the refined rig. After ±: standard deviation, "
        f"{found.inflation**0.5:.1f} times that of independent detections. Held as given: {', '.join(held)}. Turned, "
        f"shifted and scaled so that as many cameras as possible stay where they were; {scale}. The sync offset is "
        "that at the first frame, the drift that over the recording."
    )


def save_figure(path: Path, names: tuple[str, ...], given: Cameras, found: RigRefinement) -> None:
    """Draw the given and the refined rig and the person's way, seen along the mean of the cameras' vertical axes."""
    refined = found.state.cameras
    down = refined.R[:, 1].mean(0)
    down /= np.linalg.norm(down)
    middle = refined.T.mean(0)
    offsets = refined.T - middle
    across = np.linalg.svd(offsets - np.outer(offsets @ down, down))[2][0]
    axes_3d = np.stack([across, np.cross(down, across)])

    def above(points: np.ndarray) -> np.ndarray:
        return (points - middle) @ axes_3d.T / 1000

    figure = Figure(figsize=(6.5, 6), layout="constrained")
    axes = figure.subplots()
    person = found.adjustment.points[:, 0]
    way = above(person[:: max(len(person) // _PERSON_POINTS, 1)])
    axes.plot(*way.T, ".", color="C0", ms=2, label="person")
    extent = np.linalg.norm(offsets, axis=1).max() / 1000
    for cameras, color, label in zip((given, refined), _COLORS, ("given", "refined"), strict=True):
        places, ahead = above(cameras.T), cameras.R[:, 2] @ axes_3d.T * _ARROW_SHARE * 2 * extent
        axes.plot(*places.T, "o", color=color, ms=7 if label == "given" else 4, label=label)
        for place, arrow in zip(places, ahead, strict=True):
            axes.annotate("", place + arrow, place, arrowprops={"arrowstyle": "->", "color": color})
    for view, (name, place) in enumerate(zip(names, above(refined.T), strict=True)):
        step = found.step[view]
        turned, moved = np.degrees(np.linalg.norm(step[ROTATION])), np.linalg.norm(step[CENTER])
        axes.annotate(
            f"{name}\n{turned:.2f} degrees, {moved:.0f} mm",
            place,
            xytext=26 * place / max(np.linalg.norm(place), 1e-6),  # outside, where no arrow is
            textcoords="offset points",
            fontsize="small",
            ha="center",
            va="center",
        )
    axes.set_aspect("equal")
    axes.margins(0.3)
    axes.set(xlabel="m", ylabel="m", title="Rig from above")
    axes.legend(fontsize="small", loc="best")
    FigureCanvasAgg(figure)
    with atomic_path(path) as partial:
        figure.savefig(partial, dpi=110, format="png")
