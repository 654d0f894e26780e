"""What all commands share: exit codes, looks, watching, waiting, and the client's sentences."""

from __future__ import annotations

import io
import os
import re
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from typing import Annotated

import click
import pytest
from click.testing import CliRunner
from rich.text import Text

from heartbeat.console import commands, render
from heartbeat.console.client import Client, ask_all
from heartbeat.console.command_line import Program
from heartbeat.console.commands import Screen, show, wait_until
from heartbeat.console.errors import ConsoleError, RefusedByProcess, Unreachable
from heartbeat.console.schema import Column
from heartbeat.site.values import Api, Secret

ENDS = {}
"""What ends a command, where it is not Ctrl-C."""


@click.group(cls=Program)
def program():
    pass


@program.command()
@click.argument("what")
def do(what):
    raise {
        "interrupt": KeyboardInterrupt(),
        "bug": ZeroDivisionError("division by zero"),
        "refuse": RefusedByProcess("m1: no", 409),
        "wrong": RefusedByProcess("m1: no such call", 404),
        "gone": Unreachable("m1 is gone"),
    }[what]


@program.command()
@click.argument("code", type=int)
def end(code):
    return code


@program.command()
@commands.watch_option
@commands.format_option
def tick(watch, shape):
    """Ends as Ctrl-C does, in the third round; the second finds nobody."""
    rounds = iter([Screen({"n": 1}, Text("one  ")), Unreachable("m1 is gone"), ENDS.get("tick", KeyboardInterrupt())])

    def make():
        found = next(rounds)
        if isinstance(found, BaseException):
            raise found
        return found

    return show(make, shape, watch)


def run(*words):
    result = CliRunner().invoke(program, words)
    return result.exit_code, result.output


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["do", "interrupt"], 130, "Stopped."),
        (["do", "bug"], 3, "An error of ours: ZeroDivisionError: division by zero. HOLDFAST_DEBUG=1 shows where."),
        (["do", "refuse"], 1, "m1: no"),
        (["do", "wrong"], 3, "m1: no such call"),
        (["do", "gone"], 3, "m1 is gone"),
        (["end", "2"], 2, ""),
        (["end"], 3, "Missing argument"),
        (["nothing"], 3, "No such command"),
        (["--help"], 0, "Usage"),
    ],
)
def test_exit_codes(words, code, said, monkeypatch):
    monkeypatch.delenv("HOLDFAST_DEBUG", raising=False)
    found, output = run(*words)
    assert found == code
    assert said in output
    assert "Traceback" not in output


def test_commands_are_listed_in_the_order_of_their_use():
    output = run("--help")[1]
    assert output.index("  do") < output.index("  end") < output.index("  tick")


def test_watching_survives_a_server_that_is_gone():
    assert run("tick", "--watch", "0.1") == (0, "one\nm1 is gone\n")
    assert run("tick", "--watch", "0.1", "--format", "json") == (0, '{"n": 1}\n{"error": "m1 is gone"}\n')
    assert run("tick", "--format", "json") == (0, '{\n  "n": 1\n}\n')
    assert run("tick", "--watch", "0")[0] == 3


def test_watching_ends_when_the_question_is_wrong(monkeypatch):
    monkeypatch.setitem(ENDS, "tick", ConsoleError("there is no server m9"))
    assert run("tick", "--watch", "0.1") == (3, "one\nm1 is gone\nthere is no server m9\n")


PROGRAM = """
from heartbeat.console.commands import console
from heartbeat.console.command_line import Program
import click
@click.group(cls=Program)
def program(): pass
@program.command()
def command(): {}
program()
"""


def started(body, stdout):
    command = [sys.executable, "-c", PROGRAM.format(body), "command"]
    return subprocess.Popen(command, stdout=stdout, stderr=subprocess.PIPE)


