"""Audits: rules, recounts, rooms, invariances, the decoupled judge, and the corpus of cheats that they are for."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from cheats.base import Classifier
from cheats.corpus import CAUGHT, HONEST, NOT_CAUGHT, RECOUNT, RULES
from conftest import Beacon, hurried
from glimpsebench import agents
from glimpsebench.agents.common.base import Agent
from glimpsebench.agents.common.nets import CanvasNet
from glimpsebench.bench import judgements, judges
from glimpsebench.bench.audit import audits, decoupled, invariances, processes, recount, rooms
from glimpsebench.bench.audit.audits import Audit, placed_anew
from glimpsebench.bench.audit.declaration import Declaration, declared, sensor_fault
from glimpsebench.bench.audit.halves import Halves
from glimpsebench.bench.audit.invariances import Views
from glimpsebench.bench.audit.processes import Failure, Process, receive, send
from glimpsebench.bench.audit.rooms import Subject
from glimpsebench.bench.audit.verdict import CHECKS, signs, verdict
from glimpsebench.bench.records import Record
from glimpsebench.bench.rollout import rollout
from glimpsebench.bench.run import Spec, run
from glimpsebench.envs import datasets, sensors, tasks
from glimpsebench.envs.errors import UsageError
from glimpsebench.envs.glimpse import GlimpseVectorEnv
from glimpsebench.envs.tasks import Split, Task
from test_cli import glimpse

ROOT = Path(__file__).parents[1]
CHEATS = ROOT / "tests" / "cheats"
needs_namespaces = pytest.mark.skipif(not processes.can_enclose(), reason="no namespaces here")


@pytest.fixture(scope="module")
def clutter() -> Task:
    return tasks.make("digits-clutter")


def prepared(name: str, task: Task, **settings: Any) -> Agent:
    agent = agents.make(name, settings)
    torch.manual_seed(0)
    agent.prepare(task)
    if agent.net is not None:
        agent.net.eval()
    return agent


def knowing(name: str, task: Task, monkeypatch: pytest.MonkeyPatch) -> Agent:
    """An encoder whose classifier is always right, so that it need not be trained."""
    test = tasks.test_split(task)
    assert test.labels_N is not None
    known = {image.tobytes(): label for image, label in zip(test.images_NCHW, test.labels_N, strict=True)}

    def classes_of(_: Classifier, image_BCHW: np.ndarray) -> np.ndarray:
        return np.array([known[np.rint(image * 255).astype(np.uint8).tobytes()] for image in image_BCHW])

    monkeypatch.setattr(Classifier, "classes_of", classes_of)
    return prepared(name, task)


def asked(agent: Agent, task: Task) -> dict[str, float]:
    """The invariances of an agent's predictor at about 10 %, in this process."""
    test, says = tasks.test_split(task), declared(agent)
    episodes = rollout(agent, test, 0)
    at = invariances.budgets_to_ask_at(says, episodes)[-1]
    return invariances.figures(agent.predict, Views(says, test, episodes, at), np.random.default_rng(0))


# The corpus


def test_the_corpus_has_as_many_kinds_as_it_should_and_every_file_is_in_it() -> None:
    files = {path.stem for path in CHEATS.glob("*.py")} - {"__init__", "base", "corpus"}
    honest = {name.removeprefix("cheats.") for name in HONEST if name.startswith("cheats.")}
    assert files == {*CAUGHT, *NOT_CAUGHT, *honest}
    assert len(CAUGHT) >= 15
    assert len(HONEST) >= 5
    assert set(CAUGHT.values()) <= {RULES, RECOUNT, *CHECKS}


# Rules


@pytest.mark.parametrize("name", [name for name, by in CAUGHT.items() if by == RULES])
def test_a_contender_that_breaks_a_rule_is_refused_before_it_is_run(name: str, root: Path) -> None:
    with pytest.raises(UsageError, match=f"cheats.{name}"):
        run(Spec(f"cheats.{name}", "digits-clutter"), root, iter)
    assert not list(root.glob("records/*/*/*"))


