"""Which transport a destination gets, and what of our environment its programs see."""

import os
from collections.abc import Mapping

from requisition.services.delivery.config import Destination
from requisition.services.delivery.local import Local
from requisition.services.delivery.rclone import Rclone
from requisition.services.delivery.rsync import Rsync
from requisition.services.delivery.transport import Transport

_PASSED = frozenset(
    {
        *("PATH", "HOME", "USER", "LOGNAME", "TMPDIR", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "SSH_AUTH_SOCK"),
        *("SSL_CERT_FILE", "SSL_CERT_DIR", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"),
        *("http_proxy", "https_proxy", "no_proxy"),
    }
)


def transport_for(destination: Destination, environ: Mapping[str, str] = os.environ) -> Transport:
    """The transport of a destination. Raises BadInput for what cannot be given to its program."""
    passed = {name: value for name, value in environ.items() if name in _PASSED} | {"LC_ALL": "C"}
    if destination.kind == "local":
        return Local(destination, passed)
    return Rsync(destination, passed) if destination.kind == "rsync" else Rclone(destination, passed)
