"""Reading orders and receipts: their graph as a view, questions to it, differences, risks, histories.

Nothing here changes a machine or decides what may run; it says what documents say.
"""
