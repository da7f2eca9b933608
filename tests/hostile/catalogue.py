"""All hostile files by name."""

from __future__ import annotations

import archives
import configs
import hdf5_files
import onnx_files
import others
import pickles
import streams
import tflite_files
from cases import Case

ROOMS = (pickles, archives, streams, hdf5_files, onnx_files, tflite_files, configs, others)
CASES: dict[str, Case] = {case.name: case for room in ROOMS for case in room.cases()}
