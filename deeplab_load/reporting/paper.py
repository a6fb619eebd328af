"""The figures that the article published in its Tables 1 to 10: numbers only, mIoU and IoU in percent.

Jamali-Rad & Szabó, Lookahead adversarial learning for near real-time semantic segmentation, CVIU 212 (2021).
"""

from dataclasses import dataclass

METHODS = ('DLv3+', 'Luc et al.', 'DLv3+ & LoAd')


@dataclass(frozen=True)
class PerClass:
    """A table of IoU per class, in the classes' order and the mean last; one row for each of METHODS.

    `deviations` are those over seeds of the last two methods, where the article gives them.
    """

    title: str
    values: tuple[tuple[float, ...], ...]
    deviations: tuple[tuple[float, ...], ...] = ()


def _rows(columns: int, text: str) -> tuple[tuple[float, ...], ...]:
    values = tuple(map(float, text.split()))
    return tuple(values[start : start + columns] for start in range(0, len(values), columns))


TABLE_1 = PerClass(
    'Table 1, PASCAL VOC 2012 val',
    _rows(
        22,
        """
95.55 90.33 44.23 89.56 72.15 81.11 96.76 91.37 94.33 51.87 96.08 60.14 92.63 93.33 89.23 90.18 67.19 93.75
61.26 94.81 80.27 82.20
95.57 91.94 44.27 89.99 72.83 81.48 96.70 91.21 94.27 51.92 95.75 60.32 92.65 93.31 89.36 90.19 67.35 93.90
61.30 94.79 80.36 82.35
95.71 93.31 44.14 90.49 74.48 81.37 96.36 91.34 93.73 53.22 95.59 65.86 92.35 93.34 89.22 90.20 67.42 93.41
67.20 94.91 80.81 83.08
""",
    ),
    _rows(
        22,
        """
0.06 0.19 0.49 0.21 0.10 0.27 0.07 0.17 0.11 0.38 0.10 0.25 0.13 0.14 0.17 0.17 0.39 0.13 0.24 0.10 0.26 0.09
0.06 0.17 0.49 0.20 0.10 0.28 0.08 0.17 0.11 0.38 0.10 0.24 0.13 0.14 0.17 0.17 0.39 0.13 0.23 0.10 0.25 0.09
""",
    ),
)
TABLE_2 = PerClass(
    'Table 2, PASCAL VOC 2012 test',
    _rows(
        22,
        """
93.52 84.27 39.70 86.22 66.67 79.68 92.12 81.89 85.84 42.40 82.91 75.20 84.10 83.64 86.17 82.68 62.54 81.69
63.39 81.60 76.70 76.81
93.69 85.10 39.81 86.39 68.04 80.42 92.08 84.21 85.34 43.33 80.41 76.96 81.09 81.78 85.72 82.37 61.62 79.07
67.24 83.37 74.95 76.81
93.68 84.91 39.76 86.48 68.02 80.32 91.98 82.70 88.18 42.64 82.74 77.65 86.02 83.16 85.80 82.87 62.56 81.33
67.03 83.18 76.67 77.51
""",
    ),
)
TABLE_3 = PerClass(
    'Table 3, Cityscapes val',
    _rows(
        20,
        """
97.56 81.08 90.20 38.34 53.23 50.27 60.96 70.71 90.91 59.00 92.95 76.21 52.79 93.36 68.83 76.39 63.43 53.70
72.73 70.67
97.54 81.02 90.23 39.26 52.77 50.82 61.17 70.94 90.96 59.25 92.99 76.13 52.65 93.38 69.85 77.30 62.72 54.45
72.76 70.85
97.59 81.21 90.53 47.20 54.38 51.81 61.54 71.11 90.92 60.66 92.94 76.13 53.27 93.19 67.76 76.96 65.00 54.63
72.85 71.57
""",
    ),
    _rows(
        20,
        """
0.02 0.12 0.05 0.27 0.25 0.30 0.62 0.40 0.05 0.28 0.10 0.25 0.57 0.07 0.25 0.19 0.22 0.56 0.32 0.03
0.02 0.12 0.05 0.27 0.25 0.30 0.62 0.40 0.05 0.27 0.10 0.25 0.57 0.07 0.25 0.19 0.22 0.56 0.32 0.03
""",
    ),
)
TABLE_4 = PerClass(
    'Table 4, Cityscapes test',
    _rows(
        20,
        """
97.86 80.91 90.14 43.73 48.73 49.14 62.11 67.82 91.69 66.42 93.85 79.43 59.21 93.86 53.41 64.54 58.96 56.79
68.55 69.85
97.84 80.79 90.19 44.62 48.22 49.64 62.31 67.84 91.77 66.86 93.84 79.36 59.13 93.87 54.28 66.72 59.22 57.22
68.50 70.12
97.85 80.99 90.25 50.17 49.46 50.24 62.73 67.32 91.80 68.32 93.70 79.27 59.23 93.75 54.38 67.61 60.24 56.32
68.36 70.63
""",
    ),
)
TABLE_5 = PerClass(
    'Table 5, Stanford Background test',
    _rows(
        9,
        """
89.38 72.21 87.28 77.44 72.70 80.03 48.64 66.92 74.33
89.35 72.54 87.31 77.53 72.78 80.04 49.18 66.69 74.43
89.47 72.89 87.71 77.90 73.89 80.87 50.11 67.54 75.05
""",
    ),
    _rows(
        9,
        """
0.27 0.41 0.23 0.34 0.30 0.25 0.48 0.46 0.16
0.27 0.40 0.23 0.33 0.30 0.24 0.48 0.45 0.16
""",
    ),
)
PER_CLASS = {
    'pascal_voc': (TABLE_1, TABLE_2),
    'cityscapes': (TABLE_3, TABLE_4),
    'stanford_background': (TABLE_5,),
}

