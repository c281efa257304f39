"""Every named task: its images, labels, halves and object masks, on miniatures of the image sets."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import gymnasium
import numpy as np
import pytest
from PIL import Image

from glimpsebench.envs import GlimpseVectorEnv, datasets, gallery, placed, tasks
from glimpsebench.envs.datasets import Half, ImageSet
from glimpsebench.envs.errors import UsageError
from glimpsebench.envs.placed import OnTexture, Placed, Rescaled
from glimpsebench.envs.scenes import CircleSquare, OnPhotos

HALVES: tuple[Half, ...] = get_args(Half)
PLACED = [name for name, task in tasks.TASKS.items() if not isinstance(task, tasks.Plain)]
WITH_OBJECTS = [name for name, task in tasks.TASKS.items() if task.has_objects]

# A half that changes without its task's version makes records of different images look alike. SHA-256 of val
# and of the second epoch of training, images and objects; those with mnist or cifar on the miniatures below.
PINS = {
    "digits": "f9fbd4feccd7f155 15ec76680bae1a82",
    "digits-clutter": "cba53d920ffedf9b 9c0050890ab1ce9b",
    "digits-biased": "65bac4e11e9cede0 8dd1f6b7084f7fd7",
    "needle": "0482986b58b08a51 8f701162c506757e",
    "circle-square": "f3ec4a90972cb2bb 7ddc631e5866c3c7",
    "mnist": "ef3894318f906eac e992d2f696765a52",
    "translated-mnist-60": "f0f09fc8f90a7233 141a64753b8845cd",
    "cluttered-mnist-60": "5ad0a1298e7d0486 24b0a4b346fbb681",
    "cluttered-mnist-100": "46e66eff6e1d458a 782672826545174d",
    "dham-120": "1053ba6f337159ee 5fef04e30cdce66b",
    "dham-120-noisy": "bf86e0e5c1db5f13 bf6b9da92007c79e",
    "fashion-mnist": "ef3894318f906eac e992d2f696765a52",
    "cifar10": "438f672250d2c294 3a74c10459550ca3",
    "mnist-on-cifar": "55e3a69c38907139 017c47c1dcd953a1",
    "digits-on-cifar": "1bbfff47c727df7c 4203782b7a4e0c50",
}


def digest(split: tasks.Split) -> str:
    content = split.images_NCHW.tobytes()
    if split.objects_NHW is not None:
        content += split.objects_NHW.tobytes()
    return hashlib.sha256(content).hexdigest()[:16]


@pytest.fixture(scope="session")
def miniatures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stand-ins of 60 + 20 + 20 images for the sets that are downloaded, made of digits and of noise."""
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    for name in ("mnist", "fashion-mnist", "cifar10"):
        (folder / name).mkdir()
        for half, count in zip(HALVES, (60, 20, 20), strict=True):
            digits = datasets.load("digits", half)
            images = np.pad(placed.enlarged(digits.images_NCHW[:count], 3), ((0, 0), (0, 0), (2, 2), (2, 2)))
            if name == "cifar10":
                images = placed.enlarged(rng.integers(0, 256, (count, 3, 8, 8), np.uint8), 4)
            np.save(folder / name / f"{half}_images.npy", images)
            np.save(folder / name / f"{half}_labels.npy", digits.labels_N[:count])
    return folder


