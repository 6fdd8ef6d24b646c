"""From a TOML text and the environment to one frozen `Config`, or one sentence on what is wrong.

Every key of every section has a variable: ``GATEWAY_`` and the upper-case path joined by ``_``; the environment wins.
Invariant: nothing is passed over in silence: an unknown key, a wrong type and an impossible relation are each refused,
naming the key. This module must not open files or read the environment itself: it is handed both as values.
"""

import difflib
import re
import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import PurePath
from typing import Any, TypeVar, get_args, get_origin

import msgspec

from gateway.config import Config, Instance, Matrix, Registration, Section, Worker, refuse_impossible
from gateway.errors import ConfigInvalid

# What the original gateway called its variables, where the path alone would give another name.
LEGACY_ENVIRONMENT = {
    "GATEWAY_PUBLIC_URL": "server.public_url",
    "GATEWAY_TLS_CERT": "server.tls.cert",
    "GATEWAY_TLS_KEY": "server.tls.key",
    "GATEWAY_REGISTRATION_TTL": "registration.ttl_s",
    "GATEWAY_DEFAULT_TOKEN_TTL": "tokens.default_ttl_s",
    "GATEWAY_TOKEN_REFRESH_WINDOW": "tokens.refresh_window_s",
}
# Kubernetes sets these for a service that happens to be called "gateway"; they are nobody's configuration.
KUBERNETES_LINKS = re.compile(r"GATEWAY_(SERVICE_(HOST|PORT)(_\w+)?|PORT(_\w+)?)")
NO_SERVER_KEY = (
    "Google switched the legacy server-key API off in 2024: create a service account in the Firebase console, save its "
    "JSON file, and name it in [fcm.projects.default] credentials"
)
Holder = TypeVar("Holder", Registration, Worker, Instance, Matrix)
SECRET_FIELDS = frozenset({"secret"})
PATH_KEYS = frozenset(
    {"data", "server.tls.cert", "server.tls.key", "credentials", "ca_file", "secret_file", "key_file"}
)
MASK = "********"


def parse(text: str, environ: Mapping[str, str], directory: PurePath = PurePath()) -> Config:  # noqa: B008 - frozen
    """Give the configuration that a TOML text and the environment add up to; the environment wins.

    ``directory`` is where the file lies: relative paths in the text start there, those in variables do not.

    Raises ConfigInvalid with one sentence that names the key, what is wrong with it, and what would be right.
    Secrets that stand in files are still to be read: `secret_files`, then `with_secrets`.
    """
    if environ.get("FCM_SERVER_KEY"):
        raise ConfigInvalid(f"FCM_SERVER_KEY is set, but {NO_SERVER_KEY}; then unset it")
    try:
        tree: dict[str, Any] = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # also numbers too long, and arrays too deep, for Python
        raise ConfigInvalid(f"the file is not TOML: {error}") from None
    _check(tree, Config, "", directory)
    for name, value in sorted(environ.items()):
        if name.startswith("GATEWAY_") and not KUBERNETES_LINKS.fullmatch(name):
            _set_from_environment(tree, name, value)
    config = msgspec.convert(tree, type=Config)
    refuse_impossible(config)
    return config


def known_paths(section: type[Section] = Config, prefix: str = "") -> Iterator[str]:
    """Every key as a dotted path; ``*`` stands for a name that the operator chooses."""
    for field in msgspec.structs.fields(section):
        path = prefix + field.name
        inner, named = _section_of(field.type)
        if inner is None:
            yield path
        else:
            yield from known_paths(inner, f"{path}.*." if named else f"{path}.")


@cache
def _known() -> tuple[str, ...]:
    return tuple(known_paths())


def secret_files(config: Config) -> tuple[str, ...]:
    """The paths that `with_secrets` wants the texts of."""
    holders: tuple[Registration | Worker | Instance | Matrix, ...] = (
        config.registration,
        config.matrix,
        *config.workers.values(),
        *config.instances.values(),
    )
    return tuple(sorted({holder.secret_file for holder in holders if holder.secret_file}))


def with_secrets(config: Config, texts: Mapping[str, str]) -> Config:
    """Put the secrets in place of the files that hold them; ``texts`` maps each of `secret_files` to its content."""

    def filled(holder: Holder) -> Holder:
        if not holder.secret_file:
            return holder
        secret = texts[holder.secret_file].strip()
        if not secret:
            raise ConfigInvalid(f"secret_file {holder.secret_file}: the file is empty")
        return msgspec.structs.replace(holder, secret=secret)

    return msgspec.structs.replace(
        config,
        registration=filled(config.registration),
        matrix=filled(config.matrix),
        workers={name: filled(worker) for name, worker in config.workers.items()},
        instances={name: filled(instance) for name, instance in config.instances.items()},
    )


