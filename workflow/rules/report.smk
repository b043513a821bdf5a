# Records -> database -> tables, figures, page. Nothing here asks a model.
DATABASE = f"outputs/{STUDY}/records.duckdb"
PLAN = f"outputs/{STUDY}/plan.json"


rule load:
    input:
        expand("outputs/groups/{group}/done.json", group=JOBS.groups),
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
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=lambda wildcards, attempt: 60 * attempt,
    params:
        symphony=SYMPHONY,
    message:
        f"load the records of {STUDY} into {DATABASE}"
    shell:
        "OMP_NUM_THREADS={threads} {params.symphony} load --database {output:q} {input:q} > {log:q} 2>&1"


# `snakemake --report FILE.zip` holds the page with the trees beside it, as a folder whose links work. A report in one
# HTML file can hold no folder, so it has the page alone.
ZIPPED = any(word.endswith(".zip") for word in sys.argv)
PAGE = dict(caption="../report/page.rst", category="Report", labels={"page": "report"})


# One job writes them all: reading the database and drawing take less time than starting a process for each.
rule report:
    input:
        database=DATABASE,
        plan=PLAN,
        quantised=JOBS.quantised,
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
        # Hard links to the page and the trees, which take no space of their own.
        site=(
            report(
                directory(f"outputs/{STUDY}/site"),
                htmlindex="report.html",
                **PAGE,
            )
            if ZIPPED
            else directory(f"outputs/{STUDY}/site")
        ),
        page=(
            f"outputs/{STUDY}/report.html"
            if ZIPPED
            else report(f"outputs/{STUDY}/report.html", **PAGE)
        ),
    log:
        f"outputs/logs/report/{STUDY}.log",
    benchmark:
        f"outputs/benchmarks/report/{STUDY}.tsv"
    conda:
        "../../environment.yml"
    threads: 2  # of a large study, the trees are written beside the tables
    resources:
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=lambda wildcards, attempt: 60 * attempt,
    params:
        symphony=SYMPHONY,
        study=STUDY,
        folder=lambda wildcards, output: Path(output.page).parent,
    message:
        f"write the tables, figures and page of {STUDY} into outputs/{STUDY}"
    shell:
        "OMP_NUM_THREADS={threads} {params.symphony} report --database {input.database:q} --plan {input.plan:q}"
        " --quantised {input.quantised:q} --out {params.folder:q} > {log:q} 2>&1"
        " && mkdir {output.site:q} && (cp -rl {output.page:q} {params.folder:q}/trees {output.site:q} 2> /dev/null"
        " || cp -r {output.page:q} {params.folder:q}/trees {output.site:q})"
