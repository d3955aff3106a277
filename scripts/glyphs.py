"""Draw digits, letters and shapes as batches of 32 x 32 pictures, with attributes that a caption may state.

There are two sources of glyphs, and neither is handwriting: matplotlib's fonts, stored as signed distance fields, and
pen strokes designed for this script (`strokes.py`). Every picture is drawn anew: points are jittered, the form is
warped, the pen width varies, the picture has a low resolution or blur, dark on light or light on dark, with noise. The
pictures depend on the passed generator only.
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
from strokes import POINTS, pen_path, variants
from torch import Tensor
from torch.nn import functional as F

SIDE = 32  # the side of a picture, in pixels
BANK = 48  # the side of a font's distance field; its glyph fills the middle 32
PEN_SHARE = 0.5  # half of the pictures are pen strokes, half are print

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
LETTERS = tuple(string.ascii_lowercase)
SHAPES = ("circle", "square", "triangle", "star", "diamond", "heart", "cross", "arrow")
NAMES = DIGITS + LETTERS + SHAPES  # a class is an index of this list
KIND_SHARE = (0.5, 0.38, 0.12)  # digits, letters, shapes

# What a caption may state of a picture. A value of -1 means that no statement is true.
ATTRIBUTES = "polarity medium weight resolution size slant turn aspect case noise form".split()  # noqa: SIM905
POLARITY, MEDIUM, WEIGHT, RESOLUTION, SIZE, SLANT, TURN, ASPECT, CASE, NOISE, FORM = range(len(ATTRIBUTES))

ROMAN = (
    *(f"DejaVuSans{style}" for style in ("", "-Bold", "-Oblique", "-BoldOblique")),
    *(f"DejaVuSansMono{style}" for style in ("", "-Bold", "-Oblique")),
    *(f"DejaVuSerif{style}" for style in ("", "-Bold", "-Italic", "-BoldItalic")),
    *(f"STIXGeneral{style}" for style in ("", "Bol", "Italic", "BolIta")),
    *("cmb10", "cmr10", "cmss10", "cmti10", "cmtt10"),
)
HELD_OUT_FONTS = ("STIXGeneral", "cmss10", "DejaVuSansMono-Bold")  # not used in training: they validate it
SYMBOLS = dict(zip(SHAPES, ("●○", "■□", "▲△", "★☆", "◆◇", "♥♡", "✚✖", "➔→"), strict=True))

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Bank:
    """All glyphs, by (class, case); case is 1 for capitals, 0 for small letters and -1 for other classes.

    fields: (M, BANK, BANK) signed distance to a printed glyph's edge in pixels, positive inside.
    bold, slant: (M,) whether the font is bold, and its slant.
    weights: (V, POINTS, C) and control: (V, C, 2): dots on a pen's path are `weights @ control`, in [-1, 1].
    form: (V,) the index of the path's form in `strokes.FORMS`.
    printed, penned: for every (class, case), the rows of `fields` and of `weights`.
    """

    fields: Tensor
    bold: Floats
    slant: Floats
    weights: Tensor
    control: Tensor
    form: Ints
    printed: dict[tuple[int, int], Ints]
    penned: dict[tuple[int, int], Ints]


@dataclass(frozen=True)
class Pictures:
    """Images (N, 1, SIDE, SIDE) in [0, 1], labels (N,), attributes (N, len(ATTRIBUTES))."""

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
    """Rasterise fonts and compute the pen strokes; about five seconds for twenty fonts.

    Raises:
        ValueError: None of the fonts has a character for one of the classes.
    """
    rasters: list[Floats] = []
    faces: list[str] = []
    printed: dict[tuple[int, int], Ints] = {}
    for form in forms():
        found = [(font, field) for font in fonts for char in characters(*form) for field in rasterise(font, char)]
        if not found:
            raise ValueError(f"none of {', '.join(fonts)} has a character for {NAMES[form[0]]}; add DejaVuSans.")
        printed[form] = np.arange(len(rasters), len(rasters) + len(found))
        faces += [font for font, _ in found]
        rasters += [field for _, field in found]
    weights, control, form, penned = pen_bank()
    return Bank(
        fields=torch.from_numpy(np.stack(rasters)),
        bold=np.array(["Bol" in face or face == "cmb10" for face in faces], np.float32),
        slant=np.array([0.2 * any(lean in face for lean in ("Ita", "Obl", "cmti")) for face in faces], np.float32),
        weights=weights,
        control=control,
        form=form,
        printed=printed,
        penned=penned,
    )


@cache
def open_font(font: str) -> tuple[str, frozenset[int]]:
    """The path of a font of matplotlib, and its code points."""
    from matplotlib import ft2font, get_data_path

    path = str(Path(get_data_path()) / "fonts" / "ttf" / f"{font}.ttf")
    return path, frozenset(ft2font.FT2Font(path).get_charmap())


def rasterise(font: str, char: str, detail: int = 4) -> list[Floats]:
    """The signed distance field (BANK, BANK) of a character with longer side SIDE; none where the font lacks it."""
    path, characters_of_font = open_font(font)
    if ord(char) not in characters_of_font:
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


def pen_bank() -> tuple[Tensor, Tensor, Ints, dict[tuple[int, int], Ints]]:
    """Weights (V, POINTS, C), control points (V, C, 2), forms (V,), and the rows of every (class, case)."""
    paths, path_forms, penned = [], [], {}
    for label, case in forms():
        found = variants(NAMES[label].upper() if case == 1 else NAMES[label])
        penned[label, case] = np.arange(len(paths), len(paths) + len(found))
        paths += [pen_path(strokes) for _, strokes in found]
        path_forms += [form for form, _ in found]
    widest = max(len(control) for _, control in paths)
    weights = np.stack([np.pad(w, ((0, 0), (0, widest - w.shape[1]))) for w, _ in paths])
    control = np.stack([np.pad(p, ((0, widest - len(p)), (0, 0))) for _, p in paths])
    return torch.from_numpy(weights), torch.from_numpy(control), np.array(path_forms), penned


def resize_matrix(side: int, mode: str) -> Tensor:
    """The (SIDE, SIDE) matrix that averages to `side` pixels and resizes to SIDE again."""
    down = F.interpolate(torch.eye(SIDE)[None], size=side, mode="area")[0].T  # (side, SIDE)
    smooth = {"antialias": True} if mode == "bicubic" else {}
    return F.interpolate(torch.eye(side)[None, None], size=(SIDE, side), mode=mode, **smooth)[0, 0] @ down


def blur_matrix(sigma: float) -> Tensor:
    """The (SIDE, SIDE) matrix of a Gaussian blur."""
    place = torch.arange(SIDE, dtype=torch.float32)
    weight = torch.exp(-((place[:, None] - place) ** 2) / (2 * sigma**2))
    return weight / weight.sum(1, keepdim=True)


# Resolutions: (matrix for rows and columns, share of pictures, value of the attribute RESOLUTION).
RESOLUTIONS = (
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

    size: the glyph's longer side as a share of the picture's.
    slant, turn, aspect: slant to the right, clockwise angle, width over height; matrix: (N, 2, 2) all three.
    wave: (N, 2, 3) amplitude, frequency and phase of a bend along x and y.
    width: the pen's radius, or the growth of print, in pixels.
    shift: (N, 2) the position in the free margin, in [-1, 1].
    """

    size: Floats
    slant: Floats
    turn: Floats
    aspect: Floats
    matrix: Tensor
    wave: Tensor
    width: Floats
    shift: Floats


