"""Settings of a validation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lib.core.evaluation2d.decode import peak_mode
from lib.core.loss import PUBLISHED_LOSS, LossSettings
from lib.models.registry import fusion_name
from lib.utils.errors import InputError

OUTPUTS = ("heatmaps", "locations", "nothing")  # what is written; heatmaps include locations


@dataclass(frozen=True)
class ValidationSettings:
    """Settings of validate().

    Attributes:
        image_wh: network input (width, height), px.
        peak_mode: see get_max_preds().
        jdr_threshold: definition of the JDR threshold of `perf`, one of JDR_THRESHOLDS.
        joints: names of the joints that the network has learned; empty = all of the data set.
        print_freq: steps between log lines.
        flip_test: average with the mirrored image; only without fusion.
        output: what all ranks send to the writer of rank 0, one of OUTPUTS.
        with_loss: compute the loss too.
        loss: settings of the loss.
        single_view_peaks: number and mode of the single-view peaks that are found behind a fusion, see find_peaks();
            None = none.
    """

    image_wh: tuple[int, int]
    peak_mode: str = "argmax"
    jdr_threshold: str = "crop"
    joints: tuple[str, ...] = ()
    print_freq: int = 100
    flip_test: bool = False
    output: str = "nothing"
    with_loss: bool = False
    loss: LossSettings = PUBLISHED_LOSS
    single_view_peaks: tuple[int, str] | None = None

    @classmethod
    def from_config(
        cls, config: Any, output: str = "nothing", with_loss: bool = False, with_peaks: bool = False
    ) -> ValidationSettings:
        """Read NETWORK.{IMAGE_SIZE,FUSION}, LOSS, PRINT_FREQ, TRIANGULATE.{NUM_PEAKS,PEAK_MODE} and
        TEST.{PEAK_MODE,POST_PROCESS,JDR_THRESHOLD,JOINTS,FLIP_TEST}.

        Args:
            config: the configuration.
            output: one of OUTPUTS.
            with_loss: compute the loss too.
            with_peaks: find the single-view peaks if the network fuses views.

        Raises:
            InputError: TEST.FLIP_TEST with a fusion, which is wrong for mirrored images.
        """
        if config.TEST.FLIP_TEST and fusion_name(config.NETWORK) != "none":
            raise InputError(
                "--flip-test (TEST.FLIP_TEST true): expected NETWORK.FUSION none, received a fusion, which is wrong "
                "for mirrored images; omit it"
            )
        return cls(
            image_wh=tuple(config.NETWORK.IMAGE_SIZE),
            peak_mode=peak_mode(config.TEST),
            jdr_threshold=config.TEST.JDR_THRESHOLD,
            joints=tuple(config.TEST.JOINTS),
            print_freq=config.PRINT_FREQ,
            flip_test=config.TEST.FLIP_TEST,
            output=output,
            with_loss=with_loss,
            loss=LossSettings.from_config(config.LOSS),
            single_view_peaks=stored_peaks(config) if with_peaks else None,
        )


def stored_peaks(config: Any) -> tuple[int, str] | None:
    """Return TRIANGULATE.NUM_PEAKS and PEAK_MODE if NETWORK.FUSION fuses views, else None."""
    has_fusion = fusion_name(config.NETWORK) != "none"
    return (config.TRIANGULATE.NUM_PEAKS, config.TRIANGULATE.PEAK_MODE) if has_fusion else None
