"""Two sets become one: padding, labels, stems, and what does not fit."""

from dataclasses import replace

import pytest
import torch

from bench.api import Clips, Rolls, concatenate
from bench.errors import DataError


def clips(count: int, samples: int, name: str, labelled: bool = True) -> Clips:
    audio = torch.full((count, 1, samples), 0.5)
    return Clips.of(
        audio,
        8000,
        [f"{name}{at}" for at in range(count)],
        labels=torch.zeros(count, dtype=torch.int64) if labelled else None,
        classes=["a", "b"] if labelled else (),
        stems=audio[:, None],
        stem_names=["all"],
    )


def rolls(count: int, steps: int, name: str, lowest: int = 21) -> Rolls:
    velocity = torch.full((count, 1, steps, 88), 0.5)
    return Rolls(
        velocity=velocity,
        onset=torch.ones_like(velocity, dtype=torch.bool),
        programs=(0,),
        ids=tuple(f"{name}{at}" for at in range(count)),
        groups=("piece",) * count,
        lengths=torch.full((count,), steps),
        tempo=torch.full((count,), 100.0),
        lowest=lowest,
    )


def test_clips_follow_each_other_and_the_shorter_are_padded() -> None:
    both = concatenate(clips(2, 10, "p"), replace(clips(3, 16, "g"), whole=9))
    assert isinstance(both, Clips)
    assert both.ids == ("p0", "p1", "g0", "g1", "g2")
    assert both.audio.shape == (5, 1, 16)
    assert both.lengths.tolist() == [10, 10, 16, 16, 16]
    assert both.labels is not None
    assert both.stems is not None
    assert both.stems.shape == (5, 1, 1, 16)
    assert both.whole == 0
    both.check()  # nothing lies in the padding


def test_stems_that_only_one_set_has_are_dropped() -> None:
    both = concatenate(clips(2, 10, "p"), replace(clips(3, 10, "g"), stems=None, stem_names=()))
    assert isinstance(both, Clips)
    assert both.stems is None
    assert both.stem_names == ()


def test_rolls_follow_each_other_and_the_shorter_are_padded() -> None:
    both = concatenate(rolls(2, 8, "p"), rolls(1, 4, "g"))
    assert isinstance(both, Rolls)
    assert both.velocity.shape == (3, 1, 8, 88)
    assert both.lengths.tolist() == [8, 8, 4]
    assert len(both.tempo) == 3
    both.check()


def test_sets_that_do_not_fit_are_refused() -> None:
    with pytest.raises(DataError, match="Rolls beside Clips"):
        concatenate(clips(1, 8, "p"), rolls(1, 8, "g"))
    with pytest.raises(DataError, match="differ in rate: 8000 and 16000"):
        concatenate(clips(1, 8, "p"), replace(clips(1, 8, "g"), rate=16000))
    with pytest.raises(DataError, match="differ in lowest: 21 and 0"):
        concatenate(rolls(1, 8, "p"), rolls(1, 8, "g", lowest=0))
    with pytest.raises(DataError, match="differ in classes"):
        concatenate(clips(1, 8, "p"), clips(1, 8, "g", labelled=False))
    with pytest.raises(DataError, match="not unique"):
        concatenate(clips(1, 8, "p"), clips(1, 8, "p"))
