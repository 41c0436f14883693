import asyncio

from agent.companions import keep_going


async def test_a_companion_that_fails_is_named_and_begun_again():
    told, begun = [], []

    async def companion():
        begun.append(len(begun))
        if len(begun) < 4:
            raise OSError("the terminal is gone")

    await keep_going("the console", companion, lambda *what: told.append(what), (0.0,))
    assert len(begun) == 4
    assert told == [("the console", "OSError: the terminal is gone")] * 3


async def test_it_ends_when_it_is_cancelled():
    task = asyncio.create_task(keep_going("x", asyncio.Event().wait, lambda *what: None))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert task.cancelled()
