"""Configs made wrong in every way that their fields allow to derive: each is refused in one line that names the key.

The wrong values of a field follow from its annotation, so a new option, and a new field of one, are covered unasked.
"""

from __future__ import annotations

import copy
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

import pytest
from omegaconf import OmegaConf

from symphony import fields
from symphony.forecast import doctor
from symphony.plan import compose
from symphony.plan.composition import Composer
from symphony.plan.options import model
from symphony.plan.schema import GROUPS, Root, _preset_fields, check_parts, check_preset
from symphony.plan.specs import PARTS, build
from symphony.plan.targets import class_of
from symphony.plan.yaml_files import plain
from symphony.plan.yaml_files import whole as option
from symphony.types import SymphonyError

CONF = Path(__file__).parents[2] / "conf"
OF_ALL_KINDS: tuple[Any, ...] = (
    None, True, 1.5, 10**400, float("nan"), "trian", "a\0b", "", [], [""], {"_target_": "symphony.__main__.main"}
)  # fmt: skip
"""Tried in turn, every second one at a field; those that fit are left out."""


def edges(kind: Any) -> Iterator[Any]:
    """Values just outside of an annotation's ranges."""
    base, *_, limits = fields._apart(kind)
    for inner in get_args(base) if get_origin(base) in (Union, UnionType) else ():
        yield from edges(inner)
    if get_origin(base) is tuple:
        yield from ([one] for one in edges(get_args(base)[0]))
    for name, bound in fields._bounds(limits):
        step = 1 if base is int else 1e-6
        yield {"ge": bound - step, "gt": bound, "le": bound + step}[name]


def wrong(kind: Any, number: int) -> list[Any]:
    """Values that a field does not allow, by its annotation alone and not by `fields.fits`; `number` of the field."""
    found = [*OF_ALL_KINDS[number % 2 :: 2], *edges(kind)]
    return [value for value in found if not allows(kind, value)]


def allows(kind: Any, value: Any) -> bool:
    """The oracle: plainly, what each kind of annotation takes."""
    base, *_ = fields._apart(kind)
    if any(type(value) is type(one) and value == one for one in edges(kind)):
        return False
    inner = get_args(base)
    match get_origin(base) or base:
        case t if t in (Union, UnionType):
            return any(allows(one, value) for one in inner)
        case t if t is Literal:
            return type(value) is str and value in inner
        case t if t in fields._LISTS:
            return (
                isinstance(value, list)
                and all(allows(inner[0], one) for one in value)
                and (kind is base or value != [])
            )
        case t if t in fields._MAPPINGS:
            return isinstance(value, dict) and all(allows(inner[1], one) for one in value.values())
        case t if t is str:
            return isinstance(value, str) and "\0" not in value and (value != "" or kind is fields.Words)
        case t if t is int:
            return type(value) is int and value != 10**400
        case t if t is float:
            return type(value) in (int, float) and abs(value) < 1e300
        case t if t is bool or t is NoneType:
            return isinstance(value, t)
        case t if t is Any:
            return True
    return False


# ------------------------------------------------------------------ the fields of conf/

Path_ = tuple[str, ...]


def composed_root() -> dict[str, Any]:
    """The default config, composed; its pool is an endpoint, whose weights nobody has to read."""
    pool = {"agents": {"one": dict(plain(CONF / "model" / "api_local.yaml"))}}
    return {**Composer(CONF).compose([]).plain(), "pool": pool}


@pytest.fixture(scope="module")
def root() -> dict[str, Any]:
    return composed_root()


def of_root(schema: type = Root, at: Path_ = ()) -> Iterator[tuple[Path_, Any]]:
    for name, kind in fields.kinds(schema).items():
        if is_dataclass(kind):
            yield from of_root(kind, (*at, name))  # type: ignore[arg-type]
        yield (*at, name), Mapping[str, int] if kind is Any or is_dataclass(kind) else kind


def of_class(at: Path_, group: str, target: str) -> Iterator[tuple[Path_, Any]]:
    yield (*at, "_target_"), Literal["nothing"]
    for name, kind in fields.kinds(class_of(group, target)).items():
        yield (*at, name), kind


