"""What a run of LoAd costs by a model, on 1 to 1024 accelerators: `python -m bench.cost`; docs/scaling.md explains it.

The tables are of one cycle of Algorithm 3: propagations, label maps of all images, one training of D. Rates of
accelerators, links and disks are assumptions, which the options change; the networks' operations and the sizes of
encoded images are counted.
"""

import argparse
import dataclasses
import math
from dataclasses import dataclass

ACCELERATORS = (1, 8, 64, 1024)
PROPAGATIONS, BATCH, SETS, EPOCHS, COUPLES = 50, 5, 2, 10, 8  # D's batch of 16 maps holds 8 couples.
TRAINED = 3  # Forward, and backward to inputs and weights, in forward passes; to inputs alone it is one less.
SHARD = 128  # Images of a set's shard, which one accelerator makes.
WINDOW = 513 * 513  # Pixels of the window that operations are told for.
MAP_BYTES = 0.0117  # Bytes a pixel of a stored label map: 2.2 kB for 500 x 375.


@dataclass(frozen=True)
class Network:
    """Operations of a forward pass through a window of 513 x 513, two for each multiplication, and the variables."""

    title: str
    operations: float
    parameters: float


@dataclass(frozen=True)
class Images:
    """A data set: images to train on and to decide by; pixels of an image, of the training and evaluation windows."""

    title: str
    train: int
    holdout: int
    image_bytes: float
    pixels: int
    train_window: int
    eval_window: int
    decoding: float  # Core seconds for an image and its label map.


@dataclass(frozen=True)
class Machine:
    """An accelerator with its share of a host."""

    operations: float = 20e12  # A second, sustained in convolutions.
    link: float = 10e9  # Bytes a second of one accelerator's share of the network.
    latency: float = 100e-6  # Seconds of a sum over all accelerators, whatever its size.
    launch: float = 5e-3  # Seconds of a step or batch beside its operations: Python and kernels' starts.
    cores: int = 8
    disk: float = 0.5e9  # Bytes a second of one accelerator's share of the shared file system.


XCEPTION = Network('Xception-65', 2 * 54.17e9, 41.26e6)
MOBILENET = Network('MobileNetV2', 2 * 2.75e9, 2.15e6)
D_OPERATIONS, D_PARAMETERS = 2 * 0.8e9, 3.25e6  # MobileNet-v1 at 224, 63 channels in.

DATA = (
    Images('PASCAL VOC', 10582, 435, 0.11e6, 500 * 375, WINDOW, WINDOW, 0.0025),
    Images('Cityscapes', 2975, 150, 2.2e6, 1024 * 2048, WINDOW, 1025 * 2049, 0.054),
    Images('Mapillary Vistas', 18000, 600, 2.0e6, 1537 * 2049, WINDOW, 1537 * 2049, 0.035),
    Images('10⁷ images', 10**7, 3000, 0.11e6, 500 * 375, WINDOW, WINDOW, 0.0025),
)


def summed(parameters: float, accelerators: int, machine: Machine) -> float:
    """Seconds in which float32 gradients are added up: a ring sends each of them twice, but for a share."""
    if accelerators == 1:
        return 0.0
    return machine.latency + 2 * (accelerators - 1) / accelerators * 4 * parameters / machine.link


def step(operations: float, parameters: float, rows: int, accelerators: int, machine: Machine) -> float:
    """Seconds of a step on so many rows, each of so many operations; no accelerator takes part of a row."""
    used = min(rows, accelerators)
    own = math.ceil(rows / used)
    return machine.launch + own * operations / machine.operations + summed(parameters, used, machine)


def forward(images: int, operations: float, accelerators: int, machine: Machine, *, share: int = 4) -> float:
    """Seconds of forward passes over images in batches of 4; each accelerator takes whole shares of so many images."""
    own = min(math.ceil(math.ceil(images / share) / accelerators) * share, images)
    return math.ceil(own / 4) * machine.launch + own * operations / machine.operations


def read(images: float, data: Images, accelerators: int, machine: Machine) -> float:
    """Seconds in which images are read and decoded by what belongs to so many accelerators."""
    return images * max(data.decoding / machine.cores, data.image_bytes / machine.disk) / accelerators


def cycle(data: Images, network: Network, accelerators: int, machine: Machine) -> dict[str, float]:
    """Seconds of each phase of a cycle."""
    train, whole = (network.operations * pixels / WINDOW for pixels in (data.train_window, data.eval_window))
    of_g = step(TRAINED * train + (TRAINED - 1) * D_OPERATIONS, network.parameters, BATCH, accelerators, machine)
    of_d = step(2 * TRAINED * D_OPERATIONS, D_PARAMETERS, COUPLES, accelerators, machine)
    seen = data.train + data.holdout
    used = min(accelerators, math.ceil(seen / SHARD))
    written = seen * MAP_BYTES * data.pixels / (machine.disk * used)
    made = max(forward(seen, whole, used, machine, share=SHARD), read(seen, data, used, machine), written)
    return {
        'steps of g': PROPAGATIONS * max(of_g, read(BATCH, data, min(BATCH, accelerators), machine)),
        'hold-out': PROPAGATIONS * forward(data.holdout, whole, accelerators, machine),  # Decoded once, kept.
        'label maps': made,
        'training of D': EPOCHS
        * math.ceil(SETS * data.train / COUPLES)
        * max(of_d, read(COUPLES, data, min(COUPLES, accelerators), machine)),
    }


def hours(seconds: float) -> str:
    """Seconds as hours of three digits."""
    return f'{seconds / 3600:.3g}'


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for field in dataclasses.fields(Machine):
        parser.add_argument(f'--{field.name}', type=float, default=field.default)
    machine = Machine(**vars(parser.parse_args()))
    print(machine)
    for network in (XCEPTION, MOBILENET):
        print(f'\n{network.title}\n\n| data | accelerators | hours a cycle | steps of g | hold-out | label maps | D |')
        print('| --- | --- | --- | --- | --- | --- | --- |')
        for data in DATA:
            for number in ACCELERATORS:
                spent = cycle(data, network, number, machine)
                total = sum(spent.values())
                shares = ' | '.join(f'{100 * value / total:.0f} %' for value in spent.values())
                print(f'| {data.title} | {number} | {hours(total)} | {shares} |')
    print('\n| data | encoded images, GB | a set of label maps, GB |\n| --- | --- | --- |')
    for data in DATA:
        maps = (data.train + data.holdout) * MAP_BYTES * data.pixels
        print(f'| {data.title} | {data.train * data.image_bytes / 1e9:.3g} | {maps / 1e9:.3g} |')


if __name__ == '__main__':
    main()
