"""Pre-train the bundled tiny CLIP on captioned glyphs, which are drawn anew for every epoch.

    python scripts/pretrain_tiny_clip.py --out OUT --threads 1 --bf16      produced the bundled weights

Writes `open_clip_config.json` and `open_clip_model.safetensors` (float16, only the trained token rows) to --out, and
its state to --out/state after every epoch: the same command continues an interrupted run and ends in the same bytes.
Needs matplotlib for its fonts (pip install "vlprompt[plot]").

It uses no handwriting: training and the printed figures use pictures of `glyphs.py` only.
"""

import argparse
import json
import math
import sys
import time
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from pathlib import Path

import numpy as np
import open_clip
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parent))
import glyphs as g
from strokes import FORMS

MODEL = {
    "embed_dim": 128,
    "vision_cfg": {"image_size": g.SIDE, "layers": 4, "width": 192, "head_width": 64, "patch_size": 8},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 128, "heads": 4, "layers": 3},
}
PREPROCESS = {"size": [g.SIDE, g.SIDE], "mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic"}
WEIGHTS, CONFIG, STATE = "open_clip_model.safetensors", "open_clip_config.json", "state"
BATCH = 128  # images in a block; an image is a pure function of (seed, epoch, index)
STATED_SHARE = [0.35, 0.25, 0.2, 0.12, 0.08]  # probabilities of 0 to 4 stated attributes in a caption
PEAK_RATE = 1.5e-3
WARM_UP = 200  # steps
LOGIT_SCALE_LIMIT = 30.0  # small enough for a learned context to change the scores

# Words for each value of an attribute: adjectives before the noun, then phrases after it.
WORDS: dict[int, list[tuple[list[str], list[str]]]] = {
    g.POLARITY: [(["black", "dark"], ["black on white", "in black on a white background"]),
                 (["white", "bright"], ["white on black", "in white on a black background"])],
    g.MEDIUM: [(["handwritten", "hand drawn"], ["written with a pen", "written by hand", "a sketch"]),
               (["printed", "typed"], ["printed on paper", "in print", "in a font"])],
    g.WEIGHT: [(["thin", "light"], ["with thin lines"]), (["bold", "thick"], ["with thick lines", "in bold"])],
    g.RESOLUTION: [(["blurry", "low resolution", "pixelated"], ["out of focus", "in low resolution"]),
                   (["sharp", "high resolution"], ["in focus", "in high resolution"])],
    g.SIZE: [(["small", "little"], ["seen from far away"]), (["large", "big"], ["seen close up"])],
    g.SLANT: [(["upright", "straight"], ["standing up straight"]), (["slanted", "italic"], ["leaning to the right"]),
              (["backslanted"], ["leaning to the left"])],
    g.TURN: [(["level"], ["on a level line"]), (["tilted"], ["turned to the right"]),
             (["tipped"], ["turned to the left"])],
    g.ASPECT: [(["narrow", "tall"], ["in a narrow form"]), (["wide", "short"], ["in a wide form"])],
    g.CASE: [(["lowercase"], ["in lower case"]), (["capital", "uppercase"], ["in upper case"])],
    g.NOISE: [(["clean"], ["without noise"]), (["noisy", "grainy"], ["with noise"])],
    g.FORM: [([form], [f"in its {form} form"]) for form in FORMS],
}  # fmt: skip
PHOTOS = (
    ["a photo of"] * 9
    + ["", "", "", "a picture of", "a picture of", "an image of", "an image of", "this is a photo of", "this is"]
    + ["a drawing of", "art of", "itap of", "a good photo of", "a bad photo of", "a cropped photo of"]
    + ["a close-up photo of", "a rendering of", "there is"]
)
NOUNS = {  # phrases before a name: words for the kind of class, then articles alone
    "digit": ["the digit"] * 8 + ["the number"] * 4 + ["digit", "number", "a", "a", "the", "my", "", ""],
    "letter": ["the letter"] * 8 + ["letter", "letter", "the character", "a", "the", ""],
    "shape": ["the shape"] * 4 + ["a", "a", "a", "a", "the", "the", "the symbol", ""],
}


def kind(label: int) -> str:
    """The kind of a class: digit, letter or shape."""
    name = g.NAMES[label]
    return "digit" if name in g.DIGITS else "letter" if name in g.LETTERS else "shape"


