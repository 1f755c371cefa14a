"""The week: what the planners do, step after step."""

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
    """Where people act: planners in Core, workers in Outlook."""

    core: CoreControl
    graph: GraphControl


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that somebody does."""

    what: str
    act: Callable[[Outside], Awaitable[None]]
    still: str = ""
    """Why the calendars must stay as they are; empty: they must follow."""
    swept: str = ""
    """What the sweep puts right: that takes as long as the next sweep does, and is not a change's latency."""


@dataclass(frozen=True, slots=True)
class Week:
    """A working week, named by its Monday."""

    monday: date

    @classmethod
    def after(cls, now: datetime) -> "Week":
        """The next one, in London: all of it is to come, and all of it within the window."""
        today = now.astimezone(LONDON).date()
        return cls(today + timedelta(days=7 - today.weekday()))

    def at(self, day: int, hour: int, hours: int, zone: tzinfo = LONDON) -> tuple[datetime, datetime]:
        """Start and end of a job on a day (0: Monday) and hour of the zone."""
        start = datetime.combine(self.monday + timedelta(days=day), time(hour), zone)
        return start, start + timedelta(hours=hours)


def week_of(now: datetime) -> list[Step]:
    """The steps of the week after `now`, in their order."""
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
        Step("Fabrikam's to Ben, Mon 13:00 in London", lambda o: o.core.add_job(fabrikam)),
        Step("Woodgrove's to both, Wed 10:00", lambda o: o.core.add_job(woodgrove)),
        Step("Another customer of Core: Proseware's to Ewa, in Sydney", lambda o: o.core.add_job(proseware)),
        Step("Adatum's to Chloë, Tue 15:00 in London", lambda o: o.core.add_job(adatum)),
        Step("Litware's to Chloë, Thu 14:00 in London", lambda o: o.core.add_job(litware)),
        Step(
            "Contoso asks for something: the notes are edited",
            lambda o: o.core.change_job("contoso", notes="Ring the bell twice.\nHard hats & hi-vis <mandatory>."),
        ),
        Step("Contoso is rescheduled to Tue 14:00", lambda o: o.core.reschedule("contoso", week.at(TUE, 14, 2))),
        Step("Ben is ill on Monday: Fabrikam's is Anna's now", lambda o: o.core.assign("fabrikam", ANNA)),
        Step(
            "Chloë marries: her calendar email changes",
            lambda o: o.core.put_worker(replace(CHLOE, calendar_email=CHLOES_NEW_EMAIL)),
        ),
        Step("Woodgrove cancels", lambda o: o.core.change_job("woodgrove", status="cancelled")),
        Step("Litware's job is deleted", lambda o: o.core.delete_job("litware")),
        Step("Humongous' is for Ben, and Dmitri without a licence", lambda o: o.core.add_job(humongous)),
        Step("Humongous' moves to Fri 09:00", lambda o: o.core.reschedule("humongous", week.at(FRI, 9, 4))),
        Step(
            f"Graphic's is assigned to Anna, {_WEEKS_AHEAD} weeks ahead",
            lambda o: o.core.add_job(graphic),
            still="nothing yet: it is beyond the window",
        ),
        Step("Woodgrove comes back", lambda o: o.core.change_job("woodgrove", status="scheduled")),
        Step(
            "Anna edits Contoso's event by hand",
            lambda o: _edit_by_hand(o, ANNA, "northwind/contoso"),
            swept="anna: the next sweep makes it Core's again",
        ),
        Step(
            "Ben deletes Humongous' event from his calendar",
            lambda o: _delete_by_hand(o, BEN, "northwind/humongous"),
            swept="ben: the next sweep makes it again",
        ),
    ]


async def _edit_by_hand(outside: Outside, worker: Worker, tag: str) -> None:
    await outside.graph.user_edit(worker.calendar_email or "", {"subject": "Lunch with Sam"}, tag=tag)


async def _delete_by_hand(outside: Outside, worker: Worker, tag: str) -> None:
    await outside.graph.user_delete(worker.calendar_email or "", tag=tag)


def job(
    job_id: str, times: tuple[datetime, datetime], *workers: Worker, what: str, client: str, place: str
) -> dict[str, Any]:
    """A job as Core's control endpoints take it; the workers are of one site."""
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
