"""Settings: names, parsing, variables, threads, and what the cache key holds."""
from __future__ import annotations

import inspect
import re
import threading
from pathlib import Path

import numpy as np
import pytest

import tracejit as tj
from tracejit.config import SETTINGS, Config, Setting, disable_x64, enable_x64, flag, numpy_rank_promotion
from tracejit.config import config as shared

PACKAGE = Path(inspect.getfile(Config)).parent


@pytest.fixture
def config() -> Config:
    return Config(environ={})


def test_update_with_and_without_prefix(config):
    assert config.enable_x64 is None and config.jax_enable_x64 is None
    config.update("jax_enable_x64", True)
    assert config.enable_x64 is True and config.jax_enable_x64 is True and config.read("jax_enable_x64") is True
    config.update("enable_x64", False)
    assert config.enable_x64 is False
    config.update("enable_x64", None)
    assert config.enable_x64 is None


def test_unknown_name_gives_close_matches(config):
    with pytest.raises(AttributeError, match="enable_x64"):
        config.update("jax_enable_x46", True)
    with pytest.raises(AttributeError, match="no setting is called 'qqq'$"):
        config.qqq
    with pytest.raises(AttributeError, match=r"use config.update\('debug_nans', True\)"):
        config.debug_nans = True


@pytest.mark.parametrize("name, bad", [("debug_nans", "maybe"), ("numpy_rank_promotion", "shout"), ("debug", 7),
                                       ("threads", 0), ("default_matmul_precision", "exact")])
def test_bad_values(config, name, bad):
    before = config.read(name)
    with pytest.raises(ValueError, match=name):
        config.update(name, bad)
    assert config.read(name) == before


@pytest.mark.parametrize("words, value", [("1 true True yes on", True), ("0 false FALSE no off", False)])
def test_flag(words, value):
    assert {flag(word) for word in words.split()} == {value}


def test_environment_variables():
    config = Config(environ={"TRACEJIT_DEBUG": "3", "TRACEJIT_ENABLE_X64": "0", "TRACEJIT_THREADS": ""})
    assert (config.debug, config.enable_x64, config.threads) == (3, False, None)
    with pytest.raises(ValueError, match="TRACEJIT_DEBUG"):
        Config(environ={"TRACEJIT_DEBUG": "loud"})


def test_blocks_nest_and_are_undone_on_error(config):
    with config.setting(debug_nans=True, jax_enable_x64=True):
        with config.setting(enable_x64=False):
            assert (config.debug_nans, config.enable_x64) == (True, False)
        assert config.enable_x64 is True
    with pytest.raises(KeyError), config.setting(debug_nans=True):
        raise KeyError
    assert (config.debug_nans, config.enable_x64) == (False, None)


def test_block_belongs_to_its_thread_and_update_to_all(config):
    seen = {}
    def look():
        seen.update(x64=config.enable_x64, nans=config.debug_nans)
    with config.setting(enable_x64=True):
        config.update("debug_nans", True)
        thread = threading.Thread(target=look)
        thread.start()
        thread.join()
        assert config.enable_x64 is True and config.debug_nans is True
    assert seen == {"x64": None, "nans": True}


def test_key_holds_exactly_the_settings_of_the_cache_key(config):
    key = config.key()
    assert config.key() is key
    with config.setting(log_compiles=True):
        assert config.key() is key
    with config.setting(enable_x64=True):
        assert config.key() != key
    assert config.key() is key
    config.update("disable_jit", True)
    assert config.key() != key
    config.update("disable_jit", False)
    assert config.key() is key


def test_listeners_hear_each_change(config):
    heard = []
    config.listeners.append(lambda: heard.append(config.debug_nans))
    with config.setting(debug_nans=True):
        pass
    config.update("debug_nans", True)
    assert heard == [True, False, True]


def test_jax_style_blocks():
    config = shared
    with enable_x64():
        assert config.enable_x64 is True
    with enable_x64(False):
        assert config.enable_x64 is False
    with disable_x64():
        assert config.enable_x64 is False
    with numpy_rank_promotion("raise"):
        assert config.numpy_rank_promotion == "raise"
    with pytest.raises(TypeError, match="needs a value"):
        numpy_rank_promotion()


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda s: s.name)
def test_table_is_sound(setting: Setting):
    assert setting.default is None or setting.parse(setting.default) == setting.default
    assert setting.doc.endswith(".") and setting.name in Config(environ={}).describe()
    hash(setting.default)


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda s: s.name)
def test_every_setting_is_read_or_has_one_value(setting: Setting):
    """A setting that nothing reads would be a promise that nobody keeps."""
    files = [path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "config.py"]
    fixed = {"platforms", "platform_name"}
    read = any(re.search(rf"config\.{setting.name}\b|shared\[\"{setting.name}\"\]", path.read_text()) for path in files)
    assert read != (setting.name in fixed or setting.doc.startswith("Accepted"))


def test_settings_come_from_the_command_line_as_absl_has_them() -> None:
    made = Config(environ={})
    made.parse_flags_with_absl(["program", "--jax_log_compiles=true", "--jax_debug_nans", "--jax_unknown=1", "--other"])
    assert made.log_compiles is True and made.debug_nans is True


def test_no_tracing_and_no_execution_refuse_calls() -> None:
    f = tj.jit(lambda x: x + 1)
    f(np.ones(2, np.float32))
    with tj.no_tracing():
        f(np.ones(2, np.float32))
        with pytest.raises(RuntimeError, match="no_tracing"):
            f(np.ones(3, np.float32))
    with tj.no_execution(), pytest.raises(RuntimeError, match="no_execution"):
        f(np.ones(2, np.float32))
    assert float(f(np.ones(2, np.float32))[0]) == 2


def test_raw_keys_can_be_refused() -> None:
    raw = tj.random.PRNGKey(0)
    with tj.legacy_prng_key("error"), pytest.raises(ValueError, match="raw uint32"):
        tj.random.split(raw)
    with tj.legacy_prng_key("warn"), pytest.warns(UserWarning, match="raw uint32"):
        tj.random.split(raw)
    with tj.legacy_prng_key("error"):
        tj.random.split(tj.random.key(0))


def test_switches_with_one_answer_take_only_that() -> None:
    with tj.softmax_custom_jvp(True), tj.allow_f16_reductions(False), tj.thread_guard(True), tj.auto_pcast(False):
        pass
    with pytest.raises(ValueError, match="allow_f16_reductions"), tj.allow_f16_reductions(True):
        pass


def test_switches_of_jax_without_effect_are_accepted() -> None:
    import tracejit as tj
    assert tj.config.jax_persistent_cache_min_compile_time_secs == 1.0
    with tj.config.setting(jax_persistent_cache_min_compile_time_secs=0, jax_logging_level="WARNING"):
        assert tj.config.read("jax_persistent_cache_min_compile_time_secs") == 0
    assert tj.config.jax_enable_checks is False and tj.config.jax_use_shardy_partitioner is True
    for name, value in (("jax_num_cpu_devices", 2), ("jax_random_seed_offset", 1), ("jax_high_dynamic_range_gumbel", True)):
        with pytest.raises(ValueError, match=name):
            tj.config.update(name, value)
    with pytest.raises(AttributeError, match="no setting"):
        tj.config.update("jax_no_such_thing", 1)
