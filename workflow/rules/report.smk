# Records -> database -> tables, figures, page. Nothing here asks a model.
DATABASE = f"outputs/{STUDY}/records.duckdb"
# Titles, questions and order of the experiments; written only if they change, so that a new title remakes only the report.
PLAN = f"outputs/{STUDY}/plan.json"
write_description(
    STUDY,
    Path(PLAN),
    OVERRIDES,
    conf=CONF,
    left_out=LEFT_OUT,
    recorded=describe_origin(RUNS),
    claims=CLAIMS,
)


rule load:
    input:
        expand("outputs/groups/{group}/done.json", group=GROUPS),
    output:
        DATABASE,
    log:
        f"outputs/logs/load/{STUDY}.log",
    benchmark:
        f"outputs/benchmarks/load/{STUDY}.tsv"
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        symphony=SYMPHONY,
    shell:
        "OMP_NUM_THREADS={threads} {params.symphony} load --database {output:q} {input:q} > {log:q} 2>&1"


rule table:
    input:
        database=DATABASE,
        plan=PLAN,
        quantised=QUANTISED,
    output:
        report(
            f"outputs/{STUDY}/tables/{{table}}.csv",
            caption="../report/table.rst",
            category="Tables",
        ),
        f"outputs/{STUDY}/tables/{{table}}.md",
        f"outputs/{STUDY}/tables/{{table}}.tex",
    log:
        f"outputs/logs/table/{STUDY}-{{table}}.log",
    benchmark:
        f"outputs/benchmarks/table/{STUDY}-{{table}}.tsv"
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=30,
    params:
        symphony=SYMPHONY,
        study=STUDY,
        words=lambda wildcards: heading(wildcards.table),
        folder=lambda wildcards, output: Path(output[0]).parent,
    shell:
        "OMP_NUM_THREADS={threads} {params.symphony} table {wildcards.table} --database {input.database:q} --plan {input.plan:q}"
        " --quantised {input.quantised:q} --out {params.folder:q} > {log:q} 2>&1"


rule figure:
    input:
        database=DATABASE,
        plan=PLAN,
    output:
        report(
            f"outputs/{STUDY}/figures/{{figure}}.svg",
            caption="../report/figure.rst",
            category="Figures",
        ),
        f"outputs/{STUDY}/figures/{{figure}}.png",
    log:
        f"outputs/logs/figure/{STUDY}-{{figure}}.log",
    benchmark:
        f"outputs/benchmarks/figure/{STUDY}-{{figure}}.tsv"
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=30,
    params:
        symphony=SYMPHONY,
        study=STUDY,
        words=lambda wildcards: CAPTIONS[wildcards.figure],
        folder=lambda wildcards, output: Path(output[0]).parent,
    shell:
        "OMP_NUM_THREADS={threads} {params.symphony} figure {wildcards.figure} --database {input.database:q} --plan {input.plan:q}"
        " --out {params.folder:q} > {log:q} 2>&1"


rule report:
    input:
        database=DATABASE,
        plan=PLAN,
        quantised=QUANTISED,
        tables=expand(f"outputs/{STUDY}/tables/{{table}}.csv", table=TABLES),
        figures=expand(f"outputs/{STUDY}/figures/{{figure}}.svg", figure=FIGURES),
    output:
        report(
            f"outputs/{STUDY}/report.html",
            caption="../report/page.rst",
            category="Report",
        ),
    log:
        f"outputs/logs/report/{STUDY}.log",
    benchmark:
        f"outputs/benchmarks/report/{STUDY}.tsv"
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=30,
    params:
        symphony=SYMPHONY,
        study=STUDY,
        figures=lambda wildcards, input: Path(input.figures[0]).parent,
    shell:
        "OMP_NUM_THREADS={threads} {params.symphony} report --database {input.database:q} --plan {input.plan:q}"
        " --figures {params.figures:q} --quantised {input.quantised:q} --out {output:q} > {log:q} 2>&1"
