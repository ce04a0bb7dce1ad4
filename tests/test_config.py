"""The table of settings: environment, overrides, and errors that name the setting, what was given and what is allowed."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from kg.config import SETTINGS, Config, as_environment, read
from kg.errors import ConfigurationError


def test_every_setting_has_a_default_that_reads_and_a_sentence_of_help() -> None:
    defaults = read({})
    assert {field.name for field in dataclasses.fields(Config)} == {setting.name for setting in SETTINGS}
    for setting in SETTINGS:
        assert getattr(defaults, setting.name) == setting.read(setting.default)
        assert setting.help[0].isupper()
        assert setting.help.endswith(".")
        assert setting.variable == f"KG_{setting.name.upper()}"


def test_environment_is_read_and_overrides_come_before_it() -> None:
    environment = {"KG_QUERY_TIMEOUT": "2.5", "KG_DATA": "/srv/kg", "PATH": "/bin"}
    assert read(environment).query_timeout == 2.5
    assert read(environment).data == Path("/srv/kg")
    assert read(environment, query_timeout="7").query_timeout == 7
    assert read(environment, query_timeout=None).query_timeout == 2.5


def test_process_environment_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KG_THREADS", "3")
    assert read().threads == 3


@pytest.mark.parametrize(
    ("text", "size"),
    [("1", 1), ("512B", 512), ("2KiB", 2048), ("4 MiB", 4 * 2**20), (" 1GiB ", 2**30), ("64MiB", 64 * 2**20)],
)
def test_sizes_may_have_units(text: str, size: int) -> None:
    assert read({"KG_DOCUMENT_LIMIT": text}).document_limit == size


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        *(("KG_DOCUMENT_LIMIT", text) for text in ("", "0", "0MiB", "-1", "4MB", "4 megabytes", "1.5MiB", "∞")),
        *(("KG_QUERY_TIMEOUT", text) for text in ("0", "-1", "86400", "nan", "inf", "soon", "")),
        *(("KG_THREADS", text) for text in ("0", "-2", "1.5", "many", "")),
        *(
            ("KG_BIND", text)
            for text in ("8000", ":8000", "host", "host:", "host:99999", "a b:1", "::1:80", "http://x:1")
        ),
    ],
)
def test_value_that_cannot_be_used_names_the_setting_and_what_was_given(variable: str, text: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read({variable: text})
    assert caught.value.facts == {"setting": variable}
    assert caught.value.detail.startswith(variable + " ")
    assert repr(text) in caught.value.detail


def test_misspelt_setting_is_refused_because_a_misspelt_limit_is_no_limit() -> None:
    with pytest.raises(ConfigurationError) as caught:
        read({"KG_QUERY_TIMEOUTS": "1"})
    assert caught.value.facts == {"setting": "KG_QUERY_TIMEOUTS"}
    assert "KG_QUERY_TIMEOUT," in caught.value.detail


@pytest.mark.parametrize(
    ("bind", "host", "port", "base"),
    [
        ("127.0.0.1:8000", "127.0.0.1", 8000, "http://localhost:8000/"),
        ("0.0.0.0:80", "0.0.0.0", 80, "http://localhost:80/"),  # noqa: S104
        ("[::]:8000", "::", 8000, "http://localhost:8000/"),
        ("[::1]:8000", "::1", 8000, "http://localhost:8000/"),
        ("[2001:db8::1]:8000", "2001:db8::1", 8000, "http://[2001:db8::1]:8000/"),
        ("kg.example:65535", "kg.example", 65535, "http://kg.example:65535/"),
    ],
)
def test_address_gives_host_port_and_a_base_that_browsers_take(bind: str, host: str, port: int, base: str) -> None:
    config = read({"KG_BIND": bind})
    assert (config.host, config.port, config.default_base) == (host, port, base)


def test_settings_survive_the_way_to_another_process() -> None:
    config = read(
        {
            "KG_DATA": "/srv/k g",
            "KG_DOCUMENT_LIMIT": "3MiB",
            "KG_QUERY_TIMEOUT": "0.25",
            "KG_BASE": "https://x.example/",
        }
    )
    assert read(as_environment(config)) == config
