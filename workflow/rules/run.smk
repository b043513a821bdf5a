# Cores of a job with an engine, where snakemake is not told how many there are (on a cluster).
ENGINE_CORES = workflow.resource_settings.cores or 8


# One job per (task, pool, seed), or per (task, pool) with --config share=task,pool; its runs share the loaded models.
# The digest of the runs is in the path, so a comment in a YAML file changes nothing. The job skips runs whose folder
# outputs/runs/<digest> is complete.
rule run:
    input:
        lambda wildcards: JOBS.job(wildcards.group).inputs,
    output:
        "outputs/groups/{group}/done.json",
    log:
        "outputs/logs/run/{group}.log",
    benchmark:
        "outputs/benchmarks/run/{group}.tsv"
    conda:
        "../../environment.yml"
    # An engine for GGUF files uses every core that it gets; two at once are slower than one after the other.
    threads: lambda wildcards: ENGINE_CORES if JOBS.job(wildcards.group).engine else 1
    # A cluster takes these at their word; a job that it ends for lack of memory or time is tried again with more.
    resources:
        mem_mb=lambda wildcards, attempt: attempt
        * (6000 if JOBS.job(wildcards.group).engine else 3000),
        runtime=lambda wildcards, attempt: attempt
        * (1440 if JOBS.job(wildcards.group).engine else 240),
        gpu=lambda wildcards: JOBS.job(wildcards.group).gpus,
    params:
        symphony=SYMPHONY,
    message:
        "run {wildcards.group}"
    shell:
        "OMP_NUM_THREADS={threads} {params.symphony} run --group outputs/groups/{wildcards.group:q}"
        " --gpus {resources.gpu} 2>&1 | tee -i {log:q}"
