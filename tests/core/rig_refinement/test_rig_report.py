from __future__ import annotations

from lib.core.rig_refinement.rig_report import view_table

VIEW = {
    "error_before_px": 9.5,
    "error_after_px": 2.5,
    "noise_px": 2.0,
    "inlier_share": 0.92,
    "turned_deg": 1.0,
    "turned_sd_deg": 0.02,
    "moved_mm": 3.0,
    "moved_sd_mm": 1.5,
    "focal_percent": 0.0,
    "focal_sd_percent": 0.0,
    "sync_offset_frames": -1.25,
    "sync_offset_sd_frames": 0.01,
    "drift_frames": 0.0,
    "drift_sd_frames": 0.02,
}


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_view_table_shows_what_was_estimated_with_standard_deviations():
    header, _, row = map(cells, view_table({"left": VIEW}).splitlines())
    assert row[:4] == ["left", "9.50", "2.50", "92"]
    assert row[4] == "1.000 ± 0.020"
    assert header[6] == "sync offset (frames)"  # no focal length: its standard deviation is 0
    assert row[6] == "-1.25 ± 0.01"
