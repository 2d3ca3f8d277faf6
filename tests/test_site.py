"""`make docs`: the site needs no network and no server, and each page fits a phone."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from conftest import ROOT, needs

pytestmark = pytest.mark.machine
WORDS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-quic"]
WORDS += [
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--virtual-time-budget=10000",
]


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    pytest.importorskip("mkdocs", reason="needs mkdocs: make docs installs it")
    folder = tmp_path_factory.mktemp("site")
    shutil.copytree(ROOT / "docs", folder / "docs", ignore=shutil.ignore_patterns("__pycache__"))
    config = (ROOT / "mkdocs.yml").read_text()
    (folder / "mkdocs.yml").write_text(config)
    command = [sys.executable, "-W", "ignore", "-m", "mkdocs", "build", "--strict", "--quiet"]
    own = os.environ | {"NO_MKDOCS_2_WARNING": "1"}  # of the theme, on its own future; the Makefile leaves it out, too
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, env=own)
    assert (done.returncode, done.stderr.count("WARNING")) == (0, 0), done.stderr
    return folder / "site"


def test_nothing_is_loaded_from_elsewhere(site):
    pages = list(site.glob("*.html"))
    assert len(pages) > len(yaml.safe_load((site.parent / "mkdocs.yml").read_text())["nav"])
    for page in pages:
        loaded = re.findall(r"<(?:script|link|img|iframe)[^>]*?(?:src|href)=\"?([^\" >]+)", page.read_text())
        assert [address for address in loaded if re.match(r"(https?:)?//", address)] == []


def test_the_search_finds_from_a_folder(site, tmp_path):
    browser = needs("chromium", "google-chrome")
    words = [browser, *WORDS, f"--user-data-dir={tmp_path}", "--enable-logging=stderr", "--dump-dom"]
    address = f"{(site / 'index.html').as_uri()}?q=checkpoint"
    done = subprocess.run([*words, address], capture_output=True, text=True, check=True, timeout=120)
    assert "CONSOLE" not in done.stderr
    assert re.search(r"\d+ matching documents", done.stdout)
