"""Arrays in files: one, several by name, and what is refused."""

import numpy as np
import pytest

from edgelstm import arrays
from edgelstm.errors import InputError


def test_one_and_several(tmp_path):
    x, u = np.arange(6.0).reshape(3, 2), np.ones((3, 1))
    arrays.save(tmp_path / "x.npy", x, ("x",))
    np.testing.assert_array_equal(arrays.load(tmp_path / "x.npy", ("anything",)), x)
    arrays.save(tmp_path / "both.npz", (x, u), ("x", "u"))
    found = arrays.load(tmp_path / "both.npz", ("u", "x"))
    np.testing.assert_array_equal(found[0], u)
    np.testing.assert_array_equal(found[1], x)
    np.testing.assert_array_equal(arrays.load(tmp_path / "both.npz", ("x",)), x)


def test_refusals(tmp_path):
    path = tmp_path / "x.npy"
    for content in (b"", b"text", b"PK\3\4broken", b"\x93NUMPY\1\0\xff\xff"):
        path.write_bytes(content)
        with pytest.raises(InputError, match="not an array"):
            arrays.load(path, ("x",))
    np.save(path, np.array([{}], object), allow_pickle=True)
    with pytest.raises(InputError, match="not an array"):
        arrays.load(path, ("x",))
    np.save(path, np.ones(3))
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    with pytest.raises(InputError, match="not an array"):
        arrays.load(path, ("x",))
    path.write_bytes(whole.replace(b"(3,)", b"(9999999999999,)"))  # a header that promises what is not there
    with pytest.raises(InputError, match="not an array"):
        arrays.load(path, ("x",))
    path.write_bytes(whole)
    with pytest.raises(InputError, match="the model has 2: x, u"):
        arrays.load(path, ("x", "u"))
    np.savez(tmp_path / "a.npz", a=np.ones(1), b=np.ones(1))
    with pytest.raises(InputError, match="no array 'x'; it holds a, b"):
        arrays.load(tmp_path / "a.npz", ("x",))
    with pytest.raises(InputError, match="No such file"):
        arrays.load(tmp_path / "none.npy", ("x",))
    with pytest.raises(InputError, match="cannot be written"):
        arrays.save(tmp_path / "none" / "x.npy", np.ones(1), ("x",))