def says_of(**changes: Any) -> Declaration:
    return dataclasses.replace(declared(prepared("center", tasks.make("digits"))), **changes)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"budgets": (0.1, 0.1)}, "must ascend"),
        ({"budgets": ()}, "must ascend"),
        ({"budgets": (0.5, 1.5)}, "must ascend"),
        ({"given": 2}, "given 2"),
        ({"horizon": 0}, "horizon 0"),
        ({"view": "images"}, "unknown view"),
        ({"track": "closed"}, "unknown track"),
        ({"sensor": {"kind": "telescope"}}, "unknown kind of sensor"),
        ({"shape": [1, 8]}, "cannot be read"),
    ],
)
def test_a_declaration_that_another_process_sends_is_checked(change: dict[str, Any], reason: str) -> None:
    data = json.loads(json.dumps(says_of().as_data()))
    assert Declaration.from_data(data) == says_of()
    with pytest.raises(UsageError, match=reason):
        Declaration.from_data(data | change)


@pytest.mark.parametrize(
    "sensor", [sensors.Window(6), sensors.Window(5, 3, "zero"), sensors.Crop(9), sensors.Mask(2), sensors.Thumbnail()]
)
def test_nothing_is_found_wrong_with_the_sensors_of_the_bench(sensor: sensors.Sensor) -> None:
    assert not sensor_fault(sensor, (1, 20, 24))


def test_a_sensor_of_ones_own_is_tried_out(clutter: Task) -> None:
    with pytest.raises(UsageError, match="one of the bench's sensors"):
        declared(prepared("cheats.small_print", clutter))
    with pytest.raises(UsageError, match="beside its footprint"):
        declared(prepared("cheats.small_print", clutter), own_sensor=True)

    class Renamed(sensors.Window):
        """Honest, and not the bench's."""

    agent = prepared("center", clutter)
    agent.sensor = lambda: Renamed(4)  # type: ignore[method-assign]
    assert type(declared(agent, own_sensor=True).sensor) is Renamed


# Recounts


@pytest.mark.parametrize("name", [name for name, by in CAUGHT.items() if by == RECOUNT])
def test_a_run_that_counts_wrong_is_recounted_elsewhere(
    name: str, root: Path, monkeypatch: pytest.MonkeyPatch, clutter: Task
) -> None:
    monkeypatch.setattr(GlimpseVectorEnv, "touched_pixels", GlimpseVectorEnv.touched_pixels)  # to be put back
    judges.judge(clutter, iter)
    shutil.copytree(judges.folder_of(clutter).parent, root / "judges")  # one of them overwrites the judge
    monkeypatch.setattr(judges, "SHIPPED", root / "none")
    monkeypatch.setenv("GLIMPSE_JUDGES", str(root / "judges"))
    record = run(Spec(f"cheats.{name}", "digits-clutter", 0, {"predictor_steps": 2}), root, iter)
    assert record.about["status"] == "failed"
    assert "recount" in record.about["error"]


def test_a_recount_gives_what_a_replay_here_gives(root: Path, beacon: Task) -> None:
    record = run(Spec("uniform", "beacon", 0, {"predictor_steps": 2, "glimpses": 3}), root, iter)
    assert record.done, record.about
    assert record.judgement is not None
    agent = prepared("uniform", beacon, glimpses=3)
    again = judgements.judged_again(record, agent, tasks.test_split(beacon), judges.judge(beacon, iter))
    assert again.name == record.judgement.name
    assert np.array_equal(again.correct_MFN, record.judgement.correct_MFN)


