"""Sites: the customers of Core, each with its own Entra tenant."""

from dataclasses import dataclass, field
from datetime import date


@dataclass(frozen=True, slots=True)
class Site:
    """One customer as the sites file describes it."""

    site_id: str
    name: str
    timezone: str
    """IANA."""
    tenant_id: str
    client_id: str
    client_secret: str = field(repr=False)
    client_secret_expires: date | None = None

    @property
    def app(self) -> str:
        """What Graph's limits are counted by, besides the mailbox: two sites may share it."""
        return f"{self.tenant_id}/{self.client_id}"
