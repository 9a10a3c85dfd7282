"""New images are prepared as those of a training: the same files give the same pixels."""

import io

import numpy as np
import pytest
from PIL import Image

import mlvae
from mlvae import InputError, read_images
from mlvae.data import faces

QUIET = mlvae.Reports(progress=False)
OPTIONS = {"size": 12, "crop": 0.7, "workers": 0, "validation": 0, "test": 0}


@pytest.fixture
def prepared(write, people, image_bytes, tmp_path, monkeypatch):
    """A folder of people, JPEGs among them, and the data that are prepared from it."""
    monkeypatch.chdir(tmp_path)
    files = people(images=2)
    large = np.random.default_rng(5).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    files["ann/large.jpg"] = image_bytes(large, "JPEG")
    turned = Image.fromarray(large).getexif()
    turned[0x0112] = 6
    files["bob/turned.jpg"] = image_bytes(large[::2], "JPEG", exif=turned)
    return write("people", files)


@pytest.fixture(params=[True, False], ids=["colour", "grey"])
def data(prepared, request):
    return faces(prepared, colour=request.param, **OPTIONS).train


def pixels(data):
    return np.asarray(data.x)


def test_files_give_the_pixels_of_the_collection(prepared, data):
    paths = [prepared / name for name in data.names]
    assert np.array_equal(read_images(paths, like=data), pixels(data))
    assert np.array_equal(read_images(paths[3], like=data), pixels(data)[3:4])
    assert np.array_equal(read_images(map_to_text(paths), like=data.x), pixels(data))
    splits = mlvae.data.Splits(data)
    assert np.array_equal(read_images(prepared, like=splits), pixels(data))


def map_to_text(paths):
    return [str(path) for path in paths]


@pytest.mark.parametrize("by", ["python", "command"])
def test_a_run_knows_the_preparation(prepared, data, by, tmp_path):
    model = mlvae.models.MLVAE(data.shape, network=mlvae.networks.MLP((4,)))
    config = None
    if by == "command":
        config = {"dataset": {"name": "faces", "colour": data.shape[0] == 3, **OPTIONS}}
    mlvae.train(model, data, run=tmp_path / "run", epochs=1, reports=QUIET, config=config)
    x = read_images(prepared, like=tmp_path / "run")
    assert np.array_equal(x, pixels(data))
    assert model.infer_content(x).mean.shape == (len(data), 10)
    mlvae.train(
        model, data, run=tmp_path / "run", epochs=2, reports=QUIET, config=config, resume=True
    )
    assert np.array_equal(read_images(prepared, like=str(tmp_path / "run")), x)


def test_a_model_knows_size_and_channels_but_not_the_crop(prepared, data):
    model = mlvae.models.MLVAE(data.shape, network=mlvae.networks.MLP((4,)))
    assert np.array_equal(read_images(prepared, like=model, crop=0.7), pixels(data))
    with pytest.raises(InputError, match=r"like .*give crop=1\.0$"):
        read_images(prepared, like=model)


def test_options_come_before_those_of_like(prepared, data):
    assert read_images(prepared, like=data, size=7).shape[2:] == (7, 7)
    whole = read_images(prepared, like=data, crop=1.0)
    assert np.array_equal(whole, read_images(prepared, size=12, colour=data.shape[0] == 3, crop=1))
    assert not np.array_equal(whole, pixels(data))


def test_images_of_pillow_and_arrays_are_prepared_as_files(prepared, data, png):
    paths = [prepared / name for name in data.names if name.endswith(".png")]
    expected = read_images(paths, like=data)
    images = [Image.open(path) for path in paths]
    assert np.array_equal(read_images(images, like=data), expected)
    assert [image.size for image in images] == [(16, 20)] * len(images)
    arrays = [np.asarray(image) for image in images]
    assert np.array_equal(read_images(arrays, like=data), expected)
    mixed = [paths[0], images[1], arrays[2], str(paths[3])]
    assert np.array_equal(read_images(mixed, like=data), expected[:4])


