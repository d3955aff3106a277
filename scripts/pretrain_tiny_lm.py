"""Pre-train a tiny masked language model: the bundled one, or one on your own texts.

    python scripts/pretrain_tiny_lm.py --out OUT                          the bundled model, on the texts of reviews.py
    python scripts/pretrain_tiny_lm.py --out OUT --task sst2 --root DATA  on a data set's training texts, without labels
    python scripts/pretrain_tiny_lm.py --out OUT --texts FILE ...         on lines of text

`vlprompt.load_lm("local-dir:OUT")` loads the result. After a minute of plain masked language modelling such a model
cannot distinguish good from bad: it has learned which words are neighbours, and no more. So word embeddings are
initialised from co-occurrence in texts, and the first part of training uses bags of words (without the most frequent
words, shuffled), from which nothing else can be learned. Then sentences are in order; some bags remain until the end,
since the model otherwise forgets what it has learned from them.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parent))
import reviews

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
PAD, UNKNOWN, FIRST, LAST, MASK = range(5)
IGNORED = -100
REVIEWS, NEUTRAL = 12_000, 4_000  # documents of the bundled model
SPLITS = {"train": 200, "dev": 100, "test": 600}  # reviews of its task
QUIET = 0.1  # initial scale of positions and queries relative to other weights
START, NOISE = 2.0, 0.3  # the same of embeddings: of associations, and of noise


@dataclass(frozen=True)
class Plan:
    """Sizes of the model and settings of its training.

    Attributes:
        width: Size of the hidden states.
        layers: Layers of the encoder.
        heads: Attention heads.
        words: Largest size of the vocabulary.
        length: Pieces of a training row, without the two special ones.
        positions: Length of the longest row.
        steps: Steps of the optimiser.
        batch: Rows in a step.
        rate: Highest learning rate; it rises linearly over a twentieth of the steps and then falls linearly.
        bags: Share of steps, at the start, with bags of words only.
        mixed: Share of rows that are bags after that.
        common: Number of most frequent pieces, which are left out of bags and rarely masked.
        masked: Share of masked pieces among the others.
        masked_common: Share of masked pieces among the frequent ones.
        dropout: In training.
    """

    width: int
    layers: int
    heads: int
    words: int
    length: int
    positions: int
    steps: int
    batch: int
    rate: float
    bags: float
    mixed: float
    common: int
    masked: float
    masked_common: float
    dropout: float


BUNDLED = Plan(
    width=64, layers=2, heads=2, words=400, length=62, positions=128, steps=1200, batch=64, rate=1.5e-3, bags=0.4,
    mixed=0.4, common=24, masked=0.35, masked_common=0.05, dropout=0.0,
)  # fmt: skip
TEXTS = Plan(
    width=96, layers=2, heads=4, words=5000, length=48, positions=192, steps=800, batch=48, rate=2e-3, bags=0.5,
    mixed=0.5, common=60, masked=0.35, masked_common=0.1, dropout=0.1,
)  # fmt: skip


def make_tokenizer(texts: Sequence[str], plan: Plan, *, whole: bool) -> Any:
    """A lower-casing tokenizer of transformers: whole words (any other word is unknown), or word pieces."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    model = models.WordLevel(unk_token="[UNK]") if whole else models.WordPiece(unk_token="[UNK]")
    trainer = trainers.WordLevelTrainer if whole else trainers.WordPieceTrainer
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.train_from_iterator(texts, trainer(vocab_size=plan.words, special_tokens=SPECIAL, show_progress=False))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", FIRST), ("[SEP]", LAST)]
    )
    names = ("pad_token", "unk_token", "cls_token", "sep_token", "mask_token")
    named = dict(zip(names, SPECIAL, strict=True))
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=plan.positions, **named)


def make_rows(tokenizer: Any, texts: Sequence[str], length: int) -> Tensor:
    """(N, T) ids without special tokens, padded at the end; longer texts are cut."""
    ids = tokenizer(list(texts), add_special_tokens=False, truncation=True, max_length=length)["input_ids"]
    return torch.tensor([row + [PAD] * (length - len(row)) for row in ids if row])


