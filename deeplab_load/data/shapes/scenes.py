"""Drawn scenes whose objects share parts, colours and textures: only the arrangement of parts tells classes apart.

A box may be a house's wall, a truck's load or a boat's hull; loose parts lie about as background. Pixels come from
+, -, *, / and comparisons alone (no sine, no Gaussian), so that a scene is the same on every machine.
"""

from dataclasses import dataclass

import numpy as np

# What makes the task hard or easy. MIN_SIZE and MAX_SIZE are (height, width) of an image in pixels.
MIN_SIZE, MAX_SIZE = (81, 113), (97, 129)
OBJECTS = (2, 4)
LOOSE_PARTS = (0, 2)
OBJECT_RADIUS = (18.0, 30.0)
SHEAR = 0.15
TEXTURE = 0.3
LIGHTING = 0.25
NOISE = 12
VOID_BORDER = 1

BACKGROUND, VOID = 0, 255

Shape = tuple[str, float, float, float, float]
"""A part: its outline, and left, top, right, bottom in an object's own square, [-1, 1] both ways, y down."""

OBJECT_PARTS: dict[int, tuple[Shape, ...]] = {
    1: (('box', -0.8, -0.1, 0.8, 1.0), ('triangle', -1.0, -1.0, 1.0, -0.1), ('box', -0.2, 0.4, 0.2, 1.0)),
    2: (
        *(('box', -1.0, -0.7, 0.3, 0.5), ('box', 0.3, -0.2, 1.0, 0.5)),
        *(('disc', -0.85, 0.3, -0.25, 0.9), ('disc', 0.3, 0.3, 0.9, 0.9)),
    ),
    3: (('triangle', -0.7, -1.0, 0.9, 0.4), ('box', -1.0, 0.35, 1.0, 1.0)),
    4: (('box', -0.18, 0.2, 0.18, 1.0), ('disc', -0.75, -1.0, 0.75, 0.45)),
    5: (
        *(('box', -0.18, 0.5, 0.18, 1.0), ('triangle', -0.8, -0.3, 0.8, 0.6)),
        ('triangle', -0.65, -1.0, 0.65, 0.1),
    ),
    6: (('disc', -0.7, -0.2, 0.7, 1.0), ('disc', -0.42, -0.85, 0.42, -0.05), ('box', -0.35, -1.0, 0.35, -0.7)),
}
OUTLINES = ('box', 'disc', 'triangle')

# Each palette belongs to two classes whose parts have the same outlines; loose parts take any of them.
PALETTES = np.array(
    [
        [(196, 70, 60), (215, 130, 60), (170, 110, 90)],
        [(70, 110, 190), (95, 175, 190), (150, 95, 165)],
        [(80, 150, 75), (200, 185, 75), (190, 190, 195)],
    ],
    np.float64,
)
CLASS_PALETTE = {1: 0, 5: 0, 2: 1, 6: 1, 3: 2, 4: 2}


@dataclass(frozen=True)
class Scene:
    """A drawn uint8 [height, width, 3] image and its uint8 [height, width] label map, 255 for void."""

    image: np.ndarray
    label_map: np.ndarray


def draw_scene(seed: int, number: int) -> Scene:
    """Draws scene `number` of the series `seed`."""
    random = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, number])))
    height, width = (int(random.integers(low, high + 1)) for low, high in zip(MIN_SIZE, MAX_SIZE, strict=True))
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    colours, labels = _background(random, y, x), np.full((height, width), BACKGROUND, np.uint8)
    for kind in _kinds(random):
        _draw_object(random, y, x, colours, labels, kind)
    image = _noisy(random, colours * _light(random, y, x)[..., None])
    return Scene(image, _with_void(labels))


def _kinds(random: np.random.Generator) -> list[int]:
    """The scene's things in drawing order: object classes, and 0 for a loose part."""
    objects = random.integers(1, len(OBJECT_PARTS) + 1, random.integers(OBJECTS[0], OBJECTS[1] + 1))
    loose = [BACKGROUND] * int(random.integers(LOOSE_PARTS[0], LOOSE_PARTS[1] + 1))
    kinds = [*objects.tolist(), *loose]
    return [kinds[i] for i in np.argsort(random.random(len(kinds)), kind='stable')]


