"""Draw digits, letters and shapes as batches of 32 x 32 pictures, with the facts that a caption may state.

Two sources of form, neither of them handwriting: the fonts that matplotlib ships, kept as signed distance fields, and
pen strokes made up here, a few control points a glyph (`STROKES`). Every picture is drawn afresh: points jittered, form
warped, pen width changed, seen at a low resolution or blurred, dark on light or light on dark, with noise.
What is drawn depends on the generator that is passed, and on nothing else.
"""

import string
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage
from torch import Tensor
from torch.nn import functional as F

SIDE = 32  # the side of a picture, in pixels
BANK = 48  # the side of a font's distance field; its glyph fills the middle 32
POINTS = 56  # dots along the pen's path
GRID = 9.0  # control points are written as digits from 0 to 9
PEN_SHARE = 0.5  # half of the pictures are pen strokes, half are print

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
LETTERS = tuple(string.ascii_lowercase)
SHAPES = ("circle", "square", "triangle", "star", "diamond", "heart", "cross", "arrow")
NAMES = DIGITS + LETTERS + SHAPES  # a class is a place in this list
KIND_SHARE = (0.5, 0.38, 0.12)  # digits, letters, shapes

# What a caption may state of a picture. A value of -1 says: neither one nor the other.
ATTRIBUTES = ("polarity", "medium", "weight", "resolution", "size", "slant", "case", "noise")
POLARITY, MEDIUM, WEIGHT, RESOLUTION, SIZE, SLANT, CASE, NOISE = range(len(ATTRIBUTES))

ROMAN = (
    *(f"DejaVuSans{style}" for style in ("", "-Bold", "-Oblique", "-BoldOblique")),
    *(f"DejaVuSansMono{style}" for style in ("", "-Bold", "-Oblique")),
    *(f"DejaVuSerif{style}" for style in ("", "-Bold", "-Italic", "-BoldItalic")),
    *(f"STIXGeneral{style}" for style in ("", "Bol", "Italic", "BolIta")),
    *("cmb10", "cmr10", "cmss10", "cmti10", "cmtt10"),
)
HELD_OUT_FONTS = ("STIXGeneral", "cmss10", "DejaVuSansMono-Bold")  # never trained on: they watch the training
SYMBOLS = dict(zip(SHAPES, ("●○", "■□", "▲△", "★☆", "◆◇", "♥♡", "✚✖", "➔→"), strict=True))

