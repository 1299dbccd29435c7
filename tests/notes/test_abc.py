"""Tunes in ABC: what is written is what is read, as music21 reads it where that keeps to the standard."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import pytest

from bench.errors import DataError
from bench.notes.abc import read_abc
from bench.notes.corpus import UnreadableError, corpus_folder
from bench.notes.excerpts import Piece

HEAD = "X:1\nT:A [tune]: its title\nM:4/4\nL:1/8\nK:C\n"


def read(tmp_path: Path, body: str, head: str = HEAD) -> Piece:
    path = tmp_path / "x.abc"
    path.write_text(head + body)
    return read_abc(path, "x", "group")


def notes(tmp_path: Path, body: str, head: str = HEAD) -> list[tuple[int, int]]:
    """Pitch and steps of the notes, which follow one another."""
    rows = read(tmp_path, body, head).notes.tolist()
    assert [row[1] for row in rows[1:]] == [row[1] + row[2] for row in rows[:-1]]
    return [(row[3], row[2]) for row in rows]


def pitches(tmp_path: Path, body: str, head: str = HEAD) -> list[int]:
    return [row[3] for row in read(tmp_path, body, head).notes.tolist()]


def test_a_tune(tmp_path: Path) -> None:
    piece = read(tmp_path, "G2 | c2e2 g4 | z4 c'2C,2 |]")
    assert piece.notes.tolist() == [
        [0, 0, 4, 67],
        [0, 4, 4, 72],
        [0, 8, 4, 76],
        [0, 12, 8, 79],
        [0, 28, 4, 84],
        [0, 32, 4, 48],
    ]
    assert (piece.name, piece.group, piece.bar, piece.end, piece.common) == ("x", "group", 16, 36, True)
    assert piece.downs == (4, 20)  # G is a pick-up
    assert (piece.tempo, piece.mode) == (None, None)


@pytest.mark.parametrize(
    ("body", "steps"),
    [
        ("c c2 c3/2 c/ c/2 c3/ c4", [2, 4, 3, 1, 1, 3, 8]),
        ("[L:1/4] c c//c//c/", [4, 1, 1, 2]),
        ("c>d e<f", [3, 1, 1, 3]),
        ("c2>>d2 e2<<f2", [7, 1, 1, 7]),
        ('(c>.d) e<"4"uf g>{ga}(a b)', [3, 1, 1, 3, 3, 1, 2]),  # whatever stands between
        ("c>\\\nd", [3, 1]),
        ("(3c2d2e2 (3:2:2c4d2 c2", [3, 2, 3, 5, 3, 4]),
        ("(3{a}c2d2z2 c2", [3, 2, 4]),  # grace notes do not count, rests do
        ("((6:4cdefga) c4", [1, 2, 1, 1, 2, 1, 8]),
        ("[M:6/8] (5c2d2e2f2g2 c4", [2, 3, 2, 3, 2, 8]),
        ("c2-c2 | c2- | c4 d2-d2", [8, 12, 8]),
    ],
)
def test_lengths(tmp_path: Path, body: str, steps: list[int]) -> None:
    rows = read(tmp_path, body).notes.tolist()
    assert [row[2] for row in rows] == steps


def test_the_unit_of_length_follows_from_the_metre(tmp_path: Path) -> None:
    assert notes(tmp_path, "c", "X:1\nM:2/4\nK:C\n") == [(72, 1)]
    assert notes(tmp_path, "c", "X:1\nM:6/8\nK:C\n") == [(72, 2)]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("^c=c_c^^c__c", [73, 72, 71, 74, 70]),
        ("^fF f'|f", [78, 66, 90, 77]),  # to the end of the bar, in every octave
        ("^f2-|f2 f2", [78, 77]),  # the tied note keeps it, the next has none
        ("_B[K:D]fcB[K:Bb]eB", [70, 78, 73, 70, 75, 70]),
        ("c\nK:F % five\nB", [72, 70]),
    ],
)
def test_accidentals(tmp_path: Path, body: str, expected: list[int]) -> None:
    assert pitches(tmp_path, body) == expected


@pytest.mark.parametrize(
    ("key", "altered"),
    [
        ("G", {"F": 1}),
        ("Am", {}),
        ("A Minor", {}),
        ("F#m", {"F": 1, "C": 1, "G": 1}),
        ("Bb", {"B": -1, "E": -1}),
        ("Eb", {"B": -1, "E": -1, "A": -1}),
        ("Ador", {"F": 1}),
        ("DMixolydian", {"F": 1}),
        ("Bphr % as printed", {"F": 1}),
        ("Glyd", {"F": 1, "C": 1}),
        ("D=c", {"F": 1}),
        ("Cb", dict.fromkeys("ABCDEFG", -1)),
    ],
)
def test_keys(tmp_path: Path, key: str, altered: dict[str, int]) -> None:
    natural = pitches(tmp_path, "CDEFGAB")
    expected = [pitch + altered.get(letter, 0) for pitch, letter in zip(natural, "CDEFGAB", strict=True)]
    assert pitches(tmp_path, "CDEFGAB", f"X:1\nM:C|\nL:1/8\nK:{key}\n") == expected


def test_what_changes_no_note(tmp_path: Path) -> None:
    plain = notes(tmp_path, "cdef | gabc'|")
    assert (
        notes(tmp_path, '"^Segno"ucv.d "4"(~e ">"Tf) {ag}| !f!g"f"a\\\n% comment\nw: a la\nR:reel\nb H(c\') y|')
        == plain
    )
    assert notes(tmp_path, "cdef |=20\ngab=\nc'|") == plain  # line ends of mails
    assert notes(tmp_path, "cd=3De=3Df | gabc'|") == plain


def test_chords_begin_together(tmp_path: Path) -> None:
    piece = read(tmp_path, "[ce2g]2 [c/-e/]c/ [^Fz]")
    assert [row[1:] for row in piece.notes.tolist()] == [
        [0, 4, 72],
        [0, 4, 76],
        [0, 4, 79],
        [4, 2, 72],
        [4, 1, 76],
        [6, 2, 66],
    ]


@pytest.mark.parametrize(
    ("body", "played"),
    [
        ("c|d:|e:|", "cdcdee"),
        ("c|:d|e:|f", "cdedef"),
        ("|:c::d:|", "ccdd"),
        ("c:||:d:|e", "ccdde"),
        ("c||d:|", "cdd"),
        ("c|]d:|", "cdd"),
        ("|:c||d:|", "cdcd"),  # "|:" says where
        ("c|1d:|2e|f:|", "cdcef"),  # here ":|" closes the second ending
        ("|:c|[1d:|[2e||f:|", "cdceff"),
        ("|:c|1d|e:|2f:|", "cdecf"),
        ("|:c|1d|2e|]", "cdce"),
        ("|:c:\\\n|:d :|", "ccdd"),
        ('c"Segno":[|]|]', "cc"),
        ("c[|]:|\n|:d[|]:|", "ccdd"),
        ("c||\n:d:|", "cdd"),
        ("|:c|1d:|\n2e|]", "cdce"),
        ('c"D.C."|]', "c"),
    ],
)
def test_repeats(tmp_path: Path, body: str, played: str) -> None:
    names = {72: "c", 74: "d", 76: "e", 77: "f"}
    assert "".join(names[pitch] for pitch in pitches(tmp_path, body)) == played


def test_a_tie_into_a_repeat_joins_no_other_pitch(tmp_path: Path) -> None:
    assert notes(tmp_path, "c2|d2-:|") == [(72, 4), (74, 4), (72, 4), (74, 4)]


def test_a_bar_longer_than_its_metre_is_cut(tmp_path: Path) -> None:
    piece = read(tmp_path, "c8 d8 | e8 | f2 |")
    assert piece.downs == (0, 16, 32)
    piece = read(tmp_path, "c8 d2 | e8 |")
    assert piece.downs == (0, 20)  # what is left over counts as a pick-up


def test_metres(tmp_path: Path) -> None:
    piece = read(tmp_path, "c6 | d6 |[M:2/4] e4 | f4 |", HEAD.replace("4/4", "6/8"))
    assert (piece.bar, piece.common, piece.beats) == (12, False, 3)
    assert piece.downs == (0, 12, 24, 32)
    assert read(tmp_path, "c8", HEAD.replace("4/4", "C")).common
    assert not read(tmp_path, "c8", HEAD.replace("4/4", "C|")).common


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (HEAD, "no notes"),
        ("", "no notes"),
        (HEAD + "c d 9 e", "'9', expected a note, rest or bar line"),
        (HEAD + 'c "text', "'\"text'"),
        (HEAD + "c [ceg", r"'\[ceg'"),
        (HEAD + "[c%e]", r"'\[c'"),
        (HEAD + "[czy]", "a chord like"),
        (HEAD + "c/0", "'0'"),
        (HEAD + "c1234", "'4'"),
        (HEAD + ">c", "'>' before the first note"),
        (HEAD + "V:2\nc", "one voice"),
        ("X:1\nM:4/4\nc", "expected a field K"),
        ("X:1\nK:C\nc", "expected a field M"),
        (HEAD.replace("4/4", "free") + "c", "metre 'free'"),
        (HEAD.replace("4/4", "0/4") + "c", "metre '0/4'"),
        (HEAD.replace("1/8", "1/0") + "c", "unit of length '1/0'"),
        (HEAD.replace("K:C", "K:H") + "c", "key 'H'"),
        (HEAD.replace("K:C", "K:C blues") + "c", "key 'C blues'"),
    ],
)
def test_what_is_not_understood_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(UnreadableError, match=reason) as refused:
        read(tmp_path, "", text)
    assert "\n" not in str(refused.value)
    assert "expected" in str(refused.value)


def test_a_missing_file_is_told_apart(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such score") as refused:
        read_abc(tmp_path / "x.abc", "x", "x")
    assert not isinstance(refused.value, UnreadableError)


def plainest(text: str) -> str:
    """Write a tune without what music21 9 reads amiss.

    Unless the file says "%abc-2" it ends accidentals at once; it takes ">" for a dot only where notes stand directly on
    both sides, drops the note under a text that begins with ">", counts grace notes in tuplets, and lets ":|" repeat
    from the very beginning where there is no "|:". MusPy leaves chords out.
    """
    head, body = ["%abc-2.1"], []
    for line in text.splitlines():
        if re.match("[A-Z]:(?![|:])", line):
            head += [line] if line[0] in "XMLK" else []
            continue
        line = re.sub(r'"[^"]*"|![^!]*!|\{[^}]*\}|%.*|\\$', "", line)
        line = re.sub(r"[uvkTHSM.~)]|\((?!\d)", "", line)
        line = re.sub(r"\[([^]|]*)\]", lambda chord: re.findall(r"[\^_=]?[a-gA-G][,']*[\d/]*", chord[1])[0], line)
        body.append(re.sub(r"(?:\[\||[|:]|(?<=\|)\])+[12]?", "|", line))
    return "\n".join(head) + "\n" + re.sub(r"\|[\s|]*", "| ", " ".join(body)) + "\n"


@pytest.mark.slow
def test_tunes_are_read_as_music21_reads_their_plainest_form(tmp_path: Path) -> None:
    muspy = pytest.importorskip("muspy")
    for path in sorted((corpus_folder("tunes") / "ryansMammoth").glob("*.abc"))[::40]:
        plain = tmp_path / path.name
        plain.write_text(plainest(path.read_text(encoding="utf-8")), encoding="utf-8")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # MusPy 0.5 calls what music21 9 deprecates
            music = muspy.read_abc(plain)
        expected = [(note.time * 4 / music.resolution, note.pitch) for note in music.tracks[0].notes]
        found = read_abc(plain, path.stem, "x").notes.tolist()
        assert [row[3] for row in found] == [pitch for _, pitch in expected], path.name
        assert all(abs(row[1] - start) <= 0.5 for row, (start, _) in zip(found, expected, strict=True)), path.name
