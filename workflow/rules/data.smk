# Downloads: only what an option of the plan pins in its `source` block. The quickstart has none.
rule fetch:
    output:
        "data/{option}/manifest.json",
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
    shell:
        "{params.symphony} fetch {wildcards.option} --conf {params.conf:q} --data data > {log:q} 2>&1"
