"""Masks: the levels of Table 1 where the amplitudes say so, and no step in the continuous one."""

import pytest
import torch

from bench.sound.segments import TABLE, continuous_mask, segment_amplitude, stepped_mask


def staircase(*amplitudes: float, size: int = 100) -> torch.Tensor:
    """One clip of segments of constant amplitude and changing sign."""
    signs = torch.tensor([1.0, -1.0]).repeat(size // 2)
    return torch.cat([a * signs for a in amplitudes])[None, None]


def test_the_levels_are_those_of_table_1() -> None:
    audio = staircase(0.005, 0.02, 0.04, 0.06, 0.09, 0.2)
    mask = stepped_mask(audio, 100)
    assert mask.shape == audio.shape
    expected = torch.tensor([0.0385, 0.0769, 0.1538, 0.3077, 0.538, 1.0])
    assert torch.equal(mask[0, 0, ::100], expected)
    assert torch.equal(mask[0, 0, 99::100], expected)  # to the segment's last sample
    # 0.13 times the table is the paper's last column: .005, .01, .02, .04, .07, .13
    assert torch.allclose(0.13 * expected, torch.tensor([0.005, 0.01, 0.02, 0.04, 0.07, 0.13]), atol=5e-4)


def test_an_amplitude_on_the_edge_has_the_lower_level() -> None:
    assert [edge for edge, _ in TABLE] == sorted(edge for edge, _ in TABLE)
    halves = ((0.0, 0.25), (0.5, 1.0))  # numbers that binary fractions hit exactly
    assert stepped_mask(torch.full((1, 1, 8), 0.5), 8, halves).unique().tolist() == [0.25]
    assert stepped_mask(torch.full((1, 1, 8), 0.501), 8, halves).unique().tolist() == [1.0]


def test_a_short_last_segment_is_averaged_over_what_it_has() -> None:
    audio = torch.full((1, 1, 150), 0.5)
    assert torch.allclose(segment_amplitude(audio, 100), torch.tensor([[[0.5, 0.5]]]))
    assert stepped_mask(audio, 100).shape == audio.shape


def test_channels_share_one_mask() -> None:
    stereo = torch.cat([staircase(0.18, 0.0), staircase(0.0, 0.0)], dim=1)
    assert stepped_mask(stereo, 100).shape == (1, 1, 200)
    assert float(stepped_mask(stereo, 100)[0, 0, 0]) == pytest.approx(0.538)  # their mean is 0.09


def test_the_continuous_mask_goes_through_the_tables_ends_without_a_step() -> None:
    rng = torch.Generator().manual_seed(0)
    audio = torch.linspace(0, 0.4, 8000) * torch.randn(8000, generator=rng).clamp(-2, 2)
    mask = continuous_mask(audio[None, None], 400, full=0.1, exponent=1.1, floor=0.0385)
    assert mask.shape == (1, 1, 8000)
    assert float(mask.min()) == pytest.approx(0.0385)
    assert float(mask.max()) == 1.0
    assert float(mask.diff().abs().max()) < 0.02  # the table jumps by as much as 0.46
    steady = continuous_mask(torch.full((1, 1, 900), 0.01), 100, full=0.1, exponent=1.1, floor=0.0)
    assert float(steady[0, 0, 450]) == pytest.approx(0.1**1.1, rel=1e-3)
