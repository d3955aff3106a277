"""Building blocks of image methods: how prompts are laid out, how they start, and heads on image features."""
