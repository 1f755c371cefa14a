"""The company at Microsoft: its tenants, the service's app in each, and the mailboxes."""

from sandbox.control import GraphControl, Mailbox, Secret
from sandbox.demo.company import MAILBOXES, SITES


async def found_tenants(graph: GraphControl) -> list[str]:
    """Creates the tenants that the sandbox's Graph lacks, with everything in them, and returns their ids.

    Existing tenants stay as they are.
    """
    there = await graph.tenants()
    missing = [site for site in SITES if site.tenant_id not in there]
    for site in missing:
        mine = [mailbox for mailbox in MAILBOXES if mailbox.site_id == site.site_id]
        mailboxes = [Mailbox(each.address, state=each.state, time_zone=each.windows_zone) for each in mine]
        await graph.add_tenant(site.tenant_id)
        await graph.add_app(site.tenant_id, site.client_id, secrets=[Secret(site.client_secret)])
        await graph.add_mailboxes(site.tenant_id, mailboxes)
    return [site.tenant_id for site in missing]