def test_output_that_cannot_be_written_is_said():
    with open("/dev/full", "w") as full:
        process = started("console().put('word')", full)
        assert process.communicate(timeout=20)[1] == b"The output cannot be written: No space left on device.\n"
    assert process.returncode == 3


@pytest.mark.parametrize(
    "body",
    [
        "[console().put('word ' * 20) for _ in range(5000)]",
        "raise ExceptionGroup('of tasks', [BrokenPipeError()])",
    ],
)
def test_a_closed_pipe_is_no_error(body):
    reading, writing = os.pipe()
    process = started(f"print('begun', flush=True); {body}", writing)
    os.close(writing)
    os.read(reading, 10)
    os.close(reading)
    assert process.communicate(timeout=20)[1] == b""
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (None, "-"),
        (-0.1, "0.00 s"),
        (0.42, "0.42 s"),
        (1.71, "1.7 s"),
        (12.3, "12 s"),
        (245, "4:05"),
        (7620, "2 h 07"),
        (93600, "1 d 2 h"),
        (86400 * 12, "12 d"),
    ],
)
def test_spans(seconds, words):
    assert render.span(seconds) == words


def test_words():
    assert [render.boot(number) for number in (0, 41, 1795960316)] == ["-", "41", "…60316"]
    assert render.several(0, "call") == "no calls"
    assert render.several(1, "call") == "1 call"
    assert render.several(12345, "call") == "12,345 calls"
    assert render.listed([]) == ""
    assert render.listed(["a", "b", "c"]) == "a, b and c"
    assert render.bar(2.0, 4).plain == "████"
    assert render.bar(0.25, 4).plain == "█░░░"
    assert render.clock(None) == "-"
    assert render.clock(0).startswith("19")
    assert len(render.clock(time.time(), fine=True)) == 12


def test_off_a_terminal_there_are_no_colours_rules_or_trailing_blanks():
    file = io.StringIO()
    render.Console(file).put(render.grid(("Name", ">Number"), [("a", "1"), (render.state("active"), "22")]))
    assert file.getvalue() == "Name       Number\na               1\n● active       22\n"


@dataclass(frozen=True, slots=True)
class Row:
    name: Annotated[str, Column("Name")]
    hidden: int
    calls: Annotated[int | None, Column(">Calls", "count")] = None
    up: Annotated[bool, Column("Up", "yes")] = True
    state: Annotated[str, Column("~State", "state")] = "active"
    why: Annotated[str, Column("Why", "sentence")] = ""


def test_a_view_becomes_a_table_of_its_columns():
    def shown(*rows, **choice):
        file = io.StringIO()
        render.Console(file).put(render.table(Row, rows, **choice))
        return [re.split(r" {2,}", line.strip()) for line in file.getvalue().splitlines()]

    rows = (Row("a", 1), Row("", 2, 1234, False, "", "no answer"))
    assert shown(*rows) == [
        ["Name", "Calls", "Up", "State", "Why"],
        ["a", "-", "yes", "● active"],
        ["-", "1,234", "no", "-", "no answer"],
    ]
    assert shown(*rows[:1], titles={"name": "Node"}, without=("up", "state", "why")) == [
        ["Node", "Calls"],
        ["a", "-"],
    ]
    assert shown(empty="Nothing.") == [["Nothing."]]


