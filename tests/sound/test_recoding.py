"""Codecs and denoisers with a rate of their own: in place, each recording by itself."""

import numpy as np
import pytest
import torch

from bench.api import Clips
from bench.sound.frames import streamed
from bench.sound.recoding import at_rate, nearest_rate, one_by_one


def test_the_nearest_rate_is_the_next_higher_one() -> None:
    assert [nearest_rate(rate, (8000, 16_000)) for rate in (4000, 8000, 8001, 48_000)] == [8000, 8000, 16_000, 16_000]


@pytest.mark.parametrize("rate", [8000, 12_000, 44_100])
def test_a_change_that_changes_nothing_gives_the_clips_back(rate: int) -> None:
    time = torch.arange(4000) / 8000
    lengths = torch.tensor([4000, 1111])
    sound = (
        0.5 * torch.sin(2 * torch.pi * 500 * time).expand(2, 1, -1) * (torch.arange(4000) < lengths[:, None])[:, None]
    )
    clips = Clips.of(sound, 8000, lengths=lengths)
    back = at_rate(clips, rate, lambda audio, lengths: one_by_one(audio, lengths, lambda each: each))
    assert float((back.audio - clips.audio)[0, :, 200:-200].abs().max()) < 0.01
    assert (back.audio * ~back.support == 0).all()


def test_each_recording_is_given_alone_and_what_is_not_finite_is_silenced() -> None:
    given: list[tuple[int, ...]] = []

    def change(sound: np.ndarray) -> np.ndarray:
        given.append(sound.shape)
        return np.full_like(sound, np.nan if sound.shape[1] == 3 else 2.0)

    changed = one_by_one(torch.zeros(3, 2, 5), torch.tensor([5, 0, 3]), change)
    assert given == [(2, 5), (2, 3)]
    assert changed[:, 0].tolist() == [[1.0] * 5, [0.0] * 5, [0.0] * 5]


@pytest.mark.parametrize("samples", [1, 4, 5, 9])
def test_frames_are_streamed_in_order_and_the_delay_is_cut_off(samples: int) -> None:
    import ctypes

    late = np.zeros(4, np.float32)

    def delayed_by_a_frame(before: int, after: int) -> None:
        ctypes.memmove(after, late.ctypes.data, late.nbytes)
        ctypes.memmove(late.ctypes.data, before, late.nbytes)

    sound = np.arange(1, samples + 1, dtype=np.float32)
    assert streamed(sound, 4, 4, delayed_by_a_frame).tolist() == sound.tolist()