def masked(config: Config) -> dict[str, Any]:
    """The configuration as plain values, with every secret replaced by asterisks: fit to be shown."""

    def shown(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {key: MASK if key in SECRET_FIELDS and inner else shown(inner) for key, inner in value.items()}

    plain: dict[str, Any] = shown(msgspec.to_builtins(config))
    return plain


def _section_of(kind: Any) -> tuple[type[Section] | None, bool]:
    """(the section that a field holds or None, whether it holds them by name)."""
    if get_origin(kind) is dict:
        return get_args(kind)[1], True
    if isinstance(kind, type) and issubclass(kind, Section):
        return kind, False
    return None, False


def _check(tree: dict[str, Any], section: type[Section], prefix: str, directory: PurePath) -> None:
    """Refuse what the section does not know or of another type; make paths that the file names absolute, in place."""
    kinds = {field.name: field.type for field in msgspec.structs.fields(section)}
    for key, value in tree.items():
        path = prefix + key
        if key not in kinds:
            raise ConfigInvalid(f"unknown key {path!r}; {_nearest(path)}")
        inner, named = _section_of(kinds[key])
        if inner is None:
            _convert(path, value, kinds[key])
            if value and (key in PATH_KEYS or path in PATH_KEYS):
                tree[key] = str(directory / value)
            continue
        for name, nested in _sections(path, value).items() if named else [("", value)]:
            where = f"{path}.{name}" if named else path
            _check(_sections(where, nested), inner, f"{where}.", directory)


def _sections(path: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ConfigInvalid(f"{path}: expected a section, got {type(value).__name__}")
    return value


def _convert(path: str, value: Any, kind: Any, *, strict: bool = True) -> Any:
    try:
        return msgspec.convert(value, type=kind, strict=strict)
    except msgspec.ValidationError as error:
        what = str(error).partition(" - at `")[0]
        secret = path.rpartition(".")[2] in SECRET_FIELDS or path.endswith("_SECRET")
        shown = "" if secret else f"; it is {value!r}"
        raise ConfigInvalid(f"{path}: {what[:1].lower()}{what[1:]}{shown}") from None


def _nearest(path: str) -> str:
    if path.upper().endswith("SERVER_KEY"):
        return NO_SERVER_KEY
    known = list(_known())
    sections = sorted({one.rsplit(".", 1)[0] for one in known if "." in one})
    close = difflib.get_close_matches(path, [*known, *sections], n=1, cutoff=0.5)
    if not close:  # right key, wrong section
        close = [one for one in known if one.rsplit(".", 1)[-1] == path.rsplit(".", 1)[-1]]
    return f"the nearest known name is {close[0]!r}" if close else f"known sections: {', '.join(sections)}"


def _environment_name(path: str) -> str:
    return "GATEWAY_" + re.sub(r"[^A-Za-z0-9]", "_", path).upper()


def _set_from_environment(tree: dict[str, Any], name: str, value: str) -> None:
    *sections, key = _path_of(tree, name)
    kind: Any = Config
    for part in (*sections, key):
        if get_origin(kind) is dict:
            kind = get_args(kind)[1]
        else:
            kind = {field.name: field.type for field in msgspec.structs.fields(kind)}[part]
    for part in sections:
        tree = tree.setdefault(part, {})
    tree[key] = _typed(name, value, kind)


def _path_of(tree: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """The key that a variable names; in a section by name, one that the file names, or else the name in lower case."""
    if name in LEGACY_ENVIRONMENT:
        return tuple(LEGACY_ENVIRONMENT[name].split("."))
    for path in _known():
        if "*" not in path:
            if _environment_name(path) == name:
                return tuple(path.split("."))
            continue
        before, after = path.split(".*.")
        start, end = _environment_name(before) + "_", "_" + after.upper()
        if name.startswith(start) and name.endswith(end) and len(name) > len(start) + len(end):
            chosen = name[len(start) : -len(end)]
            return (*before.split("."), _name_in(tree, before, chosen), after)
    if name.endswith("SERVER_KEY"):
        raise ConfigInvalid(f"unknown variable {name} in the environment; {NO_SERVER_KEY}")
    near = difflib.get_close_matches(name, [_environment_name(path) for path in _known()], n=1, cutoff=0.0)
    raise ConfigInvalid(f"unknown variable {name} in the environment; the nearest known name is {near[0]}")


def _name_in(tree: Mapping[str, Any], section: str, chosen: str) -> str:
    node: Any = tree
    for part in section.split("."):
        node = node.get(part, {})
    return next((one for one in node if re.sub(r"[^A-Za-z0-9]", "_", one).upper() == chosen), chosen.lower())


def _typed(name: str, value: str, kind: Any) -> Any:
    """Read a variable's text as the type of its key; an array is comma-separated."""
    if get_origin(kind) is tuple:
        parts = [part.strip() for part in value.split(",") if part.strip()]
        return [_convert(name, part, get_args(kind)[0], strict=False) for part in parts]
    if kind is bool:
        words = {
            "1": True,
            "true": True,
            "yes": True,
            "on": True,
            "0": False,
            "false": False,
            "no": False,
            "off": False,
        }
        if value.lower() not in words:
            raise ConfigInvalid(f"{name}: expected true or false, got {value!r}")
        return words[value.lower()]
    return _convert(name, value, kind, strict=False)