def on_terminal(width, shown, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", str(width))
    file = Terminal()
    render.Console(file).put(shown)
    return [line.rstrip() for line in re.sub(r"\x1b\[[\d;]*m", "", file.getvalue()).splitlines()]


def test_a_narrow_terminal_shows_less_instead_of_half_words(monkeypatch):
    def table(*columns):
        return render.wide(
            columns, [("carrier", "trunk", "-", "active", "no answer to three OPTIONS in a row, as it is")]
        )

    columns = ("Line", "~Kind", "~Forward", "State", "Why")
    whole = on_terminal(100, table(*columns), monkeypatch)
    assert whole[0] == "Line     Kind   Forward  State   Why"
    without_empty = on_terminal(65, table(*columns), monkeypatch)
    assert without_empty[0] == "Line     Kind   State   Why"
    assert without_empty[-1] == "No room for Forward."
    narrow = on_terminal(50, table(*columns), monkeypatch)
    assert (narrow[0], narrow[-1]) == ("Line     State   Why", "No room for Kind and Forward.")
    assert narrow[2:4] == ["carrier  active  no answer to three OPTIONS in a", "                 row, as it is"]
    tight = on_terminal(14, table("Line", "State", "Why"), monkeypatch)
    assert tight[2].startswith("carrier"), "what a row is about is never cut"


def test_on_a_terminal_there_are_colours_unless_they_are_not_wanted(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    coloured, plain = Terminal(), Terminal()
    render.Console(coloured).put(render.state("active"))
    monkeypatch.setenv("NO_COLOR", "1")
    render.Console(plain).put(render.state("active"))
    assert "\x1b[1;32m" in coloured.getvalue()
    assert "32m" not in plain.getvalue()


def test_waiting_tells_what_is_missing_once(capsys):
    looks = iter([(False, "2 agents to come"), (False, "2 agents to come"), (True, "all there")])
    assert wait_until(lambda: next(looks), 5.0) < 5.0
    assert [line.partition("s  ")[2] for line in capsys.readouterr().out.splitlines()] == [
        "2 agents to come",
        "all there",
    ]
    with pytest.raises(ConsoleError, match="After 0 s it is not true yet: never") as caught:
        wait_until(lambda: (False, "never"), 0, what="it")
    assert caught.value.code == 1


def test_waiting_that_is_interrupted_says_that_the_thing_goes_on():
    def look_again():
        raise KeyboardInterrupt

    with pytest.raises(ConsoleError, match="Stopped waiting; the switchover may still come true") as caught:
        wait_until(look_again, 5.0, what="the switchover")
    assert caught.value.code == 130


def test_the_client_says_why_nobody_answers(tmp_path):
    path = tmp_path / "m1.sock"
    client = Client("m1", Api(path=str(path)), timeout=0.05)
    with pytest.raises(Unreachable, match="no such socket"):
        client.view("status")
    with socket.socket(socket.AF_UNIX) as paused:
        paused.bind(str(path))
        with pytest.raises(Unreachable, match="nobody listens"):
            client.view("status")
        paused.listen()
        with pytest.raises(Unreachable, match=r"does not answer at unix:.* \(waited 0.05 s\)"):
            client.view("status")


def answering(listener, data):
    def serve():
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(data)

    thread = threading.Thread(target=serve)
    thread.start()
    return thread


@pytest.mark.parametrize(
    ("data", "error", "words"),
    [
        (b"SSH-2.0-OpenSSH\r\n", Unreachable, "cannot be reached"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", Unreachable, "is not m1"),
        (b'HTTP/1.1 401 No\r\nContent-Length: 16\r\n\r\n{"error": "no!"}', RefusedByProcess, "m1: no!"),
    ],
)
def test_the_client_and_strange_answers(data, error, words):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = answering(listener, data)
        api = Api(host="127.0.0.1", port=listener.getsockname()[1])
        with pytest.raises(error, match=words):
            Client("m1", api, Secret("env TOKEN", b"secret")).view("status")
        thread.join()


def test_the_client_needs_the_token_that_the_site_file_names():
    client = Client("m1", Api(host="127.0.0.1", port=1), Secret("env TOKEN", None, "it is not set"))
    with pytest.raises(ConsoleError, match="secret from env TOKEN is missing"):
        client.view("status")


def test_asking_several_keeps_each_failure_in_its_place(tmp_path):
    clients = [Client(name, Api(path=str(tmp_path / name))) for name in ("m1", "m2")]
    assert [str(error)[:2] for error in ask_all(clients, "status").values()] == ["m1", "m2"]
