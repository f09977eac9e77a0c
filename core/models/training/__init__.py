"""Victim training. `recipe.py` says how, in words (no torch); `loop.py` does it, resumable to the same bytes.

`simple.py` is the short loop that the bundled presets and judges were trained with: it stays, so that they can be
made again.
"""