@pytest.fixture(autouse=True)
def _on_miniatures(miniatures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLIMPSE_DATA", str(miniatures))
    monkeypatch.setattr(CircleSquare, "sizes", {"train": 200, "val": 40, "test": 40})


@pytest.mark.parametrize("name", tasks.names())
@pytest.mark.parametrize("half", HALVES)
def test_images_and_labels_are_what_the_task_says(name: str, half: Half) -> None:
    task = tasks.make(name)
    split = task.render(half, 0)
    assert split.images_NCHW.dtype == np.uint8
    assert split.images_NCHW.shape == (len(split), *task.shape)
    assert split.images_NCHW.max() > split.images_NCHW.min()
    assert split.labels_N is not None
    assert split.labels_N.dtype == np.int64
    assert split.labels_N.shape == (len(split),)
    assert split.labels_N.min() >= 0
    assert split.labels_N.max() < task.classes
    assert split.unlabelled.labels_N is None
    assert split.unlabelled.objects_NHW is None
    assert set(task.sizes) == set(HALVES)


@pytest.mark.parametrize("name", tasks.names())
def test_the_same_call_gives_the_same_bytes_whatever_came_before(name: str) -> None:
    first = [digest(tasks.make(name).render(half, epoch)) for half in HALVES for epoch in (0, 5)]
    again = [digest(tasks.make(name).render(half, epoch)) for half in reversed(HALVES) for epoch in (5, 0)]
    assert first == again[::-1]


@pytest.mark.parametrize("name", tasks.names())
def test_only_training_images_of_composed_tasks_change_with_the_epoch(name: str) -> None:
    task = tasks.make(name)
    assert (digest(task.train(0)) != digest(task.train(1))) == (name in PLACED)
    for half in ("val", "test"):
        assert digest(task.render(half, 0)) == digest(task.render(half, 1))


@pytest.mark.parametrize("name", tasks.names())
def test_a_half_is_made_of_the_same_half_of_its_sets(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    load, asked = datasets.load, []

    def spy(base: str, half: Half) -> ImageSet:
        asked.append((base, half))
        return load(base, half)

    monkeypatch.setattr(datasets, "load", spy)
    task = tasks.make(name)
    for half in HALVES:
        asked.clear()
        split = task.render(half, 0)
        _ = split.objects_NHW
        assert set(asked) == {(base, half) for base in task.sets}


def test_the_halves_of_generated_images_differ() -> None:
    halves = [tasks.make("circle-square").render(half, 0).images_NCHW for half in HALVES]
    images = [image.tobytes() for half in halves for image in half]
    assert len(set(images)) == len(images)


@pytest.mark.parametrize("name", tasks.names())
def test_the_test_half_is_closed_while_sealed(name: str) -> None:
    task = tasks.make(name)
    with datasets.test_split_closed():
        assert len(task.train())
        assert len(task.val())
        with pytest.raises(PermissionError, match="the bench's"):
            tasks.test_split(task)
    assert len(tasks.test_split(task))


@pytest.mark.parametrize("name", tasks.names())
def test_an_unknown_half_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="did you mean 'train'"):
        tasks.make(name).render("trian", 0)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", tasks.names())
def test_object_masks_are_there_if_the_task_says_so(name: str) -> None:
    task = tasks.make(name)
    for split in (task.train(), task.val()):
        objects = split.objects_NHW
        assert (objects is not None) == task.has_objects
        if objects is not None:
            assert objects.dtype == bool
            assert objects.shape == (len(split), *task.shape[1:])
            assert objects.any((1, 2)).all()
            assert objects.mean() < 0.5


@pytest.mark.parametrize("name", WITH_OBJECTS)
def test_objects_are_brighter_than_their_ground_or_cover_it(name: str) -> None:
    split = tasks.make(name).val()
    assert split.objects_NHW is not None
    brightness = split.images_NCHW.mean(1)
    on = (brightness * split.objects_NHW).sum((1, 2)) / split.objects_NHW.sum((1, 2))
    off = (brightness * ~split.objects_NHW).sum((1, 2)) / (~split.objects_NHW).sum((1, 2))
    if isinstance(tasks.make(name), OnPhotos):  # black ink is darker than its ground
        assert (np.abs(on - off) > 20).mean() > 0.9
    else:
        assert (on > off + (20 if isinstance(tasks.make(name), OnTexture) else 40)).all()


class TestPlaced:
    """Objects on black, with and without clutter."""

    def test_without_clutter_the_image_is_the_object(self) -> None:
        task = tasks.make("translated-mnist-60")
        split, base = task.val(), datasets.load("mnist", "val")
        np.testing.assert_array_equal(split.images_NCHW[:, 0] > 0, split.objects_NHW)
        for image, object_hw in zip(split.images_NCHW[:, 0], base.images_NCHW[:, 0], strict=True):
            rows, columns = image.any(1).nonzero()[0], image.any(0).nonzero()[0]
            own_rows, own_columns = object_hw.any(1).nonzero()[0], object_hw.any(0).nonzero()[0]
            np.testing.assert_array_equal(
                image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1],
                object_hw[own_rows[0] : own_rows[-1] + 1, own_columns[0] : own_columns[-1] + 1],
            )

    @pytest.mark.parametrize(("name", "pieces"), [("cluttered-mnist-60", 4), ("cluttered-mnist-100", 8)])
    def test_clutter_is_so_many_pieces_of_8_by_8_and_never_darkens_the_object(self, name: str, pieces: int) -> None:
        with_clutter, without = tasks.make(name), tasks.make(name, {"clutter": 0})
        assert (with_clutter.clutter, with_clutter.piece) == (pieces, 8)  # type: ignore[attr-defined]
        a, b = with_clutter.train(3), without.train(3)
        np.testing.assert_array_equal(a.objects_NHW, b.objects_NHW)  # places are drawn before the clutter
        assert (a.images_NCHW >= b.images_NCHW).all()
        added = (a.images_NCHW != b.images_NCHW)[:, 0] & ~a.objects_NHW  # type: ignore[operator]
        assert added.sum((1, 2)).max() <= pieces * 64
        assert added.sum((1, 2)).mean() > pieces * 64 / 10

    def test_places_are_uniform_up_to_the_border(self) -> None:
        task = Placed("toy", 1, base="digits", canvas=10)
        objects = task.train().objects_NHW
        assert objects is not None
        first_rows = objects.any(2).argmax(1)
        counts = np.bincount(first_rows, minlength=3)[:3]
        assert (counts > len(objects) / 5).all()
        assert objects[:, -1].any()

    def test_sums_are_clipped_not_wrapped(self) -> None:
        images = tasks.make("digits-clutter", {"clutter": 200}).val().images_NCHW
        assert (images == 255).mean() > 0.5

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"canvas": 27}, "side 28 do not fit canvas=27"),
            ({"piece": 29}, "piece=29 is larger than the objects"),
            ({"clutter": -1}, "greater than or equal to 0"),
            ({"clutter": "many"}, "valid integer"),
            ({"cluter": 3}, "did you mean 'clutter'"),
            ({"base": "digits"}, "unknown setting"),
        ],
    )
    def test_settings_that_do_not_fit_are_refused(self, settings: dict[str, Any], message: str) -> None:
        with pytest.raises(UsageError, match=message):
            tasks.make("cluttered-mnist-60", settings)

    def test_enlarging_interpolates_between_pixel_centres(self) -> None:
        image = np.array([[[0, 100], [200, 40]]], np.uint8)
        np.testing.assert_array_equal(
            placed.enlarged(image, 2)[0],
            [[0, 25, 75, 100], [50, 59, 76, 85], [150, 126, 79, 55], [200, 160, 80, 40]],
        )
        assert placed.enlarged(image, 1) is image


