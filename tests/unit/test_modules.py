"""Which modules a page preloads."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.web.modules import imported_modules

STATIC = Path(__file__).resolve().parent.parent.parent / "app" / "static"


def write(folder: Path, **modules: str) -> Path:
    (folder / "js").mkdir()
    for name, text in modules.items():
        (folder / "js" / f"{name}.js").write_text(text, "utf-8")
    return folder


def test_imports_are_followed_once_each_and_in_circles(tmp_path: Path) -> None:
    folder = write(
        tmp_path,
        main="import { a } from './a.js';\nimport {\n  b,\n  c,\n} from \"./b.js\";\nimport './side.js';\n",
        a="import { b } from './b.js';\n/** @param {import('./type.js').T} t */\nexport const a = '';\n",
        b="export * from './c.js';\nexport const name = 'import';\nexport default './no.js';\n",
        c="import { a } from './a.js';\n",
        side="console.log(\"import './no.js'\");\n",
    )
    assert imported_modules(folder, "js/main.js") == ["js/a.js", "js/b.js", "js/side.js", "js/c.js"]


def test_a_module_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"gone\.js"):
        imported_modules(write(tmp_path, main="import './gone.js';\n"), "js/main.js")


@pytest.mark.parametrize("script", ["js/chat/page.js", "js/market/page.js", "js/ops/page.js"])
def test_every_page_has_its_modules(script: str) -> None:
    modules = imported_modules(STATIC, script)
    assert "vendor/socket.io/socket.io.esm.min.js" in modules
    assert "js/connection.js" in modules
