# Downloads only what an option of the plan pins in its `source` block. The quickstart has none.
rule fetch:
    output:
        f"{DATA}/{{option}}/manifest.json",
    log:
        "outputs/logs/fetch/{option}.log",
    benchmark:
        "outputs/benchmarks/fetch/{option}.tsv"
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        mem_mb=500,
        runtime=240,
    params:
        symphony=SYMPHONY,
        conf=CONF,
        data=DATA,
    message:
        "fetch {wildcards.option}"
    shell:
        "OMP_NUM_THREADS={threads} {params.symphony} fetch {wildcards.option} --conf {params.conf:q} --data {params.data:q} > {log:q} 2>&1"
