"""Edits of text files that somebody else wrote: only what is asked changes, all other bytes stay.

`edit` reads, checks and writes for all of them; `lines` are lines and managed blocks, `values` settings of
JSON, YAML, TOML and INI files, one module a format.
"""
