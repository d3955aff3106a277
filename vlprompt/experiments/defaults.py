"""Default numbers of the protocols. This file imports nothing, so that the command line can show them at once."""

FEW_SHOT_SHOTS = (1, 2, 4, 8, 16)  # Zhou et al., IJCV 2022, section 4.1
SHOTS = 16  # of the other protocols
SEEDS = (1, 2, 3)
TEXT_SEEDS = (13, 21, 42, 87, 100)  # LM-BFF's (princeton-nlp/LM-BFF, tools/generate_k_shot_data.py)
PROBING_SEEDS = (34,)  # P-tuning's (LAMA/cli.py)
TASKS = 5  # into which continual learning cuts the classes
TAU = 0.5  # DAPL's least confidence of a pseudo-label
