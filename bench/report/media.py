"""Sounds and pictures of a protected set for pages: versions of one item, and a picture of what was changed.

Everything comes from the artefacts of a store, by the keys in a record; what no store holds is left out and reported.
Sound is written as 16-bit FLAC, which browsers play, under the hash of its content: the same clip is one file however
many pages play it.

An item of a set is chosen by its measure of audibility, not by ear: the median one ("typical") and the worst one
("most audible").
"""

from __future__ import annotations

import functools
import hashlib
import io
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from bench.api import Clips, Data, Rolls
from bench.notes.note_edits import cells_of, to_rolls
from bench.notes.rolls import notes_of
from bench.report import pictures
from bench.report.items import MediaClip, MediaItem
from bench.results.arms import CLEAN_SET, PROTECTED_SET, Arm
from bench.results.measures import AXES, CEILINGS
from bench.results.record import Record
from bench.trials.artefacts import load_data
from bench.trials.store import Store
from bench.vocabulary import PerDomain

__all__ = ["MediaBuilder"]

_RATE = 22050  # of rendered notes
_LOUDEST = 0.98
_MOST_SECONDS = 12.0  # of one file
_SAMPLES = 2  # generated pieces a model


class MediaBuilder:
    """Makes media items from the artefacts of some stores and writes their files into one folder."""

    def __init__(self, stores: Sequence[Store], folder: Path):
        self._stores, self._folder = stores, folder
        self.missing: set[str] = set()  # names of records some of whose artefacts no store holds
        self._load = functools.lru_cache(maxsize=6)(load_data)
        self._written: dict[tuple[str, ...], str] = {}  # artefact and item -> file

    def of_row(self, record: Record) -> list[MediaItem]:
        """Write two items of a row's protected set: the typical one, and the most audible one.

        Args:
            record: A record of the row.

        Returns:
            The items; empty where no store holds the sets, or nothing was protected.
        """
        if record.trial.control.is_clean or record.status != "ok":
            return []
        items = []
        for title, item in _chosen(record):
            if media_item := self._item(record, title, item, deep=False):
                items.append(media_item)
        return items

    def of_cell(self, record: Record) -> list[MediaItem]:
        """Write the typical item as the attacker got it, and what models generated after training.

        Args:
            record: A record of the cell.

        Returns:
            The items; empty where no store holds the sets.
        """
        if record.status != "ok":
            return []
        typical = _chosen(record)[:1] if not record.trial.control.is_clean else []
        media_items = [self._item(record, title, item, deep=True) for title, item in typical]
        return [item for item in (*media_items, self._generated(record)) if item]

    def _item(self, record: Record, title: str, item: str, *, deep: bool) -> MediaItem | None:
        """Write the versions of one item, and its picture; None where no store holds the sets."""
        clean, protected = (self._one(record, role, item) for role in (CLEAN_SET, PROTECTED_SET))
        if clean is None or protected is None:
            return None
        keys = (record.stages[CLEAN_SET], record.stages[PROTECTED_SET])
        versions = [self._version("clean", clean, keys[0]), self._version("protected", protected, keys[1])]
        parts: PerDomain[_Parts] = PerDomain(audio=self._noise, midi=self._additions)
        versions += parts.of(clean)(clean, protected, keys[1])
        picture, caption = _PICTURES.of(clean)
        draw = functools.partial(picture, clean, protected)
        if deep and record.trial.adaptation:
            condition = f"after {record.trial.adaptation.label}"
            for name, role in (
                (f"protected, {condition}", Arm.PROTECTED.learned),
                (f"clean, {condition}", Arm.CLEAN_ADAPTED.learned),
            ):
                key = self._trained_on(record, role)
                adapted_set = _pick(self._by_key(record, key), item) if key and key not in keys else None
                if adapted_set is not None:
                    versions.append(self._version(name, adapted_set, key))
        return MediaItem(title, item, tuple(versions), self._once((*keys, item), ".png", draw), caption)

    def _noise(self, clean: Clips, protected: Clips, key: str) -> list[MediaClip]:
        """Write the noise of a protected recording, as loud as it is and raised to the level of the recording."""
        noise = clean.with_audio(protected.audio - clean.audio)
        signal_power, noise_power = float(clean.audio.square().mean()), float(noise.audio.square().mean())
        if noise_power == 0.0:
            return []
        gain = min(math.sqrt(signal_power / noise_power), _LOUDEST / float(noise.audio.abs().max()))
        return [
            self._version("noise alone", noise, f"{key} noise", "as loud as it is"),
            self._version(
                "noise, raised",
                noise.with_audio(noise.audio * gain),
                f"{key} raised",
                f"{20 * math.log10(gain):+.0f} dB",
            ),
        ]

    def _additions(self, clean: Rolls, protected: Rolls, key: str) -> list[MediaClip]:
        """Write the notes that begin where none began before."""
        notes = notes_of(protected)
        new_notes = notes[~clean.onset[cells_of(notes, protected)]]
        if not len(new_notes):
            return []
        return [self._version("notes added, alone", to_rolls(new_notes, protected), f"{key} added")]

    def _generated(self, record: Record) -> MediaItem | None:
        """Write what models generate before training, and after training on clean and on protected data."""
        versions = []
        arms = [(Arm.CLEAN, "after learning from clean data"), (Arm.UNTRAINED, "before learning")]
        if not record.trial.control.is_clean:
            arms.insert(1, (Arm.PROTECTED, "after learning from protected data"))
        for arm, phrase in arms:
            samples = self._set(record, arm)
            if samples is None:
                continue
            for at in range(min(_SAMPLES, len(samples))):
                key = f"{record.stages[arm]} {at}"
                versions.append(self._version(f"{phrase}, {at + 1}", samples.select([at]), key, group="generated"))
        if not versions:
            return None
        return MediaItem("generated", record.trial.attacker.label, tuple(versions))

    def _one(self, record: Record, role: str, item: str) -> Data | None:
        """Return one item of a set; None where no store holds it."""
        return _pick(self._set(record, role), item)

    def _set(self, record: Record, role: str) -> Data | None:
        """Return the set in an artefact of the record; None where no store holds it."""
        key = record.stages.get(role)
        return self._by_key(record, key) if key else None

    def _trained_on(self, record: Record, role: str) -> str:
        """Return the key of the set that a model was trained on; "" where no store holds the model."""
        key = record.stages.get(role)
        store = next((store for store in self._stores if key and store.has(key)), None)
        if store is None or key is None:
            self.missing.add(record.name)
            return ""
        return str(store.meta(key)["parents"]["train"])

    def _by_key(self, record: Record, key: str) -> Data | None:
        """Return the set under a key; None where no store holds it."""
        store = next((store for store in self._stores if store.has(key)), None)
        if store is None:
            self.missing.add(record.name)
            return None
        folder = store.open(key)
        return self._load(folder) if (folder / "set.json").is_file() else None

    def _version(self, name: str, data: Data, source: str, note: str = "", group: str = "recording") -> MediaClip:
        """Write a set of one item as a sound file. source: what tells this sound from others of the same item."""
        return MediaClip(name, self._once((source, data.ids[0]), ".flac", lambda: _flac(_sound(data))), note, group)

    def _once(self, identity: tuple[str, ...], suffix: str, make: Callable[[], bytes]) -> str:
        """Return the file of a piece of content that is computed only once."""
        if identity not in self._written:
            self._written[identity] = self._write(make(), suffix)
        return self._written[identity]

    def _write(self, content: bytes, suffix: str) -> str:
        """Write content to a file named by its hash."""
        name = hashlib.sha256(content).hexdigest()[:20] + suffix
        self._folder.mkdir(parents=True, exist_ok=True)
        if not (self._folder / name).exists():
            (self._folder / name).write_bytes(content)
        return name