class TestRescaled:
    """DHAM's digits of random size."""

    def test_sides_and_places_span_their_range(self) -> None:
        task = Rescaled("toy", 1, base="digits", canvas=100, smallest=0.2, largest=0.4)
        objects = task.train().objects_NHW
        assert objects is not None
        heights = objects.any(2).sum(1)  # the first and last rows of nearly all digits are not black
        assert 19 <= np.percentile(heights, 5) <= 23
        assert 36 <= np.percentile(heights, 95) <= 39
        assert objects[:, :5].any()
        assert objects[:, -5:].any()

    def test_without_noise_levels_are_the_sets_own(self) -> None:
        split = tasks.make("dham-120").val()
        assert split.objects_NHW is not None
        assert (split.images_NCHW[:, 0][~split.objects_NHW] == 0).all()
        assert set(np.unique(split.images_NCHW)) <= set(np.unique(datasets.load("mnist", "val").images_NCHW))

    @pytest.mark.parametrize("noise", [0.1, 0.5, 2.0])
    def test_the_ground_has_the_noise_that_was_asked_for(self, noise: float) -> None:
        task = tasks.make("dham-120-noisy", {"noise": noise})
        assert isinstance(task, Rescaled)
        split = task.val()
        assert split.objects_NHW is not None
        reach = 4 * noise * 0.3081
        scale = (max(1, reach) + reach) / 255
        ground = split.images_NCHW[:, 0][~split.objects_NHW] * scale - reach
        np.testing.assert_allclose(ground.mean() / 0.3081, 0, atol=0.01)
        np.testing.assert_allclose(ground.std() / 0.3081, noise, rtol=0.02)

    def test_the_digit_replaces_the_noise(self) -> None:
        noisy = tasks.make("dham-120-noisy")
        clean = tasks.make("dham-120-noisy", {"noise": 0})
        assert isinstance(noisy, Rescaled)
        a, b = noisy.val(), clean.val()
        np.testing.assert_array_equal(a.objects_NHW, b.objects_NHW)
        assert a.objects_NHW is not None
        on = a.images_NCHW[:, 0][a.objects_NHW]
        np.testing.assert_array_equal(on, noisy.levels(b.images_NCHW[:, 0][a.objects_NHW] / 255))
        assert noisy.levels(np.array([0.0, 1.0])).tolist() == [97, 255]

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"noise": -0.1}, "greater than or equal to 0"),
            ({"noise": float("nan")}, "noise"),
            ({"smallest": 0.5}, "smallest=0.5 exceeds largest=0.4"),
            ({"canvas": 3}, "not a pixel"),
        ],
    )
    def test_settings_that_do_not_fit_are_refused(self, settings: dict[str, Any], message: str) -> None:
        with pytest.raises(UsageError, match=message):
            tasks.make("dham-120", settings)


