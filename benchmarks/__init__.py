"""Measurements of vlprompt: agreement with the authors' own code, speed and memory."""
