"""The network: what is got from it, and what is waited for on it.

`actions` are in `download` and `checks` · `transfer` gets one file, whatever the servers do to it · `connection`
asks one question over http or https · `address` is what may be asked, and how it is shown.
"""
