"""Detectors: networks that find objects in frames, read by family. ``load`` is where to start.

Nothing here changes a frame, and no network comes with the package.
"""

from duoview.detectors.coco import COCO
from duoview.detectors.description import FAMILIES, Description, parse_description, read_description
from duoview.detectors.detector import Detector, load
from duoview.detectors.family import Candidates, Family
from duoview.detectors.fastestdet import FastestDet
from duoview.detectors.picodet import NanoDet, PicoDet
from duoview.detectors.preparation import Placement, Preparation
from duoview.detectors.ssd import Ssd
from duoview.detectors.yolov5 import YoloV5
from duoview.detectors.yolov8 import YoloV8
from duoview.detectors.yolox import YoloX

__all__ = [
    "COCO",
    "FAMILIES",
    "Candidates",
    "Description",
    "Detector",
    "Family",
    "FastestDet",
    "NanoDet",
    "PicoDet",
    "Placement",
    "Preparation",
    "Ssd",
    "YoloV5",
    "YoloV8",
    "YoloX",
    "load",
    "parse_description",
    "read_description",
]
