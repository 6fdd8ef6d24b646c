"""The house rules that no linter knows: what we care about, a test checks."""

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
PRODUCT = sorted(path for room in ("eventlog", "gateway") for path in (ROOT / room).rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
CODE = [*PRODUCT, *TESTS, *sorted((ROOT / "bench").rglob("*.py"))]
SCRIPTS = [
    path
    for room in ("gateway", "tests", "bench")
    for path in sorted((ROOT / room).rglob("*.*js"))
    if path.suffix in {".js", ".mjs"} and "node_modules" not in path.parts
]
TEXTS = [
    *CODE,
    *SCRIPTS,
    *sorted(ROOT.glob("*.md")),
    *sorted(ROOT.glob("*/*.md")),
    ROOT / "Makefile",
    ROOT / "pyproject.toml",
]

FILE_LINES_MAX = 600
FUNCTION_LINES_MAX = 70  # without the docstring; only ever lowered
ASYNC_ROOMS = ("eventlog/disk/", "gateway/serve/", "gateway/client/", "gateway/cli/")
NAMES_THAT_SAY_NOTHING = {"utils", "util", "helpers", "helper", "manager", "base", "common", "misc", "core", "stuff"}
# Assembled, so that this file does not hold them itself.
LEFT_BEHIND = re.compile("|".join(["FIX" + "ME", "TO" + "DO", "X" * 3 + r"\b", "HA" + "CK:"]))
NOT_OURS_TO_SAY = re.compile(
    "|".join(["/wo" + "rk/", "/ro" + "ot/", r"pypi\." + "org", "npmjs" + r"\.", "issue" + r" #?\d"])
)

# Modules without a test file of their own, each with where it is tested instead.
TESTED_ELSEWHERE = {
    "eventlog/errors.py": "raised and caught in every test of the log",
    "eventlog/limits.py": "its relations are asserted at import",
    "gateway/cli/exitcodes.py": "what test_main holds each failure to",
    "gateway/errors.py": "raised and caught in every room's tests",
    **dict.fromkeys(
        [
            f"gateway/limits/{room}.py"
            for room in (
                "client",
                "keeping",
                "mirror",
                "nostr",
                "push",
                "relays",
                "serve",
                "tenants",
                "transparency",
                "views",
                "ways",
            )
        ],
        "their relations are asserted at import",
    ),
    **dict.fromkeys(
        [
            f"gateway/cli/demo/{part}.py"
            for part in ("instance", "phone", "server", "stage", "story", "subscribers", "telling", "wire", "worker")
        ],
        "tests/test_demo.py tells the whole story; tests/crash works with the same parts",
    ),
}


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    first = function.body[0]
    docstring = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    assert function.end_lineno
    assert first.end_lineno
    return function.end_lineno - function.lineno + 1 - (first.end_lineno - first.lineno + 1 if docstring else 0)


def test_a_file_fits_in_a_head_and_a_function_on_a_screen() -> None:
    long = [path for path in [*CODE, *SCRIPTS] if len(path.read_text("utf-8").splitlines()) > FILE_LINES_MAX]
    assert [name(path) for path in long] == []
    assert [
        (name(path), one.name) for path in CODE for one in functions(path) if length(one) > FUNCTION_LINES_MAX
    ] == []


def test_every_module_opens_by_saying_what_it_holds() -> None:
    texts = {name(path): path.read_text("utf-8") for path in [*PRODUCT, *TESTS]}
    assert [one for one, text in texts.items() if text.strip() and not ast.get_docstring(ast.parse(text))] == []


def test_only_the_shell_is_asynchronous() -> None:
    pure = [path for path in PRODUCT if not name(path).startswith(ASYNC_ROOMS)]
    found = [
        (name(path), one.name) for path in pure for one in functions(path) if isinstance(one, ast.AsyncFunctionDef)
    ]
    assert found == []


def test_every_module_has_one_test_file() -> None:
    modules = [path for path in PRODUCT if path.name != "__init__.py" and name(path) not in TESTED_ELSEWHERE]
    test_files = {path: ROOT / "tests" / path.relative_to(ROOT).parent / f"test_{path.stem}.py" for path in modules}
    assert [name(path) for path, test in test_files.items() if not test.exists()] == []


def test_every_name_says_something() -> None:
    assert [name(path) for path in CODE if NAMES_THAT_SAY_NOTHING & {path.stem, path.parent.name}] == []


def test_nothing_is_left_behind_and_the_project_speaks_of_itself_alone() -> None:
    texts = {name(path): path.read_text("utf-8") for path in TEXTS}
    assert [(one, found) for one, text in texts.items() if (found := LEFT_BEHIND.findall(text))] == []
    assert [(one, found) for one, text in texts.items() if (found := NOT_OURS_TO_SAY.findall(text))] == []


def test_the_exceptions_still_exist() -> None:
    assert not [one for one in TESTED_ELSEWHERE if not (ROOT / one).exists()]


def test_the_purity_contract_names_every_pure_module_of_the_log() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"]
    pure = next(one for one in contracts if one["name"].startswith("Pure rooms"))["source_modules"]
    modules = {f"eventlog.{path.stem}" for path in (ROOT / "eventlog").glob("*.py") if path.stem != "__init__"}
    assert {one for one in pure if one.startswith("eventlog.")} == modules
    rooms = {f"gateway.{path.stem}" for path in (ROOT / "gateway").iterdir() if path.suffix == ".py" or path.is_dir()}
    shell = {f"gateway.{one}" for one in ("serve", "client", "cli", "console", "__init__", "__pycache__")}
    assert {one for one in pure if one.startswith("gateway.")} == rooms - shell


def test_the_log_re_exports_nothing() -> None:
    body = ast.parse((ROOT / "eventlog" / "__init__.py").read_text("utf-8")).body
    assert len(body) == 1
