"""One child process that computes for pages, and the thread that talks to it. No torch here.

A page asks and gets an answer at once: the result if it is known, else "not ready" while the child works. The child
starts with the first question, ends after ten minutes without one, with the app (its standard input closes), and is
started again when it has crashed.
"""

from __future__ import annotations

import os
import select
import struct
import subprocess
import sys
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from core.jobs.packing import unpack

PROJECT = Path(__file__).resolve().parents[2]
COMMAND = (sys.executable, "-m", "core.jobs.aside_child")
IDLE = 600.0  # seconds without a question after which the child ends
PATIENCE = 180.0  # seconds for one answer, loading torch on a busy machine included
MOST_WAITING = 32  # questions; beyond, the oldest is dropped, and its page asks again while it is looked at
MOST_ANSWERS, MOST_BYTES = 512, 128 << 20  # kept
BELIEVED = 60.0  # seconds for which a problem is believed before the question is asked anew
LARGEST = 64 << 20  # bytes of a question or an answer
LOOK = 0.2  # seconds between looks at whether to end, while an answer is waited for
REAP = 5.0  # seconds between looks at whether an idle child has died


@dataclass(frozen=True)
class Answer:
    """What is known now. problem: one sentence, "" where there is none; value is None unless ready and no problem."""

    ready: bool
    value: Any = None
    problem: str = ""


@dataclass(frozen=True)
class Question:
    """key: names the answer. data: bytes of core.jobs.packing for the child. read: the answer's header and arrays to
    the value. home: where the child's log lies, logs/aside.log. urgent: answered before all others."""

    key: str
    data: bytes
    read: Callable[[dict[str, Any], dict[str, np.ndarray]], Any]
    home: Path
    urgent: bool = False


class GoneError(RuntimeError):
    """The child gave no answer; the text says why."""


class StoppedError(RuntimeError):
    """The service ends."""


class Child:
    """The process and its pipes; used by one thread. Messages are 8 bytes of length, then the message."""

    def __init__(self, command: tuple[str, ...], home: Path) -> None:
        log = home / "logs" / "aside.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as errors:
            self.process = subprocess.Popen(
                command,
                cwd=PROJECT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                bufsize=0,
                start_new_session=True,  # no signal meant for the app reaches it
            )
        if self.process.stdin is None or self.process.stdout is None:
            raise OSError("the child has no pipes")
        self._in, self._out = self.process.stdin, self.process.stdout
        os.set_blocking(self._in.fileno(), False)

    def ask(self, data: bytes, patience: float, stopped: Callable[[], bool]) -> bytes:
        """The answer to one question; GoneError or StoppedError without one."""
        deadline = time.monotonic() + patience
        self._write(struct.pack(">Q", len(data)) + data, deadline, stopped)
        (length,) = struct.unpack(">Q", self._read(8, deadline, stopped))
        if length > LARGEST:
            raise GoneError("it gave an answer that is too large")
        return self._read(length, deadline, stopped)

    def end(self) -> None:
        """End the process, by closing its input first, and leave neither a zombie nor an open pipe."""
        self._in.close()
        try:
            self.process.wait(2)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._out.close()

    def _write(self, data: bytes, deadline: float, stopped: Callable[[], bool]) -> None:
        left = memoryview(data)
        while left:
            if self._ready(self._in.fileno(), select.POLLOUT, deadline, stopped):
                try:
                    left = left[os.write(self._in.fileno(), left[: 1 << 16]) :]
                except BlockingIOError:
                    continue
                except BrokenPipeError:
                    raise GoneError(self._ended()) from None

    def _read(self, size: int, deadline: float, stopped: Callable[[], bool]) -> bytes:
        data = bytearray()
        while len(data) < size:
            if self._ready(self._out.fileno(), select.POLLIN, deadline, stopped):
                piece = os.read(self._out.fileno(), min(size - len(data), 1 << 20))
                if not piece:
                    raise GoneError(self._ended())
                data += piece
        return bytes(data)

    def _ready(self, pipe: int, event: int, deadline: float, stopped: Callable[[], bool]) -> bool:
        if stopped():
            raise StoppedError
        if time.monotonic() > deadline:
            self.process.kill()
            raise TimeoutError
        poll = select.poll()
        poll.register(pipe, event)
        return bool(poll.poll(1000 * LOOK))

    def _ended(self) -> str:
        try:
            code = self.process.wait(2)
        except subprocess.TimeoutExpired:
            return "it closed its pipes"
        return f"signal {-code}" if code < 0 else f"exit status {code}"