def _background(random: np.random.Generator, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Two colours shading into each other from top to bottom, under a faint texture."""
    top, bottom = 110.0 + 70.0 * random.random((2, 3))
    share = (y / y.max())[..., None]
    return (top * (1.0 - share) + bottom * share) * (1.0 - 0.3 * TEXTURE * _texture(random, y, x)[..., None])


def _draw_object(
    random: np.random.Generator, y: np.ndarray, x: np.ndarray, colours: np.ndarray, labels: np.ndarray, kind: int
) -> None:
    """Draws one object over what is there, or a loose part if `kind` is the background."""
    place = _place(random, y, x)
    y, x = y[place.window], x[place.window]
    v = (y - place.centre_y) / place.radius
    u = place.mirror * ((x - place.centre_x) / (place.radius * place.stretch) + place.shear * v)
    parts = OBJECT_PARTS[kind] if kind != BACKGROUND else _loose_part(random)
    palette = PALETTES[CLASS_PALETTE.get(kind, random.integers(len(PALETTES)))]
    for part in parts:
        inside = _inside(part, u, v)
        base = palette[random.integers(len(palette))] * (0.8 + 0.3 * random.random())
        shade = 1.0 - TEXTURE * _texture(random, y, x)
        colours[place.window][inside] = (base * shade[..., None])[inside]
        labels[place.window][inside] = kind


@dataclass(frozen=True)
class _Place:
    """Where an object's own square lies in the image, in pixels, and the part of the image around it."""

    centre_y: float
    centre_x: float
    radius: float
    stretch: float
    shear: float
    mirror: float

    @property
    def window(self) -> tuple[slice, slice]:
        reach_y, reach_x = int(self.radius) + 1, int(self.radius * self.stretch * (1.0 + SHEAR)) + 1
        top, left = int(self.centre_y) - reach_y, int(self.centre_x) - reach_x
        return slice(max(top, 0), top + 2 * reach_y + 2), slice(max(left, 0), left + 2 * reach_x + 2)


def _place(random: np.random.Generator, y: np.ndarray, x: np.ndarray) -> _Place:
    low, high = OBJECT_RADIUS
    return _Place(
        centre_y=(0.1 + 0.8 * random.random()) * y.max(),
        centre_x=(0.1 + 0.8 * random.random()) * x.max(),
        radius=low + (high - low) * random.random(),
        stretch=0.8 + 0.4 * random.random(),
        shear=SHEAR * (2.0 * random.random() - 1.0),
        mirror=1.0 if random.random() < 0.5 else -1.0,
    )


def _loose_part(random: np.random.Generator) -> tuple[Shape, ...]:
    half_width, half_height = (0.25 + 0.5 * random.random(2)).tolist()
    outline = OUTLINES[random.integers(len(OUTLINES))]
    return ((outline, -half_width, -half_height, half_width, half_height),)


def _inside(part: Shape, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    outline, left, top, right, bottom = part
    across = (2.0 * u - left - right) / (right - left)
    down = (2.0 * v - top - bottom) / (bottom - top)
    if outline == 'disc':
        return across * across + down * down <= 1.0
    box = (abs(across) <= 1.0) & (abs(down) <= 1.0)
    return box if outline == 'box' else box & (2.0 * abs(across) <= down + 1.0)


def _texture(random: np.random.Generator, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Plain, stripes across, down or aslant, checks or dots: 0 or 1 at each pixel."""
    kind, period = int(random.integers(6)), 3.0 + 4.0 * random.random()
    across, down = _half(x, period), _half(y, period)
    patterns = (np.zeros_like(x), down, across, _half(x + y, period), abs(across - down), across * down)
    return patterns[kind]


def _half(values: np.ndarray, period: float) -> np.ndarray:
    phase = values / period
    return (phase - np.floor(phase) < 0.5).astype(np.float64)


def _light(random: np.random.Generator, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Light that falls off evenly in a random direction."""
    down, across = LIGHTING * (2.0 * random.random(2) - 1.0)
    return 0.95 + down * (y / y.max() - 0.5) + across * (x / x.max() - 0.5)


def _noisy(random: np.random.Generator, colours: np.ndarray) -> np.ndarray:
    """Adds noise, the sum of two even ones, and rounds to uint8."""
    noise = random.integers(-NOISE, NOISE + 1, (2, *colours.shape)).sum(axis=0)
    return np.clip(np.floor(colours + 0.5) + noise, 0, 255).astype(np.uint8)


def _with_void(labels: np.ndarray) -> np.ndarray:
    """Makes pixels within VOID_BORDER of another label void."""
    edge = np.zeros(labels.shape, bool)
    for step in range(1, VOID_BORDER + 1):
        for axis in (0, 1):
            ahead, behind = np.moveaxis(labels, axis, 0)[step:], np.moveaxis(labels, axis, 0)[:-step]
            differs = ahead != behind
            np.moveaxis(edge, axis, 0)[step:] |= differs
            np.moveaxis(edge, axis, 0)[:-step] |= differs
    return np.where(edge, np.uint8(VOID), labels)
