# The embedded models ship with the package: `train_pool` makes them from scratch if requested by name, and
# `quantise` makes the checkpoints that a study's runs need.
EMBEDDED = ("llama", "qwen3", "neox")


rule train_pool:
    input:
        expand("outputs/trained/{model}/MODEL_CARD.md", model=EMBEDDED),


rule train_model:
    output:
        "outputs/trained/{model}/MODEL_CARD.md",
    log:
        "outputs/logs/train_model/{model}.log",
    benchmark:
        "outputs/benchmarks/train_model/{model}.tsv"
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        mem_mb=3000,
        runtime=120,
    params:
        symphony=SYMPHONY,
        folder=lambda wildcards, output: Path(output[0]).parent,
        scale=config.get("train_scale", 1.0),
    message:
        "train {wildcards.model}"
    shell:
        "OMP_NUM_THREADS={threads} {params.symphony} train-pool {wildcards.model} --out {params.folder:q} --scale {params.scale:q} > {log:q} 2>&1"


rule quantise:
    input:
        lambda wildcards: weights(wildcards.model),
    output:
        "outputs/quantised/{model}-{scheme}/manifest.json",
    log:
        "outputs/logs/quantise/{model}-{scheme}.log",
    benchmark:
        "outputs/benchmarks/quantise/{model}-{scheme}.tsv"
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        mem_mb=3000,
        runtime=60,
    params:
        symphony=SYMPHONY,
        conf=CONF,
        folder=lambda wildcards, output: Path(output[0]).parent,
    message:
        "quantise {wildcards.model} to {wildcards.scheme}"
    shell:
        "OMP_NUM_THREADS={threads} {params.symphony} quantise {wildcards.model} {wildcards.scheme} --conf {params.conf:q}"
        " --out {params.folder:q} > {log:q} 2>&1"
