"""The range of pitches that data sets and networks share: C1..B7, that of MuseGAN (Dong et al., AAAI 2018)."""

__all__ = ["LOWEST", "PITCHES"]

LOWEST, PITCHES = 24, 84  # MIDI pitch of the lowest one, and how many
