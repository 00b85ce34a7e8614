"""The options of `segsearch serve`, and settings that would leave a server open without anybody's wish."""

import ssl
from pathlib import Path

import pytest
import typer.main

from segsearch.core.cli import build
from segsearch.core.errors import ConfigError
from segsearch.service.server import tls_context
from segsearch.service.settings import Settings

SERVE = typer.main.get_command(build()).commands["serve"]
KEYS = Path("keys")


def test_every_option_has_its_variable_and_help_text():
    options = [option for option in SERVE.params if option.name != "help"]
    names = {option.name: (option.envvar, bool(option.help)) for option in options}
    assert names == {name: (f"SEGSEARCH_{name.upper()}", True) for name in names}


def test_every_setting_has_its_option():
    assert set(Settings.__dataclass_fields__) <= {option.name for option in SERVE.params}


def test_defaults_of_options_are_those_of_the_settings():
    plain = Settings()
    given = {option.name: option.default for option in SERVE.params}
    assert {name: given[name] for name in Settings.__dataclass_fields__} == {
        name: getattr(plain, name) for name in Settings.__dataclass_fields__
    }


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "10.0.0.7", "search.example"])
def test_a_server_for_others_needs_keys_or_a_clear_word(host):
    with pytest.raises(ConfigError, match="--keys, or --allow-open"):
        Settings(host=host)
    assert not Settings(host=host, keys=KEYS).is_open
    assert Settings(host=host, allow_open=True).is_open


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_a_server_for_this_machine_alone_needs_none(host):
    assert not Settings(host=host).is_open


BAD_SETTINGS = {
    "body_timeout_s is 0": {"body_timeout_s": 0},
    "rate_burst is 0": {"keys": KEYS, "rate_per_s": 1.0, "rate_burst": 0},
    "rate_per_s is -1": {"keys": KEYS, "rate_per_s": -1.0},
    "rate_per_s is nan": {"keys": KEYS, "rate_per_s": float("nan")},
    "limits are by key": {"rate_per_s": 1.0},
    "wanted both or neither": {"tls_certificate": Path("cert.pem")},
    "tls_client_ca is 'ca.pem'": {"tls_client_ca": Path("ca.pem")},
    "traces_endpoint is '127.0.0.1:4318', wanted an http or https URL": {"traces_endpoint": "127.0.0.1:4318"},
    "traces_endpoint is 'http://'": {"traces_endpoint": "http://"},
    "traces_endpoint is 'grpc://collector:4317'": {"traces_endpoint": "grpc://collector:4317"},
    "traces_endpoint is 'http://collector:http'": {"traces_endpoint": "http://collector:http"},
    "traces_share is nan": {"traces_share": float("nan")},
    "traces_share is 1.5": {"traces_share": 1.5},
}


@pytest.mark.parametrize("message", BAD_SETTINGS)
def test_settings_that_cannot_work_together_are_named(message):
    with pytest.raises(ConfigError, match=message):
        Settings(**BAD_SETTINGS[message])


def test_without_certificates_there_is_no_tls():
    assert tls_context(Settings()) is None


@pytest.mark.parametrize("content", [None, "no PEM"])
def test_certificates_that_cannot_be_used_are_named_before_anything_listens(tmp_path, content):
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    if content is not None:
        certificate.write_text(content)
        key.write_text(content)
    with pytest.raises(ConfigError, match=r"cert\.pem"):
        tls_context(Settings(tls_certificate=certificate, tls_key=key))
    assert ssl.HAS_TLSv1_3
