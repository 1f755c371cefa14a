"""Every answer that a proxy or an ingress gives in place of Graph, before and after each kind of write."""

from tests.company import Company
from tests.integration.test_foreign_answers import ANSWERS, strike_each_write


async def test_no_answer_in_place_of_graphs_makes_a_second_event_or_loses_one(company: Company) -> None:
    await strike_each_write(company, ANSWERS)
