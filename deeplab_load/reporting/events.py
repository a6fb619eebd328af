"""The events of a run in words for the terminal, and as TensorBoard scalars."""

import math
import os

import tensorflow as tf

from deeplab_load import files
from deeplab_load.lookahead import events
from deeplab_load.shortages import tensorflow_writes


def sentence(event: events.Event) -> str:
    """One line about an event; percentages of mIoU and accuracy."""
    match event:
        case events.Discriminator():
            return _discriminator(event)
        case events.Propagation():
            return _propagation(event)
        case events.CycleEnd():
            return _cycle_end(event)
    return event.kind


def _discriminator(event: events.Discriminator) -> str:
    return (
        f'Discriminator for cycle {event.cycle}: {event.epochs} epochs on {", ".join(event.sets)}; balanced accuracy '
        f'{100 * event.training_accuracy:.1f} % in training, {100 * event.holdout_accuracy:.1f} % on the hold-out, '
        f'loss {event.holdout_loss:.4f}.'
    )


def _propagation(event: events.Propagation) -> str:
    miou = 'not finite' if event.miou is None else f'{100 * event.miou:.3f} %'
    return (
        f'cycle {event.cycle}  γ {event.gamma}  ω {event.omega}  mIoU {miou}  start {100 * event.start_miou:.3f}  '
        f'best {100 * event.best_miou:.3f}  CE {event.loss_ce:.4f}  adversarial {event.loss_adv:.4f}'
        + ('  start raised' if event.raised else '')
        + _discriminator_in_turn(event)
    )


def _discriminator_in_turn(event: events.Propagation) -> str:
    if not isinstance(event, events.Alternation) or math.isnan(event.accuracy_d):
        return ''
    return f'  D {event.loss_d:.4f}, balanced accuracy {100 * event.accuracy_d:.1f} %'


def _cycle_end(event: events.CycleEnd) -> str:
    return (
        f'Cycle {event.cycle} ended ({event.reason}) after {event.propagations} propagations at '
        f'{100 * event.end_miou:.3f} %, {"with" if event.peak else "without"} a new peak; best '
        f'{100 * event.best_miou:.3f} %, ψ {event.psi}, buffer {", ".join(event.buffer)}.'
    )


class Scalars:
    """Writes the numbers of events to a folder for TensorBoard.

    As tf.summary.scalar does, which needs the tensorboard package that otherwise only the viewer needs.
    """

    def __init__(self, folder: str | os.PathLike):
        self._folder = folder
        with files.writing(folder), tensorflow_writes():
            self._writer = tf.summary.create_file_writer(str(folder))
        plugin = tf.compat.v1.SummaryMetadata.PluginData(plugin_name='scalars')
        self._metadata = tf.compat.v1.SummaryMetadata(plugin_data=plugin)

    def write(self, step: int, event: events.Event) -> None:
        """Writes each number of an event as `<event>/<name>`."""
        with files.writing(self._folder), tensorflow_writes(), self._writer.as_default(step=step):
            for name, value in event.record().items():
                if isinstance(value, int | float) and not isinstance(value, bool):
                    tf.summary.write(f'{event.kind}/{name}', tf.constant(value, tf.float32), metadata=self._metadata)
            self._writer.flush()
