"""Array files: types and axes are as stated; unsuitable files are refused with one line."""

import sys

import numpy as np
import pytest
import torch

from mlvae.data import ArrayFile, GroupedData
from mlvae.errors import InputError

ROWS = torch.tensor([3, 0])


def saved(path, array):
    np.save(path / "x.npy", array)
    return path / "x.npy"


def test_doubles_and_halves_become_float32(tmp_path):
    for dtype in (np.float64, np.float16, ">f4"):
        array = np.linspace(-1, 1, 20).reshape(4, 5).astype(dtype)
        found = ArrayFile(saved(tmp_path, array)).index_select(0, ROWS)
        assert found.dtype == torch.float32
        np.testing.assert_array_equal(found.numpy(), array[[3, 0]].astype(np.float32))


def test_integers_are_read_as_floats_on_request(tmp_path):
    path = saved(tmp_path, np.arange(20, dtype=np.int16).reshape(4, 5) - 10)
    assert ArrayFile(path, integers=True).index_select(0, ROWS).tolist()[1] == [
        -10,
        -9,
        -8,
        -7,
        -6,
    ]
    with pytest.raises(InputError, match=r"int16.*integers=True"):
        ArrayFile(path)


def test_grey_images_get_a_channel_and_channels_last_come_first(tmp_path):
    grey = np.arange(4 * 6, dtype=np.uint8).reshape(4, 2, 3)
    source = ArrayFile(saved(tmp_path, grey))
    assert source.shape == (4, 1, 2, 3)
    np.testing.assert_array_equal(source.index_select(0, ROWS)[:, 0].numpy(), grey[[3, 0]])
    colour = np.arange(4 * 6 * 5 * 3, dtype=np.uint16).astype(np.uint8).reshape(4, 6, 5, 3)
    path = saved(tmp_path, colour)
    source = ArrayFile(path, channels_last=True)
    assert source.shape == (4, 3, 6, 5)
    expected = np.moveaxis(colour[[3, 0]], -1, 1)
    np.testing.assert_array_equal(source.index_select(0, ROWS).numpy(), expected)
    with pytest.raises(InputError, match=r"\(4, 6, 5, 3\).*channels_last=True"):
        ArrayFile(path)


def test_white_of_black_and_white_images_becomes_255(tmp_path):
    bits = np.eye(4, dtype=np.uint8)[:, None, :].repeat(2, 1)
    path = saved(tmp_path, bits)
    data = GroupedData(ArrayFile(path, white=1), [0, 1, 0, 1])
    assert torch.equal(data.batch().x, torch.eye(4)[:, None, None, :].expand(-1, -1, 2, -1))
    with pytest.raises(InputError, match=r"white=1, not 2"):
        ArrayFile(saved(tmp_path, 2 * bits), white=1).index_select(0, ROWS)
    with pytest.raises(InputError, match=r"white .*100"):
        ArrayFile(path, white=100)


def test_arrays_in_fortran_order_keep_their_rows(tmp_path):
    array = np.asfortranarray(np.arange(20, dtype=np.float32).reshape(4, 5))
    np.savez(tmp_path / "x.npz", array)
    for path in (saved(tmp_path, array), tmp_path / "x.npz"):
        np.testing.assert_array_equal(ArrayFile(path).index_select(0, ROWS), array[[3, 0]])


def test_memory_holds_the_batch_and_not_the_array(tmp_path):
    shape = (1000, 1, 256, 256)  # 65 MB as a sparse file
    np.lib.format.open_memmap(tmp_path / "x.npy", mode="w+", dtype=np.uint8, shape=shape).flush()
    x = ArrayFile(tmp_path / "x.npy").index_select(0, torch.tensor([999, 3]))
    assert x.shape == (2, 1, 256, 256) and x.untyped_storage().nbytes() == 2 * 256 * 256


def test_an_array_of_a_group_is_chosen_by_its_name(tmp_path):
    h5py, zarr = pytest.importorskip("h5py"), pytest.importorskip("zarr")
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["a/x"], file["b"] = np.ones((4, 2)), np.zeros(4)
    group = zarr.open_group(str(tmp_path / "x.zarr"), mode="w")
    group.create_array("a/x", data=np.ones((4, 2)))
    group.create_array("b", data=np.zeros(4))
    np.savez(tmp_path / "x.npz", **{"a/x": np.ones((4, 2)), "b": np.zeros(4)})
    for suffix in ("h5", "zarr", "npz"):
        path = tmp_path / f"x.{suffix}"
        assert ArrayFile(path, "a/x").index_select(0, ROWS).tolist() == [[1, 1], [1, 1]]
        with pytest.raises(InputError, match=r"a/x, b"):
            ArrayFile(path)
        with pytest.raises(InputError, match=r"'c'.*a/x, b"):
            ArrayFile(path, "c")
        with pytest.raises(InputError, match=r"\(N, \.\.\.\).*\(4,\)"):
            ArrayFile(path, "b")


def test_files_of_another_kind_are_refused(tmp_path):
    (tmp_path / "text.npy").write_text("0 1 2 3 4 5")
    (tmp_path / "cut.h5").write_bytes(b"\x89HDF\r\n\x1a\n")
    (tmp_path / "folder.zarr").mkdir()
    np.savez_compressed(tmp_path / "packed.npz", x=np.zeros((4, 2)))
    for name, message in {
        "none.npy": "none.npy .*No such file",
        "text.npy": r"\.npy, \.npz, HDF5 or Zarr",
        "cut.h5": r"cut\.h5",
        "folder.zarr": "Zarr",
        "packed.npz": r"numpy\.save",
    }.items():
        with pytest.raises(InputError, match=message):
            ArrayFile(tmp_path / name)
    with pytest.raises(InputError, match="name='x'"):
        ArrayFile(saved(tmp_path, np.zeros((4, 2))), "x")
    with pytest.raises(InputError, match="object"):
        ArrayFile(saved(tmp_path, np.array([[None]])))


@pytest.mark.parametrize(("module", "name"), [("h5py", "x.h5"), ("zarr", "x.zarr")])
def test_a_package_that_is_not_installed_is_named_with_its_extra(
    tmp_path, monkeypatch, module, name
):
    if name == "x.h5":
        (tmp_path / name).write_bytes(b"\x89HDF\r\n\x1a\n")
    else:
        (tmp_path / name).mkdir()
    monkeypatch.setitem(sys.modules, module, None)
    extra = {"h5py": "hdf5"}.get(module, module)
    with pytest.raises(InputError, match=rf"pip install 'mlvae\[{extra}\]'"):
        ArrayFile(tmp_path / name)