def options(root: dict[str, Any]) -> Iterator[tuple[dict[str, Any], Iterator[tuple[Path_, Any]]]]:
    """Each option of conf/ in a config, and the fields of its class."""
    yield root, of_root()
    yield root, ((("preset", *key.split(".")), kind) for key, kind in _preset_fields(CONF))
    seen = set()
    for group in (*PARTS, "model"):
        for path in sorted((CONF / group).glob("*.yaml")):
            node = option(path)
            if "_target_" not in node or node["_target_"] in seen:  # it differs from another in its values alone
                continue
            seen.add(node["_target_"])
            if group == "model":
                yield (
                    {**root, "pool": {"agents": {"one": node}}},
                    of_class(("pool", "agents", "one"), group, node["_target_"]),
                )
            else:
                whole = OmegaConf.create({**root, group: dict(node)})
                resolved = OmegaConf.to_container(whole[group], resolve=True)
                yield {**root, group: resolved}, of_class((group,), group, node["_target_"])


def changed(root: dict[str, Any], at: Path_, value: Any) -> dict[str, Any]:
    whole = copy.deepcopy(root)
    node = whole
    for name in at[:-1]:
        node = node.setdefault(name, {})
    node[at[-1]] = value
    return whole


def outcome(whole: dict[str, Any], at: Path_) -> str:
    try:
        settled, _ = compose.settle(whole, {}, CONF)
        check_parts(settled)
        if at[0] == "preset":
            check_preset(whole["preset"], CONF)
    except SymphonyError as error:
        told = str(error)
        named = at[-1] in told and "found" in told and "allowed: " in told
        return "clear" if named and "\n" not in told and len(told) < 1000 else f"unclear: {told}"
    except Exception as error:
        return f"traceback: {type(error).__name__} {error}"
    return "accepted"


@pytest.mark.slow
def test_every_wrong_value_of_every_field_of_every_option_is_refused_by_its_key(root: dict[str, Any]) -> None:
    counted: Counter[str] = Counter()
    told: list[str] = []
    for whole, found in options(root):
        settled, _ = compose.settle(copy.deepcopy(whole), {}, CONF)
        check_parts(settled)  # as it stands it is right
        for number, (at, kind) in enumerate(found):
            for value in wrong(kind, number):
                result = outcome(changed(whole, at, value), at)
                counted[result.partition(":")[0]] += 1
                if result != "clear":
                    told.append(f"{'.'.join(at)}={value!r:.60}: {result}")
    assert not told, f"{counted}\n" + "\n".join(told[:40])
    assert counted["clear"] >= 400


# ------------------------------------------------------------------ files

FILES = (
    "config.yaml", "experiment/presets/default.yaml", "task/gridworld.yaml", "pool/embedded_trio.yaml",
    "model/embedded_llama.yaml", "scheduler/ucb.yaml", "scorer/emcs.yaml", "memory/fifo.yaml", "search/symphony.yaml",
    "preset/default.yaml",
)  # fmt: skip
"""One of each kind, all read by the plan below."""
BROKEN: dict[str, Callable[[bytes], bytes]] = {
    "not UTF-8": lambda text: text + b"# \xff\n",
    "UTF-16": lambda text: text.decode().encode("utf-16"),
    "a single value": lambda text: b"# @package _global_\nwords\n",
    "a number": lambda text: b"# @package _global_\n3\n",
    "null": lambda text: b"# @package _global_\n~\n",
    "a list": lambda text: b"# @package _global_\n- a\n- b\n",
    "a name that is a number": lambda text: text + b"3: 4\n",
    "a name that is null": lambda text: text + b"~: 4\n",
    "a name that is a truth value": lambda text: text + b"on: 4\n",
    "a name that is a list": lambda text: text + b"? [a]\n: b\n",
    "a nested name that is a number": lambda text: text + b"more: {deep: {3: 4}}\n",
    "a name twice": lambda text: text + b"twice: 1\ntwice: 1\n",
    "an anchor in itself": lambda text: text + b"loop: &loop {loop: *loop}\n",
    "a list in itself": lambda text: text + b"loop: &loop [*loop]\n",
    "an unknown alias": lambda text: text + b"loop: *nothing\n",
    "aliases that multiply": lambda text: (
        text + b"a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
        + b"".join(b"a%d: &a%d [%s]\n" % (n, n, b", ".join([b"*a%d" % (n - 1)] * 10)) for n in range(1, 9))
    ),
    "a tag": lambda text: text + b"made: !!python/object:os.system x\n",
    "bytes": lambda text: text + b"made: !!binary aGk=\n",
    "two documents": lambda text: text + b"---\na: b\n",
    "a list that does not end": lambda text: text + b"list: [a\n",
    "deep lists": lambda text: text + b"list: " + b"[" * 100_000 + b"\n",
    "deep mappings": lambda text: text + b"list: " + b"{a: " * 500 + b"1" + b"}" * 500 + b"\n",
    "a tab": lambda text: text + b"list:\n\t- a\n",
    "a NUL": lambda text: text + b"list: \0\n",
    "a surrogate": lambda text: text + b'list: "\\ud800"\n',
    "an endless number": lambda text: text + b"list: " + b"9" * 5000 + b"\n",
    "an unknown key": lambda text: text + b"nonsense: 1\n",
}  # fmt: skip


