import pytest

from drivers.contract.errors import WireError
from drivers.contract.messages import Hello
from drivers.flow import Subscription
from drivers.roster import MOST_CLIENTS, Roster


def let_in(roster, identity, *, now_s=0.0, **hello):
    return roster.let_in(identity, Hello(client="test", **hello), now_s)[0]


def subscribe(roster, client, acknowledged):
    roster.subscribe(client, b"data", Subscription(credits=4, sent=99, acknowledged=acknowledged))


def test_the_first_that_asks_controls_and_the_next_reads():
    roster = Roster()
    assert let_in(roster, b"a").role == "controller"
    assert let_in(roster, b"b").role == "reader"
    assert let_in(roster, b"c", role="reader").role == "reader"


def test_control_is_free_again_when_its_holder_leaves():
    roster = Roster()
    roster.leave(let_in(roster, b"a"))
    assert let_in(roster, b"b").role == "controller"


def test_one_who_comes_on_a_new_connection_takes_its_own_control_along():
    roster = Roster()
    before = let_in(roster, b"a")
    after = let_in(roster, b"b", replaces=before.token)
    assert after.role == "controller"
    assert [client.control for client in roster] == [b"b"]


def test_a_guessed_token_takes_nothing():
    roster = Roster()
    let_in(roster, b"a")
    assert let_in(roster, b"b", replaces="guessed").role == "reader"


def test_a_token_is_of_no_use_without_the_key_that_it_was_given_to():
    roster = Roster()
    before = roster.let_in(b"a", Hello(client="test"), 0.0, "its key")[0]
    thief = roster.let_in(b"b", Hello(client="test", replaces=before.token), 0.0, "another key")[0]
    assert thief.role == "reader"
    with pytest.raises(WireError, match="does not know the token"):
        roster.holder(before.token, 0.0, "another key")
    assert roster.holder(before.token, 0.0, "its key") is before
    after = roster.let_in(b"c", Hello(client="test", replaces=before.token), 0.0, "its key")[0]
    assert after.role == "controller"


def test_as_many_are_let_in_as_may_be_and_not_one_more():
    roster = Roster()
    for number in range(MOST_CLIENTS):
        let_in(roster, b"%d" % number)
    with pytest.raises(WireError, match=f"{MOST_CLIENTS} clients are here"):
        let_in(roster, b"one more")
    assert let_in(roster, b"7").role == "reader", "who is in already may say hello again"


def test_the_best_version_that_both_speak_is_taken():
    assert Roster().let_in(b"a", Hello(client="x", versions=(7, 1)), 0.0)[1] == 1
    with pytest.raises(WireError, match="the client 7"):
        Roster().let_in(b"a", Hello(client="x", versions=(7,)), 0.0)


def test_who_is_silent_is_forgotten():
    roster = Roster()
    let_in(roster, b"a", now_s=0.0)
    let_in(roster, b"b", now_s=9.0)
    roster.forget_silent(since_s=5.0)
    assert [client.control for client in roster] == [b"b"]
    with pytest.raises(WireError, match="does not know the sender"):
        roster.sender(b"a", 10.0)


def test_the_controller_paces_and_readers_do_not():
    roster = Roster()
    subscribe(roster, let_in(roster, b"a"), 3)
    subscribe(roster, let_in(roster, b"b"), 7)
    assert roster.pace() == 3


def test_without_a_controller_the_fastest_reader_paces():
    roster = Roster()
    for identity, acknowledged in ((b"a", 3), (b"b", 7)):
        subscribe(roster, let_in(roster, identity, role="reader"), acknowledged)
    assert roster.pace() == 7


def test_after_a_controller_vanished_nobody_paces_until_it_is_back():
    roster = Roster()
    controller = let_in(roster, b"a")
    subscribe(roster, controller, 3)
    subscribe(roster, let_in(roster, b"b", role="reader"), 7)
    roster.forget(controller)
    assert roster.pace() is None
    back = let_in(roster, b"c")
    subscribe(roster, back, 4)
    assert roster.pace() == 4
    roster.leave(back)
    assert roster.pace() == 7


def test_nobody_paces_where_nobody_is():
    assert Roster().pace() is None


def test_control_passes_on_from_one_whose_welcome_was_lost():
    roster = Roster()
    let_in(roster, b"a", now_s=0.0)
    assert let_in(roster, b"b", now_s=1.5).role == "controller"
    assert [client.control for client in roster] == [b"b"]


def test_control_stays_with_one_that_has_its_welcome():
    roster = Roster()
    let_in(roster, b"a")
    roster.sender(b"a", 0.1)
    assert let_in(roster, b"b", now_s=1.5).role == "reader"
