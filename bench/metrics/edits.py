"""Changes of notes by protection: velocities, notes and cells, one number a roll.

Conventions: clean and protected are `Rolls` of the same ids, tracks and shape. A note exists in both if one of the same
track, onset and pitch does. Velocities are in MIDI units, not rounded.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from bench.api import Rolls
from bench.errors import DataError
from bench.notes.rolls import Notes, notes_of

__all__ = ["edits"]

_CELLS_PER_BLOCK = 1 << 22  # bounds the memory


def edits(clean: Rolls, protected: Rolls) -> dict[str, Tensor]:
    """Measure the changes of notes between a clean set and its protected twin.

    Args:
        clean: the set.
        protected: the same ids, tracks and shape.

    Returns:
        By name, each float64 [roll]:

        * for notes that exist in both, NaN where there are none: "velocity_change", the mean of |v' - v|;
          "velocity_peak", its maximum; "velocity_gain_db", the mean of 40 log10(v' / v), the change of loudness by the
          DLS velocity law (amplitude as v squared);
        * "notes_added", "notes_removed": notes that exist in one of the two only, over the clean notes;
          "notes_altered": notes that exist in both with different durations, over the clean notes;
        * "sounding_change": cells that sound in one of the two only, over the clean sounding cells.

        A share is NaN for a clean roll without notes. A note that is split at a ghost is one altered note and two added
        ones.

    Raises:
        DataError: the set is empty, or the two do not pair.
    """
    _require_pair(clean, protected)
    at_once = max(1, _CELLS_PER_BLOCK // max(1, clean.velocity[0].numel()))
    starts = range(0, len(clean), at_once)
    blocks = [torch.arange(start, min(start + at_once, len(clean)), device=clean.device) for start in starts]
    parts = [_edits(clean.select(index), protected.select(index)) for index in blocks]
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def _edits(clean: Rolls, protected: Rolls) -> dict[str, Tensor]:
    old, new = notes_of(clean), notes_of(protected)
    old_key, new_key = _key(old, clean), _key(new, clean)
    order = new_key.argsort()
    index = torch.searchsorted(new_key[order], old_key).clamp(max=max(0, len(new) - 1))
    # Without a note in the protected set there is nothing to look up.
    unchanged = new_key[order][index] == old_key if len(new) else torch.zeros_like(old_key, dtype=torch.bool)
    old_kept, new_kept = old[unchanged], new[order[index[unchanged]]]
    change = 127.0 * (new_kept.velocity.double() - old_kept.velocity.double())
    gain = 40.0 * torch.log10(new_kept.velocity.double() / old_kept.velocity.double())

    def total(roll: Tensor, values: Tensor | None = None) -> Tensor:
        return torch.bincount(roll, values, minlength=len(clean)).double()

    notes, common = total(old.roll), total(old_kept.roll)
    peak = torch.zeros_like(notes).scatter_reduce(0, old_kept.roll, change.abs(), "amax")
    before, after = clean.velocity.detach() > 0, protected.velocity.detach() > 0
    return {
        "velocity_change": total(old_kept.roll, change.abs()) / common,
        "velocity_peak": torch.where(common > 0, peak, math.nan),
        "velocity_gain_db": total(old_kept.roll, gain) / common,
        "notes_added": _share(total(new.roll) - common, notes),
        "notes_removed": _share(notes - common, notes),
        "notes_altered": _share(total(old_kept.roll[old_kept.duration != new_kept.duration]), notes),
        "sounding_change": _share((before != after).sum((1, 2, 3)), before.sum((1, 2, 3))),
    }


def _key(notes: Notes, rolls: Rolls) -> Tensor:
    """Return one number a note, int64, of its roll, track, onset and pitch."""
    _, tracks, steps, _ = rolls.velocity.shape
    return ((notes.roll * tracks + notes.track) * steps + notes.start) * 128 + notes.pitch


def _share(part: Tensor, total: Tensor) -> Tensor:
    return torch.where(total > 0, part.double() / total.double(), math.nan)


def _require_pair(clean: Rolls, protected: Rolls) -> None:
    if len(clean) == 0:
        raise DataError("no rolls to compare, expected at least one")
    left, right = (
        (rolls.ids, rolls.programs, tuple(rolls.velocity.shape), rolls.lowest, rolls.steps_per_beat)
        for rolls in (clean, protected)
    )
    if left != right:
        raise DataError(
            f"clean and protected rolls do not match: {left[2]} from pitch {left[3]}, first '{left[0][0]}', and "
            f"{right[2]} from pitch {right[3]}, first '{(*right[0], '')[0]}', expected the same ids, tracks and shape"
        )