class Aside:
    """Questions to one child, answers kept by key. ask never waits for the child."""

    def __init__(
        self,
        command: tuple[str, ...] = COMMAND,
        idle: float = IDLE,
        patience: float = PATIENCE,
        waiting: int = MOST_WAITING,
    ) -> None:
        self.command, self.idle, self.patience = command, idle, patience
        self.child: Child | None = None  # only the thread touches it
        self._changed = threading.Condition()
        self._waiting: deque[Question] = deque(maxlen=waiting)
        self._computing = ""  # key
        self._answers: OrderedDict[str, tuple[Answer, float, int]] = OrderedDict()  # with its time, and bytes
        self._bytes = 0
        self._thread: threading.Thread | None = None
        self._stop = False

    def ask(self, question: Question) -> Answer:
        """The answer if it is known; else it is worked on, and Answer(ready=False) comes back."""
        if len(question.data) > LARGEST:
            return Answer(
                True, problem=f"The images are larger than the {LARGEST >> 20} MiB that are computed at once."
            )
        with self._changed:
            known = self._known(question.key)
            if known is not None:
                return known
            if question.key != self._computing and all(one.key != question.key for one in self._waiting):
                if question.urgent:
                    self._waiting.appendleft(question)  # when full, what was asked last is dropped for it
                else:
                    self._waiting.append(question)
                self._changed.notify_all()
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="aside", daemon=True)
                self._thread.start()
        return Answer(False)

    def close(self) -> None:
        """End child and thread; what waits is dropped. The next question starts both again."""
        with self._changed:
            thread = self._thread
            self._stop = True
            self._waiting.clear()
            self._changed.notify_all()
        if thread is not None:
            thread.join(timeout=10)
        with self._changed:
            self._stop = False

    def _known(self, key: str) -> Answer | None:
        if key not in self._answers:
            return None
        answer, given, _ = self._answers[key]
        if answer.problem and time.monotonic() - given > BELIEVED:
            self._forget(key)
            return None
        self._answers.move_to_end(key)
        return answer

    def _keep(self, key: str, answer: Answer, size: int) -> None:
        with self._changed:
            self._computing = ""
            self._answers[key] = (answer, time.monotonic(), size)
            self._bytes += size
            while len(self._answers) > MOST_ANSWERS or (self._bytes > MOST_BYTES and len(self._answers) > 1):
                self._forget(next(iter(self._answers)))

    def _forget(self, key: str) -> None:
        self._bytes -= self._answers.pop(key)[2]

    # --- the thread -------------------------------------------------------------------------------------------
    def _run(self) -> None:
        try:
            while self._more():
                self._serve()
                self._drop_child()
        except BaseException:
            self._drop_child()
            with self._changed:
                self._thread, self._computing = None, ""
            raise

    def _more(self) -> bool:
        """Whether the thread goes on; where not, `ask` starts another."""
        with self._changed:
            self._computing = ""
            if self._waiting and not self._stop:
                return True
            self._thread = None
            return False

    def _serve(self) -> None:
        """Answer until nothing has been asked for long, or the service ends."""
        while (question := self._next()) is not None:
            try:
                self._keep(question.key, *self._answer(question))
            except StoppedError:
                return

    def _next(self) -> Question | None:
        """The next question; None when it is time to end."""
        until = time.monotonic() + self.idle
        with self._changed:
            while not self._waiting:
                left = until - time.monotonic()
                if self._stop or left <= 0:
                    return None
                self._changed.wait(min(left, REAP))
                if self.child is not None and self.child.process.poll() is not None:
                    self._drop_child()
            question = self._waiting.popleft()
            self._computing = question.key
            return question

    def _answer(self, question: Question) -> tuple[Answer, int]:
        """The answer, and the bytes that it came as."""
        why = ""
        for _ in range(2):  # a crash may have been about something else, such as memory that another took
            try:
                if self.child is None:
                    self.child = Child(self.command, question.home)
                data = self.child.ask(question.data, self.patience, lambda: self._stop)
                header, arrays = unpack(data)
                problem = str(header.get("problem") or "")
                answer = Answer(True, problem=problem) if problem else Answer(True, question.read(header, arrays))
                return answer, len(data)
            except GoneError as error:
                why = f"ended ({error})"
            except TimeoutError:
                self._drop_child()
                why = f"It took longer than {self.patience:.0f} s; reload the page to try again."
                return Answer(True, problem=why), 0
            except (OSError, ValueError, LookupError, TypeError) as error:
                why = f"could not be asked ({type(error).__name__}: {error})"
            self._drop_child()
        why = f"The process that computes {why}, twice; its log is logs/aside.log in the home."
        return Answer(True, problem=why), 0

    def _drop_child(self) -> None:
        if self.child is not None:
            self.child.end()
            self.child = None
