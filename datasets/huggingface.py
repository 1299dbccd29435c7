"""Any audio data set that the Hugging Face library `datasets` reads, from a local path or its cache.

* `source` is a local folder (parquet files, or an audiofolder) or a parquet file; anything else is the name of a data
  set on the hub that is already in the cache. Nothing is downloaded: `datasets.load_dataset(name)` fills the cache.
* Rows are streamed. A first pass reads only labels and groups; then up to `limit` rows, those whose numbers have the
  smallest hashes, are decoded, so that a data set sorted by label gives all labels. A clip is the beginning of its
  recording.
* An empty name for `validation` or `test` takes that `share` of the groups out of `train`, by a stable hash.
* A group column is checked: a group in two splits is refused. Without one, every row is its own group.
* soundfile decodes, not the library, which would need torchcodec.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench.api import Clips, Dataset, Needs
from bench.errors import DataError, PluginError, UsageError, unknown
from bench.seeds import unit_hash
from bench.sound.files import read
from bench.sound.resampling import resample

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class HuggingFace(Dataset[Clips]):
    """Rows of a Hugging Face data set as clips.

    Attributes:
        source: a local folder or parquet file, or the name of a data set in the library's cache.
        config: the subset, where there are several.
        audio: name of the column with recordings.
        label: name of the column with labels; "": none.
        group: name of the column with groups; "": every row is a group.
        text: name of the column with texts; "": none.
        train: name of the source's split for training.
        validation: name of the source's split for validation; "": a share of `train`.
        test: name of the source's split for the test; "": a share of `train`.
        share: share of the groups of `train` for each split that is not named.
        rate: samples a second.
        channels: 1, the mean of a recording's channels, or 2, where mono is doubled.
        seconds: length of a clip, the beginning of its recording.
        limit: the most clips of a split; 0: all.
        cache: folder of the library's data sets, if not the usual one.

    Raises:
        UsageError: a parameter is out of range.
        DataError: on loading; the source, a split, a column or a recording cannot be used.
        PluginError: on loading; the library is not installed.
    """

    version = 1
    domains = ("audio",)
    needs = Needs(memory_gb=4.0)
    presets = {"smoke": {"limit": 48, "seconds": 2.0}, "full": {"limit": 0}}

    source: str = ""
    config: str = ""
    audio: str = "audio"
    label: str = "label"
    group: str = ""
    text: str = ""
    train: str = "train"
    validation: str = "validation"
    test: str = "test"
    share: float = 0.1
    rate: int = 16000
    channels: int = 1
    seconds: float = 4.0
    limit: int = 500
    cache: str = ""

    def __post_init__(self) -> None:
        if self.channels not in (1, 2):
            raise UsageError(f"channels = {self.channels}, expected 1 or 2")
        if self.seconds <= 0 or self.rate < 1 or self.limit < 0:
            raise UsageError(
                f"seconds = {self.seconds}, rate = {self.rate}, limit = {self.limit}: expected more than 0, 1 or more, "
                "and 0 (all) or more, such as 4, 16000 and 500"
            )
        hashed_splits = (not self.validation) + (not self.test)
        if not self.train or self.share < 0 or self.share * hashed_splits >= 1:
            raise UsageError(
                f"train = '{self.train}', share = {self.share}: expected a name, and shares below 1 together"
            )
        split_names = [name for name in (self.train, self.validation, self.test) if name]
        if len(set(split_names)) < len(split_names):
            raise UsageError(f"train, validation and test are {', '.join(split_names)}: expected different splits")

    def fingerprint(self) -> str:
        """Digest the local files; "" for a name on the hub, which the library's cache keys by revision."""
        root = Path(self.source).expanduser()
        return _digest(root) if self.source and root.exists() else ""

    def load(self, split: str) -> Clips:
        """Load one split.

        Args:
            split: "train", "validation" or "test".

        Returns:
            Clips [clip, channel, sample]. Classes are those of the column, or its sorted values.
        """
        if split not in SPLITS:
            raise DataError(unknown("split of the data set", split, SPLITS))
        streams = self._streams()
        names, rows = self._index(streams)
        split_rows = [row for row in rows if row.split == split]
        if not split_rows:
            raise DataError(f"{self.source}: no rows fall to {split}; raise share = {self.share} or name another split")
        chosen = sorted(sorted(split_rows, key=lambda row: row.rank)[: self.limit or None], key=lambda row: row.number)
        samples = round(self.seconds * self.rate)
        audio = torch.zeros(len(chosen), self.channels, samples)
        lengths = torch.zeros(len(chosen), dtype=torch.int64)
        texts: list[str] = []
        for row_index, (row, values) in enumerate(self._values(streams[chosen[0].source], chosen)):
            sound = self._sound(values[self.audio], row)[:, :samples]
            audio[row_index, :, : sound.shape[1]] = sound
            lengths[row_index] = sound.shape[1]
            if self.text:
                texts.append(str(values[self.text]))
        return Clips(
            audio=audio,
            rate=self.rate,
            ids=tuple(f"{row.source}-{row.number:07d}" for row in chosen),
            groups=tuple(row.group for row in chosen),
            lengths=lengths,
            labels=torch.tensor([row.label for row in chosen]) if self.label else None,
            classes=names,
            texts=tuple(texts),
        )

    def _streams(self) -> dict[str, Any]:
        """Open the source's splits that are named, as iterable data sets with undecoded audio."""
        if not self.source:
            raise UsageError("huggingface: give its source, a local path or the name of a cached data set")
        library = _library()
        builder = self._builder()
        try:
            available = dict(builder.as_streaming_dataset())
            streams = {
                name: stream if stream.features else stream._resolve_features() for name, stream in available.items()
            }
        except Exception as error:  # the library raises what its readers trip over
            raise DataError(f"{self.source}: cannot be read ({_line(error)})") from error
        split_names = [name for name in (self.train, self.validation, self.test) if name]
        for name in split_names:
            if name not in streams:
                hint = "; an empty name takes it out of train" if name != self.train else ""
                raise DataError(f"{self.source}: {unknown('split', name, streams)}{hint}")
            for column in (self.audio, self.label, self.group, self.text):
                if column and column not in streams[name].features:
                    raise DataError(
                        f"{self.source}: {unknown('column', column, streams[name].features)} of split '{name}'"
                    )
        # Files of a folder come as paths; the library would want torchcodec to pass them on as audio.
        paths = hasattr(builder, "BASE_FEATURE")
        feature = library.Value("string") if paths else library.Audio(decode=False)
        return {name: streams[name].cast_column(self.audio, feature) for name in dict.fromkeys(split_names)}

    def _builder(self) -> Any:
        """Find the source. Raises `DataError` where there is none."""
        library = _library()
        library.disable_progress_bars()
        library.utils.logging.set_verbosity_error()
        path = Path(self.source).expanduser()
        options = {"cache_dir": self.cache or None}
        try:
            if path.is_file():
                return library.load_dataset_builder("parquet", data_files={self.train: str(path)}, **options)
            if path.is_dir():
                return library.load_dataset_builder(str(path.resolve()), self.config or None, **options)
            from datasets.packaged_modules.cache.cache import Cache  # type: ignore[import-untyped]

            short_name = self.source.rsplit("/", 1)[-1]
            identity = {"repo_id": self.source, "dataset_name": short_name, "config_name": self.config or None}
            return Cache(**identity, version="auto", hash="auto", **options)
        except Exception as error:
            how = "neither a path nor a data set in the cache of the library"
            what = "cannot be read as a data set" if path.exists() else how
            raise DataError(f"{self.source}: {what} ({_line(error)})") from error

    def _index(self, streams: dict[str, Any]) -> tuple[tuple[str, ...], list[_Row]]:
        """List the classes, and every row of every split without its audio."""
        columns = [column for column in (self.label, self.group) if column]
        entries: list[tuple[str, int, Any, str]] = []
        for source, stream in streams.items():
            for number, values in self._read(stream.select_columns(columns or [self.audio])):
                label = values[self.label] if self.label else None
                if self.label and (label is None or label == -1):
                    raise DataError(f"{self.source}: row {number} of split '{source}' has no label in '{self.label}'")
                group = str(values[self.group]) if self.group else f"{source}-{number:07d}"
                entries.append((source, number, label, group))
        names: tuple[str, ...] = ()
        if self.label:
            feature = streams[self.train].features[self.label]
            class_names = getattr(feature, "names", None)
            class_values = range(len(class_names)) if class_names else sorted({label for _, _, label, _ in entries})
            codes = {value: code for code, value in enumerate(class_values)}
            names = tuple(class_names) if class_names else tuple(map(str, class_values))
        rows = [
            _Row(source, number, codes[label] if self.label else 0, group, self._split(source, group))
            for source, number, label, group in entries
        ]
        split_of_group: dict[str, str] = {}
        for row in rows:
            if split_of_group.setdefault(row.group, row.split) != row.split:
                how = "validation = '' and test = '' split by group"
                raise DataError(
                    f"{self.source}: group '{row.group}' is in {split_of_group[row.group]} and in {row.split}; {how}"
                )
        return names, rows

    def _split(self, source: str, group: str) -> str:
        """Return the benchmark's split of a row."""
        if source != self.train:
            return "validation" if source == self.validation else "test"
        position, share = unit_hash(group), self.share
        if not self.test:
            if position < share:
                return "test"
            position -= share
        return "validation" if not self.validation and position < share else "train"

    def _values(self, stream: Any, rows: list[_Row]) -> Iterator[tuple[_Row, dict[str, Any]]]:
        """Yield the values of some rows in their order, without decoding the others."""
        row_of_number = {row.number: row for row in rows}
        columns = [column for column in (self.audio, self.text) if column]
        for number, values in self._read(stream.select_columns(columns)):
            if number in row_of_number:
                yield row_of_number[number], values
            if number == rows[-1].number:
                return

    def _read(self, stream: Any) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield a stream's rows with their numbers; errors of its readers become `DataError`."""
        rows = enumerate(stream)
        while True:
            try:
                number, values = next(rows)
            except StopIteration:
                return
            except Exception as error:
                raise DataError(f"{self.source}: cannot be read ({_line(error)})") from error
            yield number, values

    def _sound(self, value: Any, row: _Row) -> Tensor:
        """Read audio from a path, bytes, or a dict of both: float32 [channel, sample] at `rate` and `channels`."""
        entry = value if isinstance(value, dict) else {"path": value} if isinstance(value, str) else {"bytes": value}
        try:
            data = entry.get("bytes")
            if isinstance(data, bytes):
                with tempfile.NamedTemporaryFile() as file:
                    file.write(data)
                    file.flush()
                    sound, rate = read(file.name, audible=True)
            elif isinstance(entry.get("path"), str):
                sound, rate = read(entry["path"], audible=True)
            else:
                raise DataError(f"'{self.audio}' holds {type(value).__name__}, expected audio")
        except DataError as error:
            raise DataError(f"{self.source}: row {row.number} of split '{row.source}': {error}") from error
        if self.channels == 2 and sound.shape[0] > 2:
            raise DataError(f"{self.source}: row {row.number} has {sound.shape[0]} channels, expected 1 or 2")
        sound = sound[:, : round((self.seconds + 0.1) * rate)]  # what is cut off need not be resampled
        sound = sound.mean(0, keepdim=True) if self.channels == 1 else sound.expand(2, -1)
        return resample(sound, rate, self.rate).clamp(-1, 1)


@dataclass(frozen=True)
class _Row:
    """A row of the source.

    Attributes:
        source: the source's split.
        number: in that split.
        label: index into the classes.
        group: decides the split.
        split: the benchmark's split.
    """

    source: str
    number: int
    label: int
    group: str
    split: str

    @property
    def rank(self) -> float:
        """The hash, 0..1, by which a limit chooses rows."""
        return unit_hash(f"{self.source} {self.number}")


def _library() -> Any:
    """Import the Hugging Face library, which the plugin folder of the same name must not hide."""
    try:
        import datasets
    except ImportError:
        datasets = None
    if not hasattr(datasets, "load_dataset_builder"):
        raise PluginError("this data set needs the Hugging Face library: pip install 'cloakbench[huggingface]'")
    return datasets


def _digest(root: Path) -> str:
    """Digest names, sizes and times of files."""
    files = sorted(root.rglob("*")) if root.is_dir() else [root]
    lines = [
        f"{os.path.relpath(file, root)} {file.stat().st_size} {file.stat().st_mtime_ns}"
        for file in files
        if file.is_file()
    ]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def _line(error: Exception) -> str:
    """Shorten an error to one line."""
    text = " ".join(str(error).split())
    return text[:300] or type(error).__name__
