"""The number of cores this process can really use."""

from __future__ import annotations

import math
import os
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")


def usable_cores(cgroup: Path = _CGROUP) -> int:
    """Returns the usable cores: the least of affinity, control group quota and OMP_NUM_THREADS.

    Snakemake sets OMP_NUM_THREADS to each job's share of the machine. The quota is rounded up.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limits = [cores, _quota(cgroup), _number(os.environ.get("OMP_NUM_THREADS"))]
    return max(1, min(limit for limit in limits if limit is not None))


def _quota(cgroup: Path) -> int | None:
    """Returns the control group's quota in cores (version 2: `cpu.max`, version 1: two files); None for no limit."""
    try:
        if (cgroup / "cpu.max").is_file():
            granted, period = (cgroup / "cpu.max").read_text().split()
        else:
            granted = (cgroup / "cpu/cpu.cfs_quota_us").read_text()
            period = (cgroup / "cpu/cpu.cfs_period_us").read_text()
        cores = int(granted) / int(period)
    except (OSError, ValueError, ZeroDivisionError):  # "max", or no control group
        return None
    return math.ceil(cores) if cores > 0 else None


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isdecimal() and int(text) > 0 else None
