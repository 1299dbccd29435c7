"""A gate's report as JUnit XML, which every CI system shows: a test case a cell.

Exit code 1 is a failure, 3 an error; a suspicious cell passes and says so in its output. XML 1.0 cannot hold most
control characters, escaped or not: they are written as a Python string shows them.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from pathlib import Path

from bench.exits import INCOMPLETE, WORSE
from bench.regression.gate import Report, Verdict

__all__ = ["text", "write"]

# What XML 1.0 allows: section 2.2, "Char".
_FORBIDDEN = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def text(report: Report) -> str:
    """Return the report as an XML document, with its declaration."""
    cases = report.verdicts
    counts = {
        "tests": len(cases),
        "failures": sum(verdict.exit == WORSE for verdict in cases),
        "errors": sum(verdict.exit == INCOMPLETE for verdict in cases),
        "skipped": 0,
    }
    numbers = {name: str(value) for name, value in counts.items()}
    root = ET.Element("testsuites", {"name": "bench gate", **numbers, "time": "0"})
    suite = ET.SubElement(root, "testsuite", {"name": _legal(report.suite), **numbers, "time": "0"})
    for verdict in cases:
        suite.append(_case(report.suite, verdict))
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def write(report: Report, path: Path) -> None:
    """Write the report as a JUnit XML file.

    Args:
        report: The gate's report.
        path: The file; its folder is made where it is missing.

    Raises:
        OSError: It cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text(report), encoding="utf-8")


def _case(suite: str, verdict: Verdict) -> ET.Element:
    """Return the test case of a verdict."""
    group = _legal(f"{suite}.{verdict.cell.dataset}.{verdict.cell.attacker}")
    case = ET.Element("testcase", {"classname": group, "name": _legal(str(verdict.cell)), "time": "0"})
    text = "\n".join([verdict.sentence, *verdict.notes])
    if verdict.exit:
        kind = "failure" if verdict.exit == WORSE else "error"
        element = ET.SubElement(case, kind, {"type": verdict.word, "message": _legal(verdict.sentence)})
        element.text = _legal(text)
    elif verdict.word != "same" or verdict.notes:
        ET.SubElement(case, "system-out").text = _legal(f"{verdict.word}: {text}")
    return case


def _legal(text: str) -> str:
    """Escape the characters that XML 1.0 cannot hold."""
    return _FORBIDDEN.sub(lambda match: ascii(match[0])[1:-1], text)
