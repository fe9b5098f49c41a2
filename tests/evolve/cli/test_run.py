import contextlib
import fcntl
import io
import json
import os
import pty
import re
import shlex
import signal
import struct
import subprocess
import sys
import termios
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
from rich.console import Console

from vevolve.archive import Archive
from vevolve.evolve import api
from vevolve.evolve.cli import panel
from vevolve.evolve.cli.run import _tell_cost
from vevolve.evolve.cli.settings import prices
from vevolve.evolve.config import Config
from vevolve.evolve.limits import last_config
from vevolve.evolve.proposers.contract import ProposalFailed, Reply
from vevolve.evolve.proposers.offline import Offline
from vevolve.evolve.scaffold import new_problem

RUN = ["run", "circle_packing/grid", "--workers", "inline"]
CLI = [sys.executable, "-m", "vevolve.evolve.cli"]


def commands(text: str) -> list[list[str]]:
    """What an output tells its reader to type, without the program's name."""
    lines = [line.strip() for line in text.splitlines()]
    return [shlex.split(line)[1:] for line in lines if line.startswith("vevolve ")]


def evaluations(directory: Path) -> int:
    with Archive.open(directory) as archive:
        return archive.totals().evaluations


def test_a_run_prints_a_line_an_event_then_front_gains_and_commands_that_work(vevolve) -> None:
    outcome = vevolve(*RUN, "-n", "6")
    assert outcome.code == 0
    lines = outcome.out.splitlines()
    assert lines[0].startswith("run runs/")
    assert "sandbox level L" in lines[0]
    assert [line.split()[0] for line in lines if " by offline: " in line] == [f"#{i}" for i in range(1, 7)]
    assert "ended: all 6 evaluations are done" in lines
    assert "6 evaluations, " in outcome.out
    assert re.search("beat the seed on the select split|No evolved program is better than the seed by", outcome.out)
    typed = commands(outcome.out)
    assert typed[0][0] == "front"
    assert typed[-1][:1] == ["resume"]
    assert "anthropic:NAME" in typed[-1]
    for command in typed[:-1]:
        assert vevolve(*command, *(["--workers", "inline"] if command[0] == "resume" else [])).code == 0
    (directory,) = Path("runs").iterdir()
    assert evaluations(directory) == 12


def test_the_end_says_what_was_won_over_the_seed_on_the_select_split(vevolve, monkeypatch) -> None:
    def staggered(_: object, request) -> Reply:
        source = request.parents[0].source.replace("STAGGER = 0.0", f"STAGGER = 0.5{request.iteration}")
        return Reply(text=f"```python\n{source}\n```\n", model="offline")

    monkeypatch.setattr(Offline, "propose", staggered)
    outcome = vevolve(*RUN, "-n", "1")
    assert "Evolved programs beat the seed on the select split" in outcome.out
    assert re.search(r"  26 circles: sum_radii 1\.9% higher \([0-9a-f]{10}\)\n", outcome.out)


def test_the_same_settings_may_change_on_resume_as_are_given_to_a_run(vevolve, run: Path, monkeypatch) -> None:
    Path("more.toml").write_text("evaluations = 13\nretries = 2\n")
    monkeypatch.setenv("VEVOLVE_STYLE", "rewrite")
    options = ["--max-output-tokens", "100", "--timeout", "5", "--temperature", "0.5", "--workers", "inline"]
    assert vevolve("resume", run, "--config", "more.toml", *options).code == 0
    with Archive.open(run) as archive:
        settings = last_config(archive)
    assert evaluations(run) == 13
    assert {name: settings[name] for name in ("retries", "style", "max_output_tokens", "timeout", "temperature")} == {
        "retries": 2, "style": "rewrite", "max_output_tokens": 100, "timeout": 5.0, "temperature": 0.5,
    }  # fmt: skip


