"""Which mailboxes of a site are probed after a refusal of one."""

from consumer.sync.neighbours import ANSWERED, ASKED, OTHERS, Neighbours


def test_those_that_answered_most_recently_are_asked_first() -> None:
    neighbours = Neighbours()
    for address in ("a", "b", "c", "d", "a"):
        neighbours.answered(address)
    assert neighbours.besides("d") == ["a", "c", "b"]
    assert neighbours.besides("x") == ["a", "d", "c"]


def test_one_that_is_refused_is_asked_after_all_that_answered() -> None:
    neighbours = Neighbours()
    neighbours.answered("a")
    neighbours.answered("b")
    neighbours.refused("b")
    neighbours.met("c")
    assert neighbours.besides("") == ["a", "c", "b"]
    assert [neighbours.has_answered(address) for address in ("a", "b", "c")] == [True, False, False]
    neighbours.met("a")
    assert neighbours.has_answered("a")


def test_a_site_of_any_size_costs_the_memory_of_a_few_addresses() -> None:
    neighbours = Neighbours()
    for number in range(1000):
        neighbours.answered(f"answered-{number}")
        neighbours.refused(f"refused-{number}")
        neighbours.met(f"met-{number}")
    assert len(neighbours._answered) == ANSWERED
    assert (len(neighbours._refused), len(neighbours._untried)) == (OTHERS, OTHERS)
    assert neighbours.besides("") == ["answered-999", "answered-998", "answered-997"]


def test_every_address_known_has_its_turn_in_the_probes_of_a_suspended_site() -> None:
    neighbours = Neighbours()
    known = {f"{number}" for number in range(ANSWERED)}
    for address in sorted(known):
        neighbours.answered(address)
    probes = [neighbours.to_probe() for _ in range(ANSWERED)]
    assert set().union(*probes) == known
    assert max(map(len, probes)) == 2 * ASKED
