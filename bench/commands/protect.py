"""`bench protect`: a user's sound file or MIDI file through a defense.

What can be told beforehand is told before the work: the source, the place, the format, the defense. The work is that of
`bench.commands.protect_sound` and `bench.commands.protect_midi`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter

from bench import plugins
from bench.commands.options import Device, Sets
from bench.commands.settings import NONE, parse_settings
from bench.errors import UsageError
from bench.exits import OK
from bench.suffixes import MIDI_SUFFIXES, SOUND_SUFFIXES
from bench.trials.facts import check_parameters, facts
from bench.vocabulary import DomainName, Kind, Preset

if TYPE_CHECKING:
    from bench.api import Knowledge

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
    force: bool = False,
) -> int:
    """Protect a sound file or a MIDI file and say what that did to the sound or the notes.

    Parameters
    ----------
    source
        A WAV, FLAC, OGG, MP3 or AIFF file of any length, rate and number of channels, or a MIDI file.
    out
        Where to write; the ending says the format. Length, rate, channels, sample type and tags stay
        where that format has them; what does not is named. A MIDI file gives a MIDI file.
    defense
        A defense by name, or a Python file that holds one.
    attacker
        Whom the defense is made against (its surrogate); default: musicgen, of a MIDI file symphonynet. "none" for a
        defense that needs nobody.
    preset
        The budget of the defense.
    seed
        Of the defense's random numbers.
    set_
        A parameter, as NAME.KEY=VALUE.
    device
        auto (an accelerator where there is one), cpu, cuda, or cuda:N.
    force
        Write over an existing file.
    """
    from bench.files import check_output, check_source

    midi = source.suffix.lower() in MIDI_SUFFIXES
    check_source(source)
    check_output(out, sources=[source], suffixes=MIDI_SUFFIXES if midi else SOUND_SUFFIXES, force=force)
    domain: DomainName = "midi" if midi else "audio"
    built, knowledge = build_plugins(domain, defense, attacker or USUAL[domain], preset, set_ or [])
    from bench.devices import first
    from bench.trials.stages import generator

    rng = generator("protect", seed, first(device))
    if midi:
        from bench.commands.protect_midi import protect_score

        protect_score(source, out, built, knowledge, rng, force=force)
    else:
        from bench.commands.protect_sound import protect_sound

        protect_sound(source, out, built, knowledge, rng, force=force)
    return OK


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
    named = {"defense": [defense]} | ({} if attacker == NONE else {"attacker": [attacker]})
    given = parse_settings(settings, named)
    kinds: dict[str, Kind] = {"defense": "defenses", "attacker": "attackers"}
    wanted = [(kinds[kind], name, given.get(kind, {}).get(name, {})) for kind, names in named.items() for name in names]
    for kind, name, parameters in wanted:  # by what their source says, before the first is imported
        able = facts(kind, name).domains
        if domain not in able:
            raise UsageError(f"{plugins.SINGULAR[kind]} '{name}' is for {' and '.join(able)}, the file is {domain}")
        check_parameters(kind, name, parameters)
    from bench.api import Knowledge

    built = [plugins.build(kind, name, parameters, preset) for kind, name, parameters in wanted]
    return built[0], Knowledge("white-box", tuple(built[1:])) if built[1:] else Knowledge()