def test_with_json_every_line_is_an_event_and_the_last_a_summary(vevolve) -> None:
    outcome = vevolve(*RUN, "-n", "3", "--json", "--directory", "mine")
    events = [json.loads(line) for line in outcome.out.splitlines()]
    kinds = [event["kind"] for event in events]
    assert (kinds[0], kinds[-2:], kinds.count("told")) == ("started", ["ended", "summary"], 4)
    summary = events[-1]
    assert (summary["run"], summary["evaluations"], summary["split"]) == ("mine", 3, "select")
    assert summary["front"]
    assert summary["resume"] == "vevolve resume mine --evaluations 6"


def test_resume_goes_on_to_the_total_and_does_nothing_when_it_is_reached(vevolve, run: Path) -> None:
    assert vevolve("resume", run, "--evaluations", "15").code == 0
    assert evaluations(run) == 15
    again = vevolve("resume", run)
    assert (again.code, again.err) == (0, "")
    assert (
        again.out
        == f"Nothing to do: 15 of 15 evaluations are done. Go on with: vevolve resume {run} --evaluations 30\n"
    )
    assert evaluations(run) == 15
    less = vevolve("resume", run, "--evaluations", "3", "--json")
    assert json.loads(less.out)["resume"].endswith(" --evaluations 30")
    assert less.err.startswith("Nothing to do: 15 of 3 evaluations are done.")


def test_a_budget_that_ends_with_nothing_valid_exits_with_3(vevolve, monkeypatch) -> None:
    def useless(_: object, request) -> Reply:
        return Reply(text=f"```python\ndef pack(n):\n    return {request.iteration}\n```\n", model="offline")

    monkeypatch.setattr(Offline, "propose", useless)
    outcome = vevolve(*RUN, "-n", "3")
    assert outcome.code == 3
    assert "3 evaluations, 0 valid (3 wrong)." in outcome.out
    assert "No evolved program is better than the seed by 0.1% or more yet" in outcome.out
    assert outcome.out.partition("on the front")[2].splitlines()[2].endswith("  the seed")


def test_a_front_without_a_point_is_one_line_and_no_empty_table(vevolve) -> None:
    Path("bad.py").write_text("def pack(n):\n    return 1 / 0\n")
    outcome = vevolve("run", "bad.py", "-p", "circle_packing", "-m", "offline", "-n", "1", "--workers", "inline")
    assert "0 points on the front of the search split; hypervolume 0.0000" in outcome.out
    assert "sum_radii" not in outcome.out


def test_a_failure_in_the_middle_keeps_what_was_told_and_says_how_to_go_on(vevolve, monkeypatch) -> None:
    from vevolve.errors import ProposerError

    def refused(_: object, request) -> Reply:
        raise ProposerError("The key in SOME_KEY was refused; set another.")

    monkeypatch.setattr(Offline, "propose", refused)
    outcome = vevolve(*RUN, "-n", "3", "--directory", "mine")
    assert outcome.code == 1
    assert "go on with: vevolve resume mine" in outcome.err
    assert outcome.err.splitlines()[-1] == "error: The key in SOME_KEY was refused; set another."
    assert vevolve("front", "mine").code == 0


def test_show_prompt_prints_the_first_prompt_and_writes_nothing(vevolve) -> None:
    outcome = vevolve(*RUN, "--show-prompt")
    assert outcome.code == 0
    assert "pack(n)" in outcome.out
    assert "2.167" in outcome.out
    assert not Path("runs").exists()
    assert set(json.loads(vevolve(*RUN, "--show-prompt", "--json").out)) == {"system", "user"}


def test_show_prompt_tells_the_cost_too_or_what_it_lacks(vevolve, monkeypatch) -> None:
    model = ("--model", "openai:some-model", "--price", "some-model=2,10", "-n", "10", "--show-prompt")
    lacking = vevolve(*RUN, *model)
    assert (lacking.code, "pack(n)" in lacking.out) == (0, True)
    assert lacking.err.startswith("Estimated cost: not told yet. No API key: set OPENAI_API_KEY")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-nothing")
    told = vevolve(*RUN, *model)
    assert (told.code, told.out) == (0, lacking.out)
    assert re.match(r"Estimated cost: up to \$0\.\d+ a call of openai:some-model, up to \$\d", told.err)


