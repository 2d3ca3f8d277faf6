"""`gifine inspect`: what a change, or attention alone, does in a trained model, on real sentences.

`gifine inspect` is `python -m gifine.inspect`, as with each command. Imports are absolute here, so this folder does not
stand before the standard library's module of that name. `seen.py`, `passes.py` and `ablation.py` take torch;
`findings.py` is what they hand over, `page.py` and `pictures.py` show it without torch.
"""
