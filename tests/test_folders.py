"""Your own images as tasks: layouts, splits, sizes, ids, and files that are no images."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from glimpsebench.bench import by_glimpse, cli, figures, leaderboard, records
from glimpsebench.bench.run import Spec, run
from glimpsebench.bench.suites import read_suite
from glimpsebench.envs import GlimpseVectorEnv, datasets, decode, folders, gallery, tasks
from glimpsebench.envs.errors import UsageError
from glimpsebench.envs.own import HALVES, OwnData

Array = NDArray[Any]


def own(name: str, **settings: Any) -> OwnData:
    task = tasks.make(name, settings)
    assert isinstance(task, OwnData)
    return task


def png(array: Array) -> bytes:
    file = io.BytesIO()
    Image.fromarray(array).save(file, "PNG")
    return file.getvalue()


def flat(level: int, height: int = 6, width: int = 8) -> Array:
    return np.full((height, width), level, np.uint8)


def fill(root: Path, classes: dict[str, int], count: int = 30) -> Path:
    """Class folders of constant images: class → level of its first image, and one brighter with each."""
    for label, level in classes.items():
        (root / label).mkdir(parents=True)
        for number in range(count):
            (root / label / f"{number:03}.png").write_bytes(png(flat(level + number)))
    return root


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    return fill(tmp_path / "my pets", {"cat": 10, "dog": 110})


class TestFolder:
    """Class folders."""

    def test_images_labels_and_halves(self, pets: Path) -> None:
        task = own(f"folder:{pets}", channels=1, side=4, fit="stretch")
        assert (task.shape, task.classes, task.has_objects) == ((1, 4, 4), 2, False)
        halves = {half: task.render(half, 0) for half in HALVES}
        assert {half: len(split) for half, split in halves.items()} == dict(task.sizes)
        assert sum(task.sizes.values()) == 60
        assert task.sizes["train"] > task.sizes["test"] > task.sizes["val"] > 0
        levels = np.concatenate([split.images_NCHW[:, 0, 0, 0] for split in halves.values()])
        labels = np.concatenate([split.labels_N for split in halves.values() if split.labels_N is not None])
        assert sorted(levels) == [*range(10, 40), *range(110, 140)]  # each image in one half
        np.testing.assert_array_equal(labels, levels >= 100)
        assert np.abs(np.diff(labels[: task.sizes["train"]])).sum() > 5  # classes are mixed, not in blocks

    def test_the_split_follows_names_so_a_new_image_moves_no_other(self, pets: Path) -> None:
        before = own(f"folder:{pets}", side=4)
        where = {int(image[0, 0, 0]): half for half in HALVES for image in before.render(half, 0).images_NCHW}
        old = before.id
        (pets / "cat" / "new.png").write_bytes(png(flat(250)))
        after = own(f"folder:{pets}", side=4)
        for half in HALVES:
            for image in after.render(half, 0).images_NCHW:
                assert where.get(int(image.max()), half) == half
        assert sum(after.sizes.values()) == 61
        assert after.id != old

    def test_train_val_and_test_folders_are_honoured(self, tmp_path: Path) -> None:
        for half, level in (("train", 0), ("val", 50), ("test", 150)):
            fill(tmp_path / "data" / half, {"a": level, "b": level + 10}, count=5)
        task = own(f"folder:{tmp_path / 'data'}", channels=1, side=2, fit="stretch")
        assert task.sizes == {"train": 10, "val": 10, "test": 10}
        assert task.val().images_NCHW.min() >= 50
        assert task.val().images_NCHW.max() < 70

    def test_a_missing_half_is_taken_from_train(self, tmp_path: Path) -> None:
        fill(tmp_path / "data" / "train", {"a": 0, "b": 100})
        fill(tmp_path / "data" / "test", {"a": 200, "b": 220}, count=3)
        (tmp_path / "data" / "extra").mkdir()
        task = own(f"folder:{tmp_path / 'data'}", channels=1, side=2)
        assert task.sizes["test"] == 6
        assert task.sizes["train"] + task.sizes["val"] == 60
        assert 0 < task.sizes["val"] < 15
        assert task.left_out == ("extra: beside train, val and test",)

    def test_the_id_follows_the_content_and_hides_the_path(self, pets: Path, tmp_path: Path) -> None:
        task, copy = own(f"folder:{pets}"), tmp_path / "elsewhere" / "my pets"
        fill(copy, {"cat": 10, "dog": 110})
        assert own(f"folder:{copy}").id == task.id
        assert task.id.startswith("folder-my-pets-")
        assert task.id.endswith("-v3")
        (copy / "cat" / "000.png").write_bytes(png(flat(11)))
        assert own(f"folder:{copy}").id != task.id
        for text in (repr(task), task.card(), task.describe(), task.id, str(records.settings_of(task))):
            assert str(tmp_path) not in text

    def test_data_that_changes_is_read_again_and_else_is_not(self, pets: Path) -> None:
        task = own(f"folder:{pets}")
        assert task.train().images_NCHW is own(f"folder:{pets}").train().images_NCHW
        assert not task.train().images_NCHW.flags.writeable
        (pets / "dog" / "new.png").write_bytes(png(flat(0)))
        assert sum(task.sizes.values()) == 60  # a task does not change under a run
        assert sum(own(f"folder:{pets}").sizes.values()) == 61

    def test_names_that_are_no_text_are_names(self, pets: Path) -> None:
        (pets / "cat" / "\udcff.png").write_bytes(png(flat(0)))
        assert sum(own(f"folder:{pets}").sizes.values()) == 61

    def test_it_is_a_task_like_any_other(self, pets: Path) -> None:
        env = GlimpseVectorEnv(f"folder:{pets}", num_envs=2)
        env.reset(seed=0)
        assert env.observation_space.contains(env.step(np.zeros((2, 2), np.float32))[0])
        task = own(f"folder:{pets}")
        copy = pickle.loads(pickle.dumps(task))
        assert "_content" not in vars(copy)
        assert copy.id == task.id
        with datasets.test_split_closed(), pytest.raises(PermissionError):
            tasks.test_split(task)
        with pytest.raises(UsageError, match="unknown half"):
            task.render("all", 0)  # type: ignore[arg-type]
        assert task.class_names == ("cat", "dog")

    @pytest.mark.parametrize(
        ("classes", "count", "message"),
        [
            ({}, 0, "images of two classes, and there is no image"),
            ({"cat": 0}, 30, "images of two classes, and there is only 'cat'"),
            ({"cat": 0, "dog": 0}, 1, "training image|leave none"),
        ],
    )
    def test_too_little_to_learn_from_is_refused(
        self, classes: dict[str, int], count: int, message: str, tmp_path: Path
    ) -> None:
        (tmp_path / "few").mkdir()
        with pytest.raises(UsageError, match=message):
            _ = own(f"folder:{fill(tmp_path / 'few', classes, count)}").id

    def test_test_without_train_is_refused(self, tmp_path: Path) -> None:
        fill(tmp_path / "data" / "test", {"a": 0, "b": 1}, 3)
        with pytest.raises(UsageError, match="there is test, but no train"):
            _ = own(f"folder:{tmp_path / 'data'}").classes

    @pytest.mark.parametrize(
        ("name", "settings", "message"),
        [
            ("folder:", {}, "no folder at ''"),
            ("folder:/no/such/place", {}, "no folder at '/no/such/place'"),
            ("npz:/no/such.npz", {}, "no file at '/no/such.npz'"),
            ("fodler:.", {}, "unknown kind of data 'fodler': did you mean 'folder'"),
            ("folder:.", {"size": 3}, "did you mean 'side'"),
            ("folder:.", {"path": "/etc"}, "unknown setting"),
            ("folder:.", {"side": 5000}, "less than or equal to 1024"),
            ("folder:.", {"channels": 2}, "does not fit"),
        ],
    )
    def test_mistakes_in_the_call(self, name: str, settings: dict[str, Any], message: str) -> None:
        with pytest.raises(UsageError, match=message):
            tasks.make(name, settings)


def lay(root: Path, folders: str, **files: bytes) -> Path:
    """Twelve images in each of the folders, and single files."""
    root.mkdir(parents=True, exist_ok=True)
    for level, folder in enumerate(folders.split()):
        (root / folder).mkdir(parents=True, exist_ok=True)
        for number in range(12):
            (root / folder / f"{number}.png").write_bytes(png(flat(20 * level + number)))
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


WRONG_LAYOUTS: dict[str, tuple[str, dict[str, Any], dict[str, Any], str]] = {
    "nothing": ("", {}, {}, "data: a task needs images of two classes, and there is no image here"),
    "no images": ("", {"a.npy": b"1", "b.zip": b"1"}, {}, "no image here, only .npy, .zip"),
    "no class folders": (".", {}, {}, "data: 12 images and no class folders: put each class in a folder of its own"),
    "one class": ("cat", {}, {}, "data: a task needs images of two classes, and there is only 'cat'"),
    "one level too high": ("images/cat images/dog", {}, {}, "its only folder, images, holds cat, dog: is folder:"),
    "two levels too high": ("a/b/cat a/b/dog", {}, {}, "a task needs images of two classes, and there is only 'a'"),
    "no train": ("test/cat test/dog", {}, {}, "data: there is test, but no train: the class"),
    "Test and no train": ("Test/cat valid/dog", {}, {}, "data: there is valid and Test, but no train"),
    "test without labels": ("train/cat train/dog test", {}, {}, "test holds 12 images and no class folders, so they"),
    "splits without classes": ("train test", {}, {}, "test and train hold 24 images and no class folders"),
    "Dataset_train": ("pets_train pets_Test", {}, {}, "pets_Test and pets_train hold 24 images and no class folders"),
    "two vals": ("train/a train/b val/a val/b valid/a valid/b", {}, {}, "val and valid are both the val split"),
    "splits below classes": ("cat/train cat/test dog/train dog/test", {}, {}, "cat holds test, train: splits go above"),
    "unknown splits": ("one/cat one/dog two/cat two/dog", {}, {}, "one, two all hold cat, dog: class folders go at"),
    "masks as a class": ("images/cat images/dog masks/cat masks/dog", {}, {}, "masks is no class by its name: if it"),
    "masks beside classes": ("cat dog masks", {}, {}, "and masks=masks"),
    "another name in test": (
        "train/Cat train/dog test/cat test/dog",
        {},
        {},
        "no training image of cat (train has Cat",
    ),
    "class without images": ("cat dog", {"bird/1.heic": b"1"}, {}, "bird/: a class folder without images, only .heic"),
    "a stray image": ("cat dog", {"1.png": png(flat(1))}, {}, "1.png: in no class folder; mend or remove it, or set"),
    "an empty file": ("cat dog", {"cat/x.png": b""}, {}, "cat/x.png: the file is empty; mend or remove it, or set bad"),
    "text": ("cat dog", {"cat/x.png": b"text" * 9}, {}, "cat/x.png: not an image (BMP"),
    "a thin image": (
        "cat dog",
        {"cat/x.png": png(flat(1, 1, 1000))},
        {},
        "cat/x.png: 1×1000 pixels are too thin for a",
    ),
    "no masks folder": ("cat dog", {}, {"masks": "../no"}, "masks=../no is seen from"),
    "other names of masks": (
        "cat dog",
        {"m/cat/0_m.png": b"1"},
        {"masks": "m"},
        "no image has a mask in m, which holds",
    ),
    "a mask too few": ("cat dog", {"m/cat/0.png": png(flat(1))}, {"masks": "m"}, "cat/1.png: no mask cat/1.* in m"),
    "too few images": (
        "",
        {"a/0.png": png(flat(1)), "b/1.png": png(flat(1))},
        {},
        "no training image of a (train has b): add images",
    ),
}


class TestLayouts:
    """What is understood, and what is refused in one clear line."""

    @pytest.mark.parametrize("case", WRONG_LAYOUTS)
    def test_wrong_layouts_are_refused_in_one_line(self, case: str, tmp_path: Path) -> None:
        folders_, files, settings, message = WRONG_LAYOUTS[case]
        root = lay(tmp_path / "data", folders_, **files)
        with pytest.raises(UsageError) as caught:
            _ = own(f"folder:{root}", **settings).id
        assert message in str(caught.value)
        if case != "a mask too few":  # 23 of them are listed
            assert "\n" not in str(caught.value)

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("folder:data/x.zip", "it must be a folder, and this is a .zip file: unpack it"),
            ("npz:data", "it must be a file, and this is a folder"),
            ("voc:data", "data: no folder JPEGImages in it"),
        ],
    )
    def test_the_wrong_kind_of_thing(self, name: str, message: str, tmp_path: Path, monkeypatch: Any) -> None:
        lay(tmp_path / "data", "cat dog", **{"x.zip": b"PK"})
        monkeypatch.chdir(tmp_path)
        with pytest.raises(UsageError, match=message):
            _ = own(name).id

    def test_a_folder_that_cannot_be_opened(self, pets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def closed(path: Path) -> Any:
            raise PermissionError(13, "Permission denied")

        task = own(f"folder:{pets}")
        monkeypatch.setattr(Path, "iterdir", closed)
        with pytest.raises(UsageError, match="my pets cannot be read: Permission denied"):
            _ = task.classes

    def test_the_command_line_says_it_without_a_traceback(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr("sys.argv", ["glimpse", "tasks", f"folder:{lay(tmp_path / 'data', '.')}"])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        assert stop.value.code == 2
        assert capsys.readouterr().err.startswith("error: data: 12 images and no class folders")

    @pytest.mark.parametrize(
        ("folders_", "classes", "layout"),
        [
            ("Train/a Train/b TEST/a TEST/b", "ab", "class folders in Train as train, TEST as test; val by a hash"),
            ("train/a train/b valid/a valid/b test/a", "ab", "class folders in train, valid as val, test"),
            ("my_train/a my_train/b my-test-2/a", "ab", "my_train as train, my-test-2 as test; val by a hash"),
            ("bus car train", ["bus", "car", "train"], "class folders; halves by a hash of the names"),
            (
                "bus_stop/x bus_stop/y train_station",
                ["bus_stop", "train_station"],
                "bus_stop/x, bus_stop/y count as bus",
            ),
        ],
    )
    def test_other_names_of_splits_are_mapped_and_the_card_says_so(
        self, folders_: str, classes: Any, layout: str, tmp_path: Path
    ) -> None:
        task = own(f"folder:{lay(tmp_path / 'data', folders_)}", bad="skip")
        assert task.class_names == tuple(classes)
        assert layout in task.card()

    def test_the_card_says_what_was_found_and_how_it_is_fitted(self, tmp_path: Path) -> None:
        kinds = {
            "cat/p.png": png(flat(1)),
            "cat/rgb.png": png(np.zeros((90, 30, 3), np.uint8)),
            "cat/rgba.png": png(np.zeros((5, 4, 4), np.uint8)),
            "cat/deep.png": png(np.full((4, 4), 40_000, np.uint16)),
        }
        file = io.BytesIO()
        Image.fromarray(flat(3)).convert("P").save(file, "GIF")
        card = own(f"folder:{lay(tmp_path / 'data', 'cat dog', **kinds, **{'dog/x.gif': file.getvalue()})}").card()
        assert "sizes: 4×4 to 90×30 pixels (height×width), brought to 64×64 by fit=pad" in card
        modes = "25 grey, 1 16-bit grey, 1 RGB, 1 RGB with transparency, 1 palette"
        assert f"modes: {modes}; all become RGB" in card
        counts = [line.split() for line in card.splitlines() if line.startswith(("cat", "dog"))]
        assert [sum(map(int, line[1:])) for line in counts] == [16, 13]


class TestMasks:
    """Masks beside images."""

    def test_they_follow_their_images(self, tmp_path: Path) -> None:
        root = lay(tmp_path / "data", "cat dog")
        for place in sorted(root.rglob("*.png")):
            mask = np.zeros((6, 8), np.uint8)
            mask[:3, :4] = 7
            target = tmp_path / "masks" / place.relative_to(root)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(png(mask))
        task = own(f"folder:{root}", masks="../masks", side=8)
        assert task.has_objects
        objects_NHW = task.val().objects_NHW
        assert objects_NHW is not None
        expected = np.zeros((8, 8), bool)
        expected[1:4, :4] = True
        assert (objects_NHW == expected).all()
        assert "objects: 25.0 % of the images' pixels lie on them" in task.card()
        inside = own(f"folder:{root}", masks="../data/../masks", side=8)
        assert inside.id == task.id
        assert own(f"folder:{root}").id != task.id
        (tmp_path / "masks/cat/0.png").write_bytes(png(np.ones((6, 8), np.uint8)))
        assert own(f"folder:{root}", masks="../masks", side=8).id != task.id

    def test_they_may_lie_among_the_classes(self, tmp_path: Path) -> None:
        task = own(f"folder:{lay(tmp_path / 'data', 'cat dog masks/cat masks/dog')}", masks="masks", bad="skip")
        assert task.class_names == ("cat", "dog")

    @pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA", "I;16"])
    def test_what_is_not_zero_is_the_object(self, mode: str) -> None:
        image = Image.fromarray(np.pad(np.full((2, 2), 255, np.uint8), 2))
        if mode == "P":
            image = Image.frombytes("P", image.size, np.pad(np.full((2, 2), 3, np.uint8), 2).tobytes())
            image.putpalette([200] * 768)
        elif mode == "I;16":
            image = Image.fromarray(np.asarray(image).astype(np.uint16))
        file = io.BytesIO()
        image.convert(mode).save(file, "PNG") if mode not in ("P", "I;16") else image.save(file, "PNG")
        np.testing.assert_array_equal(decode.object_mask(file.getvalue()), np.pad(np.ones((2, 2), bool), 2))

    def test_faint_levels_of_jpeg_are_no_object(self) -> None:
        file = io.BytesIO()
        object_HW = np.pad(np.ones((16, 16), bool), 8)
        Image.fromarray(np.where(object_HW, 255, 0).astype(np.uint8)).save(file, "JPEG", quality=50)
        np.testing.assert_array_equal(decode.object_mask(file.getvalue()), object_HW)

    @pytest.mark.parametrize(
        ("mask", "message"),
        [
            (flat(0), "cat/x.png: its mask: it is zero everywhere, so it marks no object"),
            (flat(9, 3, 3), "cat/x.png: its mask is 3×3, the image 6×8"),
        ],
    )
    def test_masks_that_do_not_fit_are_named(self, mask: Array, message: str, tmp_path: Path) -> None:
        files = {"cat/x.png": png(flat(1)), "masks/cat/x.png": png(mask)}
        root = lay(tmp_path / "data", "cat dog masks/cat masks/dog", **files)
        with pytest.raises(UsageError, match=message):
            _ = own(f"folder:{root}", masks="masks").id


class TestPictures:
    """Figures of records over own data."""

    def test_an_id_is_enough_where_the_images_were_seen(self, pets: Path) -> None:
        task = own(f"folder:{pets}", side=8)
        with pytest.raises(UsageError, match=f"{task.id} are not known on this machine: `glimpse tasks folder:PATH`"):
            tasks.make(task.id)
        task.remember()
        again = own(task.id, side=8)
        np.testing.assert_array_equal(again.val().images_NCHW, task.val().images_NCHW)
        (pets / "cat" / "000.png").write_bytes(png(flat(99)))
        with pytest.raises(UsageError, match="are no longer at folder:"):
            tasks.make(task.id)

    def test_gallery_and_by_glimpse_work_for_own_data(
        self, tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        data = lay(tmp_path / "data", "cat dog masks/cat masks/dog")
        for place in (data / "masks").rglob("*.png"):
            place.write_bytes(png(flat(1)))
        task = {"masks": "masks", "side": 16}
        spec = Spec("uniform", f"folder:{data}", 0, {"predictor_steps": 2, "glimpses": 2, "size": 4}, task)
        record = run(spec, root, iter)
        assert record.done, record.about["error"]
        rows = leaderboard.rows_of([record])
        names: list[str] = []

        def noted(text: str, *_: Any) -> str:
            names.append(text)
            return text

        monkeypatch.setattr(figures.paper, "shortened", noted)
        paths = figures.write([record], root)
        assert {"cat"} <= set(names) <= {"cat", "dog"}
        assert root / "gallery.png" in paths
        assert rows[0].localisation("iou")
        replayed = by_glimpse.replayed(rows[0], iter)
        assert replayed.accuracy("own")

    def test_classes_have_names_in_pictures(self, pets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        captions: list[str] = []
        monkeypatch.setattr(gallery, "_captioned", lambda lines, body: captions.extend(lines))
        gallery.page(own(f"folder:{pets}"), 40)
        assert set(captions[1].removeprefix("classes: ").split(", ")) == {"cat", "dog"}
        assert tasks.make("cifar10").class_names[3] == "cat"
        assert tasks.make("digits").class_names[3] == "3"
        assert tasks.make("circle-square").class_names == ("square", "circle")


def test_the_suite_of_the_readme_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lay(tmp_path, "pets/cat pets/dog")
    for place in sorted(tmp_path.rglob("*.png")):
        mask = tmp_path / "pets-masks" / place.relative_to(tmp_path / "pets")
        mask.parent.mkdir(parents=True, exist_ok=True)
        mask.write_bytes(png(flat(255)))
    readme = (Path(__file__).parents[1] / "README.md").read_text()
    (tmp_path / "pets.toml").write_text(readme.split("```toml\n")[1].split("```")[0])
    monkeypatch.chdir(tmp_path)
    specs = read_suite("pets.toml").specs
    assert {"ram", "straight_through", "uniform", "full"} <= {spec.agent for spec in specs}
    task = specs[0].make()[1]
    assert task.has_objects
    assert task.shape == (3, 32, 32)


@pytest.mark.parametrize("kind", ["folder", "npz", "voc"])
def test_a_kind_alone_explains_itself(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    cli.catalogue.tasks_command(kind)
    text = capsys.readouterr().out
    assert text.startswith(f"{kind}:PATH")
    assert "side=" in text
    assert all(len(line) <= 80 for line in text.splitlines())


class TestFitting:
    """How images of any size and kind become images of one."""

    def one(self, tmp_path: Path, content: bytes, **settings: Any) -> Array:
        """The given image, found by its class, after it has become part of a task."""
        root = fill(tmp_path / "data", {"a": 0, "b": 100})
        (root / "c").mkdir()
        for number in range(10):
            (root / "c" / f"it{number}.png").write_bytes(content)
        task = own(f"folder:{root}", **settings)
        train = task.train()
        assert train.labels_N is not None
        image: Array = train.images_NCHW[train.labels_N == 2][0]
        return image

    def test_pad_keeps_the_shape_and_fills_the_rest(self, tmp_path: Path) -> None:
        image = self.one(tmp_path, png(flat(200, 2, 8)), side=16, fill=7)
        assert image.shape == (3, 16, 16)
        assert (image[:, 6:10] == 200).all()
        assert (image[:, :6] == 7).all()
        assert (image[:, 10:] == 7).all()

    def test_crop_takes_the_middle_and_stretch_everything(self, tmp_path: Path) -> None:
        striped = np.repeat(np.array([[0] * 4 + [255] * 4 + [0] * 4], np.uint8), 4, 0)
        assert (self.one(tmp_path / "crop", png(striped), side=4, fit="crop") == 255).all()
        stretched = self.one(tmp_path / "stretch", png(striped), side=3, fit="stretch")
        assert stretched[0, 0, 0] == stretched[0, 0, 2] < stretched[0, 0, 1]

    def test_side_0_takes_the_size_of_the_first_image(self, tmp_path: Path) -> None:
        assert self.one(tmp_path, png(flat(9, 3, 3)), side=0, channels=0).shape == (1, 6, 8)

    @pytest.mark.parametrize(
        ("pixel", "grey", "rgb"),
        [
            (np.uint8(200), 200, (200, 200, 200)),
            (np.array([255, 0, 0], np.uint8), 76, (255, 0, 0)),
            (np.array([255, 0, 0, 255], np.uint8), 76, (255, 0, 0)),
            (np.array([255, 0, 0, 0], np.uint8), 50, (50, 50, 50)),  # transparent: `fill`
            (np.uint16(0x8080), 128, (128, 128, 128)),
            (np.bool_(True), 255, (255, 255, 255)),
        ],
    )
    def test_every_kind_of_pixel(self, pixel: Array, grey: int, rgb: tuple[int, ...], tmp_path: Path) -> None:
        content = png(np.broadcast_to(pixel, (4, 4, *np.shape(pixel))).copy())
        assert (self.one(tmp_path / "1", content, side=4, channels=1, fill=50) == grey).all()
        image = self.one(tmp_path / "3", content, side=4, channels=3, fill=50)
        assert (image == np.array(rgb)[:, None, None]).all()

    @pytest.mark.parametrize("shape", [(1, 1), (1, 5000), (5000, 1), (3, 2)])
    @pytest.mark.parametrize("fit", ["pad", "crop", "stretch"])
    def test_degenerate_shapes(self, shape: tuple[int, int], fit: Any) -> None:
        image = Image.fromarray(flat(200, *shape))
        page = np.asarray(decode.fitted(image, (8, 8), fit, 0, Image.Resampling.BILINEAR))
        assert page.shape == (8, 8)
        assert page.max() == 200
        assert fit == "pad" or page.min() == 200

    def test_photos_are_turned_upright(self) -> None:
        file, exif = io.BytesIO(), Image.Exif()
        exif[0x0112] = 6  # the camera was held on its side
        Image.fromarray(flat(0, 2, 5)).save(file, "JPEG", exif=exif)
        assert decode.opened(file.getvalue()).size == (2, 5)


def bomb(side: int) -> bytes:
    """A PNG of a few bytes whose header claims side × side pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 64)) + chunk(b"IEND", b"")