def test_settings_come_from_flags_then_environment_then_file(vevolve, monkeypatch) -> None:
    Path("vevolve.toml").write_text('evaluations = 2\ndirectory = "from-file"\nworkers = "inline"\n')
    monkeypatch.setenv("VEVOLVE_EVALUATIONS", "3")
    assert vevolve("run", "circle_packing/grid").code == 0
    assert evaluations(Path("from-file")) == 3
    vevolve("run", "circle_packing/grid", "-n", "1", "--directory", "other")
    assert evaluations(Path("other")) == 1


def test_the_cost_of_a_priced_model_is_told_before_the_first_call(monkeypatch, capsys, tmp_path: Path) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-nothing")
    monkeypatch.chdir(tmp_path)
    config = Config.load(
        {
            "seed": "circle_packing/grid",
            "models": ("openai:some-model",),
            "prices": prices(["some-model=2,10"]),
            "usd": 5.0,
        },
        environment={},
    )
    each = api.preview(config).usd_per_call
    assert each
    assert each > 0
    _tell_cost(config, 200, ask=True)
    said = capsys.readouterr().err
    assert f"${each:.4f} a call of openai:some-model" in said
    assert f"up to ${2 * each * 200:.2f} for 200 evaluations" in said
    assert said.endswith("; the budget is $5.\n")


