"""What the operator is told when a command cannot do what it was asked for, with the exit code."""

from __future__ import annotations


class ConsoleError(Exception):
    """Something the operator should know, in one sentence, with the exit code of the program."""

    def __init__(self, sentence: str, code: int = 3) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.code = code


class Unreachable(ConsoleError):
    """No answer from the process. Exit code 3."""

    def __init__(self, sentence: str, died_here: bool = False, heard: bool = True) -> None:
        super().__init__(sentence)
        self.heard = heard
        """It may have heard what it was told."""
        self.died_here = died_here
        """It ran on this machine and did not end in good order: its socket is there, and nobody listens."""


class RefusedByProcess(ConsoleError):
    """The process answered that it will not. Exit code 1."""

    def __init__(self, sentence: str, status: int) -> None:
        super().__init__(sentence, 1 if status not in (400, 401, 404, 413) else 3)
        self.status = status
