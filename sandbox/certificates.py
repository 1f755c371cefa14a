"""https for the sandbox's Graph: an authority of its own, and a certificate that it vouches for."""

from pathlib import Path

import trustme

AUTHORITY = "ca.pem"
CERTIFICATE = "graph.pem"
KEY = "graph.key"


def issue(folder: Path, names: list[str], authority: trustme.CA | None = None) -> bool:
    """Writes the three files for a server of these names, unless they are there; tells whether it did.

    Without an authority a new one vouches, whose own key is kept nowhere: nothing else will ever be vouched for.
    """
    if (folder / AUTHORITY).exists():
        return False
    authority = authority or trustme.CA()
    issued = authority.issue_cert(*names)
    (folder / KEY).touch(mode=0o600)
    issued.private_key_pem.write_to_path(folder / KEY)
    (folder / CERTIFICATE).write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))
    # Last, and whole at once: where it is, the others are.
    draft = folder / f"{AUTHORITY}.draft"
    authority.cert_pem.write_to_path(draft)
    draft.rename(folder / AUTHORITY)
    return True
