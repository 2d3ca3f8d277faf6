"""From records to conclusions: tables, the gates against their baseline, and the published numbers. No torch.

`reading` gives runs, `contents.gather` everything that a page shows, `sheets` the same as text.
"""