def pick(rng: np.random.Generator, options: list[str]) -> str:
    """One of the options."""
    return options[int(rng.integers(len(options)))]


def caption(rng: np.random.Generator, label: int, facts: np.ndarray) -> tuple[str, np.ndarray]:
    """A caption for one picture, and the attributes that it states (len(ATTRIBUTES),), -1 elsewhere."""
    stated = np.full(len(g.ATTRIBUTES), -1)
    chosen = rng.permutation(np.flatnonzero(facts >= 0))[: rng.choice(5, p=STATED_SHARE)]
    stated[chosen] = facts[chosen]
    spots: tuple[list[str], list[str], list[str]] = ([], [], [])  # before the noun, after it, before "photo"
    for attribute in chosen:
        adjectives, phrases = WORDS[attribute][facts[attribute]]
        spot = rng.choice(3, p=[0.5, 0.25, 0.25])
        spots[spot].append(pick(rng, phrases if spot == 1 else adjectives))
    before, after, lead = spots
    name = str(label) if label < 10 and rng.random() < 0.4 else g.NAMES[label]
    noun = pick(rng, NOUNS[kind(label)])
    article = noun.split(" ")[0] if noun.startswith(("the", "a", "my")) else ""
    photo = f"a {' '.join(lead)} photo of" if lead else pick(rng, PHOTOS)
    quoted = f'"{name}"' if rng.random() < 0.08 else name
    text = " ".join(word for word in (photo, article, *before, noun.removeprefix(article).strip(), quoted) if word)
    return ", ".join([text, *after]) + ("." if rng.random() < 0.8 else ""), stated


class Words:
    """The CLIP tokenizer, limited to the tokens that captions use; its ids are indices of `kept`."""

    def __init__(self) -> None:
        self.tokenizer = open_clip.SimpleTokenizer()
        texts = [*PHOTOS, *chain(*NOUNS.values()), *g.NAMES, *map(str, range(10)), ".", ",", '"', '".', '",']
        texts += [word for values in WORDS.values() for value in values for words in value for word in words]
        ids = {self.tokenizer.sot_token_id, self.tokenizer.eot_token_id}
        self.kept = sorted(ids.union(*(self.tokenizer.encode(text) for text in texts)))  # end-of-text stays the largest
        self.place = {token: i for i, token in enumerate(self.kept)}
        self.encode = lru_cache(maxsize=200_000)(self._encode)

    def _encode(self, text: str) -> tuple[int, ...]:
        """Indices of the tokens of a text, with start and end."""
        ids = [self.tokenizer.sot_token_id, *self.tokenizer.encode(text), self.tokenizer.eot_token_id]
        return tuple(self.place[token] for token in ids)

    def batch(self, texts: list[str]) -> Tensor:
        """Indices (N, L), padded with 0 to the longest."""
        rows = [self.encode(text) for text in texts]
        longest = max(map(len, rows))
        return torch.tensor([row + (0,) * (longest - len(row)) for row in rows])


@dataclass(frozen=True)
class Block:
    """Images (N, 3, SIDE, SIDE), tokens (N, L), and which caption is true of which image, (N, N)."""

    images: Tensor
    tokens: Tensor
    true: Tensor


def draw_block(bank: g.Bank, words: Words, key: tuple[int, ...], size: int, wild: float = 1.0) -> Block:
    """Draw and caption one batch; a pure function of the key (seed, epoch, number of the block)."""
    rng = np.random.default_rng(key)
    pictures = g.draw(bank, rng, size, wild)
    texts = [caption(rng, c, a) for c, a in zip(pictures.labels.tolist(), pictures.attributes.numpy(), strict=True)]
    stated = torch.from_numpy(np.stack([s for _, s in texts]))
    fits = ((stated[None] == -1) | (stated[None] == pictures.attributes[:, None])).all(-1)  # (images, captions)
    same = pictures.labels[:, None] == pictures.labels
    images = ((pictures.images - PREPROCESS["mean"][0]) / PREPROCESS["std"][0]).expand(-1, 3, -1, -1)
    return Block(images, words.batch([t for t, _ in texts]), fits & same)


def build(vocabulary: int, seed: int) -> open_clip.CLIP:
    """A new model whose vocabulary is the tokens of captions."""
    torch.manual_seed(seed)
    text = {**MODEL["text_cfg"], "vocab_size": vocabulary}
    return open_clip.CLIP(**{**MODEL, "text_cfg": text}, init_logit_scale=math.log(10))