def small_conf(folder: Path) -> Path:
    """A copy of conf/ in `folder`, without the largest studies."""
    ignored = shutil.ignore_patterns("quickstart", "methods", "sample")
    return Path(shutil.copytree(CONF, folder / "conf", ignore=ignored))


@pytest.fixture(scope="module")
def conf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_conf(tmp_path_factory.mktemp("broken"))


def told(conf: Path, *overrides: str) -> str:
    """What the plan of one run says; "" where it plans."""
    try:
        compose.plan("presets", ["tasks=[gridworld]", "seeds=[0]", *overrides], experiment="default", conf=conf)
    except SymphonyError as error:
        return str(error)
    return ""


def broken(conf: Path, file: str, make: Callable[[bytes], bytes]) -> str:
    path = conf / file
    text = path.read_bytes()
    try:
        path.write_bytes(make(text))
        return told(conf)
    finally:
        path.write_bytes(text)


@pytest.mark.parametrize("kind", BROKEN)
@pytest.mark.parametrize("file", FILES)
def test_a_broken_file_is_refused_in_one_line_that_names_it(file: str, kind: str, conf: Path) -> None:
    message = broken(conf, file, BROKEN[kind])
    key = file.partition("/")[0].removesuffix(".yaml")
    named = "nonsense" in message if kind == "an unknown key" else file in message or f"{key}: " in message
    assert named
    assert " found " in message or "is not in the config" in message
    assert "allowed: " in message
    assert "\n" not in message
    assert len(message) < 1500


DEFAULTS = (b"3", b"nonsense", b"[3]", b"[[gridworld]]", b"[{nonsense: nothing}]", b"{a: b}", b"[nonsense]", b"[null]")


@pytest.mark.parametrize("group", sorted(GROUPS))
def test_an_option_that_an_experiment_names_as_a_value_is_refused_with_the_way_to_choose_it(
    group: str, conf: Path
) -> None:
    file = "experiment/presets/default.yaml"
    message = broken(conf, file, lambda text: b"# @package _global_\n" + f"{group}: mine\n".encode())
    assert re.search(rf"{group}: found 'mine', allowed: .* `- override /{group}: <name>`", message)


