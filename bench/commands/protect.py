"""`bench protect`: a user's sound file or MIDI file through a defense.

What can be told beforehand is told before the work: the source, the place, the format, the defense. The work is that of
`bench.commands.protect_sound` and `bench.commands.protect_midi`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench import plugins
from bench.api import Knowledge
from bench.commands.settings import parse_settings
from bench.devices import first
from bench.errors import UsageError
from bench.files import check_output, check_source
from bench.notes.midi import MIDI_SUFFIXES
from bench.sound.encoding import WRITABLE
from bench.trials.stages import generator
from bench.vocabulary import Kind

USUAL = {"audio": "musicgen", "midi": "symphonynet"}  # the surrogate where none is named


def protect_file(
    source: Path,
    out: Path,
    defense: str,
    attacker: str | None,
    preset: str,
    seed: int,
    settings: Sequence[str],
    *,
    force: bool = False,
    device: str = "auto",
) -> dict[str, float]:
    """Protect a sound or MIDI file and print what that did to the sound or the notes.

    Args:
        source: the file.
        out: the file to write; its suffix says the format, MIDI gives MIDI.
        defense: name of the defense, or a Python file that holds one.
        attacker: name of the surrogate that the defense is made against, "none" for no surrogate, None for the usual
            one of such files.
        preset: preset of both plugins.
        seed: of the defense's random numbers.
        settings: parameters, each as NAME.KEY=VALUE.
        force: replace `out` if it is there.
        device: where the plugins work: "auto", "cpu", "cuda" or "cuda:N".

    Returns:
        The figures that were printed, by name.

    Raises:
        DataError: the source cannot be used, or the format of `out` cannot hold it; nothing is written.
        UsageError: `out` cannot be written, or a plugin is for another kind of file; nothing is written.
    """
    midi = source.suffix.lower() in MIDI_SUFFIXES
    check_source(source)
    check_output(out, sources=[source], suffixes=MIDI_SUFFIXES if midi else tuple(WRITABLE), force=force)
    domain = "midi" if midi else "audio"
    where = first(device)
    built, knowledge = build_plugins(domain, defense, attacker or USUAL[domain], preset, settings)
    if midi:
        from bench.commands.protect_midi import protect_score

        return protect_score(source, out, built, knowledge, generator("protect", seed, where), force=force)
    from bench.commands.protect_sound import protect_sound

    return protect_sound(source, out, built, knowledge, generator("protect", seed, where), force=force)


def build_plugins(
    domain: str, defense: str, attacker: str, preset: str, settings: Sequence[str]
) -> tuple[Any, Knowledge]:
    """Build the defense and what it knows.

    Args:
        domain: "audio" or "midi".
        defense: name or Python file.
        attacker: name or Python file of the surrogate; "none": the defense knows nothing.
        preset: preset of both.
        settings: parameters, each as NAME.KEY=VALUE.

    Returns:
        The defense and its knowledge.

    Raises:
        UsageError: a plugin is for another domain.
    """
    named = {"defense": [defense]} | ({} if attacker == "none" else {"attacker": [attacker]})
    given = parse_settings(settings, named)
    built = []
    kinds: dict[str, Kind] = {"defense": "defenses", "attacker": "attackers"}
    for kind, names in named.items():
        for name in names:
            plugin = plugins.build(kinds[kind], name, given.get(kind, {}).get(name), preset)
            able = plugin.domains
            if domain not in able:
                raise UsageError(f"{kind} '{name}' is for {' and '.join(able)}, the file is {domain}")
            built.append(plugin)
    return built[0], Knowledge("white-box", tuple(built[1:])) if built[1:] else Knowledge()
