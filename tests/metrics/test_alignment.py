"""Alignment: an order changes no hash, a swap does; a stranger's recording is found, a mark of the class is not one."""

from dataclasses import replace

import torch

from bench._kit import sets
from bench.api import Clips, Rolls
from bench.metrics.alignment import alignment_hash, misaligned


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def speech(clips: int = 12) -> Clips:
    return sets.tones(clips, 8000, 0.5)


def with_noise(data: Clips, level: float = 0.02) -> Clips:
    noise = level * torch.randn(data.audio.shape, generator=rng()) * data.support
    return data.with_audio((data.audio + noise).clamp(-1, 1))


def swapped(data: Clips, first: int, second: int) -> Clips:
    """The same names, two of the recordings exchanged."""
    order = list(range(len(data)))
    order[first], order[second] = second, first
    other = data.select(order)
    return replace(data, audio=other.audio, lengths=other.lengths)


def test_shuffling_changes_no_hash() -> None:
    data = with_noise(speech())
    for seed in range(3):
        assert alignment_hash(data.select(torch.randperm(12, generator=rng(seed)))) == alignment_hash(data)


def test_a_swap_a_label_and_a_sample_change_the_hash() -> None:
    data = with_noise(speech())
    assert data.labels is not None
    assert alignment_hash(swapped(data, 0, 3)) != alignment_hash(data)
    assert alignment_hash(replace(data, labels=data.labels.flip(0))) != alignment_hash(data)
    one = data.audio.clone()
    one[5, 0, 10] += 1e-3
    assert alignment_hash(data.with_audio(one)) != alignment_hash(data)


def test_rolls_have_a_hash_too() -> None:
    rolls = sets.melodies(4)
    assert isinstance(rolls, Rolls)
    assert alignment_hash(rolls.select([2, 0, 3, 1])) == alignment_hash(rolls)
    assert alignment_hash(replace(rolls, velocity=rolls.velocity * 0.5)) != alignment_hash(rolls)


def test_a_misaligned_copy_is_caught_and_named() -> None:
    data = speech()
    protected = with_noise(data)
    assert misaligned(data, protected) == []
    assert sorted(misaligned(data, swapped(protected, 0, 3))) == [("00000", "00003"), ("00003", "00000")]
    rolled = data.select([*range(1, 12), 0])
    whole = misaligned(data, replace(data, audio=rolled.audio, lengths=rolled.lengths))
    assert len(whole) == 12


def test_a_mark_that_drowns_a_class_is_not_taken_for_a_stranger() -> None:
    data = speech()
    assert data.labels is not None
    template = data.audio[:2][data.labels]  # each class is drowned in one of its own clips
    drowned = data.with_audio((0.2 * data.audio + 0.8 * template).clamp(-1, 1) * data.support)
    assert misaligned(data, drowned) == []


def test_silence_is_no_stranger() -> None:
    data = speech()
    silent = data.with_audio(data.audio * 0)
    assert misaligned(data, silent) == []
    assert misaligned(silent, silent) == []
