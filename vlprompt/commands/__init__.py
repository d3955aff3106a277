"""The commands of the command line: one file each, named as the command, with one function `run`."""
