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
    pools=pool_sizes(RUNS, DATA),
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
    message:
        f"load the records of {STUDY} into {DATABASE}"
    shell:
        "OMP_NUM_THREADS={threads} {params.symphony} load --database {output:q} {input:q} > {log:q} 2>&1"


# One job writes them all: reading the database and drawing take less time than starting a process for each.
rule report:
    input:
        database=DATABASE,
        plan=PLAN,
        quantised=QUANTISED,
    output:
        [
            report(
                f"outputs/{STUDY}/tables/{name}.csv",
                caption="../report/table.rst",
                category="Tables",
                labels={"table": heading(name)["title"]},
            )
            for name in TABLES
        ],
        expand(
            f"outputs/{STUDY}/tables/{{table}}.{{kind}}",
            table=TABLES,
            kind=["md", "tex"],
        ),
        [
            report(
                f"outputs/{STUDY}/figures/{name}.svg",
                caption="../report/figure.rst",
                category="Figures",
                labels={"figure": name},
            )
            for name in FIGURES
        ],
        expand(
            f"outputs/{STUDY}/figures/{{figure}}{{kind}}",
            figure=FIGURES,
            kind=[kind for kind in KINDS if kind != ".svg"],
        ),
        f"outputs/{STUDY}/report.json",
        directory(f"outputs/{STUDY}/trees"),
        page=report(
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
    threads: 2  # of a large study, the trees are written beside the tables
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        symphony=SYMPHONY,
        study=STUDY,
        folder=lambda wildcards, output: Path(output.page).parent,
    message:
        f"write the tables, figures and page of {STUDY} into outputs/{STUDY}"
    shell:
        "OMP_NUM_THREADS={threads} {params.symphony} report --database {input.database:q} --plan {input.plan:q}"
        " --quantised {input.quantised:q} --out {params.folder:q} > {log:q} 2>&1"
