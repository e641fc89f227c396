"""The state view over thousands of receipts: which run, node and line made each path so, and what came before.

The receipts alone are the truth. `index.db` beside them only says where to look: it is brought up to them before
every question, and made anew whenever it is damaged, of another version, or gone.
"""