# A glyph's strokes are parted by "|"; a stroke is its control points, x then y, y growing downwards. "!" joins them by
# straight lines, otherwise a smooth curve runs through them and a doubled point is a corner. "/" parts variants.
STROKES = {
    "zero": "50 21 14 27 59 78 85 82 50 / 60 31 14 28 49 78 85 72 50 30 / 40 12 16 39 68 84 62 40 / "
            "50 30 23 26 39 59 76 73 50",
    "one": "!50 59 / !32 50 59 / !13 50 59 / !32 50 59|!29 79 / !23 50 59|!19 89 / !60 49",
    "two": "12 20 50 81 73 46 19 19 89 / 12 31 60 82 74 37 19 18 37 58 89 / 11 40 71 63 19 19 89 / "
           "!10 80 82 19 89 / 13 21 50 72 74 19 19 68 88",
    "three": "11 40 71 73 44 44 76 78 49 18 / 10 80 80 44 44 76 78 49 18 / 11 50 81 73 44 34 44 75 87 69 39 17 / "
             "11 50 72 54 34 54 77 59 19",
    "four": "!20 15 85|!60 59 / !30 15 85|!61 69 / !69 60 16 86 / 21 14 25 54 84|!80 79 / !10 15 75|!70 79 / "
            "!59 60 05 95",
    "five": "80 20 20 14 14 54 76 58 19 / 20 14 14 54 76 58 19|!20 80 / 80 30 30 23 44 76 68 39 18 / "
            "!70 20 24|24 64 77 59 18",
    "six": "60 32 15 17 39 69 87 65 35 17 / 70 30 14 28 59 88 76 45 17 / 50 23 15 28 59 77 65 35 16 / "
           "40 14 17 39 69 77 65 25",
    "seven": "!10 80 39 / 10 80 80 54 39 / !10 80 39|!35 75 / 12 10 10 80 80 43 39 / 11 40 80 80 54 49 / "
             "10 80 80 45 39|!25 84",
    "eight": "50 21 23 45 77 68 49 29 17 45 73 71 50 / 50 22 45 72 50|45 17 59 87 45 / "
             "80 40 22 45 77 59 27 45 81 / 71 40 22 54 77 59 27 45 72 / 50 31 33 54 66 58 39 28 26 44 63 61 50",
    "nine": "82 50 22 34 54 82 82 78 69 / 81 50 22 24 45 74 81 81 79 / 81 40 13 45 73 81 81 77 59 28 / "
            "80 40 12 25 55 80 80 59 / 72 51 20 13 35 64 71 71 49",
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

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Bank:
    """Every form there is, found by (class, case); case is 1 for capitals, 0 for small letters and -1 for the rest.

    fields: (M, BANK, BANK) signed distance to a printed glyph's edge in pixels, positive inside.
    bold, slant: (M,) whether the font is bold, and how far it leans.
    weights: (V, POINTS, C) and control: (V, C, 2): dots on a pen's path are `weights @ control`, in [-1, 1].
    printed, penned: for every (class, case), the rows of `fields` and of `weights`.
    """

    fields: Tensor
    bold: Floats
    slant: Floats
    weights: Tensor
    control: Tensor
    printed: dict[tuple[int, int], Ints]
    penned: dict[tuple[int, int], Ints]


@dataclass(frozen=True)
class Pictures:
    """What was drawn: images (N, 1, SIDE, SIDE) in [0, 1], labels (N,), attributes (N, len(ATTRIBUTES)) of -1, 0, 1."""

    images: Tensor
    labels: Tensor
    attributes: Tensor


def characters(label: int, case: int) -> str:
    """The characters that show a class in a font."""
    name = NAMES[label]
    if name in DIGITS:
        return str(DIGITS.index(name))
    return SYMBOLS[name] if name in SYMBOLS else (name.upper() if case else name)


def forms() -> list[tuple[int, int]]:
    """Every (class, case)."""
    return [(c, case) for c, name in enumerate(NAMES) for case in ((0, 1) if name in LETTERS else (-1,))]


def build_bank(fonts: tuple[str, ...]) -> Bank:
    """Rasterise the named fonts and lay out the pen strokes; about five seconds."""
    rasters: list[Floats] = []
    faces: list[str] = []
    printed: dict[tuple[int, int], Ints] = {}
    for form in forms():
        found = [(font, field) for font in fonts for char in characters(*form) for field in rasterise(font, char)]
        printed[form] = np.arange(len(rasters), len(rasters) + len(found))
        faces += [font for font, _ in found]
        rasters += [field for _, field in found]
    weights, control, penned = pen_bank()
    return Bank(
        fields=torch.from_numpy(np.stack(rasters)),
        bold=np.array(["Bol" in face or face == "cmb10" for face in faces], np.float32),
        slant=np.array([0.2 * any(lean in face for lean in ("Ita", "Obl", "cmti")) for face in faces], np.float32),
        weights=weights,
        control=control,
        printed=printed,
        penned=penned,
    )


@cache
def open_font(font: str) -> tuple[str, frozenset[int]]:
    """Where a font of matplotlib lies, and the code points it has."""
    from matplotlib import ft2font, get_data_path

    path = str(Path(get_data_path()) / "fonts" / "ttf" / f"{font}.ttf")
    return path, frozenset(ft2font.FT2Font(path).get_charmap())


def rasterise(font: str, char: str, detail: int = 4) -> list[Floats]:
    """The signed distance field (BANK, BANK) of a character, its longer side SIDE; none where the font lacks it."""
    path, known = open_font(font)
    if ord(char) not in known:
        return []
    face = ImageFont.truetype(path, 100)
    left, top, right, bottom = face.getbbox(char)
    face = ImageFont.truetype(path, 100 * detail * SIDE / max(right - left, bottom - top))
    canvas = Image.new("L", (BANK * detail, BANK * detail))
    middle = BANK * detail / 2
    left, top, right, bottom = face.getbbox(char)
    ImageDraw.Draw(canvas).text((middle - (left + right) / 2, middle - (top + bottom) / 2), char, fill=255, font=face)
    inside = np.asarray(canvas) > 127
    signed = ndimage.distance_transform_edt(inside) - ndimage.distance_transform_edt(~inside)
    return [(signed.reshape(BANK, detail, BANK, detail).mean((1, 3)) / detail).astype(np.float32)]


def pen_bank() -> tuple[Tensor, Tensor, dict[tuple[int, int], Ints]]:
    """Weights (V, POINTS, C), control points (V, C, 2) and the rows of every (class, case), padded with zeros."""
    paths, penned = [], {}
    for label, case in forms():
        variants = STROKES[NAMES[label].upper() if case == 1 else NAMES[label]].split(" / ")
        penned[label, case] = np.arange(len(paths), len(paths) + len(variants))
        paths += [pen_path(variant) for variant in variants]
    widest = max(len(control) for _, control in paths)
    weights = np.stack([np.pad(w, ((0, 0), (0, widest - w.shape[1]))) for w, _ in paths])
    control = np.stack([np.pad(p, ((0, widest - len(p)), (0, 0))) for _, p in paths])
    return torch.from_numpy(weights), torch.from_numpy(control), penned


def pen_path(text: str) -> tuple[Floats, Floats]:
    """Parse a glyph's strokes into weights (POINTS, C) and control points (C, 2) in [-1, 1], dots evenly spaced."""
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
    """Weights (len(at), count) of the control points at places along them: linear, or Catmull and Rom's cubic."""
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


def resize_matrix(side: int, mode: str) -> Tensor:
    """The (SIDE, SIDE) matrix that averages down to `side` pixels and resizes up again."""
    down = F.interpolate(torch.eye(SIDE)[None], size=side, mode="area")[0].T  # (side, SIDE)
    smooth = {"antialias": True} if mode == "bicubic" else {}
    return F.interpolate(torch.eye(side)[None, None], size=(SIDE, side), mode=mode, **smooth)[0, 0] @ down


def blur_matrix(sigma: float) -> Tensor:
    """The (SIDE, SIDE) matrix of a Gaussian blur."""
    place = torch.arange(SIDE, dtype=torch.float32)
    weight = torch.exp(-((place[:, None] - place) ** 2) / (2 * sigma**2))
    return weight / weight.sum(1, keepdim=True)


# How a picture is seen: (matrix for its rows and columns, share of pictures, what its caption may say of resolution).
SIGHTS = (
    (resize_matrix(8, "bicubic"), 0.34, 0),
    (resize_matrix(8, "nearest"), 0.05, 0),
    (resize_matrix(10, "bicubic"), 0.12, 0),
    (blur_matrix(2.0), 0.08, 0),
    (resize_matrix(13, "bicubic"), 0.10, -1),
    (blur_matrix(1.0), 0.08, -1),
    (resize_matrix(16, "bicubic"), 0.08, 1),
    (torch.eye(SIDE), 0.15, 1),
)


@dataclass(frozen=True)
class Style:
    """How each of N pictures is drawn; every array is (N,) unless noted.

    size: the glyph's longer side as a share of the picture's.  matrix: (N, 2, 2) rotation, slant and aspect.
    wave: (N, 2, 3) amplitude, frequency and phase of a bend along x and y.
    width: the pen's radius, or how far print grows, in pixels.
    shift: (N, 2) where in the free margin the glyph stands, in [-1, 1].
    """

    size: Floats
    slant: Floats
    matrix: Tensor
    wave: Tensor
    width: Floats
    shift: Floats


def draw_style(rng: np.random.Generator, slant: Floats, pen: npt.NDArray[np.bool_], wild: float) -> Style:
    """Draw N styles; `slant` (N,) is the lean that the font has already, `wild` scales every distortion."""
    n = len(pen)
    lean = rng.normal(0, 0.2 * wild, n)
    turn = rng.normal(0, 0.12 * wild, n)
    aspect = np.exp(rng.normal(0, 0.15 * wild, n))
    rotate = np.stack([np.cos(turn), -np.sin(turn), np.sin(turn), np.cos(turn)], -1).reshape(n, 2, 2)
    skew = np.stack([aspect, -lean, np.zeros(n), 1 / aspect], -1).reshape(n, 2, 2)
    amplitude = rng.normal(0, 0.06 * wild, (n, 2))
    wave = np.stack([amplitude, rng.uniform(1.5, 4.5, (n, 2)), rng.uniform(0, 6.3, (n, 2))], -1)
    return Style(
        size=(1 - 0.42 * rng.random(n) ** 2).astype(np.float32),
        slant=(lean + slant).astype(np.float32),
        matrix=torch.from_numpy((rotate @ skew).astype(np.float32)),
        wave=torch.from_numpy(wave.astype(np.float32)),
        width=np.where(pen, rng.uniform(0.8, 3.2, n), rng.uniform(-0.7, 1.4, n)).astype(np.float32),
        shift=rng.uniform(-1, 1, (n, 2)).astype(np.float32),
    )


def bend(points: Tensor, wave: Tensor) -> Tensor:
    """Move points (N, K, 2) along x by a sine of y, and the other way round; wave (N, 2, 3)."""
    amplitude, frequency, phase = wave[:, None].unbind(-1)  # each (N, 1, 2)
    return points + amplitude * torch.sin(frequency * points.flip(-1) + phase)


def pixel_grid() -> Tensor:
    """Centres (SIDE * SIDE, 2) of the pixels as (x, y), in pixels from the middle."""
    place = torch.arange(SIDE) - (SIDE - 1) / 2
    return torch.stack(torch.meshgrid(place, place, indexing="xy"), -1).reshape(-1, 2)


def ink_pen(bank: Bank, rows: Ints, style: Style, rng: np.random.Generator, wild: float) -> Tensor:
    """Ink (N, SIDE, SIDE) in [0, 1] of pen strokes with jittered control points, fitted to their size."""
    n, radius = len(rows), torch.from_numpy(style.width)[:, None]
    control = bank.control[rows]  # (N, C, 2)
    jitter = rng.normal(0, 1, control.shape) * rng.uniform(0, 0.13 * wild, (n, 1, 1))
    path = bank.weights[rows] @ (control + torch.from_numpy(jitter.astype(np.float32)))  # (N, POINTS, 2)
    path = bend(path, style.wave) @ style.matrix.mT
    low, high = path.amin(1), path.amax(1)
    extent = (high - low).amax(1, keepdim=True)  # (N, 1)
    room = (torch.from_numpy(style.size)[:, None] * SIDE - 2 * radius).clamp_min(4.0)
    scale = room / extent
    free = ((SIDE - 2 * radius) - (high - low) * scale).clamp_min(0) / 2  # (N, 2)
    place = (path - ((low + high) / 2)[:, None]) * scale[:, None]  # (N, POINTS, 2), pixels from the middle
    place = place + (free * 0.5 * torch.from_numpy(style.shift))[:, None]
    # |q - p|^2 = |q|^2 + (q, 1) . (-2p, |p|^2), one product for every pixel q and dot p
    grid = pixel_grid()
    dots = torch.cat([-2 * place, place.square().sum(-1, keepdim=True)], -1)  # (N, POINTS, 3)
    product = torch.cat([grid, torch.ones(len(grid), 1)], 1) @ dots.reshape(-1, 3).T  # (pixels, N * POINTS)
    nearest = product.reshape(len(grid), n, POINTS).amin(-1).T + grid.square().sum(1)  # (N, pixels)
    return (radius - nearest.clamp_min(0).sqrt() + 0.5).clamp(0, 1).reshape(n, SIDE, SIDE)


def ink_print(bank: Bank, rows: Ints, style: Style) -> Tensor:
    """Ink (N, SIDE, SIDE) in [0, 1] of printed glyphs, warped and grown or eroded."""
    size = torch.from_numpy(style.size)[:, None, None]  # (N, 1, 1)
    margin = (1 - size) * torch.from_numpy(style.shift)[:, None]  # the glyph never leaves the picture by much
    unit = (pixel_grid() / (SIDE / 2) - margin * 0.5) / size  # (N, pixels, 2), the glyph within [-1, 1]
    unit = bend(unit @ torch.linalg.inv(style.matrix).mT, style.wave)
    where = (unit * (SIDE / BANK)).reshape(-1, SIDE, SIDE, 2)
    field = F.grid_sample(bank.fields[rows][:, None], where, padding_mode="border", align_corners=False)[:, 0]
    return (field * size + torch.from_numpy(style.width)[:, None, None] + 0.5).clamp(0, 1)


def expose(ink: Tensor, rng: np.random.Generator) -> tuple[Tensor, Ints, Ints, Ints]:
    """Turn ink (N, SIDE, SIDE) into pictures: resolution, contrast, noise, polarity; and what was done, each (N,)."""
    n = len(ink)
    share = np.array([s for _, s, _ in SIGHTS])
    sight = rng.choice(len(SIGHTS), n, p=share / share.sum())
    matrix = torch.stack([m for m, _, _ in SIGHTS])[sight]
    noise = rng.exponential(0.05, n) * (rng.random(n) < 0.5)
    grain = torch.from_numpy(noise.astype(np.float32))[:, None, None]
    field = ink + grain * 2 * torch.from_numpy(rng.standard_normal(ink.shape, np.float32))
    field = (matrix @ field @ matrix.mT).clamp(0, 1) ** lift(rng.uniform(0.7, 1.3, n))
    dark, bright = lift(rng.uniform(0, 0.25, n) * (rng.random(n) < 0.6)), lift(rng.uniform(0.6, 1.05, n))
    specks = torch.from_numpy(rng.standard_normal(ink.shape, np.float32))
    picture = dark + (bright - dark) * field + grain * 0.5 * specks
    light = rng.random(n) < 0.6
    picture = torch.where(torch.from_numpy(light)[:, None, None], picture, 1 - picture).clamp(0, 1)
    return picture, np.array([a for _, _, a in SIGHTS])[sight], light.astype(int), between(noise, 0.02, 0.1)


def lift(values: npt.NDArray[np.float64]) -> Tensor:
    """Numbers (N,) as (N, 1, 1)."""
    return torch.from_numpy(values.astype(np.float32))[:, None, None]


def between(values: npt.NDArray[np.floating], low: float, high: float) -> Ints:
    """0 below `low`, 1 above `high`, -1 (not worth a word) between them."""
    return np.where(values < low, 0, np.where(values > high, 1, -1))


def pick_forms(rng: np.random.Generator, n: int) -> list[tuple[int, int]]:
    """Draw N pairs of (class, case)."""
    kinds = rng.choice(3, n, p=KIND_SHARE)
    spans = np.array([[0, 10], [10, 36], [36, 44]])[kinds]
    labels = rng.integers(spans[:, 0], spans[:, 1])
    cases = np.where(kinds == 1, rng.integers(0, 2, n), -1)
    return list(zip(labels.tolist(), cases.tolist(), strict=True))


def draw(bank: Bank, rng: np.random.Generator, n: int, wild: float = 1.0) -> Pictures:
    """Draw N pictures. `wild` above 1 distorts more than the training does, as a harder test."""
    chosen = pick_forms(rng, n)
    pen = rng.random(n) < PEN_SHARE
    luck = rng.random(n)
    rows = np.array([rows[int(u * len(rows))] for form, p, u in zip(chosen, pen, luck, strict=True)
                     for rows in [(bank.penned if p else bank.printed)[form]]])  # fmt: skip
    style = draw_style(rng, np.where(pen, 0, bank.slant[np.where(pen, 0, rows)]), pen, wild)
    ink = torch.empty(n, SIDE, SIDE)
    ink[pen] = ink_pen(bank, rows[pen], part(style, pen), rng, wild)
    ink[~pen] = ink_print(bank, rows[~pen], part(style, ~pen))
    images, resolution, polarity, noise = expose(ink, rng)
    bold = bank.bold[np.where(pen, 0, rows)] * ~pen
    weight = np.where(pen, between(style.width, 1.4, 2.3), between(style.width + 0.8 * bold, -0.2, 0.9))
    case = np.array([case for _, case in chosen])
    size, slant = between(style.size, 0.7, 0.9), between(np.abs(style.slant), 0.1, 0.25)
    facts = np.stack([polarity, ~pen, weight, resolution, size, slant, case, noise], 1).astype(np.int64)
    labels = np.array([label for label, _ in chosen])
    return Pictures(images[:, None], torch.from_numpy(labels), torch.from_numpy(facts))


def part(style: Style, keep: npt.NDArray[np.bool_]) -> Style:
    """The styles of some pictures."""
    return Style(**{field.name: getattr(style, field.name)[keep] for field in fields(style)})