# Table 6, PASCAL VOC 2012: method, backbone, mIoU on val, mIoU on test.
TABLE_6 = (
    ('DLv3+', 'Xception-65', 82.20, 76.81),
    ('DLv3+ & LoAd', 'Xception-65', 83.08, 77.51),
    ('DLv3+', 'MobileNetV2', 75.32, 71.45),
    ('DLv3+ & LoAd', 'MobileNetV2', 75.70, 71.74),
)

# Table 7, PASCAL VOC 2012 val, Xception-65: β_l and β_u in percent, Γ, B_max, mIoU. Without LoAd 82.20.
TABLE_7 = (
    (5, 0.1, 50, 3, 82.88),
    (5, 0.1, 50, 4, 82.46),
    (5, 0.5, 50, 3, 82.42),
    (10, 0.1, 50, 3, 82.80),
    (20, 0.1, 50, 3, 82.43),
    (20, 0.1, 80, 3, 82.65),
)

# Table 8: mIoU by λ; Xception-65 on PASCAL VOC 2012, MobileNetV2 on Cityscapes.
TABLE_8 = {
    'pascal_voc': {0: 82.20, 0.1: 83.16, 0.5: 82.95, 1: 83.26, 10: 82.55},
    'cityscapes': {0: 70.67, 0.1: 71.23, 0.5: 71.11, 1: 71.91, 10: 71.14},
}

# Table 9: data set, backbone, mean and standard deviation of the divergences treated; successful runs in percent.
TABLE_9 = (
    ('pascal_voc', 'Xception-65', 30, 8),
    ('pascal_voc', 'MobileNetV2', 25, 2),
    ('cityscapes', 'Xception-65', 23, 7),
    ('cityscapes', 'MobileNetV2', 32, 11),
    ('overall', 'any', 29, 9),
)
TABLE_9_SUCCESS = {'pascal_voc': 95.0, 'cityscapes': 84.6, 'overall': 91.9}

# Table 10: mIoU at a single scale, and at several scales with mirrored images, in the order of METHODS.
TABLE_10 = {
    'pascal_voc': ((82.20, 83.58), (82.35, 83.66), (83.08, 84.57)),
    'cityscapes': ((70.67, 73.88), (70.85, 73.96), (71.57, 74.61)),
    'stanford_background': ((74.33, 76.33), (74.43, 76.42), (75.05, 76.78)),
}

# Section 7: time to the best performance with LoAd over that of DLv3+ alone, in words `about 2.5`; hours.
HOURS = {'DLv3+': 20 + 1 / 60 + 41 / 3600, 'DLv3+ & LoAd': 53 + 48 / 60 + 30 / 3600}
