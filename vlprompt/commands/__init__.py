"""Commands of the command line: one file each with one function `run`, and the parts that they share."""