def test_a_budget_below_the_cost_of_one_call_is_refused_at_once(vevolve, monkeypatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-nothing")
    outcome = vevolve(*RUN, "--model", "openai:m", "--price", "m=2,10", "--usd", "0.01")
    assert outcome.code == 2
    assert re.search(
        r"^error: One call of openai:m may cost up to \$0\.1\d+, more than --usd 0\.01: raise", outcome.err
    )
    assert outcome.err.count("\n") == 1
    assert not Path("runs").exists()


class Door(BaseHTTPRequestHandler):
    """Answers every question with a refusal, and remembers what it was told."""

    seen: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.seen.append(f"{self.command} {self.path}\n{self.headers}")
        body = b'{"error": {"message": "who are you?"}}'
        self.send_response(401)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET  # noqa: N815

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def door(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Door)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    Door.seen.clear()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
def test_a_refused_key_is_said_once_before_anything_is_examined_or_written(
    vevolve, monkeypatch, door, provider
) -> None:
    variable = f"{provider.upper()}_API_KEY"
    monkeypatch.setenv(variable, "sk-wrong")
    outcome = vevolve(*RUN, "--model", f"{provider}:m", "--base-url", door, "--yes")
    assert outcome.code == 1
    assert (outcome.out + outcome.err).count("(401)") == 1
    assert (
        outcome.err.splitlines()[-1]
        == f"error: {provider}:m: the key was refused (401). Set {variable} to a valid key."
    )
    assert len(Door.seen) == 1
    assert not Path("runs").exists()


def test_one_base_url_for_two_providers_is_refused_before_any_key_is_sent(vevolve, monkeypatch, door) -> None:
    for variable in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY"):
        monkeypatch.setenv(variable, "sk-wrong")
    both = ["--model", "openai:x", "--model", "anthropic:y"]
    outcome = vevolve(*RUN, *both, "--base-url", door)
    assert outcome.code == 2
    assert outcome.err.startswith("error: One --base-url would get the keys of anthropic and openai. Name whose server")
    assert vevolve(*RUN, *both, "--base-url", f"opnai={door}").code == 2
    assert Door.seen == []


def test_show_prompt_needs_no_key(vevolve) -> None:
    outcome = vevolve(*RUN, "--show-prompt", "--model", "anthropic:m", "--usd", "1")
    assert outcome.code == 0
    assert outcome.err == (
        "Estimated cost: not told yet. No API key: set ANTHROPIC_API_KEY to your key, or use --model offline, "
        "which needs none.\n"
    )
    assert "def pack" in outcome.out


def test_the_offline_model_costs_nothing_and_says_nothing_of_it(capsys) -> None:
    _tell_cost(Config(seed="circle_packing/grid"), 10, ask=True)
    assert capsys.readouterr() == ("", "")


def test_the_live_panel_shows_budget_front_best_points_events_and_failures(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    run = api.evolve("circle_packing/grid", evaluations=8, workers="inline", usd=2.0)
    shown = panel.Panel(run)
    monkeypatch.setattr(panel, "REFRESH_S", 0.0)
    for event in run:
        shown.take(event)
    page = io.StringIO()
    Console(file=page, width=110, markup=False).print(shown.draw())
    text = page.getvalue()
    assert "8 of 8 evaluations" in text
    assert "$0.0000 of $2.00" in text
    assert "front of select: " in text
    assert "hypervolume 2." in text
    assert "26 circles" in text
    assert "#8 " in text
    failures = run.archive.totals().failures
    assert all(f"{count} {status}" in text for status, count in failures.items())


@pytest.mark.parametrize("width", [80, 100, 160])
def test_on_the_panel_ideas_give_way_and_points_stay_whole(width: int) -> None:
    idea = "0123456789 score() of another method " * 5
    points = tuple((f"{size} tokens, kept", "0.1234", "0.05678", idea) for size in (128, 256))
    sight = panel.Sight(header=("point", "traffic", "error", "candidate"), points=points)
    page = io.StringIO()
    Console(file=page, width=width).print(panel.front_of(sight))
    header, *rows = page.getvalue().splitlines()
    assert header.split() == ["point", "traffic", "error", "candidate"]
    assert [row.partition("  ")[0] for row in rows] == ["128 tokens, kept", "256 tokens, kept"]
    assert all("0.1234  0.05678  0123456789" in row and row.endswith("…") for row in rows)
    assert {len(row) for row in rows} == {width}


def test_what_a_proposer_failed_at_is_told_once(vevolve, monkeypatch) -> None:
    def failing(_: object, request) -> Reply:
        if request.iteration == 1:
            raise ProposalFailed("the server answered 500: nobody is here")
        if request.iteration == 2:
            return Reply(text="no program at all", model="offline")
        if request.iteration == 3 and request.attempt == 0:
            return Reply(text="still no program", model="offline")
        return Reply(text=f"```python\ndef pack(n):\n    return {request.iteration}\n```\n", model="offline")

    monkeypatch.setattr(Offline, "propose", failing)
    lines = vevolve(*RUN, "-n", "3").out.partition("\n\n")[0].splitlines()
    assert [line for line in lines if line.startswith("#1 ")] == [
        next(line for line in lines if "#1 mutate by offline: unapplied: the server answered 500" in line)
    ]
    for iteration, end in ((2, ": unapplied: "), (3, ": wrong: ")):
        first, last = (line for line in lines if line.startswith(f"#{iteration} "))
        assert first.startswith(f"#{iteration} offline, first answer: ")
        assert end in last


def test_the_seed_is_told_as_the_start_and_not_as_a_gain(vevolve) -> None:
    outcome = vevolve(*RUN, "-n", "1")
    (line,) = (line for line in outcome.out.splitlines() if line.startswith("#0 ") and "select split" in line)
    assert re.fullmatch(r"#0 [0-9a-f]{10} the seed, examined on the select split to be compared with", line)


def test_the_help_names_what_runs_without_arguments(vevolve) -> None:
    told, defaults = " ".join(vevolve("run", "--help").out.split()), Config()
    (model,) = defaults.models
    assert f"Without arguments: {defaults.evaluations} evaluations of {defaults.seed} by the {model} mutator" in told
    assert f"default: {defaults.seed}." in told
    assert f"default: {defaults.evaluations}." in told


def test_the_panel_guesses_the_time_that_is_left(monkeypatch) -> None:
    class Still:
        config = Config(evaluations=30, seconds=4000.0)

    shown = panel.Panel(Still())  # type: ignore[arg-type]
    shown._first, shown.sight = 10, panel.Sight(evaluations=20, usd=0.25, unpriced=2)
    monkeypatch.setattr(panel.time, "monotonic", lambda: shown.began + 3700)
    assert shown.progress() == (
        "20 of 30 evaluations; 1:01:40, about 1:01:40 to go; limit 1:06:40; $0.2500; 2 replies without a price"
    )


def started(directory: Path, *arguments: str) -> subprocess.Popen[str]:
    """A run in a process of its own, once it has begun."""
    process = subprocess.Popen(
        [*CLI, "run", *arguments, "--workers", "inline", "--directory", "mine"],
        cwd=directory, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline().startswith("run mine")
    return process


def test_ctrl_c_finishes_prints_the_front_and_a_command_that_goes_on_to_the_total(vevolve, tmp_path: Path) -> None:
    process = started(tmp_path, "circle_packing/grid", "-n", "400")
    assert process.stdout is not None
    while not process.stdout.readline().startswith("#4 "):
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert "Finishing what is in flight" in err
    assert "ended: stopped by the user" in out
    assert " on the front of the " in out
    done = evaluations(tmp_path / "mine")
    assert 4 <= done < 400
    resume = next(command for command in commands(out) if command[0] == "resume")
    assert resume == ["resume", "mine"]
    assert vevolve(*resume, "--evaluations", str(done + 3)).code == 0
    assert evaluations(tmp_path / "mine") == done + 3


def test_a_second_ctrl_c_quits_at_once_with_the_way_back(tmp_path: Path) -> None:
    folder = new_problem("slow", tmp_path)
    seed = folder / "seeds/seed.py"
    seed.write_text(
        seed.read_text().replace("import numpy as np", "import time\n\nimport numpy as np\n\ntime.sleep(9)")
    )
    process = started(tmp_path, "seed", "--problem", str(folder), "-n", "400")
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    while "Finishing" not in process.stderr.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "vevolve resume mine" in out
    with Archive.open(tmp_path / "mine") as archive:
        assert archive.records() == []


def test_ctrl_c_before_a_run_has_begun_is_one_line(vevolve, monkeypatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(api, "start", interrupted)
    outcome = vevolve(*RUN)
    assert (outcome.code, outcome.err) == (1, "error: stopped before anything was examined.\n")


def test_a_reader_that_has_seen_enough_is_no_failure(run: Path) -> None:
    for command in (["ls", str(run)], ["ls", str(run), "--json"], ["front", str(run)], ["--help"]):
        reader, writer = os.pipe()
        os.close(reader)
        done = subprocess.run([*CLI, *command], stdout=writer, stderr=subprocess.PIPE, text=True, timeout=60)
        os.close(writer)
        assert (done.returncode, done.stderr) == (0, ""), command


def test_the_live_panel_is_gone_at_the_end_and_says_how_the_run_ended(tmp_path: Path) -> None:
    terminal, inside = pty.openpty()
    fcntl.ioctl(inside, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
    command = [*CLI, "run", "circle_packing/grid", "-n", "2", "--workers", "inline", "--directory", "mine"]
    process = subprocess.Popen(command, cwd=tmp_path, stdin=inside, stdout=inside, stderr=inside)
    os.close(inside)
    said = b""
    with contextlib.suppress(OSError):  # the other side was closed
        while chunk := os.read(terminal, 1 << 16):
            said += chunk
    os.close(terminal)
    assert process.wait(timeout=60) == 0
    drawn, _, after = said.decode().rpartition("\x1b[?25h")
    last = drawn[drawn.rindex("\u256d") :]
    assert after.count("\x1b[2K") == last.count("\n")
    assert "ended: all 2 evaluations are done" in after
    assert "\u256d" not in after and "evaluations, " in after


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["--version"], ["front", "nothing"]])
def test_light_commands_import_nothing_heavy(arguments: list[str], tmp_path: Path) -> None:
    heavy = {"torch", "triton", "ray", "openai", "anthropic", "transformers", "scipy"}
    heavy |= {"numpy", "rich.console"} if arguments != ["front", "nothing"] else set()
    program = (
        "import sys\nfrom vevolve.evolve.cli import main\n"
        f"try: main({arguments!r})\nfinally: print('LOADED', sorted({heavy!r} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert "LOADED []" in done.stdout, done.stderr
