"""Records as runs of TensorBoard: one folder per suite, one subfolder per trial.

Scalars hold the curves by the attacker's own steps and the final metrics at step 0; the HParams tab shows the settings
beside the headline metrics, and Text shows the provenance of a run. Exporting again replaces a trial's event file, and
touches nothing else in its folder; the columns of the HParams tab are those of the last export. TensorBoard keeps
numbers to single precision; MLflow and the record keep all.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.errors import UsageError
from bench.report.exporters.facts import Facts, Setting

__all__ = ["check", "export"]

# The metrics that the HParams tab shows beside the settings; all others are among the scalars.
HEADLINES = ("denied", "quality/", "audibility/", "view/", "cost/cpu_seconds")
EVENTS = "events.out.tfevents.*"


def check(out: str) -> None:
    """Check that runs can be written.

    Args:
        out: a folder.

    Raises:
        UsageError: TensorBoard is not installed, or `out` is no folder.
    """
    if "://" in out:
        raise UsageError(f"--out {out}: TensorBoard reads folders; give one")
    try:
        import tensorboard  # noqa: F401
    except ImportError as error:
        raise UsageError("--to tensorboard needs TensorBoard: pip install 'cloakbench[tensorboard]'") from error


def export(runs: Iterable[Facts], out: str) -> tuple[int, int]:
    """Write every run into OUT/SUITE/TRIAL.

    Args:
        runs: what to write.
        out: a folder.

    Returns:
        How many are new, and how many replaced an earlier one.

    Raises:
        UsageError: TensorBoard is not installed, or `out` is not a folder that can be written.
    """
    check(out)
    suites: dict[str, list[Facts]] = {}
    for run in runs:
        suites.setdefault(run.suite, []).append(run)
    new_count = replaced_count = 0
    try:
        for suite, members in suites.items():
            folder = Path(out).expanduser() / suite
            settings = _typed([run.settings for run in members])
            _replace(folder, [(_experiment(settings, members), 0)], max(run.at for run in members))
            for run, run_settings in zip(members, settings, strict=True):
                is_replacement = _replace(folder / run.name, _summaries(run, run_settings), run.at)
                replaced_count, new_count = replaced_count + is_replacement, new_count + (not is_replacement)
    except OSError as error:
        raise UsageError(f"--out {out} cannot be written: {error.strerror}") from error
    return new_count, replaced_count


def _replace(folder: Path, summaries: Sequence[tuple[Any, int]], at: float) -> bool:
    """Replace the event files of a folder by one; whether there were any.

    It is written elsewhere and then renamed: a TensorBoard that watches the folder reads any file with such a name.
    """
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as draft_folder:
        writer = EventFileWriter(draft_folder)
        for summary, step in summaries:
            writer.add_event(Event(wall_time=at, step=step, summary=summary))
        writer.close()
        (event_file,) = Path(draft_folder).glob(EVENTS)
        part = folder / ".part"
        shutil.copyfile(event_file, part)
    old = list(folder.glob(EVENTS))
    os.replace(part, folder / event_file.name)
    for path in old:
        path.unlink()
    return bool(old)


def _summaries(run: Facts, settings: Mapping[str, Setting]) -> list[tuple[Any, int]]:
    """(summary, step) of everything in a run."""
    from tensorboard.plugins.hparams.summary_v2 import hparams_pb
    from tensorboard.plugins.text.summary_v2 import text_pb

    tags = {**run.tags, **run.sources}
    table = "\n".join(["| | |", "| --- | --- |", *(f"| {name} | {text} |" for name, text in tags.items())])
    curves = [(_scalar(name, value), step) for name, curve in run.curves.items() for step, value in curve]
    return [
        (hparams_pb(settings, trial_id=run.name, start_time_secs=run.at), 0),
        (text_pb("run", table), 0),
        *((_scalar(name, value), 0) for name, value in run.metrics.items()),
        *sorted(curves, key=lambda pair: pair[1]),  # a tag whose steps go back loses those after
        (_end(run), 0),
    ]


def _end(run: Facts) -> Any:
    """How a run ended. TensorBoard's own function for it imports TensorFlow."""
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2

    status = api_pb2.STATUS_SUCCESS if run.ok else api_pb2.STATUS_FAILURE
    end = plugin_data_pb2.SessionEndInfo(status=status, end_time_secs=run.at)
    about = metadata.create_summary_metadata(plugin_data_pb2.HParamsPluginData(session_end_info=end))
    return Summary(value=[Summary.Value(tag=metadata.SESSION_END_INFO_TAG, metadata=about)])


def _scalar(name: str, value: float) -> Any:
    """Return a summary that holds one number."""
    from tensorboard.compat.proto.summary_pb2 import Summary

    return Summary(value=[Summary.Value(tag=name, simple_value=value)])


def _experiment(settings: Sequence[Mapping[str, Setting]], runs: Sequence[Facts]) -> Any:
    """What the HParams tab has columns for. Without it every last value of every curve would be one."""
    from tensorboard.plugins.hparams.summary_v2 import Discrete, HParam, Metric, RealInterval, hparams_config_pb

    columns = []
    for name in dict.fromkeys(name for run_settings in settings for name in run_settings):
        values = {run_settings[name] for run_settings in settings if name in run_settings}
        numbers = [float(value) for value in values if not isinstance(value, bool | str)]
        domain = RealInterval(min(numbers), max(numbers)) if numbers else Discrete(sorted(values, key=str))
        columns.append(HParam(name, domain))
    metrics = dict.fromkeys(name for run in runs for name in run.metrics if name.startswith(HEADLINES))
    return hparams_config_pb(columns, [Metric(name) for name in metrics], max(run.at for run in runs))


def _typed(settings: Sequence[Mapping[str, Setting]]) -> list[dict[str, Setting]]:
    """The settings of all runs, each column of one type: true or false, a number, or else text."""
    kinds: dict[str, set[type]] = {}
    for run_settings in settings:
        for name, value in run_settings.items():
            kinds.setdefault(name, set()).add(type(value))
    mixed_columns = {name for name, types in kinds.items() if not (types <= {int, float} or len(types) == 1)}
    return [
        {name: str(value) if name in mixed_columns else value for name, value in run_settings.items()}
        for run_settings in settings
    ]
