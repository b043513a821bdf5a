"""What `symphony doctor` found, line by line, and the lines that matter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One line of the result.

    Attributes:
        name: What was checked.
        ok: Whether it is present and correct; None if nothing needs it unless a study asks for it.
        text: What was found.
        remedy: What to do; "" if nothing.
        asked: Whether it was requested by name, so that the command fails unless it is `ok`.
    """

    name: str
    ok: bool | None
    text: str
    remedy: str = ""
    asked: bool = False

    @property
    def option(self) -> str:
        """The kind of option that the line is about, "model", "key" or "task"; "" for the machine or a request."""
        kind = self.name.partition(" ")[0]
        return kind if kind in ("model", "key", "task") and not self.asked else ""

    @property
    def fails(self) -> bool:
        return self.asked and self.ok is not True

    def line(self) -> str:
        mark = {True: "ok", False: "no", None: "-"}[self.ok]
        return f"{mark:<3} {self.name}: {self.text}{f'; {self.remedy}' if self.remedy else ''}"


def summarise(findings: Sequence[Finding]) -> list[str]:
    """Returns the lines that matter: failures first, then everything that was asked for or is about the machine.

    Options that nothing asked for (models, keys, data) take one line for those at hand and one for the others.
    """
    first = sorted((finding for finding in findings if not finding.option), key=lambda finding: not finding.fails)
    lines = [finding.line() for finding in first]
    for kind in dict.fromkeys(finding.option for finding in findings if finding.option):
        same = [finding for finding in findings if finding.option == kind]
        present = [finding.name.partition(" ")[2] for finding in same if finding.ok]
        missing = sum(finding.ok is None for finding in same)
        lines += [finding.line() for finding in same if finding.ok is False]
        lines += [f"ok  {kind}: {', '.join(present)}"] if present else []
        lines += [f"-   {kind}: {missing} not needed yet; --all lists them"] if missing else []
    return lines
