"""Results of the paper: MPJPE in mm without alignment, and joint detection rates in percent.

Source: Qiu et al., ICCV 2019: Tables 1, 3 and 4 and section 7.5 (Human3.6M, subjects 9 and 11); Total Capture.
"""

from dataclasses import dataclass

from lib.dataset.totalcapture import TEST_RECORDINGS

# Table 3: name of the action in the data set -> column. The original code's list of names is shifted from action 7
# (Posing) on. It is unknown whether the table was made with that list.
_ACTIONS = (
    "Directions Discussion Eating Greeting Phoning TakingPhoto Posing Purchases Sitting SittingDown Smoking Waiting "
    "WalkingDog Walking WalkingTogether"
)
_COLUMNS = "Dir Disc Eat Greet Phone Photo Pose Purch Sit SitD Smoke Wait WalkD Walk WalkT"
TABLE_3_COLUMNS = dict(zip(_ACTIONS.split(), _COLUMNS.split(), strict=True))


@dataclass(frozen=True)
class PaperRow:
    """One row of the paper's tables.

    Attributes:
        method: heatmaps, training data, 3D method.
        average: MPJPE over all frames, mm.
        by_column: MPJPE per action in the order of TABLE_3_COLUMNS, mm; () = not in the paper.
        sequences: sequences that identify the data set in per_part of our results; () = Human3.6M.
    """

    method: str
    average: float
    by_column: tuple[float, ...] = ()
    sequences: tuple[str, ...] = ()

    @property
    def per_action(self) -> dict[str, float]:
        """Name of the action -> mm."""
        return dict(zip(TABLE_3_COLUMNS, self.by_column, strict=True)) if self.by_column else {}


TABLE_3 = (
    PaperRow(
        "Single, H36M, triangulation",
        94.54,
        (71.76, 65.89, 56.63, 136.52, 59.32, 96.30, 46.67, 110.51, 150.10, 57.01, 73.15, 292.78, 49.00, 48.67, 62.62),
    ),
    PaperRow(
        "Single, H36M, RPSM",
        47.82,
        (33.38, 36.36, 27.13, 31.14, 31.06, 30.28, 28.59, 41.03, 245.52, 33.74, 37.10, 35.97, 29.92, 35.23, 30.55),
    ),
    PaperRow(
        "Single, H36M+MPII, triangulation",
        36.28,
        (33.99, 32.87, 25.80, 29.02, 34.63, 26.64, 28.42, 42.63, 88.69, 36.38, 35.48, 31.98, 27.43, 32.42, 27.53),
    ),
    PaperRow(
        "Single, H36M+MPII, RPSM",
        27.99,
        (26.89, 28.05, 23.13, 25.75, 26.07, 23.45, 24.41, 34.02, 39.63, 29.26, 29.49, 27.25, 25.07, 27.82, 24.85),
    ),
    PaperRow(
        "Fusion, H36M, triangulation",
        38.29,
        (34.84, 35.78, 32.70, 33.49, 34.44, 38.19, 29.66, 60.72, 53.10, 35.18, 40.97, 41.57, 31.86, 31.38, 34.58),
    ),
    PaperRow(
        "Fusion, H36M, RPSM",
        31.17,
        (28.89, 32.46, 26.58, 28.14, 28.31, 29.34, 28.00, 36.77, 41.98, 30.54, 35.59, 30.03, 28.33, 30.01, 30.46),
    ),
    PaperRow(
        "Fusion, H36M+MPII, triangulation",
        27.90,
        (25.15, 27.85, 24.25, 25.45, 26.16, 23.70, 25.68, 29.66, 40.47, 28.60, 32.77, 26.83, 26.00, 28.56, 25.01),
    ),
    PaperRow(
        "Fusion, H36M+MPII, RPSM",
        26.21,
        (23.98, 26.71, 23.19, 24.30, 24.77, 22.82, 24.12, 28.62, 32.12, 26.87, 30.98, 25.56, 25.02, 28.07, 24.37),
    ),
)

# Recursion depths; depth 0 is the model without recursion, depth 10 is the last row of Table 3.
TABLE_4 = tuple(
    PaperRow(f"Fusion, H36M+MPII, recursion depth {depth}", average)
    for depth, average in ((0, 77.28), (1, 57.22), (3, 30.76), (5, 26.26))
)

TOTAL_CAPTURE = tuple(
    PaperRow(f"{heatmaps}, Total Capture, RPSM", average, sequences=tuple(TEST_RECORDINGS))
    for heatmaps, average in (("Single", 41.0), ("Fusion", 29.0))
)

# Table 1, joint detection rate in percent: shoulder, elbow, wrist, hip, knee, ankle.
TABLE_1 = {
    ("Single", "H36M"): (88.50, 88.94, 85.72, 90.37, 94.04, 90.11),
    ("Sum along the epipolar line", "H36M"): (91.36, 91.23, 89.63, 96.19, 94.14, 90.38),
    ("Max along the epipolar line", "H36M"): (92.67, 92.45, 91.57, 97.69, 95.01, 91.88),
    ("Fusion", "H36M"): (95.58, 95.83, 95.01, 99.36, 97.96, 94.75),
    ("Single", "H36M+MPII"): (97.38, 93.54, 89.33, 99.01, 95.10, 91.96),
    ("Fusion", "H36M+MPII"): (98.97, 98.10, 97.20, 99.85, 98.87, 95.11),
}

# Section 7.5, MPJPE of RPSM on Human3.6M without pose labels of Human3.6M.
LABEL_FREE = {"as it is": 109.0, "retrained, no fusion": 61.0, "retrained, fusion": 43.0}