STRANGE: dict[str, tuple[bytes, str]] = {
    "zero.png": (b"", "the file is empty"),
    "text.png": (b"hello, I am not an image\n" * 9, "not an image (BMP, GIF, JPEG"),
    "cut.png": (png(np.random.default_rng(0).integers(0, 255, (50, 50), np.uint8))[:900], "broken: "),
    "cut.jpg": (b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01", "broken: |not an image"),
    "bomb.png": (bomb(30_000), "more than 89,478,485 pixels"),
    "big.png": (bomb(10_000), "more than 89,478,485 pixels"),
    "huge.png": (bomb(2**31 - 1), "more than 89,478,485 pixels|broken"),
    "page.png": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(x) run\n", "not an image"),
    "drawing.tif": (b"II*\x00\x08\x00\x00\x00\xff\xff", "not an image|broken"),
    "pickle.png": (pickle.dumps([1, 2]), "not an image"),
    "zip.jpg": (b"PK\x03\x04" + b"\0" * 60, "not an image"),
    "null.bmp": (b"BM" + b"\0" * 60, "not an image|broken"),
    "header.gif": (b"GIF89a\xff\xff\xff\xff", "broken: |not an image"),
    "frame.webp": (b"RIFF\x10\0\0\0WEBPVP8 ", "not an image|broken"),
    "nan.tiff": (b"", ""),  # filled in below
}
_file = io.BytesIO()
Image.fromarray(np.full((4, 4), np.nan, np.float32)).save(_file, "TIFF")
STRANGE["row.gif"] = (png(flat(200, 1, 1000)), "1×1000 pixels are too thin for a window: the longer side may be 16")
STRANGE["column.gif"] = (png(flat(200, 85, 5)), "85×5 pixels are too thin")
STRANGE["nan.tiff"] = (_file.getvalue(), "NaN or infinite values")

FINE: dict[str, Array] = {
    "dot.png": flat(200, 1, 1),
    "row.png": flat(200, 5, 80),
    "column.png": flat(200, 80, 5),
    "black.png": flat(0),
    "white.png": flat(255),
    "rgba.png": np.zeros((5, 4, 4), np.uint8),
    "deep.png": np.full((4, 4), 40_000, np.uint16),
}


class TestStrangeFiles:
    """Files that are no images, or hardly."""

    @pytest.fixture
    def mixed(self, pets: Path) -> Path:
        for name, (content, _) in STRANGE.items():
            (pets / "cat" / name).write_bytes(content)
        for name, image in FINE.items():
            (pets / "dog" / name).write_bytes(png(image))
        (pets / "cat" / "notes.txt").write_text("two cats")
        (pets / "cat" / ".DS_Store").write_bytes(b"\0")
        (pets / "README.md").write_text("my pets")
        (pets / "stray.png").write_bytes(png(flat(3)))
        (pets / "bird").mkdir()
        return pets

    def test_they_refuse_the_task_and_are_named_with_the_reason(self, mixed: Path) -> None:
        with pytest.raises(UsageError) as caught:
            own(f"folder:{mixed}").train()
        text = str(caught.value)
        assert text.startswith(f"my pets: {len(STRANGE) + 2} of {60 + len(FINE) + len(STRANGE) + 2} images")
        assert "bad=skip" in text
        for name, (_, reason) in STRANGE.items():
            line = next(line for line in text.split("\n") if f"cat/{name}: " in line)
            assert any(part in line for part in reason.split("|"))
        assert "stray.png: in no class folder" in text
        assert "bird/: a class folder without images" in text
        assert "notes.txt" not in text

    def test_or_are_left_out_and_listed(self, mixed: Path) -> None:
        task = own(f"folder:{mixed}", bad="skip")
        assert sum(task.sizes.values()) == 60 + len(FINE)
        assert len(task.left_out) == len(STRANGE) + 4
        assert "cat/notes.txt: not an image by its name" in task.left_out
        assert "README.md: in no class folder" in task.left_out
        assert f"left out: {task.left_out[0]}" in task.card()
        assert not any(".DS_Store" in why for why in task.left_out)
        assert task.classes == 2

    def test_what_is_left_out_does_not_change_the_id(self, pets: Path) -> None:
        before = own(f"folder:{pets}").id
        (pets / "cat" / "zero.png").touch()
        assert own(f"folder:{pets}", bad="skip").id == before

    def test_a_bomb_allocates_nothing(self) -> None:
        import tracemalloc

        tracemalloc.start()
        with pytest.raises(decode.Unusable, match="more than"):
            decode.opened(bomb(30_000))
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
        tracemalloc.stop()

    def test_a_file_that_cannot_be_opened_is_named(self, pets: Path) -> None:
        (pets / "cat" / "gone.png").symlink_to(pets / "nowhere.png")  # a dangling link is no file
        assert sum(own(f"folder:{pets}").sizes.values()) == 60


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "TIFF", "BMP", "WEBP", "PPM"])
def test_damaged_files_give_an_image_or_a_reason(kind: str) -> None:
    file, rng = io.BytesIO(), np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (20, 20, 3), np.uint8)).save(file, kind)
    whole = np.frombuffer(file.getvalue(), np.uint8)
    outcomes = set()
    for _ in range(100):
        damaged = whole[: rng.integers(1, len(whole) + 1)].copy()
        damaged[rng.integers(0, len(damaged), 3)] = rng.integers(0, 256, 3)
        try:
            outcomes.add(decode.eight_bit(decode.opened(damaged.tobytes())).mode)
        except decode.Unusable as why:
            outcomes.add(str(why)[:6])
    assert outcomes & {"broken", "not an"}
    assert outcomes <= {"broken", "not an", "more t", "values", "levels", "L", "RGB", "RGBA"}


