"""The command ``akp live``: a family of networks trains in front of a class, on this machine and no other.

Voila shows one widget (`akp_core.live.lab.Lab`) of a notebook that is written here, in a template of its
own, which leaves out the two style sheets that Voila's would fetch from a server.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import click

from akp_book.root import find_root
from akp_core.errors import AkpError, expected

NEEDS = {"voila": "voila", "anywidget": "anywidget", "vl_convert": "vl-convert-python"}
EXTENSIONS = ("@jupyter-widgets/jupyterlab-manager", "@voila-dashboards/widgets-manager8", "anywidget")
"""What the page of the lab loads of the JupyterLab extensions on this machine; others may fail outside it."""
TEMPLATE = """{%- extends 'voila/templates/lab/index.html.j2' -%}
{% import "spinner.macro.html.j2" as spinner %}
{%- block notebook_css -%}
{% if frontend == "voila" %}{{ resources.include_js("static/voila-style.js") }}{% endif %}
{{ spinner.css() }}
<style>.jp-mod-noOutputs.jp-mod-noInput { display: none; }</style>
{{ super.super() }}
{%- endblock notebook_css -%}
"""


@click.command()
@click.option("--dataset", default="nuclei", show_default=True, help="Which images.")
@click.option("--network", type=click.Choice(["mlp", "cnn"]), default="mlp", show_default=True)
@click.option("--tap", default="features", show_default=True, help="Where networks are compared.")
@click.option("--members", default=6, show_default=True, help="Networks in each family.")
@click.option("--epochs", default=8, show_default=True, help="Passes over the training images.")
@click.option("--side", default=0, help="Pixels along a side  [default: the data set's own]")
@click.option("--fields", default=0, help="Fields rendered for each patient of nuclei  [default: ten]")
@click.option("--seed", default=0, show_default=True)
@click.option("--theme", type=click.Choice(["auto", "light", "dark"]), default="auto", show_default=True)
@click.option("--port", default=8866, show_default=True, help="0 takes any that is free.")
@click.option("--no-browser", is_flag=True, help="Only say the address.")
@click.option("--anew", is_flag=True, help="Forget where the last lab of this kind was.")
@click.option("--out", type=click.Path(path_type=Path), default=None, help="Build folder  [default: _build]")
def live(theme: str, port: int, no_browser: bool, anew: bool, out: Path | None, **chosen: Any) -> None:
    """Open the live lab in a browser: train, swap a function now, watch, rewind, compare."""
    from akp_book import page
    from akp_core.live.choice import Choice

    missing = [package for module, package in NEEDS.items() if importlib.util.find_spec(module) is None]
    if missing:
        raise AkpError(
            f"the live lab needs {' and '.join(missing)}; install with: uv pip install -r requirements.txt"
        )
    if not 0 <= port <= 65535:
        raise expected("a port from 0 to 65535", str(port))
    choice = Choice(**chosen)
    study = choice.study(page.data_root())  # a choice that makes no study is refused here, in one line
    if study.members < 3:
        raise expected("at least 3 networks in a family", str(study.members))
    folder = ((find_root() / "_build") if out is None else out.resolve()) / "live"
    notebook = lay_out(folder, choice.__dict__, theme, page.data_root(), anew=anew)
    click.echo("the live lab opens in a browser; stop it with Ctrl-C, and it goes on from there next time")
    command = [sys.executable, "-m", "voila", str(notebook), "--template=akp", f"--port={port}"]
    command += ["--Voila.ip=127.0.0.1", "--show_tracebacks=True"]
    # a window that was closed leaves its kernel behind; the journal has all that a new one needs
    command += ["--MappingKernelManager.cull_idle_timeout=30", "--MappingKernelManager.cull_interval=10"]
    command += [f"--VoilaConfiguration.extension_allowlist={name}" for name in EXTENSIONS]
    command += ["--no-browser"] if no_browser else []
    paths = os.pathsep.join(filter(None, [str(folder / "jupyter"), os.environ.get("JUPYTER_PATH")]))
    sys.exit(subprocess.run(command, env={**os.environ, "JUPYTER_PATH": paths}, check=False).returncode)


def lay_out(folder: Path, choice: dict[str, Any], theme: str, root: Path, *, anew: bool = False) -> Path:
    """Write what Voila opens: the notebook, the template, and a kernel that is this very Python.

    Parameters
    ----------
    folder : Path
        Of the lab; its journal lies there too.
    choice : dict
        Fields of `akp_core.live.choice.Choice`.
    theme : {"auto", "light", "dark"}
    root : Path
        Folder of public data sets.
    anew : bool
        Delete the journal.

    Returns
    -------
    Path
        The notebook.
    """
    import nbformat
    from ipykernel.kernelspec import get_kernel_dict

    from akp_core.durable import refusals
    from akp_core.live.journal import JOURNAL

    code = (
        "from akp_core.live.choice import Choice\nfrom akp_core.live.lab import Lab\n"
        f"lab = Lab(Choice(**{choice!r}), folder={str(folder)!r}, root={str(root)!r}, theme={theme!r})\nlab"
    )
    cells = [nbformat.v4.new_code_cell(code)]
    kernel = {"name": "akp", "display_name": "akp", "language": "python"}
    notebook = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel, "title": "Live lab"})
    with refusals(f"the folder {folder}"):
        template = folder / "jupyter" / "voila" / "templates" / "akp"
        template.mkdir(parents=True, exist_ok=True)
        (template / "index.html.j2").write_text(TEMPLATE, "utf8")
        (template / "conf.json").write_text('{"base_template": "lab"}', "utf8")
        kernels = folder / "jupyter" / "kernels" / "akp"
        kernels.mkdir(parents=True, exist_ok=True)
        (kernels / "kernel.json").write_text(json.dumps(get_kernel_dict()), "utf8")
        path = folder / "live-lab.ipynb"
        nbformat.write(notebook, path)
        if anew:
            (folder / JOURNAL).unlink(missing_ok=True)
    return path
