"""Subjects differ, and equal seeds give equal subjects."""

from __future__ import annotations

import dataclasses

import numpy as np

from lib.dataset.h36m import TEST_SUBJECTS, TRAIN_SUBJECTS
from lib.dataset.synthetic.person import make_stranger, make_subject


def _numbers(subject: int, seed: int = 0) -> np.ndarray:
    shape = dataclasses.asdict(make_subject(subject, seed).shape)
    return np.concatenate([np.ravel(value) for value in shape.values()])


def test_make_subject_subjects_differ_in_limbs_and_clothes():
    subjects = (*TRAIN_SUBJECTS, *TEST_SUBJECTS)
    for i, first in enumerate(subjects):
        for second in subjects[i + 1 :]:
            assert np.abs(_numbers(first) - _numbers(second)).max() > 10.0
            colors = [make_subject(subject, 0).wardrobe for subject in (first, second)]
            colors = [np.concatenate([wear.shirt, wear.trousers, wear.skin]) for wear in colors]
            assert np.abs(colors[0] - colors[1]).max() > 0.05


def test_make_subject_depends_on_number_and_seed_alone():
    np.testing.assert_array_equal(_numbers(5), _numbers(5))
    assert np.abs(_numbers(5) - _numbers(5, seed=1)).max() > 1.0
    assert np.isfinite(_numbers(3)).all()  # a number that Human3.6M does not have


def test_make_stranger_has_human_proportions():
    rng = np.random.default_rng(0)
    for _ in range(20):
        shape = make_stranger(rng).shape
        stature = shape.ankle_height + shape.leg + shape.root_belly + shape.belly_neck + shape.head_top[2]
        assert 1400 < stature < 2000
        assert 0.42 < (shape.ankle_height + shape.leg) / stature < 0.62
        assert 0.25 < shape.arm / stature < 0.38
