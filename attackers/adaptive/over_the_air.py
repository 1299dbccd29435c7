"""Playback and recording, simulated: clips are played by a loudspeaker in a room and recorded anew.

The analogue hole: what was published as a file is recorded anew. A perturbation has to survive the bands of loudspeaker
and microphone, the reflections of a room that nobody knows beforehand, and noise.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from bench.api import Adaptation, Clips, check_range
from bench.extras import command
from bench.sound.headroom import as_loud
from bench.sound.noises import coloured, with_noise
from bench.sound.rooms import reverberant, shoeboxes
from bench.sound.spectra import filtered

_ORDER = 2  # of the band limits: 12 dB an octave
_PACKAGE = "pyroomacoustics"


@dataclass(frozen=True)
class OverTheAir(Adaptation[Clips]):
    """Send clips through a loudspeaker, the image sources of a random room, a microphone, and pink noise.

    For each batch (or for the published set) `rooms` rooms of 3 to 8 m with loudspeaker and microphone are drawn; each
    clip draws one of them, its band limits and its noise: the expectation over rooms, as of adversarial examples that
    are to work over the air. Recordings are as loud as before, and in place within a sample.

    Attributes:
        each_batch: True: each batch of the training is recorded anew. False: the published set is, once, and, where
            the attacker is a classifier, so is what it hears later.
        rooms: rooms drawn at a time, at least 1.
        shortest: shortest reverberation time, seconds, above 0.
        longest: longest one, at most 2.
        distance: largest distance of microphone and loudspeaker, m, 0.2..5; the strength: 0.2 is almost the direct
            sound, at 2 the reflections are louder than it.
        low_hz: highest lower limit of loudspeaker or microphone, Hz; the lowest is half of it. 0: none.
        high_hz: lowest upper limit, Hz, above `low_hz`; the highest is twice as high.
        lowest_db: lowest signal-to-noise ratio.
        highest_db: highest signal-to-noise ratio.
    """

    domains = ("audio",)
    preprocess = True
    sweep = ("distance", 0.3, 2.0)
    paper = "Qin et al. 2019, ICML (over the air in simulated rooms); Allen, Berkley 1979, JASA (image sources)"

    each_batch: bool = True
    rooms: int = 2
    shortest: float = 0.15
    longest: float = 0.4
    distance: float = 0.8
    low_hz: float = 200.0
    high_hz: float = 6000.0
    lowest_db: float = 15.0
    highest_db: float = 35.0

    def __post_init__(self) -> None:
        check_range(self, "rooms", least=1)
        check_range(self, "shortest", "longest", above=0, most=2)
        check_range(self, "distance", least=0.2, most=5)
        check_range(self, "low_hz", least=0)
        check_range(self, "high_hz", above=self.low_hz)
        if self.shortest > self.longest or self.lowest_db > self.highest_db:
            raise ValueError(
                f"shortest = {self.shortest}, longest = {self.longest}, lowest_db = {self.lowest_db}, highest_db = "
                f"{self.highest_db}: expected the lower first, such as 0.15 and 0.4, 15 and 35"
            )

    def inventory(self) -> dict[str, str]:
        """Say whether pyroomacoustics is installed."""
        installed = importlib.util.find_spec(_PACKAGE) is not None
        return {_PACKAGE: "" if installed else f"the adaptation over_the_air ({command('rooms')})"}

    def transform(self, data: Clips, rng: Generator) -> Clips:
        """Record the published set, unless `each_batch`.

        Raises:
            ModuleNotFoundError: pyroomacoustics is not installed.
        """
        return data if self.each_batch else self._recorded(data, rng)

    def augment(self, batch: Clips, rng: Generator) -> Clips:
        """Record a batch, if `each_batch`.

        Raises:
            ModuleNotFoundError: pyroomacoustics is not installed.
        """
        return self._recorded(batch, rng) if self.each_batch else batch

    def _recorded(self, clips: Clips, rng: Generator) -> Clips:
        """Play and record every clip."""
        drawn = torch.rand(5, len(clips), generator=rng, device=rng.device).to(clips.device)
        played = self._limited_band(clips.audio, clips.rate, drawn[0], drawn[1])
        heard = reverberant(played, self._responses(clips, rng))
        recorded = self._limited_band(heard, clips.rate, drawn[2], drawn[3]) * clips.support
        ratios = self.lowest_db + (self.highest_db - self.lowest_db) * drawn[4]
        noise = coloured(clips, torch.ones_like(ratios), rng)
        noisy = with_noise(clips.with_audio(as_loud(recorded, clips.audio)), noise, ratios)
        return clips.with_audio(as_loud(noisy.audio, clips.audio))

    def _responses(self, clips: Clips, rng: Generator) -> Tensor:
        """Draw rooms and give one to each clip: [clip, tap]."""
        drawn = torch.rand(2, self.rooms, generator=rng, device=rng.device).to(clips.device)
        seconds = self.shortest * (self.longest / self.shortest) ** drawn[0]
        responses = shoeboxes(seconds, self.distance * drawn[1], clips.rate, rng)
        chosen = torch.randint(self.rooms, (len(clips),), generator=rng, device=rng.device)
        return responses[chosen.to(clips.device)]

    def _limited_band(self, audio: Tensor, rate: int, low: Tensor, high: Tensor) -> Tensor:
        """Attenuate each clip outside of a band, without delay; the limits [clip] are drawn, 0..1."""
        lowest, highest = (self.low_hz * (1 + low) / 2)[:, None, None], (self.high_hz * (1 + high))[:, None, None]

        def response(hz: Tensor) -> Tensor:
            above, below = (lowest / hz.clamp_min(1e-3)) ** (2 * _ORDER), (hz / highest) ** (2 * _ORDER)
            return ((1 + above) * (1 + below)) ** -0.5

        return filtered(audio, rate, response)
