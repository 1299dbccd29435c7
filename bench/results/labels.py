"""What tables and records call the plugins of a suite: short, and different where the plugins are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

__all__ = ["labels"]


def labels(located: Mapping[str, str], own: set[str]) -> dict[str, str]:
    """What to call each plugin of one kind.

    A name that a suite gives stands as it is. A user's file is called by its plain name, and by as many of its folders
    as it takes to tell it from others: `v1/hum.py` and `v2/hum.py` become "v1/hum" and "v2/hum".

    Args:
        located: name in the suite -> the plugin behind it, see `bench.plugins.locate`.
        own: the names that are themselves paths of files.

    Returns:
        Name -> label.
    """
    paths = {name: _parts(Path(located[name])) for name in own}
    depth = dict.fromkeys(paths, 1)
    while True:
        called = {name: "/".join(paths[name][-depth[name] :]) if name in paths else name for name in located}
        users: dict[str, set[str]] = {}
        for name, label in called.items():
            users.setdefault(label, set()).add(located[name] if name in paths else name)
        clashing = [name for name in paths if len(users[called[name]]) > 1 and depth[name] < len(paths[name])]
        if not clashing:
            return called
        for name in clashing:
            depth[name] += 1


def _parts(path: Path) -> tuple[str, ...]:
    """The folders that lead to a plugin and its plain name."""
    plain = path.parent if path.name == "__init__.py" else path.with_suffix("")
    return plain.parts[1:]
