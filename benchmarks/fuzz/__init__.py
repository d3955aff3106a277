"""Changed inputs for everything that reads users' files: each must end in success or in one VlpromptError."""