class TestOnTexture:
    """A biased training set."""

    @staticmethod
    def told_by_the_ground(split: tasks.Split) -> float:
        """How often the ground alone names the class: the one texture that fits it at some offset."""
        textures = tasks.make("digits-biased").textures().reshape(10, -1, 1, 32, 32)  # type: ignore[attr-defined]
        assert split.labels_N is not None
        assert split.objects_NHW is not None
        right = []
        for image, object_HW, label in zip(split.images_NCHW[:200], split.objects_NHW, split.labels_N, strict=False):
            fits_K = ((textures == image) | object_HW).all((2, 3, 4)).any(1)
            assert fits_K.sum() == 1
            right.append(fits_K.argmax() == label)
        return float(np.mean(right))

    def test_the_ground_tells_the_class_in_training_and_nowhere_else(self) -> None:
        task = tasks.make("digits-biased")
        assert self.told_by_the_ground(task.train(2)) > 0.9
        assert self.told_by_the_ground(task.val()) < 0.2
        assert self.told_by_the_ground(task.render("test", 0)) < 0.2
        assert self.told_by_the_ground(tasks.make("digits-biased", {"bias": 0}).train(2)) < 0.2

    def test_the_card_says_so(self) -> None:
        assert (
            "98% of training images and a random one in the rest and in all of val"
            in tasks.make("digits-biased").card()
        )

    def test_no_texture_is_brighter_than_another(self) -> None:
        textures = tasks.make("digits-biased").textures()  # type: ignore[attr-defined]
        assert len({texture[:8, :8, :8, :8].tobytes() for texture in textures}) == 10
        assert set(textures[:, 0, 0, :8, :8].astype(int).sum((1, 2))) == {32 * 120}

    def test_objects_too_large_are_refused(self) -> None:
        with pytest.raises(UsageError, match="side 16 do not fit canvas=15"):
            OnTexture("toy", 1, base="digits", canvas=15)


