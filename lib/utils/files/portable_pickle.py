"""Pickles of arrays under names that every version of NumPy and SciPy knows, those of the released code's time too.

A pickle names the functions and classes it is rebuilt by after the module in which they lie, and that has changed. Here
they are named first, as old and new versions find them, and what follows refers to them by their number.
"""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from typing import IO

import numpy as np

from lib.utils.files.safe_pickle import numpy_scalar

_CORE = "numpy.core.multiarray"  # NumPy 2 keeps the old name for the sake of pickles


class PortablePickler(pickle.Pickler):
    """A pickler whose output goes behind `head`; pickle.load reads the two as one pickle.

    Attributes:
        head: the names.
        num_names: numbers that they take.
    """

    def __init__(self, file: IO[bytes], protocol: int, public: Sequence[type] = ()) -> None:
        """
        Args:
            file: open for writing.
            protocol: 2 to 4.
            public: classes out of private modules of a package that are to be named after the package, e.g.
                scipy.sparse.csr_matrix.
        """
        super().__init__(file, protocol)
        named = [(_CORE, np.zeros(1).__reduce__()[0]), (_CORE, numpy_scalar())]
        named += [(one.__module__.rpartition(".")[0], one) for one in public]
        self.memo = {id(one): (number, one) for number, (_, one) in enumerate(named)}
        self.num_names = len(named)
        self.head = pickle.PROTO + bytes([protocol])
        for number, (module, one) in enumerate(named):
            name = pickle.GLOBAL + f"{module}\n{one.__name__}\n".encode()
            self.head += name + pickle.BINPUT + bytes([number]) + pickle.POP