def test_a_recounter_that_was_killed_costs_no_run(root: Path, clutter: Task) -> None:
    def once(seed: int) -> Record:
        return run(Spec("raster", "digits-clutter", seed, {"predictor_steps": 2}), root, iter)

    assert once(0).done
    (process,) = recount._processes
    process._process.kill()  # noticed by who asks, or by then
    record = once(1)
    assert record.done, record.about
    assert recount._processes != [process]


# Processes


def test_arrays_come_through_a_pipe_as_they_were() -> None:
    pipe, sent = io.BytesIO(), {"a": np.arange(6.0).reshape(2, 3)[:, ::2], "none": np.zeros((0, 4), np.int8)}
    send(pipe, {"do": "it"}, sent)
    pipe.seek(0)
    about, arrays = receive(pipe)
    assert about == {"do": "it"}
    assert all(
        np.array_equal(arrays[name], array) and arrays[name].dtype == array.dtype for name, array in sent.items()
    )


@pytest.mark.parametrize(
    ("line", "error"),
    [
        (b"", EOFError),
        (b'{"about": {}, "arrays": {"a": ["<f4", [3]]}}\n1234', EOFError),
        (b'{"about": {}, "arrays": {"a": ["|O", [1]]}}\n12345678', ValueError),
        (b'{"about": {}, "arrays": {"a": ["<f8", [99999999999]]}}\n', ValueError),
        (b'{"about": {}, "arrays": {"a": ["<f8", [-1]]}}\n', ValueError),
        (b"not JSON\n", ValueError),
    ],
)
def test_what_is_no_message_is_refused(line: bytes, error: type[Exception]) -> None:
    with pytest.raises(error):
        receive(io.BytesIO(line))


def test_a_process_that_ends_is_a_failure_with_its_last_words() -> None:
    with Process("no_such_module") as process, pytest.raises(Failure, match="No module named"):
        process.ask("anything", {})


@needs_namespaces
def test_an_enclosed_process_has_its_folder_and_no_other_file(tmp_path: Path) -> None:
    folder, place = tmp_path / "folder", tmp_path / "place"
    for each in (folder, place):
        each.mkdir()
    package = rooms.package_root() / "glimpsebench"
    script = (
        f"import os, glimpsebench; print(os.getcwd(), os.path.exists({str(ROOT / 'results')!r}), "
        f"os.access({str(package)!r}, os.W_OK), os.path.exists({str(tmp_path / 'other')!r})); open('left', 'w')"
    )
    (tmp_path / "other").touch()
    command = [*processes.enclosed(folder, place), sys.executable, "-c", script]
    environment = {"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "PYTHONPATH": str(package.parent)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.stdout.split() == [str(folder), "False", "False", "False"], done.stderr
    assert (folder / "left").exists()
    assert not list(place.iterdir()), "what is mounted there is seen by that process alone"


# Rooms


def test_halves_that_are_no_files_are_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clutter: Task) -> None:
    before = clutter.train(3).images_NCHW
    rooms._write_halves(clutter, tmp_path)
    monkeypatch.setenv("GLIMPSE_DATA", str(tmp_path / "data"))
    assert np.array_equal(clutter.train(3).images_NCHW, before)
    with pytest.raises(UsageError, match="not in"):
        tasks.test_split(clutter)
    assert not list(tmp_path.rglob("*test*"))


def test_images_of_ones_own_are_written_for_a_room_without_the_test_half(tmp_path: Path) -> None:
    own = Beacon()
    rooms._write_halves(own, tmp_path)
    kept = Halves("beacon", 1, own.shape, own.classes, str(tmp_path / "data"))
    assert np.array_equal(kept.val().images_NCHW, own.val().images_NCHW)
    assert np.array_equal(np.asarray(kept.val().objects_NHW), np.asarray(own.val().objects_NHW))
    with pytest.raises(PermissionError):
        tasks.test_split(kept)


