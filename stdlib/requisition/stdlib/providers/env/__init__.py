"""Environment variables, said to the shells in the files that they read at their start.

`words` writes them in the language of a shell, `places` knows which shell reads which file, `actions` puts a managed
block into each of these. What was chosen, and why: docs/decisions/environment.md.
"""
