# The plan: the study's runs, their groups and their digests. It is composed once (cached under outputs/plans by the
# digest of every input) and frozen per group, so that no job reads conf/ while it is being edited.
import shlex
import sys
from pathlib import Path

sys.path.insert(0, workflow.basedir)

from symphony.stop import listening

with listening():
    from symphony.plan.claims import claims
    from symphony.plan.compose import plan
    from symphony.plan.options import model, replaced, sources, write_description
    from symphony.weights.fetch import data_folder
    from symphony.report.figures import FIGURES, KINDS
    from symphony.report.tables import TABLES, heading
    from symphony.run.runner import Place, withdraw
    from symphony.run.serving import held
    from symphony.plan.needs import available, has_data, pool_sizes
    from symphony.run.recordings import describe_origin
    from symphony.plan.model_spec import models
    from symphony.plan.specs import SHARED, freeze, groups
    from symphony.studies import manifests
    from symphony.types import SymphonyError

# Our profile takes no lock (profiles/default). Another profile does, and a snakemake that is killed leaves it.
if (
    workflow.is_main_process
    and "--unlock" not in sys.argv
    and any(Path(".snakemake/locks").glob("*.lock"))
):
    print(
        "symphony: .snakemake/locks: found the lock of a snakemake that is at work here or was killed; if this one does "
        "not start and no other is at work, type `snakemake --unlock`, then start again (docs/operations.md)",
        file=sys.stderr,
    )

CONF = Path(workflow.basedir) / "conf"
DATA = data_folder()
KEYS = ("overrides", "share", "size", "study", "train_scale")
for key in config:
    if key not in KEYS:
        sys.exit(
            f"symphony: --config {key}: found an unknown key, allowed: {', '.join(KEYS)}"
        )
STUDY = str(config.get("study", "quickstart"))
OVERRIDES = str(config.get("overrides", "")).split()
OVERRIDES += [f"size={config['size']}"] if "size" in config else []
SHARE = str(config.get("share", ",".join(SHARED))).split(",")
LEFT_OUT = []
try:
    with listening():
        groups((), SHARE)
        RUNS = plan(STUDY, OVERRIDES, conf=CONF, data=DATA, cache=Path("outputs/plans"))
        RUNS = available(RUNS, LEFT_OUT.append)
        LEFT_OUT += replaced(STUDY, OVERRIDES, conf=CONF)
        CLAIMS = claims(STUDY, OVERRIDES, conf=CONF)
        SOURCES = sources(CONF)
        GROUPS = {group.name: group for group in groups(RUNS, SHARE)}
        for group in GROUPS.values():
            freeze(group, Path("outputs/groups"))
            withdraw(group, Place())
        if workflow.is_main_process:
            # The servers of `pool.serve` live as long as this process, from their first job to the last.
            SERVERS = held(RUNS)
            SERVERS.__enter__()
except SymphonyError as error:
    sys.exit(f"symphony: {error}")

for text in LEFT_OUT:
    print(f"symphony: {text}", file=sys.stderr)
if not RUNS:
    sys.exit(f"symphony: {STUDY}: nothing is left to run")


def downloads(group):
    """Returns manifests of the missing downloads that a group's runs need."""
    options = {
        f"task/{run.task}"
        for run in group.runs
        if not has_data(run.config, run.data(DATA))
    }
    options |= {
        option
        for run in group.runs
        for option in run.config["options"]
        if run.execution["store"] != "replay" and not is_there(option)
    }
    return [
        f"{DATA}/{option}/manifest.json"
        for option in sorted(options)
        if option in SOURCES
    ]


def is_there(option):
    """Whether a model's one file is in the user's own folder, so that nothing must be downloaded."""
    kind, _, name = option.partition("/")
    try:
        spec = model(name, conf=CONF) if kind == "model" else None
        return bool(spec and spec.is_stepped and spec.folder(DATA))
    except SymphonyError:
        return False


def has_engine(group):
    """Whether a model of the group uses as many threads as it gets."""
    return any(
        spec.is_stepped for run in group.runs for spec in models(run.config).values()
    )


def weights(option):
    """Returns where a model's weights are: its download's manifest, or the files shipped or already present."""
    if is_there(f"model/{option}"):
        return str(model(option, conf=CONF).file(DATA))
    if f"model/{option}" in SOURCES:
        return f"{DATA}/model/{option}/manifest.json"
    return sorted(map(str, model(option, conf=CONF).folder(DATA).glob("*.safetensors")))


QUANTISED = [str(file) for file in manifests(RUNS, Path("outputs"))]

# Finds the package in the project's folder, wherever snakemake was started.
SYMPHONY = f"PYTHONPATH={shlex.quote(workflow.basedir)}:${{PYTHONPATH:-}} {shlex.quote(sys.executable)} -m symphony"


wildcard_constraints:
    study=r"[\w.-]+",
    group=r"[\w.-]+",
    option=r"(task|model)/[\w.-]+",
    scheme="nf4|fp4|int8|bfloat16",
    model=r"\w+",
