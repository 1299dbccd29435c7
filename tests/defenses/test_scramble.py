"""Scrambling keeps every sample and no order."""

import torch

from bench import plugins
from bench.api import Clips, Knowledge


def test_every_segment_is_kept_once_and_the_padding_stays_silent() -> None:
    rate, size = 1000, 50
    audio = torch.arange(1, 2 * 2 * 1020 + 1, dtype=torch.float32).reshape(2, 2, 1020) / 5000
    lengths = torch.tensor([1020, 530])
    audio[1, :, 530:] = 0
    data = Clips.of(audio, rate, lengths=lengths)
    made = plugins.build("defenses", "scramble").protect(data, Knowledge(), torch.Generator().manual_seed(0))
    assert torch.equal(made.audio.flatten(1).sort().values, audio.flatten(1).sort().values)
    assert torch.equal(made.audio[1, :, 500:], audio[1, :, 500:])  # the rest of the recording, then the padding
    assert torch.equal(made.audio[0, :, 1000:], audio[0, :, 1000:])
    starts = made.audio[0, 0, :1000:size]
    assert not torch.equal(starts, audio[0, 0, :1000:size])
    inside = made.audio[0, 0, :1000].unflatten(0, (20, size)).diff(dim=1)
    assert torch.allclose(inside, torch.full_like(inside, 1 / 5000), atol=1e-6)  # order within a segment is kept
    apart = made.audio[0, 1, :1000] - made.audio[0, 0, :1000]
    assert torch.allclose(apart, torch.tensor(1020 / 5000), atol=1e-6)  # both channels alike


def test_segments_of_a_set_are_dealt_among_all_clips() -> None:
    audio = torch.arange(1, 4 * 1000 + 1, dtype=torch.float32).reshape(4, 1, 1000) / 5000
    data = Clips.of(audio, 1000)
    made = plugins.build("defenses", "scramble", {"scope": "set"}).protect(data, Knowledge(), torch.Generator())
    assert torch.equal(made.audio.flatten().sort().values, audio.flatten())
    own = (made.audio[..., ::50] * 5000).div(1000).floor() == torch.arange(4).view(4, 1, 1)
    assert 0 < int(own.sum()) < own.numel() / 2
