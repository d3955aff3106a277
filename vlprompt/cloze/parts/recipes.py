"""Training settings that several text methods start from."""

from dataclasses import replace

from vlprompt.training.config import TrainConfig

# AdamW with linear decay at every step, the usual way to train language models (transformers' Trainer).
LINEAR_DECAY = TrainConfig(
    optimizer="adamw", weight_decay=0, schedule="linear", per_step=True, warmup="none", clip_norm=1.0, augment="none"
)

# P-tuning v2, run_script/run_boolq_roberta.sh: lr 7e-3, batches of 32, 100 epochs; otherwise transformers' Trainer's
# defaults. Their lengths and learning rates differ tenfold between tasks, so these are a starting point only.
P_TUNING_V2_RECIPE = replace(LINEAR_DECAY, epochs=100, batch_size=32, lr=7e-3)

# PET, cli.py: lr 1e-5, weight decay 0.01 (theirs spares biases and norms), batches of 4, clip norm 1, 3 epochs. With
# few shots their scripts set steps instead: 250 of batch 16.
PATTERN_RECIPE = replace(LINEAR_DECAY, epochs=250, steps=250, batch_size=16, lr=1e-5, weight_decay=0.01)

# PET's student: 5,000 steps of batch 16 (the README's SuperGLUE command, --sc_max_steps), otherwise as its patterns.
# Each epoch the unlabelled texts are shuffled anew, and as many batches of them are used as there are labelled ones.
STUDENT_RECIPE = replace(PATTERN_RECIPE, epochs=5000, steps=5000)
