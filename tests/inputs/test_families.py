"""The table of families against the files that go with it."""

from __future__ import annotations

from pathlib import Path

import pytest
import transformers
from omegaconf import OmegaConf

from gifine import models
from gifine.compose.conf_dir import conf_dir
from gifine.inputs.families import FAMILIES, TOKENIZER_FILES, TOKENIZER_JSON, normalise_type
from gifine.models import family_classes


def test_each_family_has_its_classes_and_nothing_else_is_there():
    files = (Path(str(models.__file__)).parent / "families").glob("[!_]*.py")
    assert {path.stem for path in files} == set(FAMILIES)


def test_each_family_has_a_model_and_no_model_has_another():
    configs = [OmegaConf.load(path) for path in (conf_dir() / "model").glob("*.yaml")]
    own = {OmegaConf.select(config, "family") for config in configs} - {None}  # of an alias
    assert own == set(FAMILIES)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_is_found_by_its_model_types(name):
    classes = family_classes(name)
    assert normalise_type(classes.plain_config.model_type) == name
    assert classes.config.model_type == f"gi_{name}"


@pytest.mark.parametrize("name", FAMILIES)
def test_a_tokenizer_is_built_from_the_files_that_transformers_names(name):
    known = FAMILIES[name].tokenizer
    names = getattr(transformers, known.name).vocab_files_names.values()
    assert {*known.vocabulary, TOKENIZER_JSON} == set(names)
    assert set(names) <= set(TOKENIZER_FILES)