@pytest.mark.parametrize("defaults", DEFAULTS, ids=bytes.decode)
@pytest.mark.parametrize("file", ["experiment/presets/default.yaml", "search/symphony.yaml", "pool/embedded_trio.yaml"])
def test_defaults_that_are_none_are_refused_in_one_line(file: str, defaults: bytes, conf: Path) -> None:
    message = broken(conf, file, lambda text: b"# @package _global_\ndefaults: " + defaults + b"\n")
    assert "allowed: " in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["search=null"], r"^search: found search=null, allowed: ab_mcts_a, "),
        (["search=3"], r"^search: found search=3, allowed: ab_mcts_a, "),
        (["~search"], r"^search: found ~search, allowed: ab_mcts_a, "),
        (["~pool"], r"^pool: found ~pool, allowed: api_example, "),
        (["~preset"], r"^preset: found ~preset, allowed: default, "),
        (["~seeds"], r"seeds: found \[\], allowed: a list of .*, at least one"),
        (["~tasks"], r"tasks: found \[\], allowed: a list of .*, at least one"),
        (["seeds=[[0]]"], r"seeds: found \[\[0\]\], allowed: a list of 0 to "),
        (["seeds=[{a: 1}]"], r'seeds: found \[\{"a": 1\}\], allowed: a list of 0 to '),
        (["seeds=[???]"], r"seeds\[0\]: found .*Missing mandatory value"),
        (["tasks=[???]"], r"tasks\[0\]: found .*Missing mandatory value"),
        (["tasks=['${nothing}']"], r"tasks\[0\]: found .*'nothing' not found"),
        (["seeds='${problems}'"], r"seeds: found \d+, allowed: a list of 0 to "),
        (["budget='${problems}'"], r"budget: found \d+, allowed: a mapping"),
        (['tasks=["a\nb"]'], r"task: found 'a\\nb', allowed: .*gridworld, "),
        (["pool=../pool/embedded_trio"], r"pool: found '../pool/embedded_trio', allowed: api_example, "),
        (["memory=none.yaml"], r"memory: found 'none.yaml', allowed: fifo, none, "),
        (["+model@pool.agents.z=./embedded_llama"], r"agents\.z: found './embedded_llama', allowed: api_claude"),
        (["pool.agents={}"], r"^pool\.agents: found pool\.agents=\{\}, which changes nothing, allowed: "),
        (["budget={}"], r"^budget: found budget=\{\}, which changes nothing, allowed: "),
        (["+pool.agents.z={}"], r"agents\.z: found no `_target_`, allowed: an option of conf/model/"),
        (["~problems"], r"problems"),
        (["~budget"], r"budget: found nothing, allowed: a value"),
        (["~execution"], r"execution: found nothing, allowed: a value"),
        (["seed=5"], r"^seed: found seed=5, allowed: seeds=\[5\]"),
        (["+seed=5"], r"^seed: found \+seed=5, allowed: seeds=\[5\]"),
        (["task=mini_qa"], r"^task: found task=mini_qa, allowed: tasks=\[mini_qa\]"),
        (["seeds=[0,0]"], r"seeds: found 0 twice, allowed: each once"),
        (["tasks=[mini_qa,mini_qa]"], r"tasks: found mini_qa twice, allowed: each once"),
        (["tasks=mini_qa"], r"tasks: found .*allowed: a list"),
        (["tasks=[3]"], r"task: found '3', allowed: .*gridworld, "),
        (["tasks=[../pool/card_8gb]"], r"task: found '../pool/card_8gb', allowed: .*gridworld, "),
        (["seeds=[1.5]"], r"seeds\[0\]: found .*1\.5.*allowed: "),
        (["seeds=[-1]"], r"seeds: found \[-1\], allowed: a list of 0 to "),
        (["problems=1.5"], r"problems: found .*1\.5.*allowed: >= 1"),
        (["budget.run.money=nan"], r"budget\.run\.money: found NaN, allowed: > 0, or null"),
        (["budget.problem.seconds=inf"], r"budget\.problem\.seconds: found 'inf', allowed: > 0, or null"),
        (["search.n=1.5"], r"search\.n: found 1\.5, allowed: "),
        (["search.n=true"], r"search\.n: found true, allowed: "),
        (["search.n=[1,2]"], r"search\.n: found \[1, 2\], allowed: "),
        (["search.n=${search.n}"], r"search\.n: Recursive interpolation"),
        (["search.temperature=???"], r"search\.temperature: Missing mandatory value"),
        (["search.expand_tokens=0"], r"search\.expand_tokens: found 0, allowed: >= 1"),
        (["search.temperature=-1"], r"search\.temperature: found -1, allowed: >= 0"),
        (["search.expand_tokens=1.5"], r"search\.expand_tokens: found 1\.5, allowed: "),
        (["+search.stop=Observation"], r"search\.stop: found 'Observation', allowed: a list of text that is not empty"),
        (["+search.stop=['']"], r'search\.stop: found \[""\], allowed: a list of text that is not empty'),
        (["task.split=trian"], r"task\.split: found 'trian', allowed: train, test"),
        (["scheduler=fixed", "scheduler.arm=3"], r"scheduler\.arm: found 3, allowed: 0 to 2"),
        (["search=mixture", "search.aggregator=3"], r"search\.aggregator: found 3, allowed: 0 to 2"),
        (["scheduler=uniform", "preset.ucb.form=insde"], r"preset\.ucb\.form: found 'insde', allowed: outside, inside"),
        (["pool.agents.llama=null"], r"pool\.agents\.llama: found null, allowed: an option of conf/model/"),
        (["pool.agents=null"], r"pool\.agents: found null, allowed: at least one agent"),
        (["+pool.speed=3"], r"pool\.speed: found an unknown key, allowed: agents"),
        (["+pool.agents.llama.max_batch_tokens=abc"], r"llama\.max_batch_tokens: found 'abc', allowed: >= 1"),
        (["+pool.agents.llama.source=null"], r"llama\.source: found null, allowed: address, revision, licence, files"),
        (["+pool.agents.llama.weights=abc"], r"llama\.weights: found a value, allowed: none"),
        (["search._target_=symphony.__main__.main"], r"search\._target_: found .*: a class of a search, with solve"),
        (["search._target_=symphony.agents.scheduler.UCB"], r"search\._target_: found .*allowed: a class of a search"),
        (["search._target_=symphony.search.method.Method"], r"search\._target_: found .*allowed: a class of a search"),
        (["scheduler._target_=symphony.agents.scheduler.Scheduler"], r"scheduler\._target_: .*: a class of a sch"),
        (["pool.agents.llama._target_=symphony.files.write_atomic"], r"llama\._target_: found .*a class of a model"),
        (["hydra.verbose=true"], r"^hydra\.verbose=true: found a key that is not in the config"),
        (["search"], r"^search: found .*allowed: key=value"),
    ],
    ids=str,
)  # fmt: skip
def test_a_wrong_override_is_refused_in_one_line(overrides: list[str], message: str, conf: Path) -> None:
    found = told(conf, *overrides)
    assert re.search(message, found), found
    assert "\n" not in found


