"""https for the sandbox's Graph: a certificate authority, and a certificate that it signs."""

from pathlib import Path

import trustme

AUTHORITY = "ca.pem"
CERTIFICATE = "graph.pem"
KEY = "graph.key"


def issue(folder: Path, names: list[str], authority: trustme.CA | None = None) -> bool:
    """Writes the three files for a server with these names, unless they exist. Returns whether it wrote them.

    Without `authority`, a new authority signs. Its own key is not stored, so it never signs anything else.
    """
    if (folder / AUTHORITY).exists():
        return False
    authority = authority or trustme.CA()
    issued = authority.issue_cert(*names)
    (folder / KEY).touch(mode=0o600)
    issued.private_key_pem.write_to_path(folder / KEY)
    (folder / CERTIFICATE).write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))
    # The authority's file comes last, by a rename. So if it exists, the other two are complete.
    draft = folder / f"{AUTHORITY}.draft"
    authority.cert_pem.write_to_path(draft)
    draft.rename(folder / AUTHORITY)
    return True
