"""Sites that Entra or Graph refuse: reported with a hint for their administrators, without effect on other sites, and
served again after a repair without a restart."""

import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from sandbox.control import Secret
from sandbox.oracle import expect
from sandbox.stack import SECRET, Service
from tests.company import ROLES, Company, eventually, now

WRONG_TENANT = "tenant-of-nobody"
WRONG_APP = "app-of-nobody"

Step = Callable[[Company], Awaitable[None]]


async def expire_the_secret(company: Company) -> None:
    expired = Secret(SECRET, expires=(now() - timedelta(days=1)).timestamp())
    await company.graph.add_app(company.sites[0].tenant_id, company.sites[0].client_id, [expired])


async def renew_the_secret(company: Company) -> None:
    first, second = company.sites
    await company.graph.add_app(first.tenant_id, first.client_id, [Secret("renewed")])
    company.stack.write_sites([replace(first, client_secret="renewed"), second])


async def paste_the_secrets_id(company: Company) -> None:
    first, second = company.sites
    await company.graph.add_app(first.tenant_id, first.client_id, [Secret(SECRET, id="a-secret-id")])
    company.stack.write_sites([replace(first, client_secret="a-secret-id"), second])


async def mistype_the_tenant(company: Company) -> None:
    text = company.stack.sites_file.read_text()
    company.stack.sites_file.write_text(text.replace(f'"{company.sites[0].tenant_id}"', f'"{WRONG_TENANT}"'))


async def mistype_the_app(company: Company) -> None:
    text = company.stack.sites_file.read_text()
    company.stack.sites_file.write_text(text.replace(f'"{company.sites[0].client_id}"', f'"{WRONG_APP}"'))


async def write_the_sites_file_anew(company: Company) -> None:
    company.stack.write_sites(company.sites)


def consent_to(*roles: str) -> Step:
    async def consent(company: Company) -> None:
        await company.graph.add_app(company.sites[0].tenant_id, company.sites[0].client_id, roles=roles)

    return consent


def refuse_tokens_without_roles(status: int) -> Step:
    """Unconfirmed: that Graph distinguishes tokens without roles from tokens with too few roles."""

    async def refuse(company: Company) -> None:
        await company.graph.set_switches(no_roles_code="NoPermissionsInAccessToken", no_roles_status=status)
        await consent_to()(company)

    return refuse


async def consent_and_write_the_sites_file_anew(company: Company) -> None:
    await consent_to(*ROLES)(company)
    # Changing a comment is enough: this is how an administrator has the site tried at once.
    company.stack.sites_file.write_text(f"# consented\n{company.stack.sites_file.read_text()}")


async def block_every_mailbox(company: Company) -> None:
    await set_states(company, "policy-blocked")


async def unblock_every_mailbox(company: Company) -> None:
    await set_states(company, "ok")
    company.stack.sites_file.write_text(f"# unblocked\n{company.stack.sites_file.read_text()}")


async def set_states(company: Company, state: str) -> None:
    tenant = company.sites[0].tenant_id
    for address in await company.graph.events(tenant=tenant):
        await company.graph.set_mailbox(tenant, address, state=state)


async def suspended(company: Company, service: Service) -> None:
    async def is_down() -> bool:
        up = [await company.metric(service, f'calsync_site_up{{site="{site.site_id}"}}') for site in company.sites]
        return up == [0, 1]

    await eventually(is_down, "the site, and it alone, is suspended")