class TestNpz:
    """Arrays."""

    def write(self, path: Path, **arrays: Any) -> str:
        np.savez(path / "mine.npz", **arrays)
        return f"npz:{path / 'mine.npz'}"

    @pytest.mark.parametrize(
        ("images", "shape"),
        [
            (np.zeros((40, 5, 7), np.uint8), (1, 5, 7)),
            (np.zeros((40, 5, 7, 1), bool), (1, 5, 7)),
            (np.zeros((40, 5, 7, 3), np.float32), (3, 5, 7)),
            (np.zeros((40, 3, 5, 7), np.int64), (3, 5, 7)),
            (np.zeros((40, 5, 7, 4), np.uint16), (3, 5, 7)),
            (np.zeros((40, 1, 5, 7), np.float64), (1, 5, 7)),
        ],
    )
    def test_layouts_and_types(self, images: Array, shape: tuple[int, ...], tmp_path: Path) -> None:
        task = own(self.write(tmp_path, images=images, labels=np.arange(40) % 3))
        assert task.shape == shape
        assert (task.classes, sum(task.sizes.values())) == (3, 40)

    def test_values_arrive_and_numbers_stay_in_order(self, tmp_path: Path) -> None:
        images = (np.arange(40, dtype=np.float64) / 255).repeat(4).reshape(40, 2, 2)
        labels = np.where(np.arange(40) < 20, 2, 10)
        task = own(self.write(tmp_path, images=images, labels=labels))
        train = task.train()
        np.testing.assert_array_equal(train.labels_N, train.images_NCHW[:, 0, 0, 0] >= 20)
        assert task.class_names == ("2", "10")
        np.savez_compressed(tmp_path / "mine.npz", images=images, labels=labels)
        assert own(f"npz:{tmp_path / 'mine.npz'}").id == task.id

    def test_names_as_labels_and_another_size(self, tmp_path: Path) -> None:
        images = np.full((30, 4, 4), 9, np.uint8)
        task = own(self.write(tmp_path, images=images, labels=np.array(["a", "b"] * 15)), side=8, channels=3)
        assert task.shape == (3, 8, 8)
        assert (task.train().images_NCHW == 9).all()
        assert task.class_names == ("a", "b")

    @pytest.mark.parametrize(
        ("arrays", "message"),
        [
            ({"images": np.zeros((9, 4, 4))}, "must hold the arrays 'images' and 'labels'"),
            ({"images": np.zeros((9, 4)), "labels": np.zeros(9, int)}, r"has shape \(9, 4\)"),
            ({"images": np.zeros((9, 5, 5, 2)), "labels": np.zeros(9, int)}, "has shape"),
            ({"images": np.zeros((0, 4, 4)), "labels": np.zeros(0, int)}, "has shape"),
            ({"images": np.zeros((9, 4, 4)), "labels": np.zeros(8, int)}, "must be 9 integers or strings"),
            ({"images": np.zeros((9, 4, 4)), "labels": np.zeros(9)}, "it is float64 of shape"),
            ({"images": np.full((9, 4, 4), 255.0), "labels": np.arange(9)}, r"images\[0\]: values from 255 to 255"),
            ({"images": np.full((9, 4, 4), np.nan), "labels": np.arange(9)}, r"images\[8\]: NaN or infinite"),
            ({"images": np.full((9, 4, 4), -1), "labels": np.arange(9)}, "must lie in 0 … 255"),
            ({"images": np.full((9, 4, 4), 1j), "labels": np.arange(9)}, "values of type complex128"),
            ({"images": np.array([{}] * 9, object), "labels": np.arange(9)}, "allow_pickle=False"),
        ],
    )
    def test_arrays_that_do_not_fit_are_refused(self, arrays: dict[str, Array], message: str, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match=message):
            own(self.write(tmp_path, **arrays)).train()

    def test_rows_that_do_not_fit_can_be_left_out(self, tmp_path: Path) -> None:
        images = np.zeros((40, 4, 4))
        images[7, 2, 2] = np.nan
        task = own(self.write(tmp_path, images=images, labels=np.arange(40) % 2), bad="skip")
        assert task.left_out == ("images[7]: NaN or infinite values",)
        assert sum(task.sizes.values()) == 39

    @pytest.mark.parametrize("content", [b"", b"text", pickle.dumps({"images": 1}), b"PK\x05\x06" + b"\0" * 18])
    def test_files_that_are_no_npz_are_refused(self, content: bytes, tmp_path: Path) -> None:
        (tmp_path / "mine.npz").write_bytes(content)
        with pytest.raises(UsageError, match=r"mine\.npz: (cannot be read|it must hold)"):
            own(f"npz:{tmp_path / 'mine.npz'}").train()

    def test_a_cut_file_is_refused(self, tmp_path: Path) -> None:
        name = self.write(tmp_path, images=np.zeros((40, 9, 9)), labels=np.arange(40))
        path = tmp_path / "mine.npz"
        path.write_bytes(path.read_bytes()[:-200])
        with pytest.raises(UsageError, match="cannot be read"):
            own(name).train()

    def test_a_header_that_lies_and_a_bomb_are_refused(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        head = io.BytesIO()
        np.lib.format.write_array_header_1_0(
            head, {"descr": "|u1", "fortran_order": False, "shape": (10**7, 10**4, 10**4)}
        )
        with zipfile.ZipFile(tmp_path / "mine.npz", "w") as archive:
            archive.writestr("images.npy", head.getvalue() + b"\0" * 100)
        with pytest.raises(UsageError, match="cannot be read"):
            own(f"npz:{tmp_path / 'mine.npz'}").train()
        monkeypatch.setattr(folders, "_MOST_BYTES", 1 << 10)
        name = self.write(tmp_path, images=np.zeros((40, 9, 9)), labels=np.arange(40))
        with pytest.raises(UsageError, match="unpacks to more than"):
            own(name).train()


class TestVoc:
    """The layout of PASCAL VOC."""

    @pytest.fixture
    def voc(self, tmp_path: Path) -> Path:
        """40 images of 20×30: a large cat (class 8) or dog (12) at the left, a smaller bird (3) at the right."""
        root = tmp_path / "VOC"
        for folder in ("JPEGImages", "Annotations", "SegmentationClass", "ImageSets/Segmentation", "ImageSets/Main"):
            (root / folder).mkdir(parents=True)
        stems = [f"2007_{number:06}" for number in range(40)]
        for number, stem in enumerate(stems):
            name, index = [("cat", 8), ("dog", 12)][number % 2]
            Image.fromarray(np.full((20, 30, 3), number, np.uint8)).save(root / f"JPEGImages/{stem}.jpg")
            classes = np.zeros((20, 30), np.uint8)
            classes[5:15, 2:12], classes[5:8, 20:23] = index, 3
            classes[5, 2:12] = 255  # undecided border
            mask = Image.frombytes("P", (30, 20), classes.tobytes())
            mask.putpalette(np.arange(256).repeat(3).tolist())
            mask.save(root / f"SegmentationClass/{stem}.png")
            (root / f"Annotations/{stem}.xml").write_text(
                "<annotation>"
                "<object><name>bird</name><bndbox><xmin>20</xmin><ymin>5</ymin><xmax>23</xmax><ymax>8</ymax></bndbox></object>"
                f"<object><name>{name}</name><bndbox><xmin>2</xmin><ymin>5</ymin><xmax>12</xmax><ymax>15</ymax></bndbox></object>"
                "</annotation>"
            )
        for kind in ("Segmentation", "Main"):
            (root / f"ImageSets/{kind}/train.txt").write_text("\n".join(stems[:30]) + "\n")
            (root / f"ImageSets/{kind}/val.txt").write_text("\n".join(stems[30:]) + "\n")
        return root

    def test_the_largest_object_gives_label_and_mask(self, voc: Path) -> None:
        task = own(f"voc:{voc}", side=30)
        assert (task.classes, task.has_objects, task.sizes["test"]) == (2, True, 10)  # val.txt is the test half
        assert task.sizes["train"] + task.sizes["val"] == 30
        assert task.class_names == ("cat", "dog")
        train = task.train()
        assert train.labels_N is not None
        assert train.objects_NHW is not None
        np.testing.assert_array_equal(train.images_NCHW[:, 0, 15, 15] % 2, train.labels_N)
        expected = np.zeros((30, 30), bool)
        expected[5 + 6 : 5 + 15, 2:12] = True  # padded by 5 above; the border row is undecided
        assert (train.objects_NHW == expected).all()

    def test_masks_follow_the_image_to_another_size(self, voc: Path) -> None:
        for side, fit in ((15, "pad"), (60, "pad"), (20, "stretch"), (7, "pad")):
            objects = own(f"voc:{voc}", side=side, fit=fit).val().objects_NHW
            assert objects is not None
            assert objects.any((1, 2)).all()
            share = 90 / 600 if fit == "stretch" else 90 / 900
            assert objects[0].mean() == pytest.approx(share, rel=0.3)

    def test_an_object_that_is_cropped_away_is_named(self, voc: Path) -> None:
        for path in (voc / "SegmentationClass").iterdir():
            classes = np.zeros((20, 30), np.uint8)
            classes[:, :3] = 8
            path.write_bytes(png(classes))
        with pytest.raises(UsageError, match="2007_000000: its object lies outside what fit=crop keeps"):
            own(f"voc:{voc}", fit="crop").train()

    def test_without_masks_the_largest_box_gives_the_label(self, voc: Path) -> None:
        task = own(f"voc:{voc}", masks=False)
        assert not task.has_objects
        assert task.val().objects_NHW is None
        assert task.class_names == ("cat", "dog")
        assert task.id != own(f"voc:{voc}").id

    def test_without_lists_every_image_is_used(self, voc: Path) -> None:
        for path in (voc / "ImageSets/Segmentation").iterdir():
            path.unlink()
        assert sum(own(f"voc:{voc}").sizes.values()) == 40

    def test_lists_of_all_three_halves_are_honoured(self, voc: Path) -> None:
        stems = (voc / "ImageSets/Segmentation/val.txt").read_text().split()
        (voc / "ImageSets/Segmentation/val.txt").write_text("\n".join(stems[:4]))
        (voc / "ImageSets/Segmentation/test.txt").write_text("\n".join(stems[4:]))
        assert own(f"voc:{voc}").sizes == {"train": 30, "val": 4, "test": 6}

    def test_other_class_names(self, voc: Path) -> None:
        names = ["__ignore__", "_background_", *"abcdefg", "potted h", *"ijkl"]
        (voc / "class_names.txt").write_text("\n".join(names))
        assert own(f"voc:{voc}").class_names == ("l", "potted h")
        (voc / "class_names.txt").write_text("\n".join(names[:9]))
        with pytest.raises(UsageError, match="class 8 of its segmentation has no name"):
            own(f"voc:{voc}").train()

    @pytest.mark.parametrize(
        ("file", "content", "message"),
        [
            ("JPEGImages/2007_000003.jpg", b"", "2007_000003: the file is empty"),
            ("SegmentationClass/2007_000003.png", png(flat(8)), r"its segmentation is \(8, 6\)"),
            ("SegmentationClass/2007_000003.png", png(flat(255, 20, 30)), "no object in its segmentation"),
            ("SegmentationClass/2007_000003.png", png(np.zeros((20, 30, 3), np.uint8)), "not one number a pixel"),
            ("ImageSets/Segmentation/train.txt", b"../../etc/passwd\n", "listed in ImageSets but not in JPEGImages"),
        ],
    )
    def test_broken_parts_are_named(self, file: str, content: bytes, message: str, voc: Path) -> None:
        (voc / file).write_bytes(content)
        with pytest.raises(UsageError, match=message):
            own(f"voc:{voc}").train()

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"", "its annotation is broken"),
            (b"<annotation>", "its annotation is broken"),
            (b"<annotation/>", "no object with a name and a box"),
            (b"<annotation><object><name>x</name></object></annotation>", "no object with a name and a box"),
            (b'<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>', "defines XML entities"),
        ],
    )
    def test_broken_annotations_are_named(self, content: bytes, message: str, voc: Path) -> None:
        (voc / "Annotations/2007_000003.xml").write_bytes(content)
        with pytest.raises(UsageError, match=message):
            own(f"voc:{voc}", masks=False).train()
        (voc / "Annotations/2007_000003.xml").unlink()
        with pytest.raises(UsageError, match=r"Annotations/2007_000003\.xml cannot be read: No such file"):
            own(f"voc:{voc}", masks=False).train()
