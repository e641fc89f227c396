"""Receipts as tests look at them."""

from requisition.schemas import orderfile
from requisition.schemas.receipt import Receipt


def read_receipt(path: str) -> Receipt:
    """The whole document, in its canonical form."""
    sealed = orderfile.read(path)
    sealed.close()
    found = orderfile.decode(sealed)
    assert isinstance(found, Receipt)
    return found
