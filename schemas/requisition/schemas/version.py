"""The version of the tool, as documents name it."""

from importlib.metadata import version

VERSION = version("requisition")
TOOL = f"requisition {VERSION}"
