"""Sweeps: experiments as files, divided into single runs, which one process or many workers carry out."""
