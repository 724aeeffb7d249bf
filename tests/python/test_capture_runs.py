"""capture_script and capture_model, and the models of examples/llama.py."""

import sys
from pathlib import Path

import pytest

from gemm_tuner.capture import capture_model, capture_script
from gemm_tuner.errors import CaptureError, TorchMissingError

torch = pytest.importorskip("torch")

EXAMPLES = Path(__file__).parents[2] / "examples"
MM = {"mm 8x8x8 float32 nn align 8": 1}


def texts(seen):
    return {str(counted.problem): counted.count for counted in seen.problems}


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Writes a module into an empty working directory and forgets it after the test."""
    monkeypatch.chdir(tmp_path)
    modules = set(sys.modules)

    def write(name, *lines):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(("import sys, torch", "a = torch.ones(8, 8)", *lines)))
        return str(path)

    yield write
    for name in set(sys.modules) - modules:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


# Scripts


@pytest.mark.parametrize("interpreter", [[], ["python"], ["/usr/bin/python3.12"], ["python.exe"]])
def test_a_script_runs_as_python_would_run_it(write, interpreter):
    write("there/beside.py", "b = a")
    script = write(
        "there/script.py",
        "from beside import b",
        "assert __name__ == '__main__' and sys.argv[1:] == ['--flag', 'x'], sys.argv",
        "assert sys.argv[0].endswith('script.py')",
        "a @ b",
    )
    argv, path = sys.argv, list(sys.path)
    seen = capture_script([*interpreter, script, "--flag", "x"])
    assert (seen.failure, texts(seen)) == (None, MM)
    assert sys.argv is argv and sys.path == path


def test_a_module_runs_as_python_would_run_it(write):
    write("package/__init__.py")
    write("package/__main__.py", "assert __name__ == '__main__' and sys.argv[1:] == ['x'], sys.argv", "a @ a")
    seen = capture_script(["python", "-m", "package", "x"])
    assert (seen.failure, texts(seen)) == (None, MM)


@pytest.mark.parametrize("end", ["sys.exit()", "sys.exit(0)", "exit()"])
def test_a_script_may_exit(write, end):
    seen = capture_script([write("script.py", "a @ a", end, "a @ a")])
    assert (seen.failure, texts(seen)) == (None, MM)


@pytest.mark.parametrize(
    ("end", "said"),
    [
        ("sys.exit(3)", "script.py exited with 3"),
        ("sys.exit('no weights')", "script.py exited with 'no weights'"),
        ("raise KeyboardInterrupt", "script.py was interrupted"),
        ("1 / 0", "script.py stopped with ZeroDivisionError: division by zero"),
        ("torch.ones(2, 3) @ a", "script.py stopped with RuntimeError: "),
    ],
)
def test_a_script_that_fails_still_gives_what_was_seen(write, end, said):
    script = write("script.py", "a @ a", end, "a @ a")
    seen = capture_script([script])
    assert said in seen.failure and texts(seen) == MM
    if "stopped" in said:
        assert seen.failure.endswith(f"({script}, line 4)")


def test_a_script_with_a_syntax_error(write):
    seen = capture_script([write("script.py", "def")])
    assert "stopped with SyntaxError" in seen.failure and texts(seen) == {}


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ([], "found nothing"),
        (["python"], "found nothing"),
        (["python", "-m"], "found '-m'"),
        (["python", "-c", "pass"], "found '-c'"),
        (["missing.py"], "there is no such file"),
        (["."], "there is no such file"),
        (["-m", "no_such_module"], "there is no module of that name"),
        (["-m", "no_such.module"], "-m no_such.module: ModuleNotFoundError"),
        (["-m", ".relative"], "-m .relative: ImportError"),
    ],
)
def test_no_script_to_run(write, argv, said):
    with pytest.raises(CaptureError, match=said):
        capture_script(argv)


# Models


def test_a_model_is_called_once_without_gradients(write):
    place = write(
        "models.py",
        "def call(x, *, times):",
        "    assert not torch.is_grad_enabled()",
        "    for _ in range(times): x @ x",
        "def factory(): return call, (a,), {'times': 3}",
        "def linear(): return torch.nn.Linear(8, 8, bias=False), [a]",
    )
    for spec in ("models:factory", "models.py:factory", f"{place}:factory"):
        seen = capture_model(spec)
        assert (seen.failure, texts(seen)) == (None, {"mm 8x8x8 float32 nn align 8": 3})
    assert texts(capture_model("models:linear")) == {"mm 8x8x8 float32 nt align 8": 1}


@pytest.mark.parametrize("output", ["y", "(y, 1)", "{'other': [y]}", "{'loss': y.mean(), 'logits': z}", "Out(y)"])
def test_backward_of_whatever_comes_out(write, output):
    write(
        "models.py",
        "class Out:",
        "    def __init__(self, loss): self.loss = loss",
        "layer = torch.nn.Linear(8, 4, bias=False)",
        "unused = torch.nn.Linear(8, 16, bias=False)",
        "def call(x):",
        "    y = layer(x).square()",
        "    z = unused(x) if 'logits' in OUTPUT else None",
        "    return eval(OUTPUT)",
        f"OUTPUT = {output!r}",
        "def factory(): return call, (a,)",
    )
    seen = capture_model("models:factory", backward=True)
    assert seen.failure is None
    backward = [(c.problem.m, c.problem.n, c.problem.k) for c in seen.problems if c.problem.layout != "nt"]
    assert backward == [(4, 8, 8)]  # the weight's gradient; nothing of logits where there is a loss


def test_backward_of_nothing(write):
    write("models.py", "def factory(): return torch.sin, (a,)")
    assert "requires a gradient" in capture_model("models:factory", backward=True).failure


def test_a_model_that_fails_gives_what_was_seen(write):
    place = write(
        "models.py", "def call(x):", "    x @ x", "    raise ValueError('no')", "def factory(): return call, (a,)"
    )
    seen = capture_model("models:factory")
    assert seen.failure == f"the model of models:factory stopped with ValueError: no ({place}, line 5)"
    assert texts(seen) == MM


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("models", "expected module:factory"),
        (":factory", "expected module:factory"),
        ("models:", "expected module:factory"),
        ("no_such_module:factory", "cannot import no_such_module: ModuleNotFoundError"),
        (".relative:factory", "cannot import .relative"),
        ("missing.py:factory", "there is no such file"),
        ("broken:factory", "cannot import broken: ZeroDivisionError: division by zero .*broken.py, line 3"),
        ("models:missing", "has no function called 'missing'"),
        ("models:a", "has no function called 'a'"),
        ("models:fails", r"fails\(\) stopped with ValueError: no .*models.py, line 3"),
        ("models:none", "it returned NoneType"),
        ("models:model_alone", "it returned Linear"),
        ("models:tensor", r"it returned \(Linear, Tensor\)"),
        ("models:no_model", r"it returned \(Tensor, tuple\)"),
        ("models:four", r"it returned \(Linear, tuple, dict, int\)"),
    ],
)
def test_a_spec_that_gives_no_model(write, spec, said):
    write("broken.py", "1 / 0")
    write(
        "models.py",
        "def fails(): raise ValueError('no')",
        "model = torch.nn.Linear(8, 8)",
        "def none(): pass",
        "def model_alone(): return model",
        "def tensor(): return model, a",
        "def no_model(): return a, (a,)",
        "def four(): return model, (a,), {}, 1",
    )
    with pytest.raises(CaptureError, match=said):
        capture_model(spec)


def test_without_torch(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    for call in (lambda: capture_script(["script.py"]), lambda: capture_model("models:factory")):
        with pytest.raises(TorchMissingError, match="torch is not installed"):
            call()


# Llama-3.2-1B: 16 layers of q, k, v, o, gate, up and down projections, and the head over 128256 words


def llama_forward(tokens, head_tokens):
    return {
        (tokens, 2048, 2048, "nt"): 2 * 16,  # q, o
        (tokens, 512, 2048, "nt"): 2 * 16,  # k, v: 8 heads of 64
        (tokens, 8192, 2048, "nt"): 2 * 16,  # gate, up
        (tokens, 2048, 8192, "nt"): 16,  # down
        (head_tokens, 128256, 2048, "nt"): 1,
    }


def gradients(forward):
    """Of C[m, n] = A @ W.T: dA[m, k] = dC @ W, dW[n, k] = dC.T @ A. The embedding's output, too, needs its gradient."""
    into = {(m, k, n, "nn"): count for (m, n, k, _), count in forward.items()}
    of_weights = {(n, k, m, "tn"): count for (m, n, k, _), count in forward.items()}
    return into | of_weights


@pytest.mark.parametrize(
    ("factory", "expected"),
    [
        ("prefill", llama_forward(512, 1)),
        ("decode_1", llama_forward(1, 1)),
        ("decode_16", llama_forward(16, 16)),
        ("train", llama_forward(512, 512) | gradients(llama_forward(512, 512))),
    ],
)
def test_llama(monkeypatch, factory, expected):
    pytest.importorskip("transformers")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    seen = capture_model(f"{EXAMPLES}/llama.py:{factory}", backward=factory == "train")
    found = {(c.problem.m, c.problem.n, c.problem.k, c.problem.layout): c.count for c in seen.problems}
    assert (seen.failure, seen.skipped, found) == (None, {}, expected)
    assert {(c.problem.op, c.problem.dtype, c.problem.alignment) for c in seen.problems} == {("mm", "bfloat16", 16)}
