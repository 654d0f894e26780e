"""The errors of console commands, with the program's exit code."""

from __future__ import annotations


class ConsoleError(Exception):
    """A command failed; has a sentence for the operator and the exit code."""

    def __init__(self, sentence: str, code: int = 3) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.code = code


class Unreachable(ConsoleError):
    """No answer from the process. Exit code 3."""

    def __init__(self, sentence: str, died_here: bool = False, heard: bool = True) -> None:
        super().__init__(sentence)
        self.heard = heard
        """Whether it may have received the request."""
        self.died_here = died_here
        """Whether it ran on this machine and ended abnormally: its socket is there, but nobody listens."""


class RefusedByProcess(ConsoleError):
    """The process refused. Exit code 1, or 3 for a wrong request."""

    def __init__(self, sentence: str, status: int) -> None:
        super().__init__(sentence, 1 if status not in (400, 401, 404, 413) else 3)
        self.status = status
