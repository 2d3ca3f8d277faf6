"""Names in a run's folder that other runs read, which may start from its weights. The rest is said in runs/."""

RECORD = "record.json"
MODEL = "model"  # weights, config.json and tokenizer
