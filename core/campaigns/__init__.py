"""Campaigns: a grid of settings in words, its TOML form and its presets. No torch, no database."""