def draw_style(rng: np.random.Generator, slant: Floats, pen: npt.NDArray[np.bool_], wild: float) -> Style:
    """Draw N styles; `slant` (N,) is the font's own slant, `wild` scales every distortion."""
    n = len(pen)
    slanted = rng.normal(0, 0.2 * wild, n)
    turn = rng.normal(0, 0.12 * wild, n)
    aspect = np.exp(rng.normal(0, 0.15 * wild, n))
    rotate = np.stack([np.cos(turn), -np.sin(turn), np.sin(turn), np.cos(turn)], -1).reshape(n, 2, 2)
    skew = np.stack([aspect, -slanted, np.zeros(n), 1 / aspect], -1).reshape(n, 2, 2)
    amplitude = rng.normal(0, 0.06 * wild, (n, 2))
    wave = np.stack([amplitude, rng.uniform(1.5, 4.5, (n, 2)), rng.uniform(0, 6.3, (n, 2))], -1)
    return Style(
        size=(1 - 0.42 * rng.random(n) ** 2).astype(np.float32),
        slant=(slanted + slant).astype(np.float32),
        turn=turn.astype(np.float32),
        aspect=aspect.astype(np.float32),
        matrix=torch.from_numpy((rotate @ skew).astype(np.float32)),
        wave=torch.from_numpy(wave.astype(np.float32)),
        width=np.where(pen, rng.uniform(0.8, 3.2, n), rng.uniform(-0.7, 1.4, n)).astype(np.float32),
        shift=rng.uniform(-1, 1, (n, 2)).astype(np.float32),
    )