def encode_text(model: open_clip.CLIP, tokens: Tensor) -> Tensor:
    """Text features (N, E); the tower is causal, so positions after the longest caption are not computed."""
    length = tokens.shape[1]
    x = model.token_embedding(tokens) + model.positional_embedding[:length]
    x = model.ln_final(model.transformer(x, attn_mask=model.attn_mask[:length, :length]))
    return x[torch.arange(len(x)), tokens.argmax(-1)] @ model.text_projection


def loss_of(model: open_clip.CLIP, block: Block) -> Tensor:
    """CLIP's symmetric loss, with targets spread over all true captions of an image and all images of a caption."""
    image = F.normalize(model.encode_image(block.images).float(), dim=-1)
    text = F.normalize(encode_text(model, block.tokens).float(), dim=-1)
    with torch.autocast("cpu", enabled=False):
        scores = model.logit_scale.exp() * (image @ text.T)
    true = block.true.float()
    by_image = F.cross_entropy(scores, true / true.sum(1, keepdim=True))
    by_text = F.cross_entropy(scores.T, true.T / true.sum(0)[:, None])
    return (by_image + by_text) / 2


@torch.no_grad()
def check(model: open_clip.CLIP, words: Words, bank: g.Bank, count: int) -> dict[str, float]:
    """Zero-shot accuracy on glyphs of held-out fonts, with stronger distortions than in training."""
    model.eval()
    names = [f"a photo of the {kind(c)} {name}." for c, name in enumerate(g.NAMES)]
    text = F.normalize(encode_text(model, words.batch(names)), dim=-1)
    hits, digit_hits, digits = 0, 0, 0
    for number in range(count // BATCH):
        pictures = g.draw(bank, np.random.default_rng((987_654_321, number)), BATCH, wild=1.25)
        images = ((pictures.images - PREPROCESS["mean"][0]) / PREPROCESS["std"][0]).expand(-1, 3, -1, -1)
        scores = model.encode_image(images).float() @ text.T
        digit = pictures.labels < 10
        hits += int((scores.argmax(1) == pictures.labels).sum())
        digit_hits += int((scores[digit, :10].argmax(1) == pictures.labels[digit]).sum())
        digits += int(digit.sum())
    model.train()
    return {"all": hits / (count // BATCH * BATCH), "digits": digit_hits / max(digits, 1)}


@dataclass
class Run:
    """A training run: what an epoch needs and what is saved after it."""

    model: open_clip.CLIP
    optimiser: torch.optim.AdamW
    words: Words
    seed: int
    epochs: int
    blocks: int  # per epoch
    bf16: bool

    def rate(self, step: int) -> float:
        """The share of the learning rate: linear warm-up, then a cosine to zero."""
        return min(1.0, (step + 1) / WARM_UP) * (1 + math.cos(math.pi * step / (self.epochs * self.blocks))) / 2

    def train_epoch(self, epoch: int, bank: g.Bank) -> float:
        """Train on newly drawn blocks; returns the mean loss."""
        total = 0.0
        for number in tqdm(range(self.blocks), f"epoch {epoch + 1}/{self.epochs}", disable=None, leave=False):
            for group in self.optimiser.param_groups:
                group["lr"] = PEAK_RATE * self.rate(epoch * self.blocks + number)
            block = draw_block(bank, self.words, (self.seed, epoch, number), BATCH)
            with torch.autocast("cpu", torch.bfloat16, enabled=self.bf16):
                loss = loss_of(self.model, block)
            self.optimiser.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            self.optimiser.step()
            with torch.no_grad():
                self.model.logit_scale.clamp_(0, math.log(LOGIT_SCALE_LIMIT))
            total += loss.item()
        return total / self.blocks

    def state(self) -> dict[str, Tensor]:
        """Weights and moments by name; an epoch depends on nothing else of the epochs before."""
        moments = {f"{name}/{key}": value for name, p in self.model.named_parameters()
                   for key, value in self.optimiser.state[p].items()}  # fmt: skip
        return {**self.model.state_dict(), **moments}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Load a saved state."""
        self.model.load_state_dict({name: tensors[name] for name in self.model.state_dict()})
        for name, p in self.model.named_parameters():
            self.optimiser.state[p] = {key: tensors[f"{name}/{key}"] for key in ("step", "exp_avg", "exp_avg_sq")}


def make_optimiser(model: open_clip.CLIP) -> torch.optim.AdamW:
    """AdamW with weight decay for matrices only."""
    groups = [{"params": [p for p in model.parameters() if p.ndim > 1], "weight_decay": 0.1},
              {"params": [p for p in model.parameters() if p.ndim <= 1], "weight_decay": 0.0}]  # fmt: skip
    return torch.optim.AdamW(groups, lr=PEAK_RATE, betas=(0.9, 0.98))


def write_atomically(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Write a safetensors file under another name, then rename it: an interruption leaves the old file intact."""
    beside = path.with_suffix(".part")
    beside.write_bytes(save({name: tensor.contiguous() for name, tensor in tensors.items()}, metadata))
    beside.replace(path)


def load_state(path: Path, settings: dict[str, object]) -> tuple[dict[str, Tensor], int]:
    """The saved tensors and the number of completed epochs; exits where the run had other settings."""
    try:
        with safe_open(path, "pt") as file:
            saved = json.loads(file.metadata()["run"])
        tensors = load_file(path)
    except SafetensorError:
        sys.exit(f"{path} is damaged: delete it to start again.")
    if saved["settings"] != settings:
        sys.exit(f"{path} was saved with {saved['settings']}, not {settings}: delete it or use the same flags.")
    return tensors, saved["epochs_done"]


def write_compact(out: Path, model: open_clip.CLIP, kept: list[int]) -> None:
    """Write the model in half precision, with the trained token rows and their CLIP ids."""
    tensors = {name: tensor.half() for name, tensor in model.state_dict().items()}
    write_atomically(out / WEIGHTS, {**tensors, "token_ids": torch.tensor(kept, dtype=torch.int32)}, {"format": "pt"})
    text = json.dumps({"model_cfg": MODEL, "preprocess_cfg": PREPROCESS}, indent=2)
    (out / CONFIG).write_text(text + "\n", encoding="utf-8")


def main(argv: list[str] | None = None) -> None:
    """Parse the options, train, write the folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    trained = [font for font in g.ROMAN if font not in g.HELD_OUT_FONTS]
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--epochs", type=int, default=36)
    parser.add_argument("--images-per-epoch", type=int, default=16_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2, help="results are equal for an equal number")
    parser.add_argument("--bf16", action="store_true", help="faster on processors with bfloat16 instructions")
    parser.add_argument(
        "--fonts", nargs="+", choices=trained, default=trained, help="fonts of printed glyphs (default: all)"
    )
    parser.add_argument("--check-images", type=int, default=1024, help="held-out glyphs to evaluate on")
    flags = parser.parse_args(argv)
    torch.set_num_threads(flags.threads)
    flags.out.mkdir(parents=True, exist_ok=True)
    settings = {name: getattr(flags, name) for name in ("epochs", "images_per_epoch", "seed", "bf16", "fonts")}
    words = Words()
    model = build(len(words.kept), flags.seed).train()
    blocks = max(1, flags.images_per_epoch // BATCH)
    run = Run(model, make_optimiser(model), words, flags.seed, flags.epochs, blocks, flags.bf16)
    state, done = flags.out / STATE, 0
    if state.exists():
        tensors, done = load_state(state, settings)
        run.restore(tensors)
        print(f"continue after epoch {done}", flush=True)
    try:
        bank, held_out = g.build_bank(tuple(flags.fonts)), g.build_bank(g.HELD_OUT_FONTS)
    except ValueError as error:
        sys.exit(str(error))
    for epoch in range(done, flags.epochs):
        started = time.monotonic()
        loss = run.train_epoch(epoch, bank)
        metadata = {"run": json.dumps({"settings": settings, "epochs_done": epoch + 1})}
        write_atomically(state, run.state(), metadata)
        held = check(model, words, held_out, flags.check_images)
        seconds = time.monotonic() - started
        print(f"epoch {epoch + 1} loss {loss:.3f} held-out fonts: all {held['all']:.3f} digits {held['digits']:.3f} "
              f"({seconds:.0f} s)", flush=True)  # fmt: skip
    write_compact(flags.out, model, words.kept)


if __name__ == "__main__":
    main()
