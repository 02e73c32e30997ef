"""``python -m mcl``: help without torch, nearest names, errors without tracebacks."""

import subprocess
import sys
from types import SimpleNamespace

import pytest

from mcl import __main__ as entry
from mcl.errors import UserError


def one_command(monkeypatch: pytest.MonkeyPatch, run) -> None:
    module = SimpleNamespace(HELP="Does it.", add_arguments=lambda parser: parser.add_argument("--size"), run=run)
    monkeypatch.setattr(entry, "COMMANDS", {"doit": "doit"})
    monkeypatch.setattr(entry, "_module", lambda name: module)


def refuse(arguments) -> int:
    raise UserError(f"--size {arguments.size}: too small.")


def test_help_lists_every_command_and_imports_neither_torch_nor_hydra() -> None:
    code = "import sys, mcl.__main__ as m; m.main(['--help']); assert not {'torch', 'hydra'} & set(sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert all(f"\n  {name} " in shown for name in entry.COMMANDS)


@pytest.mark.parametrize("name", entry.COMMANDS)
def test_every_command_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as leaving:
        entry.main([name, "--help"])
    assert leaving.value.code == 0
    assert f"usage: python -m mcl {name}" in capsys.readouterr().out


def test_unknown_command_suggests_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert entry.main(["netwroks"]) == 1
    assert "error: netwroks: there is no such command. Did you mean 'networks'?" in capsys.readouterr().err


def test_exit_status_is_the_commands_return_value(monkeypatch: pytest.MonkeyPatch) -> None:
    one_command(monkeypatch, run=lambda arguments: int(arguments.size))
    assert entry.main(["doit", "--size", "7"]) == 7


def test_user_error_is_printed_without_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    one_command(monkeypatch, run=refuse)
    assert entry.main(["doit", "--size", "1"]) == 1
    assert capsys.readouterr().err == "error: --size 1: too small.\n"


def test_full_error_shows_the_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    one_command(monkeypatch, run=refuse)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    with pytest.raises(UserError):
        entry.main(["doit"])


def test_missing_file_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    one_command(monkeypatch, run=lambda arguments: open("/no/such/file").close())
    assert entry.main(["doit"]) == 1
    assert capsys.readouterr().err == "error: /no/such/file: No such file or directory\n"


def test_unexpected_error_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    one_command(monkeypatch, run=lambda arguments: {}["missing"])
    with pytest.raises(KeyError):
        entry.main(["doit"])


def test_output_whose_reader_has_ended_is_no_traceback() -> None:
    code = (
        "import sys, mcl.__main__ as m; from types import SimpleNamespace as S; m.COMMANDS['doit'] = 'doit';"
        " m._module = lambda name: S(HELP='', add_arguments=lambda parser: None, run=lambda _: print('x' * 2**20));"
        " sys.stdin.read(); sys.exit(m.main(['doit']))"
    )
    pipe = subprocess.PIPE
    process = subprocess.Popen([sys.executable, "-c", code], stdin=pipe, stdout=pipe, stderr=pipe, text=True)
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdin is not None
    process.stdout.close()
    process.stdin.close()
    assert process.stderr.read() == ""
    assert process.wait() == 1


def test_broken_pipe_of_something_else_is_not_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(arguments: object) -> int:
        raise BrokenPipeError(32, "Broken pipe")

    one_command(monkeypatch, run=fail)
    with pytest.raises(BrokenPipeError):
        entry.main(["doit"])