class TestOnPhotos:
    """Objects in ink on photos."""

    def test_the_photo_is_untouched_beside_the_object(self) -> None:
        split = tasks.make("mnist-on-cifar").val()
        assert split.objects_NHW is not None
        photos = placed.enlarged(datasets.load("cifar10", "val").images_NCHW, 2)
        for image, object_HW in zip(split.images_NCHW, split.objects_NHW, strict=True):
            equal = (image == photos).all(1) | object_HW
            assert equal.all((1, 2)).any()
            assert not (image == photos).all((1, 2, 3)).any()

    def test_full_ink_is_white_black_or_magenta_and_stands_out(self) -> None:
        split, base = tasks.make("mnist-on-cifar").val(), datasets.load("mnist", "val")
        assert split.objects_NHW is not None
        inks = set()
        for image, object_HW, object_hw in zip(
            split.images_NCHW, split.objects_NHW, base.images_NCHW[:, 0], strict=True
        ):
            top, left = object_HW.any(1).argmax(), object_HW.any(0).argmax()
            own = np.argwhere(object_hw == 255) - (object_hw.any(1).argmax(), object_hw.any(0).argmax())
            colours = {tuple(image[:, top + y, left + x].tolist()) for y, x in own}
            assert len(colours) == 1
            inks |= colours
        assert inks <= {(255, 255, 255), (0, 0, 0), (255, 0, 255)}
        assert len(inks) > 1

    def test_ink_is_chosen_by_what_is_under_the_stroke(self) -> None:
        task = tasks.make("mnist-on-cifar")
        assert isinstance(task, OnPhotos)
        under = np.zeros((3, 3, 4, 4), np.float32)
        under[1] = 255
        under[2, :, :, ::2] = 255  # stripes: neither black nor white
        ink = task._ink(under, np.ones((3, 1, 4, 4), np.float32))
        assert ink[:, :, 0, 0].tolist() == [[255, 255, 255], [0, 0, 0], [255, 0, 255]]

    def test_objects_larger_than_the_photo_are_refused(self) -> None:
        with pytest.raises(UsageError, match="side 28 do not fit enlarge=2"):
            OnPhotos("toy", 1, base="mnist", grounds="digits", enlarge=2)
        with pytest.raises(UsageError, match="side 40 do not fit enlarge=1"):
            OnPhotos("toy", 1, base="digits", grounds="cifar10", enlarge=1, enlarge_object=5)

    def test_objects_may_be_enlarged(self) -> None:
        split, digits = tasks.make("digits-on-cifar").val(), datasets.load("digits", "val").images_NCHW[:, 0]
        assert split.objects_NHW is not None
        np.testing.assert_array_equal(split.objects_NHW.sum((1, 2)), (placed.enlarged(digits, 2) > 0).sum((1, 2)))


class TestCircleSquare:
    """Drawn shapes."""

    def test_squares_are_square_and_circles_round(self) -> None:
        task = tasks.make("circle-square")
        split = task.train()
        assert split.objects_NHW is not None
        assert split.labels_N is not None
        inside = ~(
            split.objects_NHW[:, 0].any(1)
            | split.objects_NHW[:, -1].any(1)
            | split.objects_NHW[:, :, 0].any(1)
            | split.objects_NHW[:, :, -1].any(1)
        )
        areas = split.objects_NHW.sum((1, 2))[inside]
        assert set(areas[split.labels_N[inside] == 0]) == {81}
        assert set(areas[split.labels_N[inside] == 1]) == {49}  # pixels within 4 of the centre
        assert 0.35 < split.labels_N.mean() < 0.65

    def test_the_ground_darkens_away_from_the_object(self) -> None:
        split = tasks.make("circle-square", {"noise": 0}).train()
        assert split.objects_NHW is not None
        for image, object_HW in zip(split.images_NCHW[:20, 0], split.objects_NHW[:20], strict=True):
            assert (image[object_HW] == 255).all()
            assert image[~object_HW].max() < 0.7 * 255
            far = np.unravel_index(image.argmin(), image.shape)
            assert far[0] in (0, 27)
            assert far[1] in (0, 27)
        flat = tasks.make("circle-square", {"noise": 0, "gradient": False}).train()
        assert set(np.unique(flat.images_NCHW)) == {89, 255}


def test_images_do_not_change_without_a_new_version() -> None:
    found = {name: f"{digest(tasks.make(name).val())} {digest(tasks.make(name).train(1))}" for name in PINS}
    assert found == PINS


