"""More RTD of a model that is there, on GLUE's own sentences, with the vocabulary of DeBERTaV3."""

from __future__ import annotations

import pytest

from gifine.errors import ExitCode


@pytest.mark.long
@pytest.mark.shared
def test_continued_rtd_on_the_sentences_of_glue_lowers_the_held_out_losses(train, shared, tmp_path):
    corpus = ["data=glue_dir", f"data.dir={shared / 'glue'}", "data.sentences_of=[cola,rte]", "data.held_out=0.02"]
    corpus += ["data.across_documents=true", "data.max_eval_rows=32", f"data.cache_dir={tmp_path / 'cache'}"]
    words = ["task=rtd", "model=debertav3", f"model.tokenizer={shared / 'tokenizers' / 'deberta-v3-base'}", *corpus]
    words += ["train.max_length=64", "train.batch_size=8", "train.device=cpu", "train.evaluate=end"]
    words += ["train.select_best=false", "train.save_model=true", "train.learning_rate=3e-3"]
    small = "{hidden_size: 32, num_hidden_layers: 2, num_attention_heads: 2, intermediate_size: 64}"
    drawn = ["model.random_init=true", f"model.config_overrides={small}", "gi=none", "train.max_steps=12"]
    earlier = train(*words, *drawn)
    goes_on = [f"model.init_from={earlier.folder}", "gi.init=identity", "train.max_steps=40"]
    later = train(*words, *goes_on)
    assert (earlier.code, later.code) == (ExitCode.DONE, ExitCode.DONE)
    assert later.record.parameters["gates"] > 0
    assert later.record.provenance["init_from"]["run_id"] == earlier.record.run_id
    told = later.record.examples["train"]
    # 90 sentences of RTE's dev set alone are in its training set.
    assert told["texts_of_dev_or_test"] >= 90
    assert told["documents"] + later.record.examples["validation"]["documents"] == told["distinct_texts"]
    before, after = (run.record.metrics for run in (earlier, later))
    for name in ("mlm_loss", "rtd_loss"):
        assert after[f"rtd/validation/{name}"] < before[f"rtd/validation/{name}"]
