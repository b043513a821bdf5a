# One job per (task, pool, seed), or per (task, pool) with --config share=task,pool; its runs share the loaded models.
# The digest of the runs is in the path, so a comment in a YAML file changes nothing. The job skips runs whose folder
# outputs/runs/<digest> is complete.
rule run:
    input:
        lambda wildcards: downloads(GROUPS[wildcards.group]),
        lambda wildcards: manifests(GROUPS[wildcards.group].runs, Path("outputs")),
    output:
        "outputs/groups/{group}/done.json",
    log:
        "outputs/logs/run/{group}.log",
    benchmark:
        "outputs/benchmarks/run/{group}.tsv"
    conda:
        "../../environment.yml"
    # An engine for GGUF files uses every core that it gets; two at once are slower than one after the other.
    threads: lambda wildcards: workflow.cores if has_engine(GROUPS[wildcards.group]) else 1
    resources:
        mem_mb=lambda wildcards: 6000 if has_engine(GROUPS[wildcards.group]) else 3000,
        runtime=lambda wildcards: 1440 if has_engine(GROUPS[wildcards.group]) else 240,
    params:
        symphony=SYMPHONY,
    message:
        "run {wildcards.group}"
    shell:
        "OMP_NUM_THREADS={threads} {params.symphony} run --group outputs/groups/{wildcards.group:q} 2>&1 | tee -i {log:q}"