def test_an_option_that_names_a_function_is_refused_though_its_keys_fit(conf: Path, tmp_path: Path) -> None:
    """Such a function would be called with the keys: this one grades predictions and writes over a file."""
    predictions, victim = tmp_path / "p.jsonl", tmp_path / "thesis.md"
    predictions.write_text('{"id": "mini_qa-test-0-0", "prediction": "x"}')
    victim.write_text("years of work")
    words = f"[grade, task=mini_qa, {predictions}, --conf, {CONF}, --out, {victim}]"
    (conf / "search" / "mine.yaml").write_text(f"_target_: symphony.__main__.main\narguments: {words}\n")
    with pytest.raises(SymphonyError, match=r"search\._target_: found .*: a class of a search"):
        build(compose.plan("presets", ["tasks=[mini_qa]", "seeds=[0]", "search=mine"], conf=conf)[0].config)
    assert victim.read_text() == "years of work"


def test_an_override_of_a_task_applies_to_the_tasks_named(conf: Path) -> None:
    (run,) = compose.plan("presets", ["tasks=[mini_qa]", "seeds=[0]", "task.hops=[4]"], experiment="default", conf=conf)
    assert run.config["task"]["hops"] == [4]
    message = told(conf, "tasks=[mini_qa,gridworld]", "task.hops=[4]")
    assert re.search(r"task gridworld: task\.hops=\[4\]: task\.hops: .*allowed: .*width, height", message)


def test_an_experiment_that_sets_one_task_or_one_seed_is_told_the_lists(conf: Path) -> None:
    for line, many in ((b"seed: 5\n", "seeds"), (b"defaults:\n  - override /task: mini_qa\n", "tasks")):
        file = "experiment/presets/default.yaml"
        message = broken(conf, file, lambda text, line=line: b"# @package _global_\n" + line)  # type: ignore[misc]
        assert re.search(rf"{file}: found a single {many[:-1]}, allowed: {many}, a list", message)


def test_a_study_without_experiments_is_refused(conf: Path) -> None:
    folder = conf / "experiment" / "mine"
    folder.mkdir()
    with pytest.raises(SymphonyError, match=r"mine: found no experiment, allowed: a folder with at least one \.yaml"):
        compose.plan("mine", conf=conf)
    (folder / "one.yml").write_text("# @package _global_\n")
    with pytest.raises(SymphonyError, match=r"one\.yml: found a name that ends in \.yml, allowed: \.yaml"):
        compose.plan("mine", conf=conf)


def test_by_hand_the_lists_of_a_study_are_refused(conf: Path) -> None:
    for given, one in (("tasks=[mini_qa]", "task=<one>"), ("seeds=[1,2]", "seed=<one>")):
        with pytest.raises(SymphonyError, match=f"allowed: {one}"):
            compose.task(["task=mini_qa", given], conf=conf)


def test_a_model_without_a_target_or_with_a_wrong_source_is_told_by_its_file(conf: Path) -> None:
    path = conf / "model" / "mine.yaml"
    for text, message in (
        ("path: a\n", r"mine\.yaml: model: found no `_target_`"),
        (
            "_target_: symphony.models.hf.backend.HFBackend\npath: a\nsource: null\n",
            r"mine\.yaml: model\.source: found null, allo",
        ),
        (
            "_target_: symphony.models.hf.backend.HFBackend\npath: a\nthreads: 0\n",
            r"mine\.yaml: model\.threads: found 0, allowed",
        ),
    ):
        path.write_text(text)
        with pytest.raises(SymphonyError, match=message):
            model("mine", conf=conf)
    path.unlink()


def test_doctor_tells_of_a_conf_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SymphonyError, match="conf: found no"):
        list(doctor.examine(tmp_path / "nope", tmp_path, tmp_path))