def bend(points: Tensor, wave: Tensor) -> Tensor:
    """Move points (N, K, 2) along x by a sine of y, and along y by a sine of x; wave (N, 2, 3)."""
    amplitude, frequency, phase = wave[:, None].unbind(-1)  # each (N, 1, 2)
    return points + amplitude * torch.sin(frequency * points.flip(-1) + phase)


def pixel_grid() -> Tensor:
    """Centres (SIDE * SIDE, 2) of the pixels as (x, y), in pixels from the middle."""
    place = torch.arange(SIDE) - (SIDE - 1) / 2
    return torch.stack(torch.meshgrid(place, place, indexing="xy"), -1).reshape(-1, 2)


def ink_pen(bank: Bank, rows: Ints, style: Style, rng: np.random.Generator, wild: float) -> Tensor:
    """Ink (N, SIDE, SIDE) in [0, 1] of pen strokes with jittered control points, scaled to their size."""
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
    # |q - p|^2 = |q|^2 + (q, 1) . (-2p, |p|^2): one product for all pixels q and dots p
    grid = pixel_grid()
    dots = torch.cat([-2 * place, place.square().sum(-1, keepdim=True)], -1)  # (N, POINTS, 3)
    product = torch.cat([grid, torch.ones(len(grid), 1)], 1) @ dots.reshape(-1, 3).T  # (pixels, N * POINTS)
    nearest = product.reshape(len(grid), n, POINTS).amin(-1).T + grid.square().sum(1)  # (N, pixels)
    return (radius - nearest.clamp_min(0).sqrt() + 0.5).clamp(0, 1).reshape(n, SIDE, SIDE)


def ink_print(bank: Bank, rows: Ints, style: Style) -> Tensor:
    """Ink (N, SIDE, SIDE) in [0, 1] of printed glyphs, warped and grown or eroded."""
    size = torch.from_numpy(style.size)[:, None, None]  # (N, 1, 1)
    margin = (1 - size) * torch.from_numpy(style.shift)[:, None]  # so that most of the glyph is inside the picture
    unit = (pixel_grid() / (SIDE / 2) - margin * 0.5) / size  # (N, pixels, 2), the glyph within [-1, 1]
    unit = bend(unit @ torch.linalg.inv(style.matrix).mT, style.wave)
    where = (unit * (SIDE / BANK)).reshape(-1, SIDE, SIDE, 2)
    field = F.grid_sample(bank.fields[rows][:, None], where, padding_mode="border", align_corners=False)[:, 0]
    return (field * size + torch.from_numpy(style.width)[:, None, None] + 0.5).clamp(0, 1)


