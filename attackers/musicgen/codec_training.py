"""Training an EnCodec, which Transformers' class cannot do: it has no losses, no codebook updates and collapses.

* With its own initialisation the signal shrinks from layer to layer until the biases decide every code. `unit_variance`
  gives every layer an output of variance 1 first (layer-sequential unit variance, Mishkin and Matas 2016).
* Codebooks follow their clusters by exponential moving averages and start from k-means, entries that nobody uses are
  moved onto the data (van den Oord et al. 2017, appendix A.1; Dhariwal et al. 2020; Défossez et al. 2022, section 3.2).
* The loss is on log-mel spectrograms of several resolutions; phase is not modelled.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

_EMA = 0.98
_COMMITMENT = 0.25
_DEAD = 0.1  # uses a batch, averaged, below which an entry is moved


@torch.no_grad()
def unit_variance(codec: Any, audio: Tensor, output_deviation: float = 0.1) -> None:
    """Rescale the weight norms, layer by layer, until every convolution's output has a standard deviation of 1.

    Layer-sequential unit variance (Mishkin and Matas, ICLR 2016).

    Args:
        codec: an EnCodec, changed in place.
        audio: float32 [clip, 1, sample].
        output_deviation: standard deviation of the decoder's output, that of music.
    """
    convolutions: list[Any] = [m for m in codec.modules() if isinstance(m, nn.Conv1d | nn.ConvTranspose1d)]
    for convolution in convolutions:
        nn.init.zeros_(convolution.bias)
    final = [m for m in codec.decoder.modules() if isinstance(m, nn.Conv1d)][-1]
    for convolution in convolutions:
        deviations: list[float] = []
        handle = convolution.register_forward_hook(
            lambda _, __, output, values=deviations: values.append(float(output.std()))
        )
        codec.decoder(codec.encoder(audio))
        handle.remove()
        target = output_deviation if convolution is final else 1.0
        convolution.parametrizations.weight.original0.mul_(target / max(deviations[0], 1e-8))


class Quantizer:
    """The codec's codebooks in training: a call quantises a batch and updates them."""

    def __init__(self, codec: Any, rng: Generator) -> None:
        self.books = [level.codebook for level in codec.quantizer.layers]
        self.rng = rng

    @torch.no_grad()
    def start(self, latents: Tensor, rounds: int = 15) -> None:
        """Initialise each codebook by k-means on the residuals of its level.

        Args:
            latents: float32 [point, channel].
            rounds: of k-means.
        """
        residual = latents
        for book in self.books:
            book.embed.copy_(residual[torch.randperm(len(residual), generator=self.rng)[: len(book.embed)]])
            for _ in range(rounds):
                sums, counts = _gathered(residual, book.encode(residual), len(book.embed))
                is_used = counts > 0
                book.embed[is_used] = (sums / counts[:, None].clamp_min(1))[is_used]
            sums, counts = _gathered(residual, book.encode(residual), len(book.embed))
            book.cluster_size.copy_(counts.clamp_min(1))
            book.embed_avg.copy_(book.embed * book.cluster_size[:, None])
            residual = residual - book.decode(book.encode(residual))

    def __call__(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        """Quantise latents and update the codebooks.

        Args:
            latents: float32 [clip, channel, frame].

        Returns:
            The quantised latents with a straight-through gradient, and the commitment loss.
        """
        points = latents.transpose(1, 2).reshape(-1, latents.shape[1])
        residual, commitment = points, points.new_zeros(())
        for book in self.books:
            nearest = book.encode(residual.detach())
            entry = book.decode(nearest)
            commitment = commitment + F.mse_loss(residual, entry)
            self._follow(book, residual.detach(), nearest)
            residual = residual - entry
        quantised = (points - residual).detach()
        straight_through = points + (quantised - points.detach())
        return straight_through.view(latents.shape[0], -1, latents.shape[1]).transpose(1, 2), commitment

    @torch.no_grad()
    def _follow(self, book: Any, residual: Tensor, nearest: Tensor) -> None:
        """Update a codebook by exponential moving averages, and replace entries that are hardly used."""
        sums, counts = _gathered(residual, nearest, len(book.embed))
        book.cluster_size.lerp_(counts, 1 - _EMA)
        book.embed_avg.lerp_(sums, 1 - _EMA)
        dead = book.cluster_size < _DEAD
        if dead.any():
            index = torch.randint(len(residual), (int(dead.sum()),), generator=self.rng)
            book.embed_avg[dead] = residual[index]
            book.cluster_size[dead] = 1.0
        book.embed.copy_(book.embed_avg / book.cluster_size[:, None])


def _gathered(points: Tensor, nearest: Tensor, entries: int) -> tuple[Tensor, Tensor]:
    """Sum and count the points nearest to each entry."""
    sums = points.new_zeros(entries, points.shape[1]).index_add_(0, nearest, points)
    return sums, torch.bincount(nearest, minlength=entries).to(points.dtype)


class MelDistance:
    """Mean absolute difference of log-mel spectra over several window lengths, in nepers of 8.7 dB."""

    def __init__(self, rate: int, windows: tuple[int, ...] = (256, 512, 1024, 2048), bands: int = 64) -> None:
        from torchaudio.functional import melscale_fbanks

        self.scales = [
            (size, torch.hann_window(size), melscale_fbanks(size // 2 + 1, 30.0, rate / 2, min(bands, size // 8), rate))
            for size in windows
        ]

    def __call__(self, decoded: Tensor, real: Tensor) -> Tensor:
        """Compute the distance of decoded audio [clip, 1, sample] from the real one."""
        return torch.stack(
            [(a - b).abs().mean() for a, b in zip(self.spectra(decoded), self.spectra(real), strict=True)]
        ).mean()

    def spectra(self, audio: Tensor) -> Iterator[Tensor]:
        """Yield half the log power in mel bands, in nepers, for every window length."""
        for size, window, bank in self.scales:
            spectrum = torch.stft(audio.flatten(0, 1), size, size // 4, window=window, return_complex=True)
            power = spectrum.real.square() + spectrum.imag.square()
            yield 0.5 * (power.transpose(1, 2) @ bank / window.square().sum() + 1e-8).log()


def train_codec(
    codec: Any,
    audio: Tensor,
    rng: Generator,
    *,
    steps: int,
    seconds: float = 1.0,
    batch: int = 8,
    lr: float = 2e-3,
    invariance: float = 5.0,
    holding: float = 0.2,
) -> Iterator[tuple[int, float]]:
    """Train a codec on random excerpts.

    The first quarter runs without quantisation, so that k-means finds codebooks for meaningful latents.

    Args:
        codec: an EnCodec, changed in place.
        audio: float32 [clip, 1, sample].
        rng: the only source of random numbers.
        steps: optimiser steps.
        seconds: length of an excerpt.
        batch: excerpts a step.
        lr: peak learning rate.
        invariance: weight of the difference between the latents of a sound and of the same with other phases.
        holding: weight of the change of latents from frame to frame.

    Yields:
        Step and log-mel distance in nepers.
    """
    rate = codec.config.sampling_rate
    size = round(seconds * rate) // codec.config.hop_length * codec.config.hop_length
    unit_variance(codec, excerpts(audio, size, batch, rng))
    quantizer, distance = Quantizer(codec, rng), MelDistance(rate)
    parameters = [p for p in codec.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=lr, betas=(0.8, 0.99), weight_decay=0.0)
    quantised_from = steps // 4
    for step in range(1, steps + 1):
        if step == quantised_from:
            with torch.no_grad():
                latents = [codec.encoder(excerpts(audio, size, batch, rng)) for _ in range(24)]
            quantizer.start(torch.cat(latents).transpose(1, 2).flatten(0, 1))
        for group in optimizer.param_groups:
            group["lr"] = lr * min(1.0, step / 50) * (0.05 + 0.475 * (1 + math.cos(math.pi * step / steps)))
        real = excerpts(audio, size, batch, rng)
        latents, rephased_latents = codec.encoder(torch.cat([real, rephased(real, rng)])).chunk(2)
        spread = latents.detach().flatten(1).std()
        drift = (latents - rephased_latents).square().mean() / spread**2
        change = (latents[..., 1:] - latents[..., :-1]).abs().mean() / spread
        quantised, commitment = quantizer(latents) if step >= quantised_from else (latents, latents.new_zeros(()))
        error = distance(codec.decoder(quantised), real)
        optimizer.zero_grad(set_to_none=True)
        (error + _COMMITMENT * commitment + invariance * drift + holding * change).backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        yield step, float(error.detach())


def rephased(audio: Tensor, rng: Generator, delay: float = 24.0) -> Tensor:
    """Change the phases of clips: a random polarity, and a smooth random delay of each frequency.

    Args:
        audio: float32 [clip, 1, sample].
        rng: the only source of random numbers.
        delay: standard deviation of the delay, samples.
    """
    clips, size = len(audio), audio.shape[-1]
    knots = torch.randn(clips, 1, 17, generator=rng) * delay
    delays = F.interpolate(knots, size // 2 + 1, mode="linear", align_corners=True)
    step = 2 * math.pi / size
    phase = (delays * step).cumsum(-1) + math.pi * torch.rand(clips, 1, 1, generator=rng).round()
    delayed: Tensor = torch.fft.irfft(torch.fft.rfft(audio) * torch.polar(torch.ones_like(phase), -phase), size)
    return delayed


def excerpts(audio: Tensor, size: int, count: int, rng: Generator) -> Tensor:
    """Draw excerpts at random levels of 0 to -15 dB, a third of them mixtures of two.

    Args:
        audio: float32 [clip, 1, sample].
        size: samples of an excerpt.
        count: how many.
        rng: the only source of random numbers.

    Returns:
        float32 [count, 1, size].
    """
    clip = torch.randint(len(audio), (2, count), generator=rng)
    start = torch.randint(audio.shape[-1] - size + 1, (2, count), generator=rng)
    pairs = torch.stack([audio[c, :, s : s + size] for c, s in zip(clip.flatten(), start.flatten(), strict=True)])
    first, second = pairs.chunk(2)
    mixed = torch.rand(count, 1, 1, generator=rng) < 1 / 3
    level = 10 ** (-0.75 * torch.rand(count, 1, 1, generator=rng))
    return level * torch.where(mixed, 0.6 * (first + second), first)