def common_pieces(rows: Tensor, count: int, size: int) -> Tensor:
    """(V,) a mask of the `count` most frequent pieces, at most a quarter of all."""
    seen = torch.bincount(rows.flatten(), minlength=size)
    seen[PAD] = 0
    return torch.zeros(size, dtype=torch.bool).index_fill(0, seen.topk(min(count, size // 4)).indices, True)


def bags(rows: Tensor, common: Tensor, generator: torch.Generator) -> Tensor:
    """Rows (B, T) without frequent pieces, in random order, padded at the end."""
    last = (rows == PAD) | common[rows]
    order = (torch.rand(rows.shape, generator=generator) + 2 * last).argsort(dim=1)
    return rows.masked_fill(last, PAD).gather(1, order)


def mask_pieces(rows: Tensor, probabilities: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Rows (B, T) with pieces masked with probabilities (V,), and the targets: those pieces, IGNORED elsewhere.

    Of these 80 % become the mask, 10 % another piece, 10 % do not change (Devlin et al. 2019).
    """
    chosen = torch.rand(rows.shape, generator=generator) < probabilities[rows]
    what = torch.rand(rows.shape, generator=generator)
    other = torch.randint(len(SPECIAL), len(probabilities), rows.shape, generator=generator)
    changed = torch.where(what < 0.8, MASK, torch.where(what < 0.9, other, rows))
    return torch.where(chosen, changed, rows), torch.where(chosen, rows, IGNORED)


def framed(rows: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Ids and targets with [CLS] and [SEP] added, cut to the longest row."""
    ends = (rows != PAD).sum(1, keepdim=True)
    ids = F.pad(rows, (0, 1), value=PAD).scatter(1, ends, LAST)[:, : int(ends.max()) + 1]
    targets = F.pad(targets, (0, 1), value=IGNORED)[:, : ids.shape[1]]
    return F.pad(ids, (1, 0), value=FIRST), F.pad(targets, (1, 0), value=IGNORED)


def draw(rows: Tensor, common: Tensor, plan: Plan, seed: int, step: int) -> tuple[Tensor, Tensor]:
    """Ids (B, T) of one step and its targets; a pure function of (seed, step)."""
    mixed = np.random.SeedSequence((seed, step)).generate_state(1, np.uint64)[0] >> np.uint64(1)
    generator = torch.Generator().manual_seed(int(mixed))
    batch = rows[torch.randint(len(rows), (plan.batch,), generator=generator)]
    share = 1.0 if step < plan.bags * plan.steps else plan.mixed
    shuffled = torch.rand(plan.batch, 1, generator=generator) < share
    batch = torch.where(shuffled, bags(batch, common, generator), batch)
    probabilities = torch.where(common, plan.masked_common, plan.masked)
    probabilities[: len(SPECIAL)] = 0
    return framed(*mask_pieces(batch, probabilities, generator))


def loss_of(model: Any, ids: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy at the masked positions; the head computes those only."""
    states = model.bert(input_ids=ids, attention_mask=(ids != PAD).long()).last_hidden_state
    chosen = targets != IGNORED
    return F.cross_entropy(model.cls(states[chosen]), targets[chosen])


def associations(rows: Tensor, common: Tensor, width: int) -> Tensor:
    """(V, D) vectors of pieces, similar where two occur in the same texts more often than by chance; deviation 1.

    Positive pointwise mutual information and its singular vectors (Levy and Goldberg, NeurIPS 2014). Frequent pieces
    carry no information and have zero vectors.
    """
    size = len(common)
    together = torch.zeros(size * size)
    for part in rows.split(256):
        pairs = part[:, :, None] * size + part[:, None, :]  # (N, T, T)
        together.scatter_add_(0, pairs.flatten(), torch.ones(pairs.numel()))
    together = together.view(size, size)
    left_out = common.clone()
    left_out[: len(SPECIAL)] = True
    together[left_out] = 0
    together[:, left_out] = 0
    together.fill_diagonal_(0)
    each = together.sum(1)
    gain = (together * each.sum() / torch.outer(each, each).clamp_min(1)).clamp_min(1).log()
    vectors, values, _ = torch.svd_lowrank(gain, min(width + 8, size), niter=4)
    found = vectors[:, :width] * values[:width].sqrt()
    return F.pad(found / found.std().clamp_min(1e-6), (0, width - found.shape[1]))


def build(rows: Tensor, common: Tensor, plan: Plan, seed: int) -> Any:
    """A new BERT whose word embeddings are initialised from associations.

    BERT's own deviation of weights, 0.02, is for a width of 768: in a narrow model signals would vanish in its layers.
    Positions and queries start small, so that attention is initially a mean over the whole row.
    """
    import transformers

    torch.manual_seed(seed)
    deviation = plan.width**-0.5
    config = transformers.BertConfig(
        vocab_size=len(common), hidden_size=plan.width, num_hidden_layers=plan.layers, num_attention_heads=plan.heads,
        intermediate_size=4 * plan.width, max_position_embeddings=plan.positions, initializer_range=deviation,
        hidden_dropout_prob=plan.dropout, attention_probs_dropout_prob=plan.dropout,
    )  # fmt: skip
    model = transformers.BertForMaskedLM(config).train()
    embeddings = model.bert.embeddings
    quiet = [embeddings.position_embeddings, embeddings.token_type_embeddings]
    quiet += [layer.attention.self.query for layer in model.bert.encoder.layer]
    with torch.no_grad():
        for part in quiet:
            part.weight.mul_(QUIET)
        vectors = associations(rows, common, plan.width)
        embeddings.word_embeddings.weight.mul_(NOISE).add_(vectors * START * deviation)
    return model


def rate(step: int, plan: Plan) -> float:
    """The learning rate of a step: it rises linearly, then falls linearly."""
    warm = plan.steps / 20
    return plan.rate * min((step + 1) / warm, (plan.steps - step) / (plan.steps - warm))


def train(model: Any, rows: Tensor, common: Tensor, plan: Plan, seed: int) -> list[float]:
    """Train in place; returns the losses of all steps."""
    matrices = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": 0.01}, {"params": others, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=plan.rate, betas=(0.9, 0.98))
    losses = []
    for step in tqdm(range(plan.steps), "steps", disable=None, leave=False):
        for group in optimiser.param_groups:
            group["lr"] = rate(step, plan)
        loss = loss_of(model, *draw(rows, common, plan, seed, step))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        losses.append(loss.item())
    return losses


def read_lines(files: Sequence[Path]) -> list[str]:
    """The lines of text files that are not empty."""
    try:
        return [line.strip() for file in files for line in file.read_text("utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        sys.exit(f"texts could not be read ({error}); give files of UTF-8 lines.")


def read_task(name: str, root: Path | None) -> list[str]:
    """The training texts of a data set of the catalogue, fields joined; neither labels nor test texts are used."""
    from vlprompt.data import catalog
    from vlprompt.errors import VlpromptError

    try:
        task = catalog.open_texts(name, root)
    except VlpromptError as error:
        sys.exit(str(error))
    return [" ".join(example.item.values()) for example in task.train]


def pretrain(texts: Sequence[str], plan: Plan, seed: int, *, whole: bool) -> tuple[Any, Any]:
    """A tokenizer and a model trained on texts; `whole`: whole words instead of word pieces."""
    tokenizer = make_tokenizer(texts, plan, whole=whole)
    rows = make_rows(tokenizer, texts, plan.length)
    common = common_pieces(rows, plan.common, len(tokenizer))
    model = build(rows, common, plan, seed)
    losses = train(model, rows, common, plan, seed)
    seen = int((rows != PAD).sum())
    ends = [sum(part) / max(len(part), 1) for part in (losses[:50], losses[-50:])]
    print(f"{len(rows)} texts of {seen} pieces, {len(tokenizer)} different; loss {ends[0]:.2f} -> {ends[1]:.2f}")
    return tokenizer, model.eval()


def write(out: Path, tokenizer: Any, model: Any) -> None:
    """Write a folder for transformers, atomically, weights in float16."""
    from vlprompt.files import write_files

    with TemporaryDirectory() as temporary:
        model.half().save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
        names = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")
        files = {out / name: (Path(temporary) / name).read_bytes() for name in names}
    settings = json.loads(files[out / "tokenizer_config.json"])
    settings["tokenizer_class"] = "PreTrainedTokenizerFast"  # every version of transformers has this class
    files[out / "tokenizer_config.json"] = (json.dumps(settings, indent=2) + "\n").encode()
    write_files(files)


def write_task(folder: Path, seed: int) -> None:
    """Write the reviews of the bundled model's task as JSON lines: train, dev and test."""
    from vlprompt.files import write_files

    files = {}
    for part, (name, count) in enumerate(SPLITS.items()):
        found = reviews.task(seed, count, part)
        lines = [json.dumps({"text": each.text, "label": reviews.LABELS[each.label]}) for each in found]
        files[folder / f"{name}.jsonl"] = ("\n".join(lines) + "\n").encode()
    write_files(files)


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the options, train, write the folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder to write the model to")
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--texts", type=Path, nargs="+", help="files with one text per line")
    source.add_argument("--task", default="", help="a data set of texts (sst2, ag_news): its training texts")
    parser.add_argument("--root", type=Path, help="the folder of the data set")
    parser.add_argument("--reviews", type=Path, help="folder to write the bundled model's task to")
    parser.add_argument("--steps", type=int, default=0, help="instead of the plan's")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1, help="results are equal for an equal number")
    flags = parser.parse_args(argv)
    torch.set_num_threads(flags.threads)
    own = bool(flags.texts or flags.task)
    plan = TEXTS if own else BUNDLED
    plan = replace(plan, steps=flags.steps or plan.steps)
    if own:
        texts = read_lines(flags.texts) if flags.texts else read_task(flags.task, flags.root)
    else:
        texts = reviews.corpus(flags.seed, REVIEWS, NEUTRAL)
    began = time.monotonic()
    write(flags.out, *pretrain(texts, plan, flags.seed, whole=not own))
    if flags.reviews:
        write_task(flags.reviews, flags.seed)
    print(f"{flags.out}: {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
