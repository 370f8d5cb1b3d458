"""Instruments: each a library module and a command, python -m interp.NAME CHECKPOINT."""