@pytest.mark.parametrize("name", tasks.names())
def test_a_task_can_be_made_and_described_without_its_data(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GLIMPSE_DATA", str(tmp_path / "empty"))
    task = tasks.make(f"{name}-v{tasks.TASKS[name].version}")
    height, width = task.shape[1:]
    assert f"{height}×{width}" in task.describe()
    assert "\n" not in task.describe()
    card = task.card()
    for fact in (task.id, f"{task.classes} classes", "object masks:", "settings:", *task.published):
        assert str(getattr(fact, "source", fact)) in card
    if any(datasets.info(base).needs_download for base in task.sets):
        with pytest.raises(UsageError, match="run `glimpse data get"):
            task.train()


def test_cards_quote_what_was_published_and_nothing_unverified() -> None:
    cluttered = tasks.make("cluttered-mnist-60").card()
    for quote in ("4.96 / 4.08 / 4.04 %", "14.4 %", "5.23 %", "NIPS", "arXiv v1", "12×12 windows, 3 scales"):
        assert quote in cluttered
    for quote in ("2.13 % (bentrevett)", "4.04 %"):  # the best, not the weaker versions alone
        assert quote in cluttered
    translated = tasks.make("translated-mnist-60").card()
    assert translated.index("1.54 / 1.22 / 1.20 %") < translated.index("1.84 %")
    assert "0.94 % (slundqui)" in translated
    assert "9.41" not in tasks.make("cluttered-mnist-100").card()  # no source for the proceedings' figures
    assert "no accuracy was reported" in tasks.make("dham-120-noisy").card()
    assert "not top-1" in tasks.make("cifar10").card()
    assert not tasks.make("mnist-on-cifar").published


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("minst", "unknown task 'minst': did you mean 'mnist'"),
        ("mnist-v2", "this version of the code has mnist-v1"),
        ("", "unknown task ''"),
    ],
)
def test_unknown_tasks_get_the_nearest(name: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        tasks.make(name)


@pytest.mark.parametrize("name", tasks.names())
def test_the_env_opens_every_task(name: str) -> None:
    env = GlimpseVectorEnv(name, num_envs=3)
    env.reset(seed=0)
    observation, *_ = env.step(np.zeros((3, 2), np.float32))
    assert env.observation_space.contains(observation)


def test_every_task_is_known_to_gymnasium() -> None:
    for task in tasks.TASKS.values():
        assert gymnasium.spec(f"GlimpseBench/{task.id}").kwargs["task"] == task.id


def test_importing_the_tasks_opens_no_data_and_no_decoder() -> None:
    code = (
        "import sys, glimpsebench.envs.tasks; "
        "print([name for name in ('PIL', 'sklearn', 'glimpsebench.envs.folders') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_gallery_shows_every_task(tmp_path: Path) -> None:
    paths = gallery.write(tmp_path / "docs", count=2)
    assert [path.name for path in paths] == [f"{name}.png" for name in tasks.names()]
    for path, task in zip(paths, tasks.TASKS.values(), strict=True):
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("RGB"))
        rows = 3 if task.has_objects else 2
        assert pixels.shape[0] > rows * 128
        assert (pixels == gallery._OUTLINE).all(-1).any() == task.has_objects


@pytest.mark.parametrize("canvas", [32, 64, 128, 256])
def test_a_needle_has_one_size_and_its_clutter_one_density_on_every_canvas(canvas: int) -> None:
    small, large = (tasks.make("needle", {"canvas": side}).val() for side in (32, canvas))
    assert large.images_NCHW.shape[1:] == (1, canvas, canvas)
    objects = [split.objects_NHW.sum((1, 2)) for split in (small, large) if split.objects_NHW is not None]
    np.testing.assert_array_equal(*objects)  # the same object, with as many pixels
    share = [((split.images_NCHW[:, 0] > 0) & ~np.asarray(split.objects_NHW)).mean() for split in (small, large)]
    # On a small canvas the object hides clutter, and pieces that must lie inside are fewer at its border.
    assert 0.6 * share[0] < share[1] < 1.8 * share[0]


def test_a_needle_refuses_more_clutter_than_sums_can_hold() -> None:
    with pytest.raises(UsageError, match="has 1024 pieces of clutter, and 256 are the most"):
        tasks.make("needle", {"canvas": 512})


def test_the_gallery_leaves_out_what_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLIMPSE_DATA", str(tmp_path))
    assert [task.name for task in gallery.installed()] == [
        "digits",
        "digits-clutter",
        "digits-biased",
        "needle",
        "circle-square",
    ]


@pytest.mark.slow
@pytest.mark.parametrize("name", tasks.names())
def test_the_real_sets_make_the_real_tasks(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    task = tasks.make(name)
    if not all(map(datasets.installed, task.sets)):
        pytest.skip(f"needs `glimpse data get {' '.join(task.sets)}`")
    halves = {half: task.render(half, 0) for half in HALVES}
    assert {half: len(split) for half, split in halves.items()} == dict(task.sizes)
    for split in halves.values():
        assert split.images_NCHW.shape[1:] == task.shape
        assert split.labels_N is not None
        assert set(np.unique(split.labels_N)) == set(range(task.classes))
    val = halves["val"].objects_NHW
    assert val is None or bool(val.any((1, 2)).all())
