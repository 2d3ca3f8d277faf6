"""What a run reads: data sets, files, tokenizers, checkpoints; from the Hub, a disk or a prefetched folder."""
