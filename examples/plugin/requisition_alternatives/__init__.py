"""Debian's alternatives as actions. `catalogue.json` beside this file says what packages may write."""