def test_colours_become_grey_by_their_luma():
    photograph = np.random.default_rng(0).integers(0, 256, (2, 9, 9, 3), dtype=np.uint8)
    options = {"size": 9, "crop": 1.0}
    colour = read_images(photograph, colour=True, **options)
    assert np.array_equal(colour, photograph.transpose(0, 3, 1, 2))
    grey = read_images(photograph, colour=False, **options)
    luma = photograph @ np.array([0.299, 0.587, 0.114])
    assert np.abs(grey[:, 0] - luma).max() <= 1
    again = read_images(grey[0, 0], colour=True, **options)
    assert np.array_equal(again, np.repeat(grey[:1], 3, axis=1))


def test_many_files_are_decoded_in_several_processes(write, png, monkeypatch):
    monkeypatch.setattr("mlvae.data.collections.new_images.FEW", 3)
    folder = write("many", {f"{i:02}.png": png(i) for i in range(7)})
    options = {"size": 16, "colour": False, "crop": 1.0}
    assert np.array_equal(
        read_images(folder, **options),
        np.concatenate([read_images(folder / f"{i:02}.png", **options) for i in range(7)]),
    )


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (lambda f: f / "none.png", r"1 of 1 images .*none\.png cannot be read \(No such file"),
        (lambda f: f / "note.txt", r"note\.txt is not an image"),
        (lambda f: f, r"1 of 3 images .*note\.txt is not an image"),
        (
            lambda f: [f / "a.png", f / "note.txt", f / "none.png"],
            "2 of 3 images .*note.*; .*none",
        ),
        (lambda f: f / "empty", r"empty must have images, but has no file"),
        (lambda f: [], r"images must be files.*\[\]"),
        (lambda f: [[f / "a.png"]], r"images must be files.*"),
        (lambda f: None, r"images must be files.*None"),
        (lambda f: np.zeros((8, 8, 3)), r"uint8.*\(height, width, 3\).*float64.*\(8, 8, 3\)"),
        (lambda f: np.zeros((3, 8, 8), np.uint8), r"\(height, width, 3\).*\(3, 8, 8\)"),
        (lambda f: np.zeros((0, 8), np.uint8), r"\(0, 8\)"),
    ],
)
def test_what_is_no_image_gives_one_line(write, png, tmp_path, images, words):
    folder = write("mixed", {"a.png": png(1), "b.png": png(2), "note.txt": b"no image"})
    (folder / ".DS_Store").write_bytes(b"x")
    (folder / "empty").mkdir()
    with pytest.raises(InputError, match=words) as error:
        read_images(images(folder), size=8, colour=True, crop=1.0)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, r"like .*None; or give size=64, colour=True, crop=1\.0"),
        ({"like": 3}, r"like .*not 3; or None with size"),
        ({"like": "nowhere"}, r"like='nowhere' must be .*run"),
        ({"size": 8, "colour": True, "crop": 0}, r"crop .*0"),
        ({"size": 0, "colour": True, "crop": 1}, r"size .*0"),
        ({"size": 8, "colour": 3, "crop": 1}, r"colour .*3"),
    ],
)
def test_a_preparation_that_is_not_known_is_asked_for(options, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=words):
        read_images(np.zeros((8, 8, 3), np.uint8), **options)


def test_a_run_on_other_data_needs_the_options(tmp_path):
    x = np.random.default_rng(0).random((8, 1, 6, 6))
    data = mlvae.GroupedData(x, [0, 1] * 4)
    model = mlvae.models.MLVAE(data.shape, network=mlvae.networks.MLP((4,)))
    mlvae.train(model, data, run=tmp_path / "run", epochs=1, reports=QUIET)
    with pytest.raises(InputError, match="size=64, colour=True"):
        read_images(np.zeros((8, 8, 3), np.uint8), like=tmp_path / "run")
    assert read_images(np.zeros((8, 8, 3), np.uint8), like=data, crop=1.0).shape == (1, 1, 6, 6)
    wide = mlvae.GroupedData(x[..., :4], [0, 1] * 4)
    with pytest.raises(InputError, match=r"square .*\(1, 6, 4\)"):
        read_images(np.zeros((8, 8, 3), np.uint8), like=wide, crop=1.0)


def test_a_file_in_memory_is_no_image():
    with pytest.raises(InputError, match="images must be files"):
        read_images(io.BytesIO(b""), size=8, colour=True, crop=1.0)
