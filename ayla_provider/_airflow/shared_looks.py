"""One look for many waits: those of one connection in a triggerer list the bucket together."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import Context, copy_context
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, TypeVar
from weakref import WeakKeyDictionary

from asgiref.sync import sync_to_async

if TYPE_CHECKING:
    from ayla_provider.domain.hour import ExportHour
    from ayla_provider.source.export import Export
    from ayla_provider.source.wait import Look

T = TypeVar("T")

GATHERING = 0.5
"""Seconds from a wait's question to the look, for the questions of other waits to come in."""


@dataclass(frozen=True, slots=True, eq=False)
class _Question:
    """What a wait wants to know now."""

    hours: list[ExportHour]
    quiet_period: timedelta | None
    patience: timedelta | None
    context: Context
    """Of the wait, so that the log of its task has what concerns it."""
    answer: asyncio.Future[Look]

    @property
    def order(self) -> tuple[str, ExportHour, ExportHour]:
        """The earliest hours first: then the listing of a look has what the following ones need."""
        return self.hours[0].event_type, self.hours[0], self.hours[-1]


class SharedLooks:
    """
    The looks of one connection's waits in one event loop.

    All waits with the same interval look at the same times. They share what is listed then, and nothing else: each has
    hours and a rule of its own, and gets an answer or an error of its own. A wait that ends doesn't end the look of the
    others.

    All of it happens in one thread, which other connections don't use, so a cloud that doesn't answer holds up no other
    connection. Nothing is kept between two looks but the export, which is that of the newest wait: it read the
    connection last.

    Enter it with :func:`shared_looks`.
    """

    def __init__(self, conn_id: str) -> None:
        self.waits = 0
        self._executor = ThreadPoolExecutor(1, f"ayla-wait-{conn_id}")
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()
        self._export: Export
        self._questions: list[_Question] = []
        self._looking: asyncio.Task[None] | None = None

    async def join(self, open_export: Callable[[], Export]) -> Export:
        """
        Return the export of a new wait, which the others use from now on.

        :param open_export: reads the connection; called in the thread
        """

        def opened() -> Export:
            self._export = open_export()
            return self._export

        return await self._in_thread(opened)

    async def look(self, hours: list[ExportHour], quiet_period: timedelta | None, patience: timedelta | None) -> Look:
        """
        Return the result of the next look.

        :param hours: consecutive hours of one event type
        :param quiet_period: None for the connection's
        :param patience: None for the connection's
        :raises Exception: see :func:`ayla_provider.source.wait.look`
        """
        question = _Question(hours, quiet_period, patience, copy_context(), self._loop.create_future())
        self._questions.append(question)
        if self._looking is None or self._looking.done():
            # In a context of its own: what concerns all waits isn't for the log of the first one.
            self._looking = self._loop.create_task(self._answer_all(), context=Context())
        return await question.answer

    def pause(self, interval: float) -> float:
        """Return the seconds until all waits with an interval look again."""
        return interval - (self._loop.time() - self._began) % interval if interval > 0 else 0.0

    def close(self) -> None:
        """Free the thread. A look that is going on ends, and nobody gets its result."""
        self._executor.shutdown(wait=False)

    async def _answer_all(self) -> None:
        while self._questions:
            await asyncio.sleep(GATHERING)
            questions, self._questions = self._questions, []
            questions = [question for question in questions if not question.answer.done()]
            if not questions:
                continue
            try:
                await self._in_thread(partial(self._answer, questions))
            except Exception as error:  # noqa: BLE001 - each wait decides what an error means
                for question in questions:
                    _deliver(question, error)

    def _answer(self, questions: list[_Question]) -> None:
        """Look for some waits, in the thread."""
        from ayla_provider.source.shared_listings import SharedListings

        export = self._export
        try:
            with export.standing_still(SharedListings(export.source)):
                for question in sorted(questions, key=lambda question: question.order):
                    if not question.answer.done():
                        self._loop.call_soon_threadsafe(_deliver, question, _answer_to(question, export))
        finally:
            # Open until the next look, the connections of many exports would exceed the limit of open files.
            export.source.close()

    async def _in_thread(self, function: Callable[[], T]) -> T:
        # Not asyncio.to_thread: in its threads, Airflow 3.1 can't reach connections and variables.
        call = sync_to_async(function, thread_sensitive=False, executor=self._executor)
        return await call()


def _answer_to(question: _Question, export: Export) -> Look | Exception:
    from ayla_provider.source.wait import look

    rule = export.rule.override(question.quiet_period, question.patience)
    try:
        return question.context.run(look, export, question.hours, rule)
    except Exception as error:  # noqa: BLE001 - the wait decides what an error means
        return error


def _deliver(question: _Question, result: Look | Exception) -> None:
    if question.answer.done():
        # The wait has ended.
        return
    if isinstance(result, Exception):
        question.answer.set_exception(result)
    else:
        question.answer.set_result(result)


_LOOKS: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, SharedLooks]] = WeakKeyDictionary()
_LOOKS_LOCK = threading.Lock()


@contextlib.contextmanager
def shared_looks(conn_id: str) -> Iterator[SharedLooks]:
    """Give a wait the looks of its connection in this event loop. They end with the last wait."""
    loop = asyncio.get_running_loop()
    with _LOOKS_LOCK:
        of_loop = _LOOKS.setdefault(loop, {})
    if conn_id not in of_loop:
        of_loop[conn_id] = SharedLooks(conn_id)
    looks = of_loop[conn_id]
    looks.waits += 1
    try:
        yield looks
    finally:
        looks.waits -= 1
        if not looks.waits:
            del of_loop[conn_id]
            looks.close()
