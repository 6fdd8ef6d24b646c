"""Where a command gets its configuration from: the file, the environment and its own options, in rising order.

This module is the only one that opens configuration files, and with `gateway.cli.worker` the only one that reads
secret files and the environment for them.
"""

import os
from pathlib import Path

import click
import msgspec
from click.core import ParameterSource

from gateway.config import Config, host_and_port
from gateway.configtext import parse, secret_files, with_secrets
from gateway.errors import ConfigInvalid


def of_data(path: Path | None, data: Path) -> Config:
    """Load for a command whose ``--data`` has a default: what was typed wins over the file, the default does not."""
    if path is None:
        return msgspec.structs.replace(Config(), data=str(data))
    is_typed = click.get_current_context().get_parameter_source("data") is not ParameterSource.DEFAULT
    return load(path, data=data if is_typed else None)


def load(path: Path | None, *, data: Path | None = None, bind: str | None = None) -> Config:
    """Read the file (None: defaults), the environment and the secret files; ConfigInvalid names what is wrong."""
    text = read_text(path, "the configuration file") if path else ""
    directory = path.absolute().parent if path else Path()
    try:
        config = parse(text, os.environ, directory)
        config = with_secrets(config, {name: read_text(Path(name), "the secret file") for name in secret_files(config)})
        _refuse_unusable(config)
    except ConfigInvalid as error:
        raise ConfigInvalid(f"{path}: {error}" if path else str(error)) from None
    if data is not None:
        config = msgspec.structs.replace(config, data=str(data))
    if bind is not None:
        host_and_port(bind)
        config = msgspec.structs.replace(config, server=msgspec.structs.replace(config.server, bind=bind))
    return config


def _refuse_unusable(config: Config) -> None:
    """Refuse what only its room can judge, before anything is made for it; ConfigInvalid."""
    from gateway.push.tenant import Directory  # noqa: PLC0415 - most commands read no configuration
    from gateway.serve.custody.keeping import rules_of  # noqa: PLC0415

    Directory(config.push, config.instances, config.matrix)
    rules_of(config.log)


def read_text(path: Path, what: str) -> str:
    """Read a file that the configuration is made of; ConfigInvalid names it, and ``what`` it is."""
    try:
        return path.read_text("utf-8")
    except OSError as error:
        raise ConfigInvalid(f"{what} {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigInvalid(f"{what} {path} is not UTF-8 text") from None
