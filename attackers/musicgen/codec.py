"""EnCodec: waveform to codes, hard for training and with a straight-through gradient for crafting.

Conventions
-----------
* Audio is float32 [clip, 1, sample] at the codec's own rate; codes are int64 [clip, codebook, frame]; assignments are
  float32 [clip, codebook, frame, entry].
* Residual vector quantisation: a codebook codes what the ones before it left over (Défossez et al. 2022, "High Fidelity
  Neural Audio Compression", section 3.2).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from bench.api import Clips
from bench.errors import DataError
from bench.sound.resampling import resample
from bench.training.acceleration import differentiable_recurrence

# Clips read at once: the first layers hold every sample, and what does not fit a CPU's caches takes twice the time.
_TOGETHER_ON_CPU, _TOGETHER = 2, 16


def waveform(clips: Clips, codec: Any) -> Tensor:
    """Mix clips down and resample them to the codec's rate. Differentiable.

    Returns:
        Audio [clip, 1, sample].

    Raises:
        DataError: A clip is shorter than one frame, so that it has no code that could be learned.
    """
    shortest = int(clips.lengths.min()) if len(clips) else 0
    frame = codec.config.hop_length / codec.config.sampling_rate
    if shortest / clips.rate < frame:
        raise DataError(
            f"musicgen: a clip of {shortest / clips.rate:.3f} s, expected at least one frame ({frame:.3f} s)"
        )
    rate = codec.config.sampling_rate
    samples = -(-clips.audio.shape[-1] * rate // clips.rate)  # as `frames` counts them
    return resample(clips.audio.mean(1, keepdim=True), clips.rate, rate, samples)


def frames(clips: Clips, codec: Any) -> Tensor:
    """Count the frames of each clip, int64 [clip], without padding."""
    samples = -(-clips.lengths * codec.config.sampling_rate // clips.rate)
    count: Tensor = -(-samples // codec.config.hop_length)
    return count


@torch.no_grad()
def encode(codec: Any, audio: Tensor) -> Tensor:
    """Encode a waveform [clip, 1, sample] as codes, int64 [clip, codebook, frame]."""
    parts = [codec.quantizer.encode(codec.encoder(part)) for part in _parts(audio)]
    return torch.cat(parts, dim=1).transpose(0, 1)


def assign(codec: Any, audio: Tensor) -> tuple[Tensor, Tensor]:
    """Encode a waveform as codes and as soft assignments [clip, codebook, frame, entry] that carry the gradient.

    Forward, each residual is replaced by its nearest entry; backward, by the expectation under softmax(-distance / t),
    t being the mean smallest distance of the level, so that the softness follows the codec's own error (the
    straight-through estimator of Bengio et al. 2013 on a softened codebook).
    """
    with differentiable_recurrence(codec.encoder):
        residual = codec.encoder(audio).transpose(1, 2)  # [clip, frame, channel]
    codes, assignments = [], []
    for level in codec.quantizer.layers[: codec.quantizer.num_quantizers]:
        entries = level.codebook.embed
        nearest = level.codebook.encode(residual.detach())
        distance = _squared_distance(residual, entries)
        temperature = distance.detach().amin(-1).mean().clamp_min(1e-8)
        soft = torch.softmax(-distance / temperature, dim=-1)
        residual = residual - entries[nearest] - _gradient_of(soft) @ entries
        codes.append(nearest)
        assignments.append(soft)
    return torch.stack(codes, dim=1), torch.stack(assignments, dim=1)


def decode(codec: Any, codes: Tensor) -> Tensor:
    """Decode codes [clip, codebook, frame] to a waveform, float32 [clip, 1, sample]."""
    parts = [codec.decoder(codec.quantizer.decode(part.transpose(0, 1))) for part in _parts(codes)]
    return torch.cat(parts)


def _parts(clips: Tensor) -> tuple[Tensor, ...]:
    """Split [clip, ...] into parts that are read at once."""
    return torch.split(clips, _TOGETHER_ON_CPU if clips.device.type == "cpu" else _TOGETHER)


def _gradient_of(values: Tensor) -> Tensor:
    """Zero in value, with the gradient of `values`: a straight-through term for a hard choice."""
    return values - values.detach()


def _squared_distance(points: Tensor, entries: Tensor) -> Tensor:
    """Compute squared distances of points [..., channel] to entries [entry, channel]."""
    return points.square().sum(-1, keepdim=True) - 2 * points @ entries.T + entries.square().sum(-1)


def rendered(codec: Any, codes: Tensor, like: Clips) -> Clips:
    """Decode codes to clips of the rate, channels, ids and lengths of `like`."""
    with torch.no_grad():
        audio = resample(decode(codec, codes), codec.config.sampling_rate, like.rate)
    samples = like.audio.shape[-1]
    audio = torch.nn.functional.pad(audio[..., :samples], (0, max(0, samples - audio.shape[-1])))
    audio = (audio.clamp(-1, 1) * like.support).expand(-1, like.audio.shape[1], -1)
    return like.with_audio(audio.contiguous())