@pytest.mark.parametrize("name", agents.names())
def test_every_agent_is_made_anew_from_weights_and_settings_alone_and_passes_the_exact_checks(
    name: str, tmp_path: Path
) -> None:
    task = Beacon(count=40)
    nothing = Halves("beacon", 1, task.shape, task.classes)
    agent, actor, predictor = (hurried(name) for _ in range(3))
    torch.manual_seed(0)
    agent.prepare(task)
    agent.fit(task, 0, iter)
    agent.save(tmp_path / "weights.safetensors")
    for each in (actor, predictor):
        if agent.net is None:
            each.prepare(nothing)
        else:
            each.load(tmp_path / "weights.safetensors", nothing)
    test = tasks.test_split(task)
    first = rollout(agent, test, 0)
    actor.predict = predictor.predict  # type: ignore[method-assign]
    second = rollout(actor, test, 0)
    assert np.array_equal(first.selection, second.selection)
    assert np.array_equal(first.predicted_FN, second.predicted_FN)
    figures = asked(actor, task)
    assert {figures[name] for name in ("asked_again", "other_rows", "outside")} == {0.0}


# Invariances


@pytest.mark.parametrize(("name", "figure"), [("batch_statistics", "other_rows"), ("asked_before", "asked_again")])
def test_a_predictor_with_state_or_one_that_reads_other_rows_is_found(name: str, figure: str, clutter: Task) -> None:
    assert asked(prepared(f"cheats.{name}", clutter), clutter)[figure] > 0.9


