"""HarmonyCloak: noise under the music's dominant notes that lowers the training loss of generators.

Meerza, Sun, Liu, "HarmonyCloak: Making Music Unlearnable for Generative AI", IEEE S&P 2025. Recordings (`waveform.py`)
and rolls (`notes.py`); white-box against the trial's attacker, black-box against a pool of others (`descent.py`).

What the paper says and what is done here
-----------------------------------------
* Objective: min over theta, min over delta of `L(f(x + delta)) + alpha * sum_m w_m ||delta_m||_2`, with w_m = 1 - the
  share of track m in the energy (of rolls: in the velocity). For the only track that sounds that weight would be 0 and
  switch the regulariser off: it is taken as 1. The norm is relative to that of the track's bound, since ||delta|| grows
  with loudness and length, and would drown a loss in nats.
* Range: `delta = H + (M - H) sigmoid(u)` where M > H, else no noise. M, the dominant note itself, is the paper's bound
  and *audible* (recordings: filled at random, 8.7 dB SNR on the chorales; a velocity that doubles: + 12 dB);
  `bound="masked"` puts it 14.5 + z dB lower, z the note's rate in Bark, where a tone hides a tone.
* Inner minimisation: sign steps (PGD) of .001, 20 times, in an unstated unit; here `inner_step` is in u and radians.
  The regulariser takes a proximal step of its own (`bounds.py`). Outer: SGD, momentum .9, rate .025, for 1000 epochs;
  in the few steps of the smaller presets that leaves the models where they were, hence a higher rate, and Adam at the
  attacker's own rate for what is trained from scratch. Both players minimise, so that one backward pass may serve both:
  "joint", at half the cost of "alternating", the paper's.
* Several surrogates with the attacker among them ("ensemble"): the mean of their relative losses. Without it:
  meta-learning, the paper with a pool of 10 of which 7 are drawn, one of them for the meta-test.
* A GAN's own game holds delta in one term, log D(x + delta). "min over delta" of the printed sum makes protected music
  look *generated*; min-min in the paper's other sense, delta helping the model that learns it, raises D(x + delta).
  What is descended here is the attacker's `loss` of the protected item, whose sign its docstring states.
* A surrogate that does not read what the noise can change ("hold" or "velocity" against a model without velocities)
  leaves nothing to optimise: the noise stays random within its bounds but for the regulariser, and the log says so.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from torch import Generator, Tensor

from bench.api import Clips, Data, Defense, Knowledge, Needs, Rolls, check_range
from bench.sound.masking import FULL_SCALE_DB
from bench.training.crafting import surrogates

from . import notes, waveform
from .bounds import Bounds
from .descent import Before, Game, Render, descend

_WITHOUT = " (or optimise = false for random noise in the same bounds)"


@dataclass(frozen=True)
class HarmonyCloak(Defense[Data]):
    """Add error-minimising noise at the dominant frequency of every window; the defaults are the preset `small`.

    Attributes:
        mode: rolls: what the noise is, "ghost", "hold" or "velocity", see `notes.py`.
        bound: upper bound of the noise: the dominant note itself ("paper"), or below it by the offset ("masked").
        masking_offset_db: how far below the dominant note the bound "masked" lies, before its rate in Bark, z, is
            added: a tone hides a tone 14.5 + z dB below it.
        optimise: False: random noise within the same bounds, the control.
        window_ms: recordings: length of a window.
        analysis_ms: recordings: length of the spectrum around each window; at least `window_ms`.
        full_scale_db: recordings: dB SPL of a sine of amplitude 1.
        per_track: recordings: one noise for every stem, where the data has stems.
        window_beats: rolls: length of a window; 0: a beat in mode "ghost", else a bar.
        level_127_db: rolls: dB SPL at the listener of a note of velocity 127.
        density: mode "ghost": share of the windows with a ghost.
        proposals: mode "ghost": new positions that are tried for every roll and step.
        alternation: one backward pass updates noise and surrogates ("joint"), or they take turns ("alternating", as
            in the paper).
        rounds: recordings: passes over the set.
        batch: recordings: clips a step.
        rolls_rounds: rolls: passes over the set.
        rolls_batch: rolls: rolls a step.
        inner_steps: sign steps of the noise, a batch and round.
        inner_step: size of a sign step, in u and in radians.
        outer: optimiser of the surrogates; "auto": SGD for a pretrained one, Adam for one trained from scratch.
        outer_lr: learning rate of SGD; Adam uses the attacker's own.
        alpha: weight of the penalty of the noise's norm.
        pool: black-box: surrogates with random weights.
        drawn: black-box: how many of them a step uses.
        still: play the game a second time with the noise held still, and log its losses; doubles the cost.
    """

    domains = ("audio", "midi")
    joint = True
    unoptimised = {"audio": {"optimise": False}}  # in rolls `noise` draws as many edits of the same velocities
    needs = Needs(cpus=1, memory_gb=4.0)
    paper = "Meerza, Sun, Liu 2025, IEEE S&P"
    presets = {
        "smoke": {"rounds": 3, "rolls_rounds": 2, "pool": 2},
        "full": {"alternation": "alternating", "inner_steps": 20, "inner_step": 0.1, "outer_lr": 0.025, "batch": 8,
                 "rolls_rounds": 30, "rolls_batch": 64, "pool": 10, "drawn": 7},
    }  # fmt: skip

    mode: Literal["ghost", "hold", "velocity"] = "ghost"
    bound: Literal["paper", "masked"] = "paper"
    masking_offset_db: float = 14.5
    optimise: bool = True
    # recordings
    window_ms: float = 10.0
    analysis_ms: float = 40.0
    full_scale_db: float = FULL_SCALE_DB
    per_track: bool = True
    # rolls
    window_beats: float = 0.0
    level_127_db: float = 80.0  # dB SPL at the listener of a note of velocity 127
    density: float = 0.5
    proposals: int = 2
    # the game
    alternation: Literal["joint", "alternating"] = "joint"
    rounds: int = 8
    batch: int = 4
    rolls_rounds: int = 4
    rolls_batch: int = 16
    inner_steps: int = 1
    inner_step: float = 0.5
    outer: Literal["auto", "sgd", "adam"] = "auto"
    outer_lr: float = 0.2
    alpha: float = 0.3
    # black-box
    pool: int = 3
    drawn: int = 3
    still: bool = False

    def __post_init__(self) -> None:
        check_range(self, "masking_offset_db", "window_beats", "alpha", least=0)
        check_range(self, "proposals", "rounds", "batch", "rolls_rounds", "rolls_batch", "inner_steps", "pool", least=1)
        check_range(self, "drawn", least=1)
        check_range(self, "inner_step", "outer_lr", least=0)
        if not 0.0 < self.window_ms <= self.analysis_ms:
            raise ValueError(
                f"window_ms = {self.window_ms}, analysis_ms = {self.analysis_ms}: expected 0 < window_ms <= analysis_ms"
                ", such as 10 and 40"
            )
        if not 0.0 < self.density <= 1.0:
            raise ValueError(f"density = {self.density}: expected more than 0 and up to 1, such as 0.5")

    def protect(self, data: Clips | Rolls, knowledge: Knowledge, rng: Generator) -> Clips | Rolls:
        """Add noise to every window that has a masker; velocities of rolls are whole.

        Raises:
            UsageError: it is to optimise and has no surrogate.
        """
        masking_db = None if self.bound == "paper" else self.masking_offset_db
        optimise = partial(self._descend, knowledge=knowledge, rng=rng) if self._against(data, knowledge) else None
        if isinstance(data, Clips):
            return waveform.cloak(
                data, rng, optimise, window_ms=self.window_ms, analysis_ms=self.analysis_ms,
                full_scale_db=self.full_scale_db, masking_db=masking_db, per_track=self.per_track, alpha=self.alpha,
                reference=knowledge.reference,
            )  # fmt: skip
        return notes.cloak(
            data, rng, optimise, mode=self.mode, window_beats=self.window_beats, level_127_db=self.level_127_db,
            masking_db=masking_db, alpha=self.alpha, density=self.density, proposals=self.proposals,
        )  # fmt: skip

    def _against(self, data: Clips | Rolls, knowledge: Knowledge) -> tuple[Any, ...]:
        """Return the surrogates, none where the noise is random."""
        return surrogates(knowledge, "harmonycloak", data.domain, _WITHOUT) if self.optimise else ()

    def _descend(
        self,
        parameters: Tensor,
        bounds: Bounds,
        data: Clips | Rolls,
        render: Render,
        start: Callable[[Tensor], Clips | Rolls],
        before_step: Before | None = None,
        *,
        knowledge: Knowledge,
        rng: Generator,
    ) -> None:
        """Optimise the parameters of the noise with these settings."""
        rounds, batch = (self.rounds, self.batch) if isinstance(data, Clips) else (self.rolls_rounds, self.rolls_batch)
        options = Game(
            rounds=rounds, batch=batch,
            inner_steps=self.inner_steps, inner_step=self.inner_step, alternation=self.alternation, outer=self.outer,
            outer_lr=self.outer_lr, pool=self.pool, drawn=self.drawn, still=self.still,
        )  # fmt: skip
        against = self._against(data, knowledge)
        descend(
            options, parameters, bounds, data, render, start, rng,
            surrogates=against, knowledge=knowledge, before_step=before_step,
        )  # fmt: skip
