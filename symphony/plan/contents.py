"""Names a run by what it reads outside conf/: other weights, other data files or other prompts make another run.

This is the last step of planning; the config was composed and checked before.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from symphony.files import sha256
from symphony.models.folder import PACKAGE
from symphony.models.revision import weights_digest
from symphony.plan.needs import has_files
from symphony.plan.specs import Run
from symphony.plan.targets import class_of, construct
from symphony.types import SymphonyError, canonical_json
from symphony.weights.fetch import recorded_revision


def data_files(config: Mapping[str, Any], data: Path) -> dict[str, str]:
    """Returns name -> sha256 of the files that a run's task reads, and the digests of the prompts that its search uses.

    It is empty for a task without files. A missing file counts with the checksum that its option's `source` pins.
    """
    if not has_files(config["task"]):
        return {}
    asks = getattr(class_of("search", config["search"]["_target_"]), "asks_alone", False)
    task = construct("task", config["task"], data)
    try:
        files = {path.name: sha256(path) for path in task.files()}
    except SymphonyError:
        files = dict((config["task"].get("source") or {}).get("files") or {})
    words = {"answer prompts": task.prompts.answer_digest} if asks else {}
    if config["search"].get("siblings", 1) > 1:
        words["comparison prompts"] = task.prompts.comparison_digest
    return {**files, "prompts": task.prompts.digest, **words}


def with_weights(
    agents: Sequence[Mapping[str, Any]], checksums: Path, known: dict[str, str] | None = None
) -> list[Mapping[str, Any]]:
    """Returns a pool's agents, each with `weights` if something is known of them.

    These are the digest of the shipped weights that its model is or was made from, or the commit that its download is
    pinned to.

    Args:
        checksums: File in conf/ that records what first downloads found.
        known: The weights found so far, which are not looked up again; new ones are added.
    """
    known = {} if known is None else known
    named = []
    for agent in agents:
        place = canonical_json([agent.get(key) for key in ("source", "made_from", "path")])
        if place not in known:
            known[place] = _weights(agent, checksums)
        named.append(dict(sorted({**agent, "weights": known[place]}.items())) if known[place] else agent)
    return named


def _weights(agent: Mapping[str, Any], checksums: Path) -> str:
    if agent.get("source") is not None:
        return recorded_revision(agent["source"], checksums)
    scheme, _, folder = str(agent.get("made_from", agent.get("path", ""))).partition(":")
    is_packaged = scheme == "package" and (PACKAGE / folder / "config.json").is_file()
    return weights_digest(PACKAGE / folder) if is_packaged else ""


def named_by_contents(runs: Iterable[Run], data: Path, checksums: Path) -> list[Run]:
    """Returns the runs with `data` and their agents' `weights` in their configs, and so in their digests."""
    known: dict[str, str] = {}
    named = []
    for run in runs:
        files = data_files(run.config, run.data(data))
        agents = with_weights(run.config["pool"]["agents"], checksums, known)
        config = {**run.config, "pool": {**run.config["pool"], "agents": agents}}
        named.append(replace(run, config={**config, "data": files} if files else config))
    return named