@pytest.mark.parametrize(
    ("name", "figure"), [("fixation_digits", "rounded"), ("value_digits", "noise"), ("label_order", "order")]
)
def test_what_is_written_where_no_sensor_resolves_it_is_lost(
    name: str, figure: str, clutter: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert asked(knowing(f"cheats.{name}", clutter, monkeypatch), clutter)[figure] > 0.5


def test_an_answer_that_the_mask_alone_says_stays_when_another_image_is_under_it(
    clutter: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures = asked(knowing("cheats.label_place", clutter, monkeypatch), clutter)
    assert figures["kept_when_swapped"] == 1.0


def test_a_sensor_that_shows_more_than_its_mask_is_found(clutter: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    agent = prepared("center", clutter)
    assert asked(agent, clutter)["outside"] == 0.0

    def paint(
        _: object, canvas: np.ndarray, grain: np.ndarray, rows: np.ndarray, glimpse: np.ndarray, aim: Any
    ) -> None:
        canvas[rows] = glimpse
        grain[rows] = np.where(aim, np.uint8(1), grain[rows])

    def reader(_: object, images: np.ndarray) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
        return lambda index, aim: images[index] * np.float32(1 / 255)

    monkeypatch.setattr(sensors.Mask, "paint", paint)
    monkeypatch.setattr(sensors.Mask, "reader", reader)
    assert asked(agent, clutter)["outside"] == 1.0


def test_objects_are_placed_anew_by_the_records_key(clutter: Task, tmp_path: Path) -> None:
    test = tasks.test_split(clutter)
    one, other = (placed_anew(clutter, Record(tmp_path / key, {})) for key in ("0123456789abcdef", "f123456789abcdef"))
    assert one is not None
    assert other is not None
    assert np.array_equal(np.asarray(one.labels_N), np.asarray(test.labels_N)), "the same objects"
    assert not np.array_equal(one.images_NCHW, test.images_NCHW)
    assert not np.array_equal(one.images_NCHW, other.images_NCHW)
    assert placed_anew(tasks.make("digits"), Record(tmp_path / "0123456789abcdef", {})) is None


# The decoupled judge


@pytest.mark.parametrize("name", ["center", "uniform", "dham"])
def test_masks_are_laid_over_other_images(name: str, beacon: Task) -> None:
    agent = hurried(name)
    agent.prepare(beacon)
    assert agent.net is not None
    agent.net.eval()
    says, test = declared(agent), tasks.test_split(beacon)
    episodes = rollout(agent, Split(test.images_NCHW[:50]), 0)
    masks = decoupled._Masks(says, episodes, Split(test.images_NCHW[:50]))
    images = np.random.default_rng(0).integers(1, 256, (40, *beacon.shape), np.uint8)
    canvas, mask = (part.numpy() for part in masks.canvases(images, np.random.default_rng(0)))
    touched = set(episodes.touched_FN[episodes.steps_FN > 0].tolist())
    assert set(mask.sum((1, 2, 3)).astype(int).tolist()) <= touched
    assert not canvas[np.broadcast_to(mask == 0, canvas.shape)].any()
    if name != "dham":  # which resamples
        assert np.array_equal(canvas, np.where(mask > 0, images * np.float32(1 / 255), np.float32(0)))


def test_the_networks_of_the_judge_stay_as_they_are_and_read_no_mask_that_says_the_label(
    clutter: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent, whole = knowing("cheats.label_place", clutter, monkeypatch), tasks.test_split(clutter)
    test = Split(whole.images_NCHW[:250], np.asarray(whole.labels_N)[:250])
    says, episodes = declared(agent), rollout(agent, test, 0)
    torch.manual_seed(0)
    net = CanvasNet(1, 10, 16).requires_grad_(False)  # frozen, as judges are
    before = {name: value.clone() for name, value in net.state_dict().items()}
    answers_MFN = decoupled.decoupled([net, net], says, episodes, test, clutter, steps=10)
    assert answers_MFN.shape == (2, *episodes.predicted_FN.shape)
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    assert (episodes.predicted_FN[:3] == test.labels_N).mean() > 0.95
    assert (answers_MFN[:, :3] == test.labels_N).mean() < 0.4


# Verdicts


def test_the_verdict_is_the_worst_that_a_figure_is_a_sign_of() -> None:
    assert verdict({}, "gated") == "gated"
    assert verdict({"noise": 0.0, "kept_when_swapped": 1.0}, "open") == "open"
    assert verdict({"noise": 0.5}, "open") == "encodes"
    assert verdict({"noise": 0.5, "other_rows": 0.002}, "open") == "leaks"
    assert signs({"record_own": 0.02, "placed_anew": 0.3}) == ["placed_anew"]


def test_an_audit_is_read_as_it_was_written_and_a_damaged_one_is_named(tmp_path: Path) -> None:
    assert audits.read(tmp_path) is None
    written = Audit("encodes", ("noise: 0.500",), {"noise": 0.5}, (None, 0.25), "")
    path = written.write(tmp_path)
    assert audits.read(tmp_path) == written
    for text in ("{", "[]", '{"schema": 1}', path.read_text().replace("encodes", "honest"), '{"schema": 2}'):
        path.write_text(text)
        with pytest.raises(UsageError, match=r"audit\.json: "):
            audits.read(tmp_path)


# The whole


BENCHMARK: dict[str, Any] = runpy.run_path(str(ROOT / "benchmarks" / "cheats.py"))
SHORT = ("label_count",)
"""A cheat that an audit alone can flag, by its decoupled judge."""
LONG = [name for name, by in CAUGHT.items() if by not in (RULES, RECOUNT) and name not in SHORT]
"""The others; `benchmarks/cheats.py` has all of several seeds."""


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results folder, where the judge is shipped: other processes would train one for long."""
    if not judges.is_shipped(tasks.make("digits-clutter")):
        pytest.skip("the judge of digits-clutter is not shipped")
    return tmp_path_factory.mktemp("cheats")


@pytest.mark.slow
@pytest.mark.parametrize("name", [*SHORT, *(pytest.param(name, marks=pytest.mark.long) for name in LONG)])
def test_a_cheat_is_flagged_by_its_check(name: str, judged: Path) -> None:
    sys.modules.pop(f"cheats.{name}", None)
    assert CAUGHT[name] in BENCHMARK["outcome"](f"cheats.{name}", 0, judged).flagged
    assert f"cheats.{name}" not in sys.modules, "this process imports no contender"


@pytest.mark.slow
@pytest.mark.long  # usually the command below audits an honest one
@pytest.mark.parametrize("name", HONEST)
def test_an_honest_contender_is_not_flagged_and_does_in_rooms_what_it_did_in_its_run(name: str, judged: Path) -> None:
    flagged, audit = BENCHMARK["outcome"](name, 0, judged)
    assert not flagged
    assert audit.verdict == ("open" if name in ("cheats.brightness", "straight_through") else "gated")
    assert {audit.figures[each] for each in ("record_own", "record_judge", "record_touched")} == {0.0}


@pytest.mark.slow
def test_the_command_audits_and_prints_a_verdict(judged: Path) -> None:
    settings = ("agent.predictor_steps=5", "agent.predictor_init=random")
    command = [sys.executable, "-m", "glimpsebench", "audit", "center", "--root", str(judged)]
    command += [word for setting in settings for word in ("--set", setting)]
    done = subprocess.run(command, cwd=CHEATS.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "verdict: gated" in done.stdout


@pytest.mark.parametrize(
    ("found", "code"),
    [
        (Audit("leaks", ("other_rows: 0.900 of the answers change",), {"other_rows": 0.9}, (0.5,), ""), 1),
        (Audit("encodes", ("noise: 0.500 of the answers change",), {"noise": 0.5}, (0.5,), ""), 1),
        (Audit("open", (), {"noise": 0.0}, (0.5,), "files of the system"), 0),
    ],
)
def test_who_leaks_or_encodes_ends_the_command_with_1(
    found: Audit, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(audits, "audit", lambda *_: found.write(tmp_path).parent)
    ended, out, err = glimpse("audit", "center", "--root", str(tmp_path), capsys=capsys)
    assert ended == code
    assert f"verdict: {found.verdict}" in out
    assert [line.removeprefix("failed: ") for line in err.splitlines()] == list(found.reasons)
    assert ("Not caught: " in out) == bool(found.not_caught)


@pytest.mark.parametrize(("name", "reason"), [("cheats.gated_view", "view=image"), ("centre", "did you mean 'center'")])
def test_what_is_no_contender_or_breaks_a_rule_is_one_line(
    name: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(CHEATS.parent)
    code, _, err = glimpse("audit", name, "--root", str(tmp_path), capsys=capsys)
    assert code == 2
    assert reason in err
    assert len(err.splitlines()) == 1


@pytest.mark.slow
def test_a_contender_is_fitted_where_the_test_half_is_absent(clutter: Task) -> None:
    subject = Subject(Spec("cheats.memorised", "digits-clutter", 0, {"predictor_steps": 2}))
    with subject.fitted(clutter) as folder:
        assert not load_file(folder / "weights.safetensors")["table"].any()
    agent = prepared("cheats.memorised", clutter, predictor_steps=2)
    with datasets.test_split_closed():
        agent.fit(clutter, 0, iter)
    assert agent.net is not None
    assert agent.net.state_dict()["table"].any(), "in a run it is there"


IN_A_ROOM = """
import tempfile
from pathlib import Path
from glimpsebench.bench.audit.processes import Failure, Process, enclosed
with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as place:
    before = enclosed(Path(folder).resolve(), Path(place).resolve())
    with Process("glimpsebench.bench.audit.recount", before=before) as process:
        try:
            process.ask("something unknown", {})
        except Failure as failure:
            print(failure)
"""


@needs_namespaces
def test_python_is_found_in_a_room_by_a_path_that_goes_up_too(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    python = f"{os.path.relpath(Path(sys.executable).parent, tmp_path / 'here')}/{Path(sys.executable).name}"
    done = subprocess.run([python, "-c", IN_A_ROOM], cwd=tmp_path / "here", capture_output=True, text=True, check=True)
    assert "KeyError" in done.stdout, "it answers"
