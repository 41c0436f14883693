import threading

import zmq

from drivers.mailbox import Mailbox


def test_what_is_posted_from_another_thread_wakes_a_poller():
    mailbox = Mailbox()
    poller = zmq.Poller()
    poller.register(mailbox, zmq.POLLIN)
    assert poller.poll(0) == []
    thread = threading.Thread(target=lambda: [mailbox.post(number) for number in range(3)])
    thread.start()
    assert poller.poll(20_000)
    thread.join()
    assert list(mailbox.take()) == [0, 1, 2]
    assert poller.poll(0) == []
    mailbox.close()


def test_more_than_the_pipe_holds_is_not_lost():
    mailbox = Mailbox()
    for number in range(5000):
        mailbox.post(number)
    assert list(mailbox.take()) == list(range(5000))
    mailbox.close()


def test_waiting_ends_without_anything():
    mailbox = Mailbox()
    assert mailbox.wait(0.001) is None
    mailbox.post("x")
    assert mailbox.wait(0.001) == "x"
    mailbox.close()
    mailbox.post("nobody polls any more")
