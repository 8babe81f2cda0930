"""Which modules a page's script imports, all the way down.

A browser learns of an import when it has the module that says so: wave after wave, a round trip each. No
build step makes one file of them, so the page names them all in its head, and they come at once.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

# At the beginning of a line: import … from './x.js', perhaps over several; export … from; import './x.js'.
IMPORT = re.compile(r"""^(?:import|(?:import|export)\b[^'"();=]*\bfrom)\s*['"](\.[^'"]+)['"]""", re.MULTILINE)


def imported_modules(folder: Path, script: str) -> list[str]:
    """Follow the imports of a script.

    :param folder: of the static files.
    :param script: its path in that folder, for example "js/chat/page.js".
    :returns: the paths of what it imports, each once, without the script itself; first what it names itself.
    :raises FileNotFoundError: when a module imports one that is not there.
    """
    found = [script]
    for path in found:
        for name in IMPORT.findall((folder / path).read_text("utf-8")):
            module = posixpath.normpath(posixpath.join(posixpath.dirname(path), name))
            if module not in found:
                found.append(module)
    return found[1:]
