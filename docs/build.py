"""Builds the API reference from the docstrings, without network: python docs/build.py.

Every module on the disk becomes a page of site/, so that one that cannot be imported stops the
build; so does every other Markdown file in docs/. index.md is the way in.
"""

import re
import shutil
import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import pdoc.render
from markupsafe import Markup
from pdoc.doc import Module
from pdoc.render_helpers import to_html

from analyses.explorer import build_page, describe
from model.anyone import read_network
from model.shell import Output, console, run_command, write_atomic

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
TRIED, PAIRS = ("262p", "226p"), 5_000
"""Networks of the page in which they run, and pairs that are searched for examples."""
PACKAGES = ("model", "train", "interp", "analyses")

Modules = Mapping[str, Module]


def module_names() -> list[str]:
    """List every module of the packages, as the disk has them."""
    files = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
    parts = [path.relative_to(ROOT).with_suffix("").parts for path in files]
    return [".".join(part[:-1] if part[-1] == "__init__" else part) for part in parts]


def build(names: Sequence[str]) -> dict[str, str]:
    """Render all pages.

    Args:
        names: Modules to document, packages before what is in them.

    Returns:
        Contents by path within the site.

    Raises:
        RuntimeError: A module cannot be imported.
    """
    pdoc.render.configure(docformat="google", template_directory=DOCS / "template")
    with warnings.catch_warnings():
        warnings.filterwarnings("error", module="pdoc")  # annotations that it cannot resolve
        modules = {name: Module.from_name(name) for name in names}
        for module in modules.values():
            open_door(module)
        pages = {
            f"{name.replace('.', '/')}.html": pdoc.render.html_module(module, modules)
            for name, module in modules.items()
        }
        pages["search.js"] = pdoc.render.search_index(modules)
    texts = {path.stem: path.read_text(encoding="utf-8") for path in sorted(DOCS.glob("*.md"))}
    titles = {stem: text.partition("\n")[0].lstrip("# ") for stem, text in texts.items()}
    for stem, text in texts.items():
        pages[f"{stem}.html"] = render_page(stem, text, titles, modules)
    # Defaults and constants may be paths of this machine.
    return {path: page.replace(f"{ROOT}/", "") for path, page in pages.items()}


def open_door(module: Module) -> None:
    """Let pdoc see what a room offers: a door imports a name only when it is asked for."""
    for name in getattr(module.obj, "__all__", ()):
        setattr(module.obj, name, getattr(module.obj, name))


def render_page(stem: str, text: str, titles: Mapping[str, str], modules: Modules) -> str:
    """Render one Markdown file; the index gets the list of modules too.

    Args:
        stem: Name of the file.
        text: Its contents.
        titles: First heading of every such file, for the navigation.
        modules: What names in backticks are linked to.
    """
    html = to_html(re.sub(r"\]\((\w+)\.md\)", r"](\1.html)", text))
    contents = getattr(html, "toc_html", None) or ""
    return pdoc.render.env.get_template("page.html.jinja2").render(
        stem=stem,
        titles=titles,
        contents=Markup(contents),
        text=Markup(link_modules(html, modules)),
        packages={name: summaries(name, modules) for name in PACKAGES if name in modules},
        all_modules=modules,
    )


def summaries(package: str, modules: Modules) -> dict[str, str]:
    """Give the first line of the docstring of a package and of each of its modules."""
    ours = (name for name in modules if name.partition(".")[0] == package)
    return {name: modules[name].docstring.partition("\n")[0] for name in ours}


def link_modules(html: str, modules: Modules) -> str:
    """Link every module that is named in backticks."""

    def link(match: re.Match[str]) -> str:
        name = match[1]
        if name not in modules:
            return match[0]
        return f'<code><a href="{name.replace(".", "/")}.html">{name}</a></code>'

    return re.sub(r"<code>([\w.]+)</code>", link, html)


def try_page() -> str:
    """Write the explorer on the write-ups' smallest network and on the smallest that is proved."""
    return build_page([describe(read_network(name), pairs=PAIRS) for name in TRIED])


def write_site(*, out: Path = Path("site")) -> None:
    """Build the API reference from the docstrings of every module.

    Args:
        out: Folder of the pages; what else it holds is left alone.
    """
    with Output(out, by="python docs/build.py") as output:
        pages, tried = build(module_names()), try_page()
        with output.writing():
            for path, page in pages.items():
                write_atomic(out / path, page)
            write_atomic(out / "try.html", tried)
            shutil.copytree(DOCS / "figures", out / "figures", dirs_exist_ok=True)
    console.print(f"{len(pages) + 1} pages: open {out / 'index.html'}", highlight=False)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    return run_command(
        write_site, argv, prog="python docs/build.py", example="python docs/build.py --out site"
    )


if __name__ == "__main__":
    sys.exit(main())
