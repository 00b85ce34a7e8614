"""What an installation is: one namespace, light commands, a service without TensorFlow."""

import subprocess
import sys
import time
import tomllib
from importlib.resources import files
from pathlib import Path

import pytest

from segsearch.core.cli import own_process
from tests.conftest import ROOT

SOURCE_ROOTS = ("core", "proto", "training", "export", "service", "client")


@pytest.mark.parametrize("root", SOURCE_ROOTS)
def test_no_source_root_breaks_the_namespace(root):
    assert not (ROOT / root / "segsearch/__init__.py").exists()


@pytest.fixture(scope="session")
def serving_python() -> Path:
    """The interpreter of the serving environment, as `make test` builds it."""
    python = ROOT / ".venv-serve/bin/python"
    if not python.exists():
        pytest.fail("no serving environment: run `make test`, which builds it")
    return python


def run(python, code):
    return subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout


def test_service_starts_without_tensorflow():
    code = "import sys, segsearch.service.rest.app, segsearch.service.serve_cli; print('tensorflow' in sys.modules)"
    assert run(sys.executable, code).strip() == "False"


def test_the_serving_environment_has_no_training_framework_and_still_imports_the_service(serving_python):
    code = (
        "import importlib.util as u, segsearch.service.rest.app, segsearch.service.jobs.reindex;"
        "print([m for m in ('tensorflow', 'keras', 'onnx', 'tf2onnx') if u.find_spec(m)])"
    )
    assert run(serving_python, code).strip() == "[]"


def test_the_serving_environment_has_no_compiler_and_says_how_large_libraries_are_selected_faster(serving_python):
    code = (
        "from segsearch.service.index.kernel_selection import selection_for;"
        "print(type(selection_for(1_000, 1, 1_000_000)).__name__)"
    )
    done = subprocess.run([serving_python, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "Selection"
    assert "pip install 'segsearch[index]'" in done.stderr


def test_compiled_selection_in_the_serving_environment_says_what_to_install(serving_python):
    code = (
        "from segsearch.core.errors import MissingExtra;"
        "from segsearch.service.index.kernel_selection import selection_for\n"
        "try: selection_for(1, 1, 1, 'numba')\n"
        "except MissingExtra as error: print(error.extra, error.module)"
    )
    assert run(serving_python, code).split() == ["index", "numba"]


def test_training_in_the_serving_environment_says_what_to_install(serving_python, tmp_path):
    command = [serving_python.with_name("segsearch"), "train", "dbof_sample", "--data", tmp_path, "--out", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "pip install 'segsearch[train" in done.stderr


def test_help_loads_nothing_heavy():
    code = (
        "import sys; from segsearch.core.cli import build; build();"
        "print([m for m in ('tensorflow', 'keras', 'numpy', 'onnxruntime', 'fastapi') if m in sys.modules])"
    )
    assert run(sys.executable, code).strip() == "[]"


def test_a_command_in_a_process_of_its_own_runs_nothing_that_lies_in_the_folder_it_is_in(tmp_path):
    (tmp_path / "typer.py").write_text("raise SystemExit('not the module that was meant')")
    done = subprocess.run(own_process("--version"), cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout.startswith("segsearch "), done.stderr


def test_help_answers_and_names_every_command():
    started = time.perf_counter()
    done = subprocess.run([Path(sys.executable).with_name("segsearch"), "--help"], capture_output=True, text=True)
    print(f"segsearch --help took {time.perf_counter() - started:.2f} s")
    for command in ("sample", "download", "train", "export", "reindex", "submit", "evaluate", "serve"):
        assert command in done.stdout


@pytest.mark.parametrize("package", ["segsearch.client", "segsearch.core", "segsearch.v1", "segsearch.inference"])
def test_what_users_call_says_that_it_is_typed_where_it_is_installed_and_packed(package):
    assert (files(package) / "py.typed").is_file()
    packed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    inside = package.removeprefix("segsearch.")
    assert [folder for folder in packed["packages"] if (ROOT / folder / inside / "py.typed").is_file()]
    assert packed.keys() == {"packages"}  # all of them: nothing is left out by its name
