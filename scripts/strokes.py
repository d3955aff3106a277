"""Pen strokes for digits, letters and shapes, designed for the tiny CLIP without any handwriting as a model.

"|" separates a glyph's strokes. A stroke is its control points, x then y from 0 to 9, y downwards. "!" connects them by
straight lines; otherwise a smooth curve passes through them, and a repeated point is a corner. "/" separates variants;
a variant may start with a word for its form (one of `FORMS`), which captions use.
"""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

GRID = 9.0
POINTS = 56  # dots along the pen's path
FORMS = "simple round looped hooked footed angular curly open closed crossed curved".split()  # noqa: SIM905
STROKES = {
    "zero": "round 50 21 14 27 59 78 85 82 50 / looped 60 31 14 28 49 78 85 72 50 30 / 40 12 16 39 68 84 62 40 / "
            "simple 50 30 23 26 39 59 76 73 50",
    "one": "simple !50 59 / hooked !32 50 59 / hooked !13 50 59 / footed !32 50 59|!29 79 / "
           "footed !23 50 59|!19 89 / simple !60 49",
    "two": "simple 12 20 50 81 73 46 19 19 89 / looped 12 31 60 82 74 37 19 18 37 58 89 / "
           "simple 11 40 71 63 19 19 89 / angular !10 80 82 19 89 / curly 13 21 50 72 74 19 19 68 88",
    "three": "round 11 40 71 73 44 44 76 78 49 18 / angular 10 80 80 44 44 76 78 49 18 / "
             "curly 11 50 81 73 44 34 44 75 87 69 39 17 / round 11 50 72 54 34 54 77 59 19",
    "four": "open !20 15 85|!60 59 / open !30 15 85|!61 69 / closed !69 60 16 86 / "
            "curved 21 14 25 54 84|!80 79 / open !10 15 75|!70 79 / closed !59 60 05 95",
    "five": "simple 80 20 20 14 14 54 76 58 19 / simple 20 14 14 54 76 58 19|!20 80 / "
            "curved 80 30 30 23 44 76 68 39 18 / angular !70 20 24|24 64 77 59 18",
    "six": "curved 60 32 15 17 39 69 87 65 35 17 / round 70 30 14 28 59 88 76 45 17 / "
           "simple 50 23 15 28 59 77 65 35 16 / simple 40 14 17 39 69 77 65 25",
    "seven": "simple !10 80 39 / simple 10 80 80 54 39 / crossed !10 80 39|!35 75 / hooked 12 10 10 80 80 43 39 / "
             "curved 11 40 80 80 54 49 / crossed 10 80 80 45 39|!25 84",
    "eight": "simple 50 21 23 45 77 68 49 29 17 45 73 71 50 / round 50 22 45 72 50|45 17 59 87 45 / "
             "open 80 40 22 45 77 59 27 45 81 / open 71 40 22 54 77 59 27 45 72 / "
             "simple 50 31 33 54 66 58 39 28 26 44 63 61 50",
    "nine": "curved 82 50 22 34 54 82 82 78 69 / simple 81 50 22 24 45 74 81 81 79 / "
            "hooked 81 40 13 45 73 81 81 77 59 28 / simple 80 40 12 25 55 80 80 59 / round 72 51 20 13 35 64 71 71 49",
    "A": "!09 40 89|!16 76 / 09 13 40 73 89|!06 86", "B": "!10 19|10 50 72 54 14|54 76 78 59 19",
    "C": "82 60 30 12 17 39 69 87", "D": "!10 19|10 50 83 86 59 19", "E": "!80 10 19 89|!14 64",
    "F": "!80 10 19|!14 64", "G": "82 60 30 12 17 39 69 86 85 85 55", "H": "!10 19|!80 89|!15 85",
    "I": "!50 59 / !20 80|!50 59|!29 79", "J": "60 67 49 29 17 / 60 67 49 29 17|!30 90", "K": "!10 19|!80 14 89",
    "L": "!10 19 89", "M": "!09 10 46 80 99", "N": "!19 10 89 80", "O": "50 21 14 27 59 78 85 82 50",
    "P": "!10 19|10 60 82 64 15", "Q": "50 21 14 27 59 78 85 82 50|!66 99", "R": "!10 19|10 60 82 64 15|!45 89",
    "S": "81 50 21 13 44 65 77 59 18", "T": "!00 90|!50 59", "U": "10 16 39 69 86 80", "V": "!10 49 80",
    "W": "!00 29 43 69 90", "X": "!10 89|!80 19", "Y": "!10 44 80|!44 49 / !10 44|!80 29", "Z": "!10 80 19 89",
    "a": "73 43 15 17 49 77 73|73 78 89 / 13 42 73 79|75 45 17 39 77", "b": "!20 29|25 54 75 78 59 28",
    "c": "73 43 15 18 49 78", "d": "!70 79|74 43 15 18 49 78", "e": "16 76 74 43 15 18 49 78",
    "f": "81 60 42 49|!24 74", "g": "73 42 14 16 37 66 73|73 78 59 28", "h": "!20 29|25 53 74 79",
    "i": "!53 59|!50 51", "j": "62 68 49 28|!60 61", "k": "!20 29|!73 26 79", "l": "!50 59 / 50 58 69",
    "m": "!13 19|14 32 44 49|44 62 84 89", "n": "!23 29|24 53 74 79", "o": "43 14 17 49 78 75 43",
    "p": "!22 29|23 52 74 66 26", "q": "!72 79|72 42 14 26 66 75", "r": "!23 29|24 43 63 74",
    "s": "73 43 24 45 66 78 49 18", "t": "40 47 59 78|!23 73", "u": "23 27 49 77 73|!73 79", "v": "!23 49 73",
    "w": "!13 29 54 79 93", "x": "!23 79|!73 29", "y": "!23 46|!73 29 / 23 26 47 76 73|73 78 59 28",
    "z": "!23 73 29 79", "circle": "50 20 03 07 29 69 97 93 70 50", "square": "!00 90 99 09 00",
    "triangle": "!50 99 09 50", "star": "!50 63 93 75 89 56 19 35 03 43 50", "diamond": "!40 84 49 04 40",
    "heart": "49 05 02 20 42 42 60 82 85 49", "cross": "!40 49|!04 94", "arrow": "!04 94|!61 94 67",
}  # fmt: skip


