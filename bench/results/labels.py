"""Labels of a suite's plugins in tables and records: short, and different for different plugins."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

__all__ = ["labels"]


def labels(plugin_of: Mapping[str, str], files: set[str]) -> dict[str, str]:
    """Return the label of every plugin of one kind.

    A name that a suite gives is its own label. A user's file is labelled by its plain name, preceded by as many folders
    as it takes to tell it from others: `v1/hum.py` and `v2/hum.py` become "v1/hum" and "v2/hum".

    Args:
        plugin_of: Name in the suite -> the plugin behind it, see `bench.plugins.locate`.
        files: The names that are themselves paths of files.

    Returns:
        Name -> label.
    """
    paths = {name: _parts(Path(plugin_of[name])) for name in files}
    depth = dict.fromkeys(paths, 1)
    while True:
        label_of = {name: "/".join(paths[name][-depth[name] :]) if name in paths else name for name in plugin_of}
        users: dict[str, set[str]] = {}
        for name, label in label_of.items():
            users.setdefault(label, set()).add(plugin_of[name] if name in paths else name)
        ambiguous = [name for name in paths if len(users[label_of[name]]) > 1 and depth[name] < len(paths[name])]
        if not ambiguous:
            return label_of
        for name in ambiguous:
            depth[name] += 1


def _parts(path: Path) -> tuple[str, ...]:
    """The folders that lead to a plugin and its plain name."""
    plain = path.parent if path.name == "__init__.py" else path.with_suffix("")
    return plain.parts[1:]
