"""`hydra/sweeper=gifine`, which conf/config.yaml chooses; Hydra finds plugins by this folder's parent."""