def variants(glyph: str) -> list[tuple[int, str]]:
    """For every variant of a glyph: the index of its form in `FORMS` (-1: none) and its strokes."""
    found = []
    for text in STROKES[glyph].split(" / "):
        word, _, strokes = text.partition(" ")
        found.append((FORMS.index(word), strokes) if word in FORMS else (-1, text))
    return found


def pen_path(text: str) -> tuple[Floats, Floats]:
    """Parse a glyph's strokes into weights (POINTS, C) of evenly spaced dots, and control points (C, 2) in [-1, 1]."""
    blocks, points, lengths = [], [], []
    for stroke in text.split("|"):
        place = np.array([[int(x), int(y)] for x, y in stroke.lstrip("!").split()], np.float32) / GRID * 2 - 1
        fine = spline(len(place), np.linspace(0, len(place) - 1, 400), straight=stroke.startswith("!"))
        run = np.concatenate([[0], np.linalg.norm(np.diff(fine @ place, axis=0), axis=1).cumsum()])
        blocks.append((fine, run))
        points.append(place)
        lengths.append(run[-1])
    ends = np.round(np.cumsum(lengths) / sum(lengths) * POINTS).astype(int)
    weights, column = np.zeros((POINTS, sum(map(len, points))), np.float32), 0
    for (fine, run), start, end in zip(blocks, [0, *ends[:-1]], ends, strict=True):
        rows = np.searchsorted(run, np.linspace(0, run[-1], end - start)).clip(max=len(run) - 1)
        weights[start:end, column : column + fine.shape[1]] = fine[rows]
        column += fine.shape[1]
    return weights, np.concatenate(points)


def spline(count: int, at: npt.NDArray[np.float64], *, straight: bool) -> Floats:
    """Weights (len(at), count) of the control points at positions along the curve: linear, or Catmull-Rom's cubic."""
    first = np.floor(at).astype(int).clip(0, count - 2)
    t = at - first
    taps = {0: 1 - t, 1: t}
    if not straight:
        taps = {-1: -t + 2 * t**2 - t**3, 0: 2 - 5 * t**2 + 3 * t**3, 1: t + 4 * t**2 - 3 * t**3, 2: t**3 - t**2}
        taps = {offset: weight / 2 for offset, weight in taps.items()}
    weights = np.zeros((len(at), count))
    for offset, weight in taps.items():
        np.add.at(weights, (np.arange(len(at)), (first + offset).clip(0, count - 1)), weight)
    return weights.astype(np.float32)