def _chosen(record: Record) -> list[tuple[str, str]]:
    """Return (title, id) of the item whose audibility is the median, and of the most audible one."""
    metric = next((name for name in AXES if any(record.audibility.get(name, []))), "")
    values = [
        (value, item) for value, item in zip(record.audibility.get(metric, []), record.audibility_ids, strict=False)
        if value is not None
    ]  # fmt: skip
    if not values:
        return [("first", record.audibility_ids[0])] if record.audibility_ids else []
    by_audibility = sorted(values, reverse=metric not in CEILINGS)
    typical, worst = by_audibility[len(by_audibility) // 2], by_audibility[-1]
    items = [(f"typical ({metric} {typical[0]:.3g})", typical[1])]
    return items + ([(f"most audible ({metric} {worst[0]:.3g})", worst[1])] if worst[1] != typical[1] else [])


def _pick(data: Data | None, item: str) -> Data | None:
    """Return a set of one item; None where the set has no such item."""
    if data is None or item not in data.ids:
        return None
    return data.select([data.ids.index(item)])


def _sound(data: Data) -> Clips:
    """Return a set as sound without padding; rolls are rendered by the soundfont."""
    return _PLAYED.of(data)(data)


def _played_rolls(rolls: Rolls) -> Clips:
    """Render rolls to sound."""
    from bench.notes.render import render

    return render(rolls, _RATE, seconds=_MOST_SECONDS, keep_stems=False)


_Parts = Callable[[Any, Any, str], list["MediaClip"]]
_PLAYED: PerDomain[Callable[[Any], Clips]] = PerDomain(audio=lambda clips: clips, midi=_played_rolls)
_PICTURES: PerDomain[tuple[Callable[..., bytes], str]] = PerDomain(
    audio=(pictures.recordings, pictures.RECORDINGS), midi=(pictures.rolls, pictures.ROLLS)
)


def _flac(clips: Clips) -> bytes:
    """Encode a set of one clip as 16-bit FLAC."""
    import soundfile

    count = min(int(clips.lengths[0]), int(_MOST_SECONDS * clips.rate))
    audio: Tensor = clips.audio[0, :, :count].clamp(-1, 1)
    buffer = io.BytesIO()
    soundfile.write(buffer, audio.T.numpy(), clips.rate, subtype="PCM_16", format="FLAC")
    return buffer.getvalue()
