# Table of contents. Takes one study (a folder under conf/experiment/) from its configs to its report:
#   snakemake --cores all                                  the default study, quickstart
#   snakemake --cores all --config study=presets           another one
#   snakemake --cores all --config study=laptop size=quick    a smaller size of the study (from its folder sizes/)
#   snakemake --cores all --config overrides=problems=4    with Hydra overrides, separated by spaces
#   snakemake --cores 2 --config share=task,pool           fewer, larger jobs: faster on few cores (`make run` chooses)
from snakemake.utils import min_version

min_version("9.20")


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/models.smk"
include: "workflow/rules/run.smk"
include: "workflow/rules/report.smk"


rule all:
    default_target: True
    input:
        f"outputs/{STUDY}/report.html",
    message:
        f"outputs/{STUDY}/report.html is the report"