def expose(ink: Tensor, rng: np.random.Generator) -> tuple[Tensor, Ints, Ints, Ints]:
    """Turn ink (N, SIDE, SIDE) into pictures with resolution, contrast, noise and polarity; returns these too, (N,)."""
    n = len(ink)
    share = np.array([s for _, s, _ in RESOLUTIONS])
    kind = rng.choice(len(RESOLUTIONS), n, p=share / share.sum())
    matrix = torch.stack([m for m, _, _ in RESOLUTIONS])[kind]
    noise = rng.exponential(0.05, n) * (rng.random(n) < 0.5)
    grain = torch.from_numpy(noise.astype(np.float32))[:, None, None]
    field = ink + grain * 2 * torch.from_numpy(rng.standard_normal(ink.shape, np.float32))
    field = (matrix @ field @ matrix.mT).clamp(0, 1) ** lift(rng.uniform(0.7, 1.3, n))
    dark, bright = lift(rng.uniform(0, 0.25, n) * (rng.random(n) < 0.6)), lift(rng.uniform(0.6, 1.05, n))
    specks = torch.from_numpy(rng.standard_normal(ink.shape, np.float32))
    picture = dark + (bright - dark) * field + grain * 0.5 * specks
    light = rng.random(n) < 0.6
    picture = torch.where(torch.from_numpy(light)[:, None, None], picture, 1 - picture).clamp(0, 1)
    return picture, np.array([a for _, _, a in RESOLUTIONS])[kind], light.astype(int), between(noise, 0.02, 0.1)


def lift(values: npt.NDArray[np.float64]) -> Tensor:
    """Numbers (N,) as (N, 1, 1)."""
    return torch.from_numpy(values.astype(np.float32))[:, None, None]


def between(values: npt.NDArray[np.floating], low: float, high: float) -> Ints:
    """0 below `low`, 1 above `high`, -1 (not stated) between them."""
    return np.where(values < low, 0, np.where(values > high, 1, -1))


def sided(values: Floats, low: float, high: float) -> Ints:
    """0 near zero, 1 above `high`, 2 below its negative, -1 (not stated) between them."""
    return np.where(np.abs(values) < low, 0, np.where(values > high, 1, np.where(values < -high, 2, -1)))


def pick_forms(rng: np.random.Generator, n: int) -> list[tuple[int, int]]:
    """Draw N pairs of (class, case)."""
    kinds = rng.choice(3, n, p=KIND_SHARE)
    spans = np.array([[0, 10], [10, 36], [36, 44]])[kinds]
    labels = rng.integers(spans[:, 0], spans[:, 1])
    cases = np.where(kinds == 1, rng.integers(0, 2, n), -1)
    return list(zip(labels.tolist(), cases.tolist(), strict=True))


def draw(bank: Bank, rng: np.random.Generator, n: int, wild: float = 1.0) -> Pictures:
    """Draw N pictures; `wild` above 1 distorts more than training, for a harder test."""
    chosen = pick_forms(rng, n)
    pen = rng.random(n) < PEN_SHARE
    position = rng.random(n)
    rows = np.array([rows[int(u * len(rows))] for form, p, u in zip(chosen, pen, position, strict=True)
                     for rows in [(bank.penned if p else bank.printed)[form]]])  # fmt: skip
    style = draw_style(rng, np.where(pen, 0, bank.slant[np.where(pen, 0, rows)]), pen, wild)
    ink = torch.empty(n, SIDE, SIDE)
    ink[pen] = ink_pen(bank, rows[pen], part(style, pen), rng, wild)
    ink[~pen] = ink_print(bank, rows[~pen], part(style, ~pen))
    images, resolution, polarity, noise = expose(ink, rng)
    case = np.array([case for _, case in chosen])
    form = np.where(pen, bank.form[np.where(pen, rows, 0)], -1)
    bold = bank.bold[np.where(pen, 0, rows)]
    weight = np.where(pen, between(style.width, 1.4, 2.3), between(style.width + 0.8 * bold, -0.2, 0.9))
    size, aspect = between(style.size, 0.72, 0.9), between(style.aspect, 0.88, 1.14)
    slant, turn = sided(style.slant, 0.08, 0.22), sided(style.turn, 0.04, 0.13)
    facts = np.stack([polarity, ~pen, weight, resolution, size, slant, turn, aspect, case, noise, form], 1)
    labels = np.array([label for label, _ in chosen])
    return Pictures(images[:, None], torch.from_numpy(labels), torch.from_numpy(facts.astype(np.int64)))


def part(style: Style, keep: npt.NDArray[np.bool_]) -> Style:
    """The styles of some pictures."""
    return Style(**{field.name: getattr(style, field.name)[keep] for field in fields(style)})