@pytest.mark.parametrize(
    ("spoil", "mend", "code", "hint"),
    [
        pytest.param(
            expire_the_secret,
            renew_the_secret,
            "AADSTS7000222",
            "create a new one in the app registration (Certificates & secrets) and put its value into the sites file",
            id="expired secret",
        ),
        pytest.param(
            paste_the_secrets_id,
            renew_the_secret,
            "AADSTS7000215",
            "put the secret's Value, not its Secret ID, into the sites file",
            id="the Secret ID for its Value",
        ),
        pytest.param(
            mistype_the_tenant,
            write_the_sites_file_anew,
            "AADSTS90002",
            "check tenant_id in the sites file",
            id="unknown tenant",
        ),
        pytest.param(
            mistype_the_app,
            write_the_sites_file_anew,
            "AADSTS700016",
            "check client_id and tenant_id, and that an administrator of the tenant has granted consent to the app",
            id="unknown app",
        ),
        pytest.param(
            consent_to(),
            consent_and_write_the_sites_file_anew,
            "ErrorAccessDenied",
            "grant admin consent for Calendars.ReadWrite and MailboxSettings.Read to the app registration",
            id="no consent",
        ),
        pytest.param(
            refuse_tokens_without_roles(403),
            consent_and_write_the_sites_file_anew,
            "NoPermissionsInAccessToken",
            "grant admin consent for Calendars.ReadWrite and MailboxSettings.Read to the app registration",
            id="no consent, answered as 403 by a code of its own",
        ),
        pytest.param(
            refuse_tokens_without_roles(401),
            consent_and_write_the_sites_file_anew,
            "NoPermissionsInAccessToken",
            "grant admin consent for Calendars.ReadWrite and MailboxSettings.Read to the app registration",
            id="no consent, answered as 401",
        ),
        pytest.param(
            consent_to("Calendars.ReadWrite"),
            consent_and_write_the_sites_file_anew,
            "ErrorAccessDenied",
            "MailboxSettings.Read",
            id="no consent to read mailbox settings",
        ),
        pytest.param(
            consent_to("MailboxSettings.Read"),
            consent_and_write_the_sites_file_anew,
            "ErrorAccessDenied",
            "Calendars.ReadWrite",
            id="no consent to write calendars",
        ),
        pytest.param(
            block_every_mailbox,
            unblock_every_mailbox,
            "ErrorAccessDenied",
            "application access policy",
            id="access policy on every mailbox",
        ),
    ],
)
async def test_a_refused_site_is_reported_with_its_hint_and_served_once_repaired(
    company: Company, spoil: Step, mend: Step, code: str, hint: str
) -> None:
    changes = company.generate(workers=4, jobs=3)
    await company.open_mailboxes()
    await company.give_core_the_schedule()
    company.stack.write_sites(company.sites)
    await spoil(company)
    company.publish(changes)
    service = await company.start()
    await company.consumed()
    await suspended(company, service)
    wrong = await company.differences()
    assert wrong
    assert all(": site-1/" in line for line in wrong)
    [logged] = [line for line in service.process.log.read_text().splitlines() if '"site suspended"' in line]
    assert '"site": "site-1"' in logged
    assert code in logged
    assert hint in logged
    swept = await company.sweep()
    assert swept.status == 1
    assert code in swept.sites["site-1"]["failure"]
    assert hint in swept.sites["site-1"]["failure"]
    assert swept.sites["site-2"]["failure"] is None
    await mend(company)
    await company.equal(within=20)
    await company.judge()


async def test_a_mailbox_outside_the_access_policy_is_parked_alone_and_tried_again_hourly(company: Company) -> None:
    company.publish(company.generate(workers=4, jobs=3))
    await company.open_mailboxes()
    await company.give_core_the_schedule()
    tenant = company.sites[0].tenant_id
    blocked = min(expect(company.schedule, now()).mailboxes)
    await company.graph.set_mailbox(tenant, blocked, state="policy-blocked")
    service = await company.start()
    await company.consumed()
    company.parked.add(blocked)
    await company.equal()
    [parked] = json.loads((await company.command("mailbox", "list", "--json")).stdout)["parked"]
    assert (parked["mailbox"], parked["hourly"], parked["code"]) == (blocked, True, "ErrorAccessDenied")
    assert await company.metric(service, 'calsync_site_up{site="site-1"}') == 1
    company.parked.clear()
    await company.graph.set_mailbox(tenant, blocked, state="ok")
    assert (await company.command("mailbox", "enable", blocked)).returncode == 0
    await company.judge()
