"""Random crops: a stretch of the recording, unchanged, with silence around it."""

from typing import Any

import pytest
import torch

from bench import plugins
from bench.api import Clips
from bench.errors import UsageError

WINDOW, LENGTH = 400, 300


def cropped(clips: int, **given: Any) -> Clips:
    """Crops of a ramp: each sample says where it came from."""
    ramp = (torch.arange(WINDOW) + 1.0) / WINDOW * (torch.arange(WINDOW) < LENGTH)
    batch = Clips.of(ramp.repeat(clips, 1, 1), 8000, lengths=torch.full((clips,), LENGTH))
    changed: Clips = plugins.build("adaptations", "crop_and_pad", given).augment(
        batch, torch.Generator().manual_seed(0)
    )
    return changed.check("crop_and_pad")


def test_a_stretch_is_kept_as_it_was() -> None:
    changed = cropped(300, least=0.5)
    starts, sizes, origins = [], [], []
    for clip, length in zip(changed.audio[:, 0], changed.lengths.tolist(), strict=True):
        inside = clip.nonzero()[:, 0]
        start, size = int(inside[0]), len(inside)
        assert start + size == length
        stretch = clip[start:length] * WINDOW
        torch.testing.assert_close(stretch.diff(), torch.ones(size - 1), atol=1e-3, rtol=0)
        starts.append(start)
        sizes.append(size)
        origins.append(round(float(stretch[0])) - 1)
    assert 150 <= min(sizes) < 160
    assert 290 < max(sizes) <= 300
    assert min(starts) < 15
    assert max(s + n for s, n in zip(starts, sizes, strict=True)) > WINDOW - 10
    assert min(origins) < 5
    assert max(o + n for o, n in zip(origins, sizes, strict=True)) > LENGTH - 5


def test_all_of_it_may_be_kept() -> None:
    changed = cropped(20, least=1.0)
    assert ((changed.audio != 0).sum(-1) == LENGTH).all()


def test_empty_recordings_stay_empty() -> None:
    empty = Clips.of(torch.zeros(2, 1, 10), 8000, lengths=torch.tensor([0, 10]))
    plugin = plugins.build("adaptations", "crop_and_pad", {})
    assert (plugin.augment(empty, torch.Generator().manual_seed(0)).check("empty").audio == 0).all()


def test_what_cannot_be_is_refused() -> None:
    for least in (0.0, 1.1):
        with pytest.raises(UsageError, match="expected more than 0"):
            plugins.build("adaptations", "crop_and_pad", {"least": least})
