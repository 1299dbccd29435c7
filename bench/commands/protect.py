"""`bench protect`: a user's sound file or MIDI file through a defense.

The source, the output path, the format and the defense are checked before the work. The work is that of
`bench.commands.protect_sound` and `bench.commands.protect_midi`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter

from bench import plugins
from bench.commands.options import Device, Flag, Sets
from bench.commands.settings import NONE, parse_settings
from bench.errors import UsageError
from bench.exits import OK
from bench.guard import supervised
from bench.suffixes import MIDI_SUFFIXES, SOUND_SUFFIXES
from bench.trials.facts import check_parameters, facts
from bench.vocabulary import DomainName, Kind, Preset

if TYPE_CHECKING:
    from bench.api import Epoch, Knowledge

USUAL: dict[DomainName, str] = {"audio": "musicgen", "midi": "symphonynet"}  # the surrogate where none is named

app = App(
    name="protect",
    help_epilogue=(
        "Examples:\n"
        "  bench protect song.wav -o protected.wav\n"
        "  bench protect song.flac -o protected.flac --set harmonycloak.bound=paper\n"
        "  bench protect song.wav -o noisy.wav --defense noise --set noise.snr_db=20\n"
        "  bench protect song.mid -o protected.mid --set harmonycloak.mode=ghost\n"
    ),
)


@app.default
def protect(
    source: Path,
    *,
    out: Annotated[Path, Parameter(name=["--out", "-o"])],
    defense: str = "harmonycloak",
    attacker: str | None = None,
    preset: Preset = "small",
    seed: int = 0,
    set_: Sets = None,
    device: Device = "auto",
    force: Flag = False,
) -> int:
    """Protect a sound file or a MIDI file, and print how much that changed it.

    Parameters
    ----------
    source
        Sound file (WAV, FLAC, OGG, MP3 or AIFF) of any length, sample rate and number of channels, or a MIDI file.
    out
        File to write; its ending decides the format. Sample type and tags are kept if that format has them.
    defense
        Defense: a name (see `bench list defenses`) or a Python file.
    attacker
        Attacker whose model the noise is crafted against, or "none"; default: musicgen, for MIDI symphonynet.
    preset
        Effort of the defense: smoke (quick and weak), small or full.
    seed
        Seed of the defense's random numbers.
    set_
        Parameter of a plugin, as NAME.KEY=VALUE, such as noise.snr_db=20. Repeatable.
    device
        Device for the work: auto (an accelerator if there is one), cpu, cuda, or cuda:N.
    force
        Overwrite an existing output file.
    """
    from bench.files import check_output, check_source

    midi = source.suffix.lower() in MIDI_SUFFIXES
    check_source(source)
    check_output(out, sources=[source], suffixes=MIDI_SUFFIXES if midi else SOUND_SUFFIXES, force=force)
    domain: DomainName = "midi" if midi else "audio"

    def write() -> int:
        plugin, knowledge = build_plugins(domain, defense, attacker or USUAL[domain], preset, set_ or [])
        from bench.devices import first
        from bench.trials.stages import generator

        rng = generator("protect", seed, first(device))
        if midi:
            from bench.commands.protect_midi import protect_score

            protect_score(source, out, plugin, knowledge, rng, force=force)
        else:
            from bench.commands.protect_sound import protect_sound

            protect_sound(source, out, plugin, knowledge, rng, force=force)
        return OK

    return supervised(write)


def build_plugins(
    domain: DomainName, defense: str, attacker: str, preset: str, settings: Sequence[str]
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
        UsageError: a plugin is for another domain, or a parameter is none of its own.
        PluginError: a plugin is unknown or cannot be imported.
    """
    names_by_role = {"defense": [defense]} | ({} if attacker == NONE else {"attacker": [attacker]})
    settings_by_role = parse_settings(settings, names_by_role)
    kinds: dict[str, Kind] = {"defense": "defenses", "attacker": "attackers"}
    choices = [
        (kinds[role], name, settings_by_role.get(role, {}).get(name, {}))
        for role, names in names_by_role.items()
        for name in names
    ]
    for kind, name, parameters in choices:  # by what their source says, before the first is imported
        domains = facts(kind, name).domains
        if domain not in domains:
            raise UsageError(f"{plugins.SINGULAR[kind]} '{name}' is for {' and '.join(domains)}, the file is {domain}")
        check_parameters(kind, name, parameters)
    from bench.api import Knowledge

    built_plugins = [plugins.build(kind, name, parameters, preset) for kind, name, parameters in choices]
    if not built_plugins[1:]:
        return built_plugins[0], Knowledge()

    def log(epoch: Epoch) -> None:
        if epoch.more.get("optimised") == 0:
            print(
                f"note: {attacker} does not read what {defense} could optimise here: its noise is random in its bounds",
                file=sys.stderr,
            )

    return built_plugins[0], Knowledge("white-box", tuple(built_plugins[1:]), log=log)
