"""One implementation, two faces: async methods, and the same methods for callers that don't use asyncio.

Everything is written once, as `async def`. On a `Blocking` object, the decorators below run it on an event loop in a
thread of its own, so that it also works where a loop runs already, such as in a notebook.
"""

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from functools import wraps
from typing import Any, Concatenate, Generic, ParamSpec, Self, TypeVar, overload

P = ParamSpec("P")
T = TypeVar("T")


class Portal:
    """An event loop in a thread, which starts with the first call."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine to its end. If the waiting thread is interrupted, cancel it and wait for its clean-up."""
        loop, done, tasks = self._started(), threading.Event(), list[asyncio.Task[T]]()

        def begin() -> None:
            task = loop.create_task(coroutine)
            tasks.append(task)
            task.add_done_callback(lambda _: done.set())

        loop.call_soon_threadsafe(begin)
        try:
            done.wait()
        except BaseException:
            loop.call_soon_threadsafe(lambda: tasks[0].cancel())  # noqa: PLW0108 - there is a task only by then
            done.wait()
            raise
        return tasks[0].result()

    def close(self) -> None:
        """Stop the loop and its thread."""
        with self._lock:
            loop, thread, self._loop, self._thread = self._loop, self._thread, None, None
        if loop and thread:
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()

    def _started(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=self._loop.run_forever, name="switchyard-client", daemon=True)
                self._thread.start()
            return self._loop


class Blocking:
    """Base of the face without asyncio. `asynchronous` is the object that does the work."""

    portal: Portal
    asynchronous: Any


class Method(Generic[P, T]):
    """An async method that blocks on a `Blocking` object."""

    def __init__(self, function: Callable[Concatenate[Any, P], Coroutine[Any, Any, T]]) -> None:
        self._function = function
        self.__doc__, self.__wrapped__ = function.__doc__, function

    @overload
    def __get__(self, instance: None, owner: type) -> Self: ...
    @overload
    def __get__(self, instance: Blocking, owner: type) -> Callable[P, T]: ...
    @overload
    def __get__(self, instance: object, owner: type) -> Callable[P, Coroutine[Any, Any, T]]: ...
    def __get__(self, instance: object, owner: type) -> Any:
        if instance is None:
            return self
        if not isinstance(instance, Blocking):
            return self._function.__get__(instance, owner)
        there = instance

        @wraps(self._function)
        def blocking(*args: P.args, **kwargs: P.kwargs) -> T:
            return there.portal.run(self._function(there.asynchronous, *args, **kwargs))

        return blocking


class Stream(Generic[P, T]):
    """An async generator that is an ordinary one on a `Blocking` object."""

    def __init__(self, function: Callable[Concatenate[Any, P], AsyncGenerator[T, None]]) -> None:
        self._function = function
        self.__doc__, self.__wrapped__ = function.__doc__, function

    @overload
    def __get__(self, instance: None, owner: type) -> Self: ...
    @overload
    def __get__(self, instance: Blocking, owner: type) -> Callable[P, Iterator[T]]: ...
    @overload
    def __get__(self, instance: object, owner: type) -> Callable[P, AsyncGenerator[T, None]]: ...
    def __get__(self, instance: object, owner: type) -> Any:
        if instance is None:
            return self
        if not isinstance(instance, Blocking):
            return self._function.__get__(instance, owner)
        there = instance

        @wraps(self._function)
        def blocking(*args: P.args, **kwargs: P.kwargs) -> Iterator[T]:
            source = self._function(there.asynchronous, *args, **kwargs)

            async def following() -> T:
                return await anext(source)

            try:
                while True:
                    try:
                        item = there.portal.run(following())
                    except StopAsyncIteration:
                        return
                    yield item
            finally:
                there.portal.run(source.aclose())

        return blocking
