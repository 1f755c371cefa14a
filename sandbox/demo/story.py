"""The week of the demo: what the planners and the workers do, step by step."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta, tzinfo
from typing import Any, Final

from sandbox.control import GraphControl
from sandbox.demo.company import (
    ANNA,
    BEN,
    CHLOE,
    CHLOES_NEW_EMAIL,
    DMITRI,
    EWA,
    LONDON,
    SYDNEY,
    Worker,
)
from sandbox.demo.core import CoreControl

MON, TUE, WED, THU, FRI = range(5)
_WEEKS_AHEAD: Final = 6
"""Far beyond the window of 3 weeks."""


@dataclass(frozen=True, slots=True)
class Outside:
    """The systems in which people act: planners in Core, workers in Outlook."""

    core: CoreControl
    graph: GraphControl


@dataclass(frozen=True, slots=True)
class Step:
    """One action of a person."""

    what: str
    act: Callable[[Outside], Awaitable[None]]
    still: str = ""
    """Why the calendars must stay as they are. Empty: the calendars must change."""
    swept: str = ""
    """What the next sweep corrects. The time until then does not count as the latency of a change."""


@dataclass(frozen=True, slots=True)
class Week:
    """A working week, named by its Monday."""

    monday: date

    @classmethod
    def after(cls, now: datetime) -> "Week":
        """Returns the next week, in London. The whole week is in the future and within the window."""
        today = now.astimezone(LONDON).date()
        return cls(today + timedelta(days=7 - today.weekday()))

    def at(self, day: int, hour: int, hours: int, zone: tzinfo = LONDON) -> tuple[datetime, datetime]:
        """Returns the start and end of a job on a day (0: Monday) and hour of the zone."""
        start = datetime.combine(self.monday + timedelta(days=day), time(hour), zone)
        return start, start + timedelta(hours=hours)


def week_of(now: datetime) -> list[Step]:
    """Returns the steps of the week after `now`, in order."""
    week = Week.after(now)
    contoso = job("contoso", week.at(MON, 9, 2), ANNA, what="Annual inspection", client="Contoso", place="Plant 4")
    fabrikam = job("fabrikam", week.at(MON, 13, 3), BEN, what="Pressure test", client="Fabrikam", place="Dock 12")
    woodgrove = job("woodgrove", week.at(WED, 10, 2), ANNA, BEN, what="Crane survey", client="Woodgrove", place="Yard")
    proseware = job(
        "proseware", week.at(TUE, 8, 2, SYDNEY), EWA, what="Lift, 6 months", client="Proseware", place="Head office"
    )
    adatum = job("adatum", week.at(TUE, 15, 2), CHLOE, what="Fire doors", client="Adatum", place="Mill & yard")
    litware = job("litware", week.at(THU, 14, 3), CHLOE, what="Re-visit", client="Litware", place="North tower <L3>")
    humongous = job("humongous", week.at(THU, 9, 4), DMITRI, BEN, what="Boiler", client="Humongous", place="Plant 1")
    later = Week(week.monday + timedelta(weeks=_WEEKS_AHEAD))
    graphic = job("graphic", later.at(MON, 9, 2), ANNA, what="Annual inspection", client="Graphic", place="Press hall")
    return [
        Step("Contoso's job is assigned to Anna, Mon 09:00", lambda o: o.core.add_job(contoso)),
        Step("Fabrikam's job is assigned to Ben, Mon 13:00 in London", lambda o: o.core.add_job(fabrikam)),
        Step("Woodgrove's job is assigned to Anna and Ben, Wed 10:00", lambda o: o.core.add_job(woodgrove)),
        Step("Another site of Core: Proseware's job is assigned to Ewa, Sydney", lambda o: o.core.add_job(proseware)),
        Step("Adatum's job is assigned to Chloë, Tue 15:00 in London", lambda o: o.core.add_job(adatum)),
        Step("Litware's job is assigned to Chloë, Thu 14:00 in London", lambda o: o.core.add_job(litware)),
        Step(
            "The notes of Contoso's job are edited",
            lambda o: o.core.change_job("contoso", notes="Ring the bell twice.\nHard hats & hi-vis <mandatory>."),
        ),
        Step("Contoso's job moves to Tue 14:00", lambda o: o.core.reschedule("contoso", week.at(TUE, 14, 2))),
        Step("Ben is ill: Fabrikam's job is reassigned to Anna", lambda o: o.core.assign("fabrikam", ANNA)),
        Step(
            "Chloë marries: her calendar email changes",
            lambda o: o.core.put_worker(replace(CHLOE, calendar_email=CHLOES_NEW_EMAIL)),
        ),
        Step("Woodgrove's job is cancelled", lambda o: o.core.change_job("woodgrove", status="cancelled")),
        Step("Litware's job is deleted", lambda o: o.core.delete_job("litware")),
        Step("Humongous' job is assigned to Ben, and to Dmitri (no licence)", lambda o: o.core.add_job(humongous)),
        Step("Humongous' job moves to Fri 09:00", lambda o: o.core.reschedule("humongous", week.at(FRI, 9, 4))),
        Step(
            f"Graphic's job is assigned to Anna, {_WEEKS_AHEAD} weeks ahead",
            lambda o: o.core.add_job(graphic),
            still="nothing yet: the job is beyond the window",
        ),
        Step("Woodgrove's job is scheduled again", lambda o: o.core.change_job("woodgrove", status="scheduled")),
        Step(
            "Anna edits Contoso's event by hand",
            lambda o: _edit_by_hand(o, ANNA, "northwind/contoso"),
            swept="anna: the next sweep restores Core's subject",
        ),
        Step(
            "Ben deletes Humongous' event from his calendar",
            lambda o: _delete_by_hand(o, BEN, "northwind/humongous"),
            swept="ben: the next sweep creates it again",
        ),
    ]


async def _edit_by_hand(outside: Outside, worker: Worker, tag: str) -> None:
    await outside.graph.user_edit(worker.calendar_email or "", {"subject": "Lunch with Sam"}, tag=tag)


async def _delete_by_hand(outside: Outside, worker: Worker, tag: str) -> None:
    await outside.graph.user_delete(worker.calendar_email or "", tag=tag)


def job(
    job_id: str, times: tuple[datetime, datetime], *workers: Worker, what: str, client: str, place: str
) -> dict[str, Any]:
    """Returns a job in the form that Core's control endpoints accept. The workers must belong to one site."""
    starts_at, ends_at = times
    return {
        "job_id": job_id,
        "site_id": workers[0].site_id,
        "subject": what,
        "client_name": client,
        "site_name": place,
        "customer_reference": f"PO-{job_id}",
        "contact_name": "Sam O'Neill",
        "contact_mobile": "07700 900123",
        "address": f"{client} Ltd\n12 Station Road\nLeeds\nLS1 4DY",
        "starts_at": starts_at.isoformat(),
        "ends_at": ends_at.isoformat(),
        "workers": [worker.worker_id for worker in workers],
    }
