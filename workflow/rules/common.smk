# The plan: the study's runs, their groups and their digests. It is composed once (cached under outputs/plans by the
# digest of every input) and frozen per group, so that no job reads conf/ while it is being edited. A snakemake that is
# itself a job (on a cluster each job is one) reads what the one that submitted it wrote down.
import shlex
import sys
from contextlib import ExitStack
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
    from symphony.run.jobs import Jobs, is_there, jobs_file
    from symphony.run.runner import Place, withdraw
    from symphony.run.serving import held
    from symphony.plan.needs import available, pool_sizes
    from symphony.run.recordings import describe_origin
    from symphony.plan.specs import SHARED, freeze, groups
    from symphony.types import SymphonyError

# Our profiles take no lock. Another profile does, and a snakemake that is killed leaves it.
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
JOBS_FILE = jobs_file(config, Path("outputs/plans"))
SERVERS = ExitStack()


def plan_study():
    """Composes the study, writes down what its jobs need, and returns that."""
    overrides = str(config.get("overrides", "")).split()
    overrides += [f"size={config['size']}"] if "size" in config else []
    share = str(config.get("share", ",".join(SHARED))).split(",")
    left_out = []
    groups((), share)
    runs = plan(STUDY, overrides, conf=CONF, data=DATA, cache=Path("outputs/plans"))
    runs = available(runs, left_out.append)
    left_out += replaced(STUDY, overrides, conf=CONF)
    described = claims(STUDY, overrides, conf=CONF)
    for text in left_out:
        print(f"symphony: {text}", file=sys.stderr)
    if not runs:
        sys.exit(f"symphony: {STUDY}: nothing is left to run")
    grouped = groups(runs, share)
    for group in grouped:
        freeze(group, Path("outputs/groups"))
        withdraw(group, Place())
    jobs = Jobs.of(
        grouped, sources(CONF), data=DATA, outputs=Path("outputs"), conf=CONF
    )
    jobs.freeze(JOBS_FILE)
    # The servers of `pool.serve` live as long as this process, from their first job to the last.
    SERVERS.enter_context(held(runs))
    # Titles, questions and order of the experiments; written only if they change, so that a new title remakes only the
    # report.
    write_description(
        STUDY,
        Path(f"outputs/{STUDY}/plan.json"),
        overrides,
        conf=CONF,
        left_out=left_out,
        recorded=describe_origin(runs),
        claims=described,
        pools=pool_sizes(runs, DATA),
    )
    return jobs


try:
    with listening():
        JOBS = plan_study() if workflow.is_main_process else Jobs.thaw(JOBS_FILE)
except SymphonyError as error:
    sys.exit(f"symphony: {error}")


def weights(option):
    """Returns where a model's weights are: its download's manifest, or the files shipped or already present."""
    if is_there(f"model/{option}", data=DATA, conf=CONF):
        return str(model(option, conf=CONF).file(DATA))
    if f"model/{option}" in sources(CONF):
        return f"{DATA}/model/{option}/manifest.json"
    return sorted(map(str, model(option, conf=CONF).folder(DATA).glob("*.safetensors")))


# Finds the package in the project's folder, wherever snakemake was started.
SYMPHONY = f"PYTHONPATH={shlex.quote(workflow.basedir)}:${{PYTHONPATH:-}} {shlex.quote(sys.executable)} -m symphony"


wildcard_constraints:
    study=r"[\w.-]+",
    group=r"[\w.-]+",
    option=r"(task|model)/[\w.-]+",
    scheme="nf4|fp4|int8|bfloat16",
    model=r"\w+",
